"""Which place of the input each element of a tensor stands for.

Every axis of the explained input behind the batch is a dimension of a grid, and each of its
elements one place. What moves elements about (patches, windows, rolls, class tokens put before)
moves their places exactly; what mixes elements (a product over channels, a convolution) stands for
the middle of what it mixes, where these middles make a grid again. Nothing is guessed: where they
do not, the tensor's places are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

NOWHERE = -1
# An id is its grid's number, and below these bits its row in the batch and its place in the grid.
_GRID_BITS = 40
_WITHIN = (1 << _GRID_BITS) - 1
# Beyond this many numbers the places of a tensor are not worth their memory.
MOST = 1 << 24
# What ONNX's reference implementation moves, element by element in Python, in all of a graph.
_MOST_BY_REFERENCE = 1 << 23
# The places of all tensors of a graph.
_MOST_IN_ALL = 1 << 26


class Grid(NamedTuple):
    """A regular arrangement of places.

    Attributes:
        sizes: how many along each dimension.
        of_input: whether the dimensions are the explained input's axes behind the batch; else they
            are the spatial axes of a convolution whose own input stands for no places.
    """

    sizes: tuple[int, ...]
    of_input: bool

    @property
    def number(self) -> int:
        """How many places it has."""
        return math.prod(self.sizes)


class Places(NamedTuple):
    """The places of a tensor's elements.

    Attributes:
        ids: int64, of the tensor's rank; NOWHERE for elements of no one place (a class token, what
            is left of a pooling). Its size is 1 along exactly the axes on which they do not depend.
        shape: the tensor's.
    """

    ids: np.ndarray
    shape: tuple[int, ...]

    @property
    def anywhere(self) -> bool:
        """True where some element stands for a place."""
        return bool((self.ids >= 0).any())


class Coordinates(NamedTuple):
    """What ids say: which of them stand for a place, in which row of the batch, and where."""

    valid: np.ndarray
    row: np.ndarray
    along: tuple[np.ndarray, ...]


def nowhere(shape: Sequence[int]) -> Places:
    """Places of a tensor that stands for none."""
    return Places(np.full([1] * len(shape), NOWHERE, np.int64), tuple(shape))


def compressed(ids: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The ids with size 1 along those of the axes on which they do not depend."""
    for axis in axes:
        if ids.shape[axis] > 1:
            first = ids.take([0], axis)
            if (ids == first).all():
                ids = first
    return ids


def different(ids: np.ndarray) -> np.ndarray:
    """The different ids, in order.

    By sorting what is nearly in order: numpy's `unique` (2.3 and newer) takes 40 times as long for
    the places of a detector, since it hashes integers.
    """
    ordered = np.sort(ids, axis=None, kind="stable")
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if ordered.size else ordered


