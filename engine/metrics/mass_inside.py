"""Mass inside: which part of the positive relevance lies on the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..explaining.explainer import Explainer
from .metric import Metric
from .pointing_game import region_of
from .trial import Trial, over_rows


def mass_inside(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    regions: Any,
    *,
    target: Any = None,
) -> np.ndarray:
    """sum_{i in region} max(R_i, 0) / sum_i max(R_i, 0); higher is better.

    The energy-based pointing game of Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3. Of
    signed maps only what speaks for the class counts.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        regions: bool [N, H, W] or [H, W]: where the object is, at the input's size.
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.

    Returns:
        float64 [N]; NaN where a region is empty or nothing is positive.

    Raises:
        InvalidInputError: no picture, or regions of another size.
    """
    return over_rows(_measure, explainer, x, explanation, {}, target=target, regions=regions)


def _measure(trial: Trial) -> float:
    region = region_of(trial).reshape(-1)
    positive = np.maximum(trial.relevance, 0)
    total = positive.sum()
    return float(positive[region].sum() / total) if total > 0 and region.any() else np.nan


METRIC = Metric(
    name="mass-inside",
    title="Mass inside",
    cite="Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu 2020",
    summary="Part of the positive relevance that lies on the object.",
    measure=_measure,
    function=mass_inside,
    settings={},
    higher_is_better=True,
    needs_region=True,
    needs_picture=True,
)
