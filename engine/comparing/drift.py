"""Two files of one model by what they look at: what changed between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.text import counted
from ..files.writing import write_whole
from ..metrics.intervals import interval
from ..pictures.captions import class_answer
from ..running.answers import Top
from ..targets.target import Index
from .checks import Check, check_lines, checks_of, junit_xml
from .claims import likeness_in_words
from .drift_page import drift_page
from .drift_tables import NUMBERS, markdown_of
from .likeness import centre_moved, relative_difference, spearman, top_overlap
from .saved import plain, write_all
from .tables import failures

if TYPE_CHECKING:
    from ..pictures.panel import PanelRow

# Maps that are named on the terminal.
_MOST_LINES = 10


@dataclass(frozen=True)
class MapDrift:
    """How one map of one image changed.

    Attributes:
        image, model, method: which; `model` is the other one.
        spearman: rank correlation of the two maps by location.
        top_overlap: of the highest tenth of all locations, the part that stayed there.
        relative_difference: |other - own| / |own|, Euclidean.
        centre_moved: of the maps' positive parts, as a part of the diagonal.
    """

    image: str
    model: str
    method: str
    spearman: float
    top_overlap: float
    relative_difference: float
    centre_moved: float


@dataclass(frozen=True)
class ScoreDrift:
    """How the outcome of one image changed.

    Attributes:
        image, model: which; `model` is the other one.
        target: the explained class, the first model's; `label`: in words.
        score, other_score: of that class by the two models.
        top, other_top: the models' top classes, in words.
        best, other_best: the models' best three, as records have them in `top`; none where the
            model has no score for each class.
        answer, other_answer: those in words: "espresso 96 % · cup 2 % (softmax)".
    """

    image: str
    model: str
    target: Index
    label: str
    score: float
    other_score: float
    top: str
    other_top: str
    best: Sequence[Top] = ()
    other_best: Sequence[Top] = ()
    answer: str = ""
    other_answer: str = ""

    @property
    def changed(self) -> bool:
        """Whether the top class is another one; several classes may have one name."""
        if self.best and self.other_best:
            return self.best[0].index != self.other_best[0].index
        return self.top != self.other_top

    @property
    def flip(self) -> str:
        """Both top classes: "missile 43 % -> drilling platform 51 %"."""
        if not (self.best and self.other_best):
            return f"{self.top} -> {self.other_top}"
        first, second = self.best[0], self.other_best[0]
        texts = class_answer(first), class_answer(second)
        if first.label and first.label == second.label:
            pairs = zip(texts, (first, second), strict=True)
            texts = tuple(f"{text} (class {one.index})" for text, one in pairs)
        return " -> ".join(texts)


def map_drift(image: str, model: str, method: str, own: np.ndarray, other: np.ndarray) -> MapDrift:
    """The drift of one map [H, W] to another, which is brought to its size where that differs."""
    other = at_size(other, own.shape)
    numbers = spearman(own, other), top_overlap(own, other)
    far = relative_difference(own, other), centre_moved(own, other)
    return MapDrift(image, model, method, *numbers, *far)


def at_size(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map [H, W] at another size: the element of the nearest place."""
    if values.shape == shape:
        return values
    places = (
        ((np.arange(n) + 0.5) * old / n).astype(int)
        for n, old in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(*places)]


@dataclass(frozen=True, eq=False, repr=False)
class Drift:
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

    maps: list[MapDrift]
    scores: list[ScoreDrift]
    matched: dict[str, str]
    failed: list[dict[str, str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    model: str = ""
    others: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    panels: list[tuple[str, list[PanelRow]]] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)

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
    def flips(self) -> list[ScoreDrift]:
        """The images whose top class changed.

        Examples:
            >>> [one.flip for one in drift.flips]
            []
        """
        return [one for one in self.scores if one.changed]

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
    def methods(self) -> list[str]:
        """The methods that were compared."""
        return list(dict.fromkeys(one.method for one in self.maps))

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
        rows = [row for _, own in self.panels for row in own]
        names = [image for image, own in self.panels for _ in own]
        page = drift_page(self)
        return write_all(folder, markdown_of(self), self.to_dict(), rows, names, page)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON knows it; NaN is None.

        Examples:
            >>> sorted(drift.to_dict())
            [...]
        """
        own = {k: v for k, v in vars(self).items() if k not in ("panels", "findings")}
        more = {"summary": self.summary(), "findings": self.findings, "flips": self.flip_lines}
        return plain({**own, **more, "mean_spearman": self.mean_spearman})


def flips_first(
    scores: Sequence[ScoreDrift], maps: Sequence[MapDrift]
) -> tuple[list[str], list[ScoreDrift]]:
    """Images and scores: changed top classes first, then as their maps are in `worst_first`."""
    order = {image: place for place, image in enumerate(dict.fromkeys(m.image for m in maps))}
    changed = {one.image for one in scores if one.changed}
    images = sorted(order, key=lambda image: (image not in changed, order[image]))
    places = {image: place for place, image in enumerate(images)}
    ranked = sorted(scores, key=lambda one: (places[one.image], not one.changed))
    return images, ranked


def worst_first(maps: Sequence[MapDrift]) -> list[MapDrift]:
    """By image, the one whose worst map changed most first, and its maps so, too."""

    def rank(one: MapDrift) -> float:
        return -1.0 if np.isnan(one.spearman) else one.spearman

    worst = {one.image: min(rank(m) for m in maps if m.image == one.image) for one in maps}
    return sorted(maps, key=lambda one: (worst[one.image], one.image, rank(one)))
