"""All maps put to the same test: what the target loses where each says the evidence is.

As `evidence` does for one map, but of the same part of the photo for every method, and beside
places that are drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...graph_passes.select.features import Features
from ..explaining.scores import Scores
from ..explanation.evidence import scores_without, strength_of
from ..explanation.origin import Scoring, Shared
from ..pictures.heatmap import smoothed
from ..records.record import Outcome

# The part of the photo that is hidden, at most.
PART = 0.1
# Places at random: so many draws, as blots of this part of the longer side.
_DRAWS, _BLOT = 4, 1 / 16


class Hidden(NamedTuple):
    """What hiding a map's strongest places took from the target, image by image.

    Attributes:
        lost: of a probability (before - after) / before: 1 where all of it is gone. Of a score,
            which has no zero that means anything, before - after.
        chance: the same of places at random, as many of them.
        of: "probability" or "score".
        size: the mean of |before| of a score, 1 of a probability: what `lost` is measured by.
    """

    lost: list[float]
    chance: list[float]
    of: str
    size: float = 1.0


class Tried(NamedTuple):
    """The test of one image: what is lost by method, and by chance; see `Hidden`."""

    lost: dict[str, float]
    chance: float
    of: str
    size: float


def tried_by_hiding(
    explainer: Scoring,
    x: np.ndarray,
    attributions: Mapping[str, np.ndarray],
    features: Features,
    record: Outcome,
) -> Tried | None:
    """Hide the strongest places of each method's map of one image, and places at random.

    Args:
        explainer: any of the model's.
        x: the model's input, [1, ...].
        attributions: by method [1, H, W] or x's shape, of the record's target.
        features: where its channels and positions lie.
        record: what came out, of any of the methods.

    Returns:
        None where there is no probability to lose, the input has no neighbours to blur a place
        with, or what speaks against the target was asked for.
    """
    if not features.spatial_axes:
        return None
    if record.target.against or record.score is None:
        return None
    shared = Shared()

    def without(strength: np.ndarray) -> Scores | None:
        """What the model says without a map's strongest places; None: it has none."""
        hidden = strongest_part(strength)
        if not hidden.any():
            return None
        return scores_without(explainer, x, hidden, features, record.target.again, shared)

    maps = {m: without(strength_of(found[0], m, features)) for m, found in attributions.items()}
    sides = list(features.lengths(x.shape))
    draws = [without(blots(sides, seed)) for seed in range(_DRAWS)]
    tried = [found for found in [*maps.values(), *draws] if found is not None]
    # Of an index tuple the file tells a probability, and `scores` none.
    is_chance = record.probability is not None and all(f.probability is not None for f in tried)
    before = record.probability if is_chance else record.score
    if before is None or (is_chance and not before):
        return None

    def lost(found: Scores | None) -> float:
        if found is None:
            return 0.0
        after = found.score if found.probability is None or not is_chance else found.probability
        return float(before - after[0]) / (before if is_chance else 1.0)

    of, size = ("probability", 1.0) if is_chance else ("score", abs(before))
    chance = float(np.mean([lost(found) for found in draws]))
    return Tried({m: lost(found) for m, found in maps.items()}, chance, of, size)


def strongest_part(strength: np.ndarray, part: float = PART) -> np.ndarray:
    """The places with the most positive evidence, bool: this part of all, or fewer."""
    order = np.argsort(-strength.reshape(-1), kind="stable")[: max(int(part * strength.size), 1)]
    chosen = np.zeros(strength.size, bool)
    chosen[order] = True
    return (chosen & (strength.reshape(-1) > 0)).reshape(strength.shape)


def blots(sides: list[int], seed: int) -> np.ndarray:
    """A map of an input's size that knows nothing of it: blurred noise, positive everywhere."""
    noise = np.random.default_rng(seed).normal(size=sides)
    sigma = max(sides) * _BLOT
    found = smoothed(noise, (sigma,) * len(sides))
    return found - found.min() + 1.0
