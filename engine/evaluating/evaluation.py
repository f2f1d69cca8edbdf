"""What an evaluation found: numbers, intervals, curves, and what they say in words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...models.text import counted
from ..files.pages import write_result_pages
from ..files.writing import plain
from .findings import found_in
from .verdict import verdict_of

JSON_FILE, CURVES_FILE = "evaluation.json", "curves.svg"


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How faithful maps are, by method and metric.

    Attributes:
        records: for each method and metric: method, metric, mean, low, high (a 95 % interval of the
            mean over images; the mean itself of one image; None of none), images (how many it is
            of), higher_is_better, and the metric's settings.
        images: for each image that was measured its name, target and region's part of the input.
        values: metric -> method -> one number for each image, NaN where it was not measured.
        curves: curve -> method -> {"places": [P], "values": [images measured, P]}.
        settings: of the whole: target, baseline, seed, full.
        model: its path, or "" of bytes.
        model_sha256: of the model.
        versions: of onnxplain and of what it computes with.
        failed: for each image that failed its name and the error.
        left_out: metric or method -> why it was not measured.

    Examples:
        >>> evaluation = onnxplain.evaluate("digits.onnx", ["seven.png"], ["deeplift"])
    """

    records: list[dict[str, Any]]
    images: list[dict[str, Any]]
    values: dict[str, dict[str, np.ndarray]]
    curves: dict[str, dict[str, dict[str, np.ndarray]]]
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    model_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        methods = ", ".join(row["method"] for row in self.table())
        return f"Evaluation({counted(len(self.images))}; {methods}; {', '.join(self.metrics)})"

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics that were measured.

        Examples:
            >>> evaluation.metrics
            ['deletion']
        """
        return list(dict.fromkeys(record["metric"] for record in self.records))

    @property
    def status(self) -> int:
        """0: all images were measured; 1: some failed.

        Examples:
            >>> evaluation.status
            0
        """
        return 1 if self.failed else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say beside the numbers: what failed and what was left out.

        Examples:
            >>> notes = evaluation.notes
        """
        lines = [f"left out {name}: {reason}" for name, reason in self.left_out.items()]
        for one in self.failed:
            path, error = one["image"], one["error"]
            lines.append(error if path in error else f"{path}: {error}")
        return lines

    def table(self) -> list[dict[str, Any]]:
        """A row for each method: {"method": its name, metric: mean, ...}.

        Examples:
            >>> [row["method"] for row in evaluation.table()]
            ['deeplift', ...]
        """
        rows: dict[str, dict[str, Any]] = {}
        for record in self.records:
            row = rows.setdefault(record["method"], {"method": record["method"]})
            row[record["metric"]] = record["mean"]
        return list(rows.values())

    @cached_property
    def verdict(self) -> str:
        """Which method is faithful and which is not, and how far to trust that, in words."""
        return verdict_of(self.records, self.values)

    @cached_property
    def findings(self) -> list[str]:
        """What the numbers say, and where the metrics disagree, in sentences.

        Examples:
            >>> sentences = evaluation.findings
        """
        return found_in(self.records, self.values)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write evaluation.json, curves.svg and report.html.

        Raises:
            InvalidInputError: the folder cannot be written to.
            OSError: a file cannot be written.

        Examples:
            >>> evaluation.save("out")
        """
        write_result_pages(self, folder)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it; NaN is None.

        Examples:
            >>> evaluation.to_dict()["model"]
            'digits.onnx'
        """
        return {
            "verdict": self.verdict,
            "records": plain(self.records),
            "findings": self.findings,
            "settings": plain(self.settings),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "versions": self.versions,
            "images": plain(self.images),
            "failed": self.failed,
            "left_out": self.left_out,
            "values": plain(self.values),
            "curves": plain(self.curves),
        }