class Grids:
    """The grids that places lie in, numbered, and what mixing does to ids."""

    def __init__(self, batch: int):
        self.batch = batch
        self._grids: list[Grid] = []
        self._kept: dict[tuple, tuple[np.ndarray, np.ndarray | None]] = {}
        self._left, self._room = _MOST_BY_REFERENCE, _MOST_IN_ALL

    def remember(self, numbers: int) -> bool:
        """Whether there is room for so many further ids; then they count as there."""
        if numbers > self._room:
            return False
        self._room -= numbers
        return True

    def afford(self, elements: int) -> bool:
        """Whether so many elements may still be moved one by one; then they count as moved."""
        if elements > self._left:
            return False
        self._left -= elements
        return True

    def ids(self, grid: Grid, row: np.ndarray, along: Sequence[np.ndarray]) -> np.ndarray:
        """The ids of coordinates in a grid (arrays that broadcast); NOWHERE in a grid of one."""
        if grid not in self._grids:
            self._grids.append(grid)
        place = np.zeros((), np.int64)
        for size, coordinate in zip(grid.sizes, along, strict=True):
            place = place * size + coordinate
        ids = (self._grids.index(grid) << _GRID_BITS) + row * grid.number + place
        return ids if grid.number > 1 else np.full_like(ids, NOWHERE)

    def fresh(self, shape: Sequence[int], axes: Sequence[int], of_input: bool) -> Places | None:
        """Places of a tensor whose batch is axis 0: a grid of its own along `axes`."""
        if shape[0] != self.batch or math.prod(shape[a] for a in axes) * shape[0] > MOST:
            return None
        sizes = tuple(shape[axis] for axis in axes)

        def make() -> np.ndarray:
            along = [_column(np.arange(shape[a]), a, len(shape)) for a in axes]
            row = _column(np.arange(shape[0]), 0, len(shape))
            ids = self.ids(Grid(sizes, of_input), row, along)
            return compressed(ids, range(len(shape)))

        key = ("fresh", len(shape), tuple(axes), sizes, of_input)
        ids = self._remembered(key, np.empty(0), make)
        assert ids is not None
        return Places(ids, tuple(shape))

    def grid(self, ids: np.ndarray) -> Grid | None:
        """The one grid in which all places lie, or None where there are none, or several."""
        low, high = ids[ids >= 0].min(initial=np.iinfo(np.int64).max), ids.max(initial=NOWHERE)
        same = high >= 0 and low >> _GRID_BITS == high >> _GRID_BITS
        return self._grids[high >> _GRID_BITS] if same else None

    def places_in(self, ids: np.ndarray) -> int:
        """How many places the finest of the grids has that some id lies in; 0 without any."""
        numbers = different(ids[ids >= 0] >> _GRID_BITS)
        return max((self._grids[number].number for number in numbers), default=0)

    def coordinates(self, ids: np.ndarray, grid: Grid) -> Coordinates:
        """What the ids say, which all lie in this grid (0 where an id is NOWHERE)."""
        valid = ids >= 0
        # Not by unravel_index: numpy 2.4's is wrong on some arrays with an axis of size 1.
        left, along = np.where(valid, ids & _WITHIN, 0), []
        for size in reversed(grid.sizes):
            left, coordinate = np.divmod(left, size)
            along.append(coordinate)
        return Coordinates(valid, left, tuple(reversed(along)))

    def mixed(self, ids: np.ndarray, axes: Sequence[int]) -> np.ndarray | None:
        """Ids after the elements along `axes` are mixed (their size is 1 then).

        None where the middles of what is mixed make no grid. All of a grid mixed is NOWHERE.
        """
        axes = tuple(axis for axis in axes if ids.shape[axis] > 1)
        if not axes:
            return ids
        return self._remembered(("mixed", *axes), ids, lambda: self._mixed(ids, axes))

    def _mixed(self, ids: np.ndarray, axes: tuple[int, ...]) -> np.ndarray | None:
        valid = ids >= 0
        most = np.iinfo(np.int64).max
        low = np.where(valid, ids, most).min(axes, keepdims=True)
        high = ids.max(axes, keepdims=True)
        if ((high < 0) | (low == high)).all():
            return compressed(high, range(high.ndim))
        row, middles, of_input = self._middles(ids, axes)
        return None if row is None else self._regular(high >= 0, row, middles, of_input)

    def _middles(self, ids: np.ndarray, axes: tuple[int, ...]):
        """The row and the middle, in parts of the grid's sizes, of what is mixed; row None: none.

        Places of several grids (a picture beside what a convolution made of it) are compared by
        parts of their sizes.
        """
        numbers = different(ids[ids >= 0] >> _GRID_BITS)
        grids = [self._grids[number] for number in numbers]
        if len({(len(grid.sizes), grid.of_input) for grid in grids}) > 1:
            return None, [], False
        count = (ids >= 0).sum(axes, keepdims=True).clip(1)
        rows: list[np.ndarray] = []
        total: list[np.ndarray] = [np.zeros(count.shape) for _ in grids[0].sizes]
        for number, grid in zip(numbers, grids, strict=True):
            here = np.where((ids >= 0) & (ids >> _GRID_BITS == number), ids, NOWHERE)
            valid, row, along = self.coordinates(here, grid)
            rows.append(np.where(valid, row, NOWHERE))
            for sum_, coordinate, size in zip(total, along, grid.sizes, strict=True):
                sum_ += np.where(valid, (coordinate + 0.5) / size, 0).sum(axes, keepdims=True)
        row = np.maximum.reduce(rows)
        highest = row.max(axes, keepdims=True)
        if ((row != highest) & (row >= 0)).any():
            return None, [], False
        return highest.clip(0), [sum_ / count for sum_ in total], grids[0].of_input

    def _regular(self, valid, row, middles, of_input: bool) -> np.ndarray | None:
        """The ids of places in the grid that their coordinates span, if it is full."""
        sizes, along = [], []
        for middle in middles:
            values, rank = np.unique(np.where(valid, middle, -1).round(9), return_inverse=True)
            lowest = int(values[0] < 0)
            sizes.append(len(values) - lowest)
            along.append((rank.reshape(middle.shape) - lowest).clip(0))
        ids = np.where(valid, self.ids(Grid(tuple(sizes), of_input), row, along), NOWHERE)
        ids = compressed(ids, range(ids.ndim))
        full = len(different(ids[ids >= 0])) == self.batch * int(np.prod(sizes))
        return ids if full or np.prod(sizes) == 1 else None

    def distinct(self, ids: np.ndarray) -> np.ndarray:
        """The different ids, in order."""
        found = self._remembered(("distinct",), ids, lambda: different(ids))
        assert found is not None
        return found

    def ranked(self, ids: np.ndarray) -> np.ndarray | None:
        """The same places as a grid of their own: every second row of another, say."""
        grid = self.grid(ids)
        if grid is None:
            return None

        def make() -> np.ndarray | None:
            valid, row, along = self.coordinates(ids, grid)
            return self._regular(valid, row, along, grid.of_input)

        return self._remembered(("ranked",), ids, make)

    def regridded(
        self, ids: np.ndarray, axes: Sequence[int], sizes: Sequence[int]
    ) -> np.ndarray | None:
        """Ids after what has windows, or resizes, along `axes` left `sizes` there.

        None where an axis is not one dimension of a grid, in order. Borders of NOWHERE (paddings)
        may lie around.
        """
        pairs = [(a, size) for a, size in zip(axes, sizes, strict=True) if ids.shape[a] > 1]
        if not pairs:
            return ids
        key = ("regridded", *pairs)
        return self._remembered(key, ids, lambda: self._regridded(ids, pairs))

    def _regridded(self, ids: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray | None:
        grid = self.grid(ids)
        if grid is None:
            return None
        valid, row, along = self.coordinates(ids, grid)
        dims = [_dimension(valid, along, row, axis) for axis, _ in pairs]
        known = [dim for dim in dims if dim is not None]
        if len(known) < len(pairs) or len(set(known)) < len(known):
            return None
        kept_axes = tuple(axis for axis, _ in pairs)
        there = valid.any(kept_axes, keepdims=True)
        row, *along = (np.where(valid, c, 0).max(kept_axes, keepdims=True) for c in (row, *along))
        new_sizes = list(grid.sizes)
        for (axis, size), dim in zip(pairs, known, strict=True):
            new_sizes[dim] = size
            along[dim] = _column(np.arange(size), axis, ids.ndim)
        new = self.ids(Grid(tuple(new_sizes), grid.of_input), row, along)
        return compressed(np.where(there, new, NOWHERE), range(ids.ndim))

    def _remembered(
        self, key: tuple, ids: np.ndarray, make: Callable[[], np.ndarray | None]
    ) -> np.ndarray | None:
        """What was made of the same array before: whole networks share a few arrays of ids."""
        key = (*key, id(ids)) if ids.size else key
        if key not in self._kept:
            self._kept[key] = (ids, make())
        return self._kept[key][1]


def _column(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector along one axis of a tensor of that rank."""
    shape = [1] * rank
    shape[axis] = len(values)
    return values.astype(np.int64).reshape(shape)


def _dimension(valid: np.ndarray, along, row: np.ndarray, axis: int) -> int | None:
    """The one dimension of the grid that runs along an axis, in order and the same everywhere."""
    most = np.iinfo(np.int64).max

    def spread(coordinate: np.ndarray, axes) -> tuple[np.ndarray, np.ndarray]:
        low = np.where(valid, coordinate, most).min(axes)
        return low, np.where(valid, coordinate, NOWHERE).max(axes)

    def varies(coordinate: np.ndarray) -> bool:
        low, high = spread(coordinate, axis)
        return bool(((low != high) & (high >= 0)).any())

    found = [dim for dim, coordinate in enumerate(along) if varies(coordinate)]
    if len(found) != 1 or varies(row):
        return None
    others = tuple(other for other in range(valid.ndim) if other != axis)
    low, high = spread(along[found[0]], others)
    used = high >= 0
    ordered = (low[used] == high[used]).all() and (np.diff(high[used]) >= 0).all()
    return found[0] if ordered else None
