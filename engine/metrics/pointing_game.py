"""The pointing game: whether the map's maximum lies on the object."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from ... import InvalidInputError
from ..explaining.explainer import Explainer
from .metric import Metric
from .trial import Trial, over_rows

# The paper's 15 pixels, in pictures of about 500.
TOLERANCE = 0.03


def pointing_game(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    regions: Any,
    *,
    target: Any = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> np.ndarray:
    """1 where the most relevant place lies on the object or close by, else 0; higher is better.

    Zhang, Lin, Brandt, Shen, Sclaroff, "Top-down Neural Attention by Excitation Backprop", ECCV
    2016, section 4.1. Of several equal maxima one is drawn.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        regions: bool [N, H, W] or [H, W]: where the object is, at the input's size.
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        tolerance: how far beside the object still counts, as a part of the longer side.
        seed: of the draw among equals.

    Returns:
        float64 [N]; NaN where a region is empty.

    Raises:
        InvalidInputError: no picture, or regions of another size.
    """
    more = {"target": target, "seed": seed, "regions": regions}
    return over_rows(_measure, explainer, x, explanation, {"tolerance": tolerance}, **more)


def region_of(trial: Trial) -> np.ndarray:
    """Where the object is, bool [H, W].

    Raises:
        InvalidInputError: no picture, or a region of another size.
    """
    region = np.asarray(trial.region)
    if not trial.is_picture or region.shape != trial.lengths:
        raise InvalidInputError(
            f"regions: expected one of {list(trial.lengths)} of a picture, got {list(region.shape)}"
        )
    return region.astype(bool)


def _measure(trial: Trial, tolerance: float) -> float:
    region = region_of(trial)
    if not region.any():
        return np.nan
    row, column = np.unravel_index(trial.order()[0], trial.lengths)
    apart = ndimage.distance_transform_edt(~region)
    return float(np.asarray(apart)[row, column] <= tolerance * max(trial.lengths))


METRIC = Metric(
    name="pointing-game",
    title="Pointing game",
    cite="Zhang, Lin, Brandt, Shen, Sclaroff 2016",
    summary="How often the most relevant place lies on the object, or close by.",
    measure=_measure,
    function=pointing_game,
    settings={"tolerance": TOLERANCE},
    higher_is_better=True,
    needs_region=True,
    needs_picture=True,
)
