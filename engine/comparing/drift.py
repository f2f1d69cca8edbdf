"""Two files of one model by what they look at: what changed between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...models.text import counted
from ..files.pages import write_result_pages
from ..files.writing import plain, write_whole
from ..metrics.intervals import interval
from .changes import NUMBERS, Changes
from .checks import Check, check_lines, checks_of, junit_xml
from .claims import likeness_in_words
from .tables import failures

# Maps that are named on the terminal.
_MOST_LINES = 10


@dataclass(frozen=True, eq=False, repr=False)
class Drift(Changes):
    """What changed from one model to others.

    Attributes:
        maps: for each image, other model and method, the image that changed most first.
        scores: for each image and other model.
        matched: for each other model how its inputs and outputs were matched, in words.
        failed: for each image that failed its name and the error.
        left_out: method -> why it does not apply to all of the models.
        model: the first one's path; others: the others'; sha256: of all, the first one's first.
        settings: methods' options and so on; versions: of onnxplain and of what it computes with.
        panels: for each image its rows: a model each; what changed most first.
        judged: the methods that were named, which `verdict` is about; none: Grad-CAM.

    Examples:
        >>> drift = onnxplain.compare("digits.onnx", ["seven.png"], against="other.onnx")
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"Drift({Path(self.model).name} against {', '.join(self.others)})"

    @property
    def status(self) -> int:
        """0: all images were compared; 1: some failed.

        Examples:
            >>> drift.status
            0
        """
        return 1 if self.failed else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say beside the numbers: how files were matched, what was left out."""
        lines = [*self.matched.values()]
        lines += [f"left out {name}: {reason}" for name, reason in self.left_out.items()]
        return lines + failures(self.failed)

    def lines(self, folder: str) -> list[str]:
        """What was found and where all of it lies, for people to read.

        Examples:
            >>> lines = drift.lines("out")
        """
        worst = [
            f"{Path(m.image).name}  {m.method}  Spearman {m.spearman:.3f}, top 10 % overlap "
            f"{m.top_overlap:.2f}, centre moved {m.centre_moved:.1%}"
            for m in self.maps[:_MOST_LINES]
        ]
        flips = self.flip_lines[:_MOST_LINES]
        more = len(self.flips) - len(flips)
        flips += [f"... and {more} more"] if more > 0 else []
        files = f"report, panel, table and numbers: {folder}"
        return [*flips, *self.findings, *worst, files]

    def checks(
        self,
        fail_under: float | None = None,
        fail_on_flip: bool = False,
        methods: Sequence[str] | None = None,
    ) -> list[Check]:
        """What is judged, and how it came out: `model`, `name`, `passed`, `text` of each.

        Args:
            fail_under: the mean Spearman correlation that each judged method needs.
            fail_on_flip: whether a changed top class fails.
            methods: those to judge; None: those that were named, Grad-CAM where none was.

        Examples:
            >>> [check.passed for check in drift.checks(fail_under=0.9)]
            [True...]
        """
        return checks_of(self, fail_under, fail_on_flip, methods)

    def verdict(
        self,
        fail_under: float | None = None,
        fail_on_flip: bool = False,
        methods: Sequence[str] | None = None,
    ) -> int:
        """The exit status, 0 or 1: 1 where an image or one of the `checks` failed.

        Examples:
            >>> drift.verdict(fail_under=0.9, fail_on_flip=True)
            0
        """
        checks = self.checks(fail_under, fail_on_flip, methods)
        return 1 if any(one.passed is False for one in checks) else self.status

    def verdict_lines(
        self, fail_under: float | None = None, fail_on_flip: bool = False
    ) -> list[str]:
        """What passed and what failed, for people to read: "FAIL grad-cam 0.986 < 0.995".

        Examples:
            >>> lines = drift.verdict_lines(fail_under=0.9)
        """
        return check_lines(self.checks(fail_under, fail_on_flip))

    def save_junit(
        self,
        file: str | os.PathLike[str],
        fail_under: float | None = None,
        fail_on_flip: bool = False,
    ) -> None:
        """Write the `checks` as JUnit XML: a test case for each method and one for flips.

        Raises:
            OSError: the file cannot be written.

        Examples:
            >>> drift.save_junit("drift.xml", fail_on_flip=True)
        """
        content = junit_xml(self.checks(fail_under, fail_on_flip))
        write_whole(Path(file), lambda written: written.write(content))

    @property
    def flip_lines(self) -> list[str]:
        """A line for each of them: "FLIP ship.jpg: missile 43 % -> drilling platform 51 %".

        Examples:
            >>> drift.flip_lines
            []
        """
        several = len(self.others) > 1
        return [
            f"FLIP {Path(one.image).name}: {one.flip}"
            + (f" ({Path(one.model).name})" if several else "")
            for one in self.flips
        ]

    @property
    def mean_spearman(self) -> float:
        """Over all images, other models and methods.

        Examples:
            >>> drift.mean_spearman > 0.99
            True
        """
        known = [one.spearman for one in self.maps if not np.isnan(one.spearman)]
        return float(np.mean(known)) if known else float("nan")

    def table(self) -> list[dict[str, Any]]:
        """A row for each map, worst first.

        Examples:
            >>> drift.table()[0]["image"]
            'seven.png'
        """
        return [plain(one) for one in self.maps]

    def summary(self) -> list[dict[str, Any]]:
        """For each other model and method means over images with 95 % intervals.

        Examples:
            >>> drift.summary()[0]["images"]
            1
        """
        rows = []
        for model in self.others:
            for method in self.methods:
                own = [m for m in self.maps if m.model == model and m.method == method]
                row: dict[str, Any] = {"model": model, "method": method, "images": len(own)}
                for name in NUMBERS:
                    values = np.array([getattr(m, name) for m in own], np.float64)
                    values = values[np.isfinite(values)]
                    if len(values):
                        low, high = interval(values, 0)
                        row[name] = {"mean": float(values.mean()), "low": low, "high": high}
                rows.append(row)
        return rows

    @cached_property
    def findings(self) -> list[str]:
        """A sentence for each other model.

        Examples:
            >>> sentences = drift.findings
        """
        return [self._finding(model) for model in self.others]

    def _finding(self, model: str) -> str:
        parts = []
        for row in self.summary():
            if row["model"] == model and "spearman" in row:
                mean = row["spearman"]["mean"]
                parts.append(f"{row['method']} maps are {likeness_in_words(mean)} ({mean:.2f})")
        scores = [one for one in self.scores if one.model == model]
        changed = sum(one.changed for one in scores)
        drift = max((abs(one.other_score - one.score) for one in scores), default=0.0)
        return (
            f"{Path(model).name} beside {Path(self.model).name}: the top class changed for "
            f"{changed} of {counted(len(scores))}, scores by up to {drift:.2g}; mean Spearman by "
            f"method: {', '.join(parts) or 'nothing to compare'}."
        )

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Write report.html, panel.png and .svg, table.md, comparison.json; a panel an image.

        Returns:
            The files' names.

        Raises:
            InvalidInputError: the folder cannot be written to.
            OSError: a file cannot be written.

        Examples:
            >>> drift.save("out")
            [...'report.html'...]
        """
        return write_result_pages(self, folder)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON knows it; NaN is None.

        Examples:
            >>> sorted(drift.to_dict())
            [...]
        """
        own = {k: v for k, v in vars(self).items() if k not in ("panels", "findings")}
        more = {"summary": self.summary(), "findings": self.findings, "flips": self.flip_lines}
        return plain({**own, **more, "mean_spearman": self.mean_spearman})
