"""What moving elements about does to their places: reshaping, taking, joining, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .positions import MOST, NOWHERE, Places, compressed


def reshaped(places: Places, shape: Sequence[int]) -> Places | None:
    """Places after a Reshape (Flatten, Squeeze, Unsqueeze)."""
    ids = places.ids
    spread, target, changed = list(ids.shape), [], []
    for before, after in paired(places.shape, shape):
        if all(ids.shape[axis] == 1 for axis in before):
            target += [1] * len(after)
            continue
        for axis in before:
            spread[axis] = places.shape[axis]
        changed += range(len(target), len(target) + len(after))
        target += [shape[axis] for axis in after]
    if math.prod(spread) > MOST:
        return None
    ids = np.broadcast_to(ids, spread).reshape(target)
    return Places(compressed(ids, changed), tuple(shape))


def paired(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The axes of both shapes in the smallest runs that hold as many elements as each other."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = [], []
        left = right = 1
        while True:
            if i < len(old) and (left <= right or j == len(new)):
                left *= old[i]
                before.append(i)
                i += 1
            elif j < len(new):
                right *= new[j]
                after.append(j)
                j += 1
            if left == right and (before or after):
                break
            if i == len(old) and j == len(new):
                raise ValueError(f"{list(old)} cannot be reshaped to {list(new)}")
        runs.append((before, after))
    return runs


def transposed(places: Places, perm: Sequence[int]) -> Places:
    """Places after a Transpose."""
    return Places(places.ids.transpose(perm), tuple(places.shape[axis] for axis in perm))


def taken(places: Places, axis: int, indices: np.ndarray) -> Places | None:
    """Places after those at `indices` (of any rank) were taken along an axis; or None."""
    shape = (*places.shape[:axis], *indices.shape, *places.shape[axis + 1 :])
    if places.ids.shape[axis] == 1:
        ids = places.ids.take(np.zeros([1] * indices.ndim, np.int64), axis)
        return Places(ids, shape)
    if places.ids.size // max(places.ids.shape[axis], 1) * indices.size > MOST:
        return None
    ids = places.ids.take(indices, axis)
    return Places(compressed(ids, range(axis, axis + indices.ndim)), shape)


def joined(parts: Sequence[Places], axis: int) -> Places | None:
    """Places of a Concat; None where they are too many."""
    sizes = [part.shape[axis] for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(sizes)
    wide = np.broadcast_shapes(*(np.delete(part.ids.shape, axis) for part in parts))
    if math.prod(wide) * sum(sizes) > MOST:
        return None
    spread = [
        np.broadcast_to(part.ids, (*wide[:axis], size, *wide[axis:]))
        for part, size in zip(parts, sizes, strict=True)
    ]
    ids = np.concatenate(spread, axis)
    return Places(compressed(ids, range(ids.ndim)), tuple(shape))


def padded(places: Places, amounts: Sequence[tuple[int, int]]) -> Places | None:
    """Places with borders that stand for none (before, behind each axis; negative ones crop)."""
    ids = places.ids
    shape = tuple(n + a + b for n, (a, b) in zip(places.shape, amounts, strict=True))
    if not places.anywhere:
        return Places(ids, shape)
    wide = [n if a or b else m for m, n, (a, b) in zip(ids.shape, shape, amounts, strict=True)]
    if math.prod(wide) > MOST:
        return None
    for axis, (before, behind) in enumerate(amounts):
        if not (before or behind):
            continue
        size = places.shape[axis]
        ids = np.broadcast_to(ids, (*ids.shape[:axis], size, *ids.shape[axis + 1 :]))
        ids = ids.take(range(max(-before, 0), size - max(-behind, 0)), axis)
        widths = [(0, 0)] * ids.ndim
        widths[axis] = (max(before, 0), max(behind, 0))
        ids = np.pad(ids, widths, constant_values=NOWHERE)
    return Places(compressed(ids, range(ids.ndim)), shape)


def repeated(places: Places, repeats: Sequence[int]) -> Places | None:
    """Places of a Tile; None where they are too many."""
    times = [1 if size == 1 else n for size, n in zip(places.ids.shape, repeats, strict=True)]
    if places.ids.size * math.prod(times) > MOST:
        return None
    shape = tuple(size * n for size, n in zip(places.shape, repeats, strict=True))
    return Places(np.tile(places.ids, times), shape)


def expanded(places: Places, shape: Sequence[int]) -> Places:
    """Places broadcast to a shape."""
    lead = len(shape) - len(places.shape)
    return Places(places.ids.reshape([1] * lead + list(places.ids.shape)), tuple(shape))
