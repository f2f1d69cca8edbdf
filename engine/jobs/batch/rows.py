"""Rows: what is kept of one image, method and target."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from .... import InvalidInputError
from ...records.record import Record
from ...records.row import Row
from .question import Question

# Below it float16 has fewer than its 11 bits, down to none.
_LEAST_FLOAT16 = float(np.finfo(np.float16).smallest_normal)


def row_of(record: Record, attribution: np.ndarray, question: Question) -> Row:
    """The row of an explained target.

    Args:
        record: what came out.
        attribution: [1, H, W], or the input's shape.
        question: what was asked.

    Raises:
        InvalidInputError: the attribution does not fit the type in which it is stored.
    """
    stored = _stored(attribution[0], record.method, question)
    return replace(record.row(question.tuples), attribution=stored)


def failed_row(image: str, error: str, method: str | None = None) -> Row:
    """The row of an image, or of an image and a method, that could not be explained."""
    return Row(image, method, error=error)


def _stored(attribution: np.ndarray, method: str, question: Question) -> np.ndarray | None:
    form = question.form
    if not form.attributions:
        return None
    if form.grid is not None:
        axis = question.into.features.in_row(attribution.ndim)
        if axis is not None:
            attribution = attribution.sum(axis=axis, dtype=np.float64)
        attribution = pooled(attribution, form.grid)
    shape = question.shapes[method]
    if shape is not None and attribution.shape != shape:
        expected = list(shape)
        raise InvalidInputError(
            f"expected an attribution of {expected}, got {list(attribution.shape)}"
        )
    largest = float(np.abs(attribution).max(initial=0.0))
    if form.dtype == "float16" and not (
        largest == 0 or _LEAST_FLOAT16 <= largest <= np.finfo(np.float16).max
    ):
        raise InvalidInputError(
            f"the largest attribution is {largest:.3g}, which float16 cannot hold: store float32"
        )
    return attribution.astype(form.dtype)


def pooled(attribution: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The mean of [H, W] over each cell of a grid, float64; a pixel on a border counts by its part.

    Cells all have the same area, so that the sum over a cell is its mean times H W / (cells).
    """
    down, across = (_parts(n, g) for n, g in zip(attribution.shape, grid, strict=True))
    # Not by matrix products, whose threads and order of summing depend on the machine's BLAS.
    rows = np.einsum("gh,hw->gw", down, attribution.astype(np.float64))
    return np.einsum("gw,kw->gk", rows, across)


@cache
def _parts(length: int, cells: int) -> np.ndarray:
    """[cells, length]: what part of a cell each of `length` pixels is; rows sum to 1."""
    edges = np.arange(cells + 1) * (length / cells)
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return np.maximum(high - low, 0) / (length / cells)
