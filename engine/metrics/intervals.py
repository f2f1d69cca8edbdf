"""Intervals of means over images."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

_RESAMPLES = 2000


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """A 95 % interval of the mean by the percentile bootstrap; of one number, that number."""
    if len(values) < 2 or not np.ptp(values):
        return float(values.mean()), float(values.mean())
    how: dict[str, Any] = {"n_resamples": _RESAMPLES, "method": "percentile"}
    found = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(seed), **how)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
