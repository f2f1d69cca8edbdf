"""Insertion: how fast the score rises when what the map holds relevant comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from ..explaining.explainer import Explainer
from .curves import STEPS, area, check_choice, curve, fractions
from .metric import Metric
from .trial import Trial, over_rows

# The paper's blur: a kernel of 11 x 11 pixels with a sigma of 5.
_SIGMA, _RADIUS = 5.0, 5
STARTS = ("blur", "baseline")


def insertion(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    start: str = "blur",
    steps: int = STEPS,
    value: str = "probability",
    seed: int = 0,
) -> np.ndarray:
    """Area under the score's curve while features come, most relevant first; higher is better.

    AUC = integral_0^1 p(start with the first f F features of x) df. Petsiuk, Das, Saenko, "RISE",
    BMVC 2018, section 4.1, where a picture starts from its own blur (Gaussian, sigma 5 in 11 x 11
    pixels; edges are repeated here), since sharp shapes on a flat canvas are evidence of their own.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        baseline: the start of inputs that are no pictures, and of all with `start="baseline"`.
        start: "blur" or "baseline".
        steps: points of the curve behind the first.
        value: "probability" (the score where the model gives none) or "score".
        seed: of the order among equals.

    Returns:
        float64 [N].

    Raises:
        InvalidInputError: a map of another shape, or a wrong setting.
    """
    settings = {"start": start, "steps": steps, "value": value}
    more = {"target": target, "baseline": baseline, "seed": seed}
    return over_rows(_measure, explainer, x, explanation, settings, **more)


def blurred(trial: Trial) -> np.ndarray:
    """A picture after the paper's blur, float64 [1, ...]."""
    axes = trial.features.spatial_axes
    wide = trial.x.astype(np.float64)
    found = ndimage.gaussian_filter(wide, _SIGMA, axes=axes, radius=_RADIUS, mode="nearest")
    return np.rint(found) if trial.x.dtype.kind in "iu" else found


def inserted(trial: Trial, start: str, steps: int, value: str) -> np.ndarray:
    """The curve from the start to the input."""
    check_choice("start", start, STARTS)

    def make() -> np.ndarray:
        blur = start == "blur" and trial.is_picture
        begin = trial.once_of_input("blur", lambda: blurred(trial)) if blur else trial.baseline
        return curve(trial, trial.order(), begin, trial.x, steps, value)

    return trial.once(("inserted", start, steps, value), make)


def _measure(trial: Trial, start: str, steps: int, value: str) -> float:
    return area(inserted(trial, start, steps, value), fractions(steps))


def _curves(
    trial: Trial, start: str, steps: int, value: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"insertion": (fractions(steps), inserted(trial, start, steps, value))}


METRIC = Metric(
    name="insertion",
    title="Insertion",
    cite="Petsiuk, Das, Saenko 2018",
    summary="Mean score while the most relevant features come first, into a blur.",
    measure=_measure,
    function=insertion,
    settings={"start": "blur", "steps": STEPS, "value": "probability"},
    higher_is_better=True,
    cost="middle",
    curves=_curves,
)
