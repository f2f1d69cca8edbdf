"""What a comparison of methods found: numbers for each method, and what they say in words."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from ...models.text import counted
from ..files.pages import write_result_pages
from ..files.writing import plain
from .claims import claims_of
from .facts import Measured
from .tables import failures, measured_lines
from .verdict import reasons_of, verdict_of


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Measured):
    """Methods side by side on one model.

    Attributes:
        facts: for each method.
        agreement: between the methods that apply.
        images: for each image its name, targets, scores, and label.
        failed: for each image that failed its name and the error.
        settings: baselines, targets, methods' options.
        model: its path; model_sha256: of the file.
        versions: of onnxplain and of what it computes with.
        panels: what pictures are drawn from, an image each; beside: for the first images the maps
            of the second class and against other baselines.

    Examples:
        >>> comparison = onnxplain.compare("digits.onnx", ["seven.png"])
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        methods = ", ".join(one.method for one in self.facts if one.applies)
        return f"Comparison({counted(len(self.images))}; {methods})"

    @property
    def status(self) -> int:
        """0: all images were compared; 1: some failed.

        Examples:
            >>> comparison.status
            0
        """
        return 1 if self.failed else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say beside the numbers: what failed and what does not apply.

        Examples:
            >>> notes = comparison.notes
        """
        lines = [f"{one.method} does not apply: {one.reason}" for one in self.facts if one.reason]
        return lines + failures(self.failed)

    def lines(self, folder: str) -> list[str]:
        """What was found and where all of it lies, for people to read.

        Examples:
            >>> lines = comparison.lines("out")
        """
        return [self.verdict, *measured_lines(self), f"report, panel, table and numbers: {folder}"]

    @cached_property
    def verdict(self) -> str:
        """Which method suits the model, and why, in two or three sentences.

        Examples:
            >>> comparison.verdict.startswith("On this image ")
            True
        """
        return verdict_of(self)

    @cached_property
    def reasons(self) -> list[str]:
        """What the verdict rests on: a sentence for each thing that was measured.

        Examples:
            >>> reasons = comparison.reasons
        """
        return reasons_of(self)

    @cached_property
    def claims(self) -> list[str]:
        """What the literature says of the methods, beside what was measured here.

        Examples:
            >>> sentences = comparison.claims
        """
        return claims_of(self)

    def table(self) -> list[dict[str, Any]]:
        """The literature's table with measured columns: a row for each method.

        Examples:
            >>> [row["method"] for row in comparison.table()]
            ['grad-cam'...]
        """
        return [asdict(one) for one in self.facts]

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Write report.html, panel.png and .svg, table.md, comparison.json; a panel an image.

        Returns:
            The files' names.

        Raises:
            InvalidInputError: the folder cannot be written to.
            OSError: a file cannot be written.

        Examples:
            >>> comparison.save("out")
            [...'report.html'...]
        """
        return write_result_pages(self, folder)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON knows it; NaN is None.

        Examples:
            >>> comparison.to_dict()["model"]
            'digits.onnx'
        """
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        own = {k: v for k, v in own.items() if k not in ("panels", "beside")}
        said = {"verdict": self.verdict, "reasons": self.reasons, "claims": self.claims}
        return plain({**said, **own})
