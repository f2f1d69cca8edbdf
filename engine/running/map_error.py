"""How far an adaptive path's attribution is from the path's integral, by what was measured.

Each inner point j, with intervals of h1 and h2 beside it, says what the trapezoid would have
missed without it, coarse minus fine: d_j = (h2 g_{j-1} + h1 g_{j+1}) / 2 - (h1 + h2) / 2 g_j.

Of a smooth gradient, d_j is h1 h2 (h1 + h2) / 4 times its second derivative, and an interval of h
misses h^3 / 12 of that: errors are vectors that add up. Of a gradient that jumps at thousands of
kinks, and so walks at random, |d_j|^2 is on average h1 h2 (h1 + h2) / 4 times the walk's variance
for each length, and an interval's squared error h^3 / 12 of that: errors are independent, and
their squares add up. So an interval's d_j count by the same weights, whichever it is,

    c_j = h^3 / (3 h1 h2 (h1 + h2)), averaged over the ends of the interval that have a d_j,

and E^2 = |sum c_j d_j|^2 + sum (jumps v)^2 over all intervals, where v^2 = sum c_j |d_j|^2 and
`share_of_jumps` says how much of a random walk an interval is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...graph_passes.heads.quadrature import SAMPLE, SMOOTH


class Sample(NamedTuple):
    """Elements that stand for all, and what each must be multiplied by for the length to fit."""

    elements: np.ndarray | slice
    scale: np.ndarray | np.float32

    def of(self, gradient: np.ndarray) -> np.ndarray:
        """What stands for a whole gradient."""
        return gradient[self.elements] * self.scale


def sample_of(attribution: np.ndarray, most: int = SAMPLE) -> Sample:
    """Elements drawn evenly along p_k = |a_k| / (2 sum |a|) + 1 / (2 n), times 1 / sqrt(most p_k).

    So the length of what is drawn is that of the whole on average, and what is 0 nearly everywhere
    is seen where it is not.
    """
    if attribution.size <= most:
        return Sample(slice(None), np.float32(1))
    sizes = np.abs(attribution).astype(np.float32)
    total = float(sizes.sum(dtype=np.float64))
    chance = sizes / (2 * total) if 0 < total < np.inf else np.zeros_like(sizes)
    chance += (1 - float(chance.sum(dtype=np.float64))) / attribution.size
    places = np.cumsum(chance, dtype=np.float64)
    drawn = np.searchsorted(places, (np.arange(most) + 0.5) / most * places[-1])
    return Sample(drawn, (1 / np.sqrt(most * chance[drawn])).astype(np.float32))


def estimated_error(points: np.ndarray, gradients: np.ndarray) -> float:
    """E / |attribution|, both of what is given; 0 / 0 is 0.

    v^2 of an interval is at most h^2 |g_{i+1} - g_i|^2 / 12, the variance of J (h / 2 - u) for one
    jump J at any place u alike, and is that where there are two points only.

    Args:
        points: ascending, float64 [n], at least 2.
        gradients: of each point, float32 [n, elements].
    """
    h = np.diff(points)
    steps = np.diff(gradients, axis=0)
    variance, together = h**2 * _squares(steps) / 12, 0.0
    if len(h) > 1:
        before, after = h[:-1], h[1:]
        second = _column(before / 2) * steps[1:] - _column(after / 2) * steps[:-1]
        squares = _squares(second)
        # h^3 / 3 for each end that has a d_j; 1 / (h1 h2 (h1 + h2)) for each point.
        share = h**3 / np.where(_inside(len(h)), 6, 3)
        per_point = 1 / (before * after * (before + after))
        weights = (share[:-1] + share[1:]) * per_point
        together = np.linalg.norm(weights.astype(np.float32) @ second)
        sizes = np.concatenate([[0], per_point * squares, [0]])
        variance = np.minimum(variance, share * (sizes[:-1] + sizes[1:]))
        variance = variance * share_of_jumps(h, second, squares, variance) ** 2
    trapezoid = np.concatenate([h, [0]]) / 2 + np.concatenate([[0], h]) / 2
    size = np.linalg.norm(trapezoid.astype(np.float32) @ gradients)
    error = np.hypot(together, np.sqrt(variance.sum()))
    return float(error / size) if size else (np.inf if error else 0.0)


def share_of_jumps(
    h: np.ndarray, second: np.ndarray, squares: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """How much of a random walk each interval is, from 0 (smooth) to 1, by its ends' d_j.

    The cosine of d_j and d_{j+1} is near 1 of a smooth gradient, and of a random walk on average
    -sqrt(h0 h2 / ((h0 + h) (h + h2))), with h0 and h2 the intervals beside: both hold the step in
    between, with opposite signs. In between it is linear, from `SMOOTH` down. The first and the
    last interval, which have one d_j, take the others' average, weighted by their v^2.

    Args:
        h: the intervals' lengths, [n - 1].
        second: d_j, [n - 2, elements].
        squares: |d_j|^2, [n - 2].
        variance: v^2, [n - 1].
    """
    if len(h) < 3:
        return np.ones(len(h))
    products = np.einsum("ij,ij->i", second[:-1], second[1:]).astype(np.float64)
    sizes = np.sqrt(squares[:-1] * squares[1:])
    cosine = np.divide(products, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    before, own, after = h[:-2], h[1:-1], h[2:]
    walk = -np.sqrt(before * after / ((before + own) * (own + after)))
    found = np.clip((SMOOTH - cosine) / (SMOOTH - walk), 0, 1)
    total = variance[1:-1].sum()
    mean = found @ variance[1:-1] / total if total else 1.0
    return np.concatenate([[mean], found, [mean]])


def _squares(rows: np.ndarray) -> np.ndarray:
    """Each row's sum of squares, float64."""
    return np.einsum("ij,ij->i", rows, rows).astype(np.float64)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None]


def _inside(count: int) -> np.ndarray:
    """Which of so many intervals have an inner point at both ends."""
    inside = np.ones(count, bool)
    inside[[0, -1]] = False
    return inside
