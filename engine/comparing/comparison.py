"""What a comparison of methods found: numbers for each method, and what they say in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .axioms import Alike, Kept
from .claims import claims_of
from .comparison_page import comparison_page
from .saved import plain, write_all
from .tables import failures, markdown_of, measured_lines

if TYPE_CHECKING:
    from ..pictures.panel import PanelRow


@dataclass(frozen=True)
class MethodFacts:
    """One method on one model; numbers are means over images, None where there is none.

    Attributes:
        method, title: its name, and as it is printed.
        applies: whether it can explain this model.
        reason: why not, or "".
        reference: what it compares with: a baseline, or "" for nothing.
        between_classes: Spearman's correlation, by region, of the maps of the first and the second
            class.
        top_between_classes: of the tenth of all locations that is highest in the first class's map,
            the part that is among the second's.
        relative_delta: the largest |delta| as a part of the score's difference; None: no sum is
            owed.
        sensitivity: pixels that move the score and have an attribution, of those that move it.
        dummy: the part of all magnitudes that lies on pixels the model never sees.
        invariance: for each other way to write the model how far the map is from the file's own.
        area: what has a number: the input's elements, or the places of a feature map.
        negative: the part of all magnitudes that is negative.
        passes: gradient passes for an image; None: that is no way to count it.
        forwards: its time in plain forward passes of the file.
        seconds: for an image and target, the sessions being open.
        baselines: for each other baseline Spearman's correlation with the first one's map.
    """

    method: str
    title: str
    applies: bool
    reason: str = ""
    reference: str = ""
    between_classes: float | None = None
    top_between_classes: float | None = None
    relative_delta: float | None = None
    sensitivity: Kept | None = None
    dummy: float | None = None
    invariance: Mapping[str, Alike] = field(default_factory=dict)
    area: str = ""
    negative: float | None = None
    passes: float | None = None
    forwards: float | None = None
    seconds: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """How alike the methods' maps are, two by two, as means over images.

    Attributes:
        methods: in the order of the axes.
        rank: float64 [M, M], Spearman's correlations by region.
        top: float64 [M, M], the overlap of the highest tenth of all locations.
        pixels: float64 [M, M], Spearman's correlations by location.
        each: "a, b" -> the correlation for each image.
    """

    methods: list[str]
    rank: np.ndarray
    top: np.ndarray
    pixels: np.ndarray
    each: dict[str, list[float]]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Methods side by side on one model.

    Attributes:
        facts: for each method.
        agreement: between the methods that apply.
        images: for each image its name, targets, scores, and label.
        failed: for each image that failed its name and the error.
        settings: baselines, targets, methods' options.
        model: its path; model_sha256: of the file.
        versions: of onnxplain and of what it computes with.
        panels: what pictures are drawn from, an image each.
    """

    facts: list[MethodFacts]
    agreement: Agreement
    images: list[dict[str, Any]]
    failed: list[dict[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    model_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    panels: list[PanelRow] = field(default_factory=list)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        methods = ", ".join(one.method for one in self.facts if one.applies)
        return f"Comparison({len(self.images)} images; {methods})"

    @property
    def status(self) -> int:
        """0: all images were compared; 1: some failed."""
        return 1 if self.failed else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say beside the numbers: what failed and what does not apply."""
        lines = [f"{one.method} does not apply: {one.reason}" for one in self.facts if one.reason]
        return lines + failures(self.failed)

    def lines(self, folder: str) -> list[str]:
        """What was found and where all of it lies, for people to read."""
        return [*measured_lines(self), *self.claims, f"report, panel, table and numbers: {folder}"]

    def verdict(self, fail_under: float | None = None) -> int:
        """The exit status; `fail_under` is for files of a model."""
        del fail_under
        return self.status

    @cached_property
    def claims(self) -> list[str]:
        """What the literature says of the methods, beside what was measured here."""
        return claims_of(self)

    def of(self, method: str) -> MethodFacts | None:
        """The facts of a method that applies, or None."""
        return next((one for one in self.facts if one.method == method and one.applies), None)

    def table(self) -> list[dict[str, Any]]:
        """The literature's table with measured columns: a row for each method."""
        return [asdict(one) for one in self.facts]

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Write report.html, panel.png and .svg, table.md, comparison.json; a panel an image.

        Returns:
            The files' names.

        Raises:
            InvalidInputError: the folder cannot be written to.
            OSError: a file cannot be written.
        """
        names = [image["image"] for image in self.images]
        page = comparison_page(self)
        return write_all(folder, markdown_of(self), self.to_dict(), self.panels, names, page)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON knows it; NaN is None."""
        left_out = ("panels",)
        own = {k: v for k, v in vars(self).items() if k not in left_out and k != "claims"}
        return plain({**own, "claims": self.claims})
