"""What changed from one file of a model to others: numbers, before anything is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records.captions import class_answer
from ..running.answers import Top
from ..targets.target import Index
from .likeness import centre_moved, relative_difference, spearman, top_overlap

if TYPE_CHECKING:
    from ..pictures.panel import PanelRow

# Of the numbers of a `MapDrift`: as they stand in tables.
NUMBERS = {
    "spearman": "Spearman",
    "top_overlap": "top 10 % overlap",
    "relative_difference": "relative difference",
    "centre_moved": "centre moved",
}


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
class Changes:
    """What was measured of one model beside others; see `Drift`, which says what each part is."""

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

    @property
    def flips(self) -> list[ScoreDrift]:
        """The images whose top class changed.

        Examples:
            >>> [one.flip for one in drift.flips]
            []
        """
        return [one for one in self.scores if one.changed]

    @property
    def methods(self) -> list[str]:
        """The methods that were compared."""
        return list(dict.fromkeys(one.method for one in self.maps))


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
