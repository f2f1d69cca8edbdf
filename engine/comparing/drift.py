"""Two files of one model by what they look at: what changed between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.intervals import interval
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
    """

    image: str
    model: str
    target: Any
    label: str
    score: float
    other_score: float
    top: str
    other_top: str

    @property
    def changed(self) -> bool:
        """Whether the top class is another one."""
        return self.top != self.other_top


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
    rows, columns = (
        ((np.arange(n) + 0.5) * old / n).astype(int)
        for n, old in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]


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
        panels: for each image its rows: a model each.
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

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"Drift({Path(self.model).name} against {', '.join(self.others)})"

    @property
    def status(self) -> int:
        """0: all images were compared; 1: some failed."""
        return 1 if self.failed else 0

    @property
    def notes(self) -> list[str]:
        """What there is to say beside the numbers: how files were matched, what was left out."""
        lines = [*self.matched.values()]
        lines += [f"left out {name}: {reason}" for name, reason in self.left_out.items()]
        return lines + failures(self.failed)

    def lines(self, folder: str) -> list[str]:
        """What was found and where all of it lies, for people to read."""
        worst = [
            f"{Path(m.image).name}  {m.method}  Spearman {m.spearman:.3f}, top 10 % overlap "
            f"{m.top_overlap:.2f}, centre moved {m.centre_moved:.1%}"
            for m in self.maps[:_MOST_LINES]
        ]
        return [*worst, *self.findings, f"report, panel, table and numbers: {folder}"]

    def verdict(self, fail_under: float | None = None) -> int:
        """The exit status: 1 where an image failed, or the mean Spearman is lower than that."""
        low = fail_under is not None and not self.mean_spearman >= fail_under
        return 1 if low else self.status

    @property
    def methods(self) -> list[str]:
        """The methods that were compared."""
        return list(dict.fromkeys(one.method for one in self.maps))

    @property
    def mean_spearman(self) -> float:
        """Over all images, other models and methods; what `--fail-under` is about."""
        known = [one.spearman for one in self.maps if not np.isnan(one.spearman)]
        return float(np.mean(known)) if known else float("nan")

    def table(self) -> list[dict[str, Any]]:
        """A row for each map, worst first."""
        return [plain(one) for one in self.maps]

    def summary(self) -> list[dict[str, Any]]:
        """For each other model and method means over images with 95 % intervals."""
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
        """A sentence for each other model."""
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
            f"{Path(model).name} beside {Path(self.model).name}, mean Spearman by method: "
            f"{', '.join(parts) or 'nothing to compare'}; the top class changed for {changed} of "
            f"{len(scores)} image(s), scores by up to {drift:.3g}."
        )

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Write report.html, panel.png and .svg, table.md, comparison.json; a panel an image.

        Returns:
            The files' names.

        Raises:
            InvalidInputError: the folder cannot be written to.
            OSError: a file cannot be written.
        """
        rows = [row for _, own in self.panels for row in own]
        names = [image for image, own in self.panels for _ in own]
        page = drift_page(self)
        return write_all(folder, markdown_of(self), self.to_dict(), rows, names, page)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON knows it; NaN is None."""
        own = {k: v for k, v in vars(self).items() if k not in ("panels", "findings")}
        more = {"summary": self.summary(), "findings": self.findings}
        return plain({**own, **more, "mean_spearman": self.mean_spearman})


def worst_first(maps: Sequence[MapDrift]) -> list[MapDrift]:
    """By image, the one whose worst map changed most first, and its maps so, too."""

    def rank(one: MapDrift) -> float:
        return -1.0 if np.isnan(one.spearman) else one.spearman

    worst = {one.image: min(rank(m) for m in maps if m.image == one.image) for one in maps}
    return sorted(maps, key=lambda one: (worst[one.image], one.image, rank(one)))
