"""Deletion: how fast the score falls when what the map holds relevant goes first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..explaining.explainer import Explainer
from .curves import STEPS, area, fractions, removed
from .metric import Metric
from .trial import Trial, over_rows


def deletion(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    steps: int = STEPS,
    value: str = "probability",
    seed: int = 0,
) -> np.ndarray:
    """Area under the score's curve while features go, most relevant first; lower is better.

    AUC = integral_0^1 p(x with the first f F features replaced by the baseline) df, by the
    trapezoidal rule: a mean height. Petsiuk, Das, Saenko, "RISE", BMVC 2018, section 4.1 ("Causal
    metric"), with `baseline` for the paper's constant grey. Features of equal relevance go in a
    seeded random order.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        baseline: what replaces a feature; broadcasts to x. None: the card's black, else zeros.
        steps: points of the curve behind the first.
        value: "probability" (the score where the model gives none) or "score".
        seed: of the order among equals.

    Returns:
        float64 [N].

    Raises:
        InvalidInputError: a map of another shape, or a wrong setting.
    """
    settings = {"steps": steps, "value": value}
    more = {"target": target, "baseline": baseline, "seed": seed}
    return over_rows(_measure, explainer, x, explanation, settings, **more)


def _measure(trial: Trial, steps: int, value: str) -> float:
    return area(removed(trial, True, steps, value), fractions(steps))


def _curves(trial: Trial, steps: int, value: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"deletion": (fractions(steps), removed(trial, True, steps, value))}


METRIC = Metric(
    name="deletion",
    title="Deletion",
    cite="Petsiuk, Das, Saenko 2018",
    summary="Mean score while the most relevant features go first.",
    measure=_measure,
    function=deletion,
    settings={"steps": STEPS, "value": "probability"},
    higher_is_better=False,
    curves=_curves,
)
