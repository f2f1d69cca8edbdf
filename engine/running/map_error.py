"""How far an adaptive path's attribution is from the path's integral, by what was measured.

Each inner point j, with intervals of h1 and h2 beside it, says what the trapezoid would have
missed without it: d_j = (h2 g_{j-1} + h1 g_{j+1}) / 2 - (h1 + h2) / 2 g_j, coarse minus fine.

Of a smooth gradient d_j is h1 h2 (h1 + h2) / 4 times its second derivative, and an interval of h
misses h^3 / 12 of that: errors are vectors that add up. Of a gradient that jumps at thousands of
kinks, and so walks at random, |d_j|^2 is on average h1 h2 (h1 + h2) / 4 times its variance for
each length, and an interval's squared error h^3 / 12 of that: independent errors, of which the
squares add up. Both take the same weights, so that the estimate needs no choice between them:

    E^2 = |sum_j w_j d_j|^2 + sum_j w_j |d_j|^2,
    w_j = sum over its intervals of h^3 / (3 h1 h2 (h1 + h2)) / (ends of the interval that say so)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Elements at once: what 40 gradients hold of them stays in a processor's cache.
_BLOCK = 8192


def jump_variance(widths: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """An interval's squared error by its ends alone: h^2 |g_{i+1} - g_i|^2 / 12.

    The variance of J (h / 2 - u) for a jump J at any place u alike.
    """
    return (widths * distances) ** 2 / 12


def point_weights(points: np.ndarray, known: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """w_j; 0 where nothing is known or counted.

    Args:
        points: ascending, [n].
        known: whether d_j can be formed, bool [n].
        counted: whether an interval's error is asked for, bool [n - 1].
    """
    h = np.diff(points)
    ends = known[:-1].astype(int) + known[1:]
    share = np.where(counted & (ends > 0), h**3 / 3 / np.maximum(ends, 1), 0.0)
    weights = np.zeros(len(points))
    inner = np.flatnonzero(known)
    before, after = h[inner - 1], h[inner]
    weights[inner] = (share[inner - 1] + share[inner]) / (before * after * (before + after))
    return weights


def inner_points(gradients: Sequence[np.ndarray | None]) -> np.ndarray:
    """Where d_j can be formed: a point and both its neighbours have their gradients."""
    there = np.array([gradient is not None for gradient in gradients])
    known = np.zeros(len(there), bool)
    known[1:-1] = there[:-2] & there[1:-1] & there[2:]
    return known


def missed(
    points: np.ndarray,
    gradients: Sequence[np.ndarray | None],
    distances: np.ndarray,
    counted: np.ndarray,
) -> tuple[np.ndarray, float]:
    """What the counted intervals miss: sum_j w_j d_j, and sum_j w_j |d_j|^2.

    |d_j|^2 = (h2^2 D_{j-1}^2 + h1^2 D_j^2 - 2 h1 h2 s_{j-1} . s_j) / 4 with s_j = g_{j+1} - g_j and
    D_j = |s_j|. An interval neither of whose ends is known takes `jump_variance`.

    Args:
        points: ascending, [n].
        gradients: of each point, flat, or None.
        distances: D, [n - 1].
        counted: bool [n - 1].
    """
    known = inner_points(gradients)
    weights, h = point_weights(points, known, counted), np.diff(points)
    alone = counted & ~(known[:-1] | known[1:])
    variance = float(jump_variance(h[alone], distances[alone]).sum())
    used = np.flatnonzero(weights)
    if not len(used):
        return np.zeros(1), variance
    before, after = h[used - 1], h[used]
    # sum_j w_j d_j as a sum over gradients.
    share = np.zeros(len(points))
    np.add.at(share, used - 1, weights[used] * after / 2)
    np.add.at(share, used + 1, weights[used] * before / 2)
    np.add.at(share, used, -weights[used] * (before + after) / 2)
    vector, products = _swept(gradients, share, used)
    squares = (after * distances[used - 1]) ** 2 + (before * distances[used]) ** 2
    squares = np.maximum(squares - 2 * before * after * products, 0) / 4
    return vector, variance + float((weights[used] * squares).sum())


def _swept(
    gradients: Sequence[np.ndarray | None], share: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """sum_k share_k g_k, and (g_j - g_{j-1}) . (g_{j+1} - g_j) for each used j; block by block."""
    needed = sorted({*(used - 1), *used, *(used + 1)})
    held = [g for g in (gradients[k] for k in needed) if g is not None]
    place = np.searchsorted(needed, used)
    factors = share[needed].astype(np.float32)
    vector, products = np.empty(held[0].size, np.float32), np.zeros(len(used))
    for start in range(0, held[0].size, _BLOCK):
        part = slice(start, start + _BLOCK)
        block = np.stack([gradient[part] for gradient in held])
        vector[part] = factors @ block
        steps = np.diff(block, axis=0)
        products += np.einsum("ij,ij->i", steps[place - 1], steps[place])
    return vector, products
