"""What an evaluation found: numbers, intervals, curves, and what they say in words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...models.text import counted
from ..files.writing import to_json, utf8, writable_folder, write_whole
from ..pictures.curves_svg import drawn_curves
from ..reporting.html import REPORT_FILE, write_report
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
        from .evaluation_page import evaluation_page

        directory = writable_folder(folder)
        content = to_json(self.to_dict(), indent=2) + b"\n"
        write_whole(directory / JSON_FILE, lambda file: file.write(content))
        self._save_curves(directory)
        write_report(evaluation_page(self), directory)

    def _save_curves(self, directory: Path) -> None:
        if self.curves:
            drawn = utf8(drawn_curves(self.curves))
            write_whole(directory / CURVES_FILE, lambda file: file.write(drawn))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it; NaN is None.

        Examples:
            >>> evaluation.to_dict()["model"]
            'digits.onnx'
        """
        return {
            "verdict": self.verdict,
            "records": _plain(self.records),
            "findings": self.findings,
            "settings": _plain(self.settings),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "versions": self.versions,
            "images": _plain(self.images),
            "failed": self.failed,
            "left_out": self.left_out,
            "values": _plain(self.values),
            "curves": _plain(self.curves),
        }


def _plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, NaN as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def report_lines(found: Evaluation, folder: str) -> list[str]:
    """Verdict, table, findings and where all of it lies, for people to read."""
    files = f"{JSON_FILE}, {CURVES_FILE}" if found.curves else JSON_FILE
    return [
        found.verdict,
        *table_lines(found),
        *found.findings,
        f"{files} and {REPORT_FILE}: {folder}",
    ]


def table_lines(found: Evaluation) -> list[str]:
    """The table for people to read: a line for each method, an arrow for what is better."""
    better = {r["metric"]: "+" if r["higher_is_better"] else "-" for r in found.records}
    heads = [f"{name} {sign}" for name, sign in better.items()]
    rows = found.table()
    if not rows:
        return []
    width = max(len(row["method"]) for row in rows)
    lines = [" " * width + "".join(f"  {head}" for head in heads)]
    for row in rows:
        numbers = [_number(row.get(name)) for name in better]
        cells = "".join(f"  {n:>{len(h)}}" for n, h in zip(numbers, heads, strict=True))
        lines.append(f"{row['method']:{width}}{cells}")
    return [*lines, "+ higher is better, - lower"]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
