"""Which axes of a tensor hold its places: height and width, or one axis of patch tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..graph.dims import Shape
from .positions.positions import Grid, Grids, Places


class Layout(NamedTuple):
    """The axes of a tensor that holds one vector for each place of a grid.

    Attributes:
        batch, channels: their axes.
        spatial: the axes of the places: one for each of `sizes`, or a single one of tokens.
        sizes: the grid along the picture's axes, rows before columns.
        tokens: for a single axis of tokens, the index of each place along it; else None.
    """

    batch: int
    channels: int
    spatial: tuple[int, ...]
    sizes: tuple[int, ...]
    tokens: np.ndarray | None = None

    @property
    def number(self) -> int:
        """How many places there are."""
        return int(np.prod(self.sizes))


def picture_axes(
    shape: Shape, grid: Grid | None = None, channels: int | None = None
) -> tuple[int, ...] | None:
    """The axes of an input that are no batch and no channels; None where that cannot be told.

    Args:
        shape: the input's, its batch first.
        grid: of the feature map, if its dimensions are the input's: one axis along which nothing is
            left of several must be the channels'.
        channels: the axis that the first layer takes for channels; None: not known.
    """
    rank = len(shape or ())
    if shape is None or rank < 2:
        return None
    every = range(1, rank)
    if channels is not None and rank > 2:
        return tuple(a for a in every if a != channels)
    if grid is not None and grid.of_input:
        gone = [a for a in every if grid.sizes[a - 1] == 1 and shape[a] != 1]
        ones = [a for a in every if shape[a] == 1]
        if len(gone) == 1 and not ones and rank > 2:
            return tuple(a for a in every if a != gone[0])
        if rank < 4 and not gone and len(ones) != 1:
            return tuple(every)
    return None


def layout_of(
    grids: Grids, places: Places, start: Shape, taken: int | None = None
) -> Layout | None:
    """The layout of a tensor with these places, or None where it has another one.

    Args:
        grids: that the places lie in.
        places: of a tensor.
        start: the explained input's shape.
        taken: its axis that the first layer takes for channels; None: not known.
    """
    ids = grids.ranked(places.ids)
    grid = None if ids is None else grids.grid(ids)
    if ids is None or grid is None:
        return None
    dims = _picture_dims(grid, start, taken)
    if dims is None or any(n > 1 for d, n in enumerate(grid.sizes) if d not in dims):
        return None
    valid, row, along = grids.coordinates(ids, grid)
    batch = _batch_axis(valid, row, places.shape, grids.batch)
    constant = [a for a, n in enumerate(places.shape) if ids.shape[a] == 1 and n > 1 and a != batch]
    if batch is None or len(constant) > 1:
        return None
    axes = [axis for axis, n in enumerate(ids.shape) if n > 1 and axis != batch]
    ones = [a for a, n in enumerate(places.shape) if n == 1 and a != batch]
    channels = constant[0] if constant else _first_or_last(ones, len(places.shape), len(dims))
    if channels is None:
        return None
    sizes = tuple(grid.sizes[d] for d in dims)
    ones = [a for a in ones if a != channels]
    if len(axes) == 1:
        at = ids.take(0, batch).ravel() if ids.shape[batch] > 1 else ids.ravel()
        spatial = _spatial(axes, ones, sizes)
        if spatial is not None and at.min() >= 0 and (np.diff(at) > 0).all():
            return Layout(batch, channels, spatial, sizes)
        tokens = _token_order(at)
        fits = len(tokens) == np.prod(sizes)
        return Layout(batch, channels, (axes[0],), sizes, tokens) if fits else None
    ordered = _ordered_axes(valid, [along[d] for d in dims], axes, sizes)
    spatial = None if ordered is None else _spatial(ordered, ones, sizes)
    return None if spatial is None else Layout(batch, channels, spatial, sizes)


def _picture_dims(grid: Grid, start: Shape, taken: int | None) -> list[int] | None:
    """The dimensions of the grid along the picture's axes."""
    if not grid.of_input:
        return list(range(len(grid.sizes)))
    axes = picture_axes(start, grid, taken)
    return None if axes is None else [axis - 1 for axis in axes]


def _batch_axis(valid: np.ndarray, row: np.ndarray, shape: Sequence[int], batch: int) -> int | None:
    """The axis whose index is the row, or the first of size 1 where there is one row."""
    if batch == 1:
        return next((axis for axis, size in enumerate(shape) if size == 1), None)
    for axis, size in enumerate(valid.shape):
        if size == batch:
            index = np.arange(size).reshape([size if a == axis else 1 for a in range(valid.ndim)])
            if (~valid | (row == index)).all():
                return axis
    return None


def _first_or_last(ones: Sequence[int], rank: int, spatial: int) -> int | None:
    """The axis of a single channel: behind the batch, as Conv has it, or the last."""
    if 1 in ones and rank == spatial + 2:
        return 1
    return ones[-1] if ones else None


def _spatial(axes: list[int], ones: list[int], sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """An axis for each size: the given ones, in order, where it is above 1, else one of size 1."""
    wide, left = list(axes), list(ones)
    if len(wide) != sum(size > 1 for size in sizes) or len(left) < sum(s == 1 for s in sizes):
        return None
    return tuple(wide.pop(0) if size > 1 else left.pop(0) for size in sizes)


def _token_order(ids: np.ndarray) -> np.ndarray:
    """The index along the axis of each place, in the grid's order."""
    indices = np.flatnonzero(ids >= 0)
    return indices[np.argsort(ids[indices], kind="stable")]


def _ordered_axes(valid, along, axes: list[int], sizes: tuple[int, ...]) -> list[int] | None:
    """The axis of each dimension above 1, where its index is the coordinate."""
    found = []
    for coordinate, size in zip(along, sizes, strict=True):
        if size == 1:
            continue
        fitting = [
            axis
            for axis in axes
            if valid.shape[axis] == size
            and (coordinate == np.arange(size).reshape(_column_shape(size, axis, valid.ndim))).all()
        ]
        found += fitting[:1]
    whole = bool(valid.all()) and len(found) == len(axes) == sum(size > 1 for size in sizes)
    return found if whole else None


def _column_shape(size: int, axis: int, rank: int) -> list[int]:
    return [size if a == axis else 1 for a in range(rank)]
