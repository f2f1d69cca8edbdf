"""Fixed points of a path that stand for those which several inputs chose on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def common_points(paths: Sequence[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Points that serve all paths, and their weights by the trapezoid; float64 [n] each.

    All points that any path has, if they are no more than `most`: every path is then cut at least
    as finely as it asked for. Else those that most paths have; of points that equally many have,
    the ones of wider intervals. As each point halves an interval, its ends are there as well: who
    has a middle has both ends.

    Args:
        paths: the points of each, from 0 to 1, which halve intervals of equal ones.
        most: points at most, at least 2.
    """
    asked = Counter(float(point) for path in paths for point in np.unique(path))
    ends = [point for point in (0.0, 1.0) if point in asked]
    between = sorted(asked.keys() - {0.0, 1.0}, key=lambda point: (-asked[point], _depth(point)))
    points = np.sort([*ends, *between[: max(most - len(ends), 0)]])
    return points, trapezoid_weights(points)


def trapezoid_weights(points: np.ndarray) -> np.ndarray:
    """w_k = (h_{k-1} + h_k) / 2 of ascending points that are h_k apart."""
    half = np.diff(points) / 2
    return np.concatenate([half, [0.0]]) + np.concatenate([[0.0], half])


def _depth(point: float) -> tuple[int, float]:
    """How often 1 was halved for a point, and the point."""
    _, bottom = point.as_integer_ratio()
    return bottom.bit_length(), point
