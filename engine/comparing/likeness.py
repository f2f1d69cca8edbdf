"""How alike two maps are, by location."""

from __future__ import annotations

from functools import reduce

import numpy as np

# The part of all locations that counts as where a map points to.
TOP = 0.1
# Regions along an axis, where maps are compared by region.
GRID = 14


def by_location(attribution: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """One map as one number for each location: the signed sum over its channels.

    Args:
        attribution: of one input, [H, W] of a picture, or with an axis that holds the channels.
        channel_axis: that axis; None: there is none.

    Returns:
        float64, [H, W] of a picture.
    """
    found = np.asarray(attribution, np.float64)
    return found if channel_axis is None else found.sum(axis=channel_axis)


def by_region(values: np.ndarray, grid: int = GRID) -> np.ndarray:
    """A map as the means of a grid of regions, at most so many along an axis.

    Maps of single pixels are noise at their own scale: two of them may rank pixels quite otherwise
    and still point to the same things.
    """
    for axis in range(values.ndim):
        length = values.shape[axis]
        edges = np.linspace(0, length, min(grid, length) + 1).astype(int)
        sums = np.add.reduceat(values, edges[:-1], axis=axis)
        values = sums / np.diff(edges).reshape([-1 if a == axis else 1 for a in range(sums.ndim)])
    return values


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, ties by their mean rank; NaN where a map is the same everywhere.

    Spearman: The Proof and Measurement of Association between Two Things (1904).
    """
    from scipy import stats  # 0.4 s, which a page of one method does not need

    first, second = np.ravel(a), np.ravel(b)
    if not np.ptp(first) or not np.ptp(second):
        return float("nan")
    # Equal ranks are 1, and not a last digit less.
    return round(float(np.asarray(stats.spearmanr(first, second))[0]), 12)


def top_overlap(a: np.ndarray, b: np.ndarray, part: float = TOP) -> float:
    """Of the locations that one map has on top, the part that the other has there, too.

    What ties with the last one on top counts as much of it as there is room for.
    """
    first, second = (_weights_on_top(np.ravel(m), part) for m in (a, b))
    return float(np.minimum(first, second).sum() / first.sum())


def _weights_on_top(values: np.ndarray, part: float) -> np.ndarray:
    """1 for what is on top, 0 for what is not; ties at the border share the room that is left."""
    room = max(round(part * values.size), 1)
    border = np.partition(values, -room)[-room]
    above, ties = values > border, values == border
    return above + ties * ((room - above.sum()) / ties.sum())


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """|a - b| / |a|, Euclidean; 0 where both are zero everywhere, infinite where `a` alone is."""
    size = float(np.linalg.norm(a))
    gap = float(np.linalg.norm(np.asarray(a, np.float64) - b))
    return gap / size if size else (0.0 if not gap else float("inf"))


def centre_of_mass(values: np.ndarray) -> tuple[float, ...] | None:
    """Where the positive part of a map lies, in parts of its axes: of a picture (down, right)."""
    mass = np.maximum(values, 0.0)
    total = float(mass.sum())
    if not total:
        return None
    found = []
    for axis, length in enumerate(values.shape):
        along = mass.sum(axis=tuple(other for other in range(values.ndim) if other != axis))
        found.append(float((along * (np.arange(length) + 0.5)).sum()) / total / length)
    return tuple(found)


def centre_moved(a: np.ndarray, b: np.ndarray) -> float:
    """How far the centre of mass moved, as a part of the diagonal; NaN where there is none."""
    first, second = centre_of_mass(a), centre_of_mass(b)
    if first is None or second is None:
        return float("nan")
    gaps = [(q - p) * n for p, q, n in zip(first, second, a.shape, strict=True)]
    return float(abs(reduce(np.hypot, gaps)) / reduce(np.hypot, a.shape))
