"""What is measured of methods on a model: numbers, before anything is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...models.text import counted
from ..pictures.panel import PanelRow
from .axioms import Alike, Kept
from .hiding import Hidden

# A map's change when the file is rewritten that counts.
SEEN = 1e-3


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
        map_error: the largest estimated error of a map, relative L2; None: not known.
        sensitivity: pixels that move the score and have an attribution, of those that move it.
        dummy: the part of all magnitudes that lies on pixels the model never sees.
        invariance: for each other way to write the model how far the map is from the file's own.
        area: what has a number: the input's elements, or the places of a feature map.
        negative: the part of all magnitudes that is negative.
        passes: gradient passes for an image; None: that is no way to count it.
        forwards: its time in plain forward passes of the file.
        seconds: for an image and target, the sessions being open.
        baselines: for each other baseline Spearman's correlation with the first one's map.
        hiding: what hiding its strongest places takes from the class; None: it was not tried.
    """

    method: str
    title: str
    applies: bool
    reason: str = ""
    reference: str = ""
    between_classes: float | None = None
    top_between_classes: float | None = None
    relative_delta: float | None = None
    map_error: float | None = None
    sensitivity: Kept | None = None
    dummy: float | None = None
    invariance: Mapping[str, Alike] = field(default_factory=dict)
    area: str = ""
    negative: float | None = None
    passes: float | None = None
    forwards: float | None = None
    seconds: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    hiding: Hidden | None = None


def least_like(one: MethodFacts) -> tuple[str, float] | None:
    """The baseline whose map is least like the first one's, and the correlation, where known."""
    known = {name: rank for name, rank in one.baselines.items() if not np.isnan(rank)}
    return min(known.items(), key=lambda pair: pair[1]) if known else None


def most_rewritten(one: MethodFacts) -> float | None:
    """The largest change of a map of the same function, written otherwise; None: not known."""
    gaps = [a.difference for a in one.invariance.values() if not np.isnan(a.difference)]
    return max(gaps, default=None)


@dataclass(frozen=True, eq=False)
class Beside:
    """What stands beside the first maps of an image, to be shown.

    Attributes:
        second: by method the map [H, W] of the second class; second_rank: how like the first's.
        baselines: by method, for each other baseline its map and how like the first one's it is.
    """

    second: dict[str, np.ndarray]
    second_rank: dict[str, float]
    baselines: dict[str, dict[str, tuple[np.ndarray, float]]] = field(default_factory=dict)


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
class Measured:
    """What was measured of methods on one model; see `Comparison`."""

    facts: list[MethodFacts]
    agreement: Agreement
    images: list[dict[str, Any]]
    failed: list[dict[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    model_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    panels: list[PanelRow] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)

    def of(self, method: str) -> MethodFacts | None:
        """The facts of a method that applies, or None.

        Examples:
            >>> comparison.of("grad-cam").method
            'grad-cam'
        """
        return next((one for one in self.facts if one.method == method and one.applies), None)


def these(count: int) -> str:
    """The images in words: "this image", "these 3 images"."""
    return "this image" if count == 1 else f"these {counted(count)}"


def pairs_of(found: Measured) -> str:
    """The first and the second class of some images, in words."""
    named = [[t["label"].split(",")[0] for t in i["targets"][:2]] for i in found.images[:3]]
    return ", ".join(" and ".join(pair) for pair in named) + (
        ", ..." if len(found.images) > 3 else ""
    )
