"""Symmetric relevance gain: least relevant first against most relevant first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..explaining.explainer import Explainer
from .curves import STEPS, area, fractions, removed
from .metric import Metric
from .trial import Trial, over_rows


def srg(
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
    """Area of the curve that takes the least relevant first, less that of most first.

    SRG = AUC(least relevant first) - AUC(most relevant first); higher is better, a random map gets
    0 on average whatever the baseline does to the model, which cancels. Blücher, Vielhaben,
    Strodthoff, "Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI Benchmarks",
    TMLR 2024.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        baseline: what replaces a feature; broadcasts to x. None: the card's black, else zeros.
        steps: points of each curve behind the first.
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
    gap = removed(trial, False, steps, value) - removed(trial, True, steps, value)
    return area(gap, fractions(steps))


def _curves(trial: Trial, steps: int, value: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"least relevant first": (fractions(steps), removed(trial, False, steps, value))}


METRIC = Metric(
    name="srg",
    title="Symmetric relevance gain",
    cite="Blücher, Vielhaben, Strodthoff 2024",
    summary="Mean score with the least relevant gone first, less that with the most relevant gone.",
    measure=_measure,
    function=srg,
    settings={"steps": STEPS, "value": "probability"},
    higher_is_better=True,
    curves=_curves,
)
