"""The scores of inputs without an explanation, and whoever says them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..targets.target import Target


class Scores(NamedTuple):
    """What is explained of N inputs.

    Attributes:
        score: float64 [N], the explained number.
        probability: float64 [N], of the explained class, as `answers.probabilities` reads it.
            None where there is no such thing: one number, a map, an index tuple, a difference.
        target: int64 [N] classes, or the index tuple.
        targets: the N targets as weighted sums of scores.
    """

    score: np.ndarray
    probability: np.ndarray | None
    target: Any
    targets: tuple[Target, ...] = ()


class Scoring(Protocol):
    """What says the scores of inputs, as explainers do."""

    def scores(self, x: Any, target: Any = None) -> Scores:
        """See `Explainer.scores`."""
        ...
