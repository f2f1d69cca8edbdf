"""Infidelity: the squared error of the map as a prediction of what perturbations do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import InvalidInputError
from ..explaining.explainer import Explainer
from .metric import Metric
from .sensitivity_n import drops
from .trial import Trial, over_rows, whole_number

SAMPLES = 64
# Sides of the squares that are taken away, as parts of the picture's.
_SIDES = (1 / 16, 1 / 2)


def infidelity(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    samples: int = SAMPLES,
    normalise: bool = True,
    multiply: bool = False,
    sets: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Mean squared error of sum_i I_i phi_i as the fall of the score; lower is better, 0 exact.

    INFD = E[(I^T phi - (score(x) - score(x - I)))^2], I = x - baseline on a random set S and 0
    elsewhere: "difference to baseline" and "square removal" of Yeh, Hsieh, Suggala, Inouye,
    Ravikumar, "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, section 2. Sets
    are squares of a picture, and for other inputs random features. Shares of the score, such as
    Integrated Gradients', hold I already: I^T phi is their sum over S (section 2.2 there); plain
    gradients want `multiply`.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        baseline: what replaces a feature; broadcasts to x. None: the card's black, else zeros.
        samples: perturbations.
        normalise: scale each map by what fits best, E[ab] / E[a^2], and divide the error by that of
            the map 0, E[b^2] (a = I^T phi, b: the fall). So maps in other units than the score's
            can be compared: 0 is exact, 1 no better than nothing. False: the plain error.
        multiply: multiply the map by x - baseline, element by element.
        sets: bool [K, features] to use instead of random ones.
        seed: of the sets.

    Returns:
        float64 [N]; NaN where normalised and the score never moves.

    Raises:
        InvalidInputError: a map of another shape, or a wrong setting.
    """
    settings = {"samples": samples, "normalise": normalise, "multiply": multiply, "sets": sets}
    more = {"target": target, "baseline": baseline, "seed": seed}
    return over_rows(_measure, explainer, x, explanation, settings, **more)


def squares(trial: Trial, samples: int) -> np.ndarray:
    """Random sets, bool [samples, features]: squares, or of other inputs each feature or not."""
    random = np.random.default_rng([trial.seed, 1])
    if not trial.is_picture:
        return random.random((samples, trial.count)) < random.random((samples, 1))
    height, width = trial.lengths
    found = np.zeros((samples, height, width), bool)
    for one in found:
        part = random.uniform(*_SIDES)
        tall, wide = (max(1, round(part * length)) for length in (height, width))
        top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
        one[top : top + tall, left : left + wide] = True
    return found.reshape(samples, -1)


def _shares(trial: Trial, multiply: bool) -> np.ndarray:
    """What the map says of each feature, [features]."""
    if not multiply:
        return trial.relevance
    if trial.attribution.ndim != trial.x.ndim:
        raise InvalidInputError("multiply: expected a map of the input's shape")
    product = trial.attribution * (trial.x - trial.baseline)
    axis = trial.channel_axis
    return (product if axis is None else product.sum(axis=axis)).reshape(-1)


def _measure(
    trial: Trial, samples: int, normalise: bool, multiply: bool, sets: np.ndarray | None
) -> float:
    whole_number("samples", samples)

    def make() -> tuple[np.ndarray, np.ndarray]:
        drawn = squares(trial, samples) if sets is None else np.asarray(sets, bool)
        if drawn.ndim != 2 or drawn.shape[1] != trial.count:
            raise InvalidInputError(f"sets: expected [K, {trial.count}], got {list(drawn.shape)}")
        return drawn, drops(trial, drawn)

    if sets is None:
        chosen, falls = trial.once_of_input(("infidelity", trial.seed, samples), make)
    else:
        chosen, falls = make()
    said = chosen @ _shares(trial, multiply)
    if not normalise:
        return float(np.mean((said - falls) ** 2))
    size, own = float(np.mean(falls**2)), float(np.mean(said**2))
    if size == 0:
        return np.nan
    scale = float(np.mean(said * falls)) / own if own else 0.0
    return float(np.mean((scale * said - falls) ** 2)) / size


METRIC = Metric(
    name="infidelity",
    title="Infidelity",
    cite="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019",
    summary="Squared error of the map's sums as falls of the score where squares are removed.",
    measure=_measure,
    function=infidelity,
    settings={"samples": SAMPLES, "normalise": True, "multiply": False, "sets": None},
    higher_is_better=False,
    cost="middle",
)
