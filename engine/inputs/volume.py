"""Volumes: `.npy` and `.npz` files of three spatial axes, drawn as a row of slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...graph_passes.select.features import Features, with_channels
from ...models.plain_card import Card
from ...models.text import counted
from ..pictures.arrays import laid_out
from ..pictures.heatmap import Heatmap, Picture
from ..pictures.slices import chosen, slices, slices_map
from . import array
from .array import Loaded, checked_features
from .kind import ModelInput, Shape

KEYS = ("channel_axis", "spatial_axes", "axis")


def _takes(into: ModelInput) -> bool:
    return len(into.features.spatial_axes) == 3


def _features(card: Card, shape: Shape) -> Features | None:
    """As the card says; a card that says no more means channels first."""
    found = checked_features(card.settings, shape, KEYS)
    return with_channels(5, 1) if found is None and len(shape) == 5 else found


def _along(into: ModelInput) -> int:
    """Which of the spatial axes slices lie across, 0 to 2: the card's `axis`, or the first."""
    axis = None if into.card is None else into.card.settings.get("axis")
    return into.features.spatial_axes.index(axis) if axis in into.features.spatial_axes else 0


def _space(row: np.ndarray, into: ModelInput) -> np.ndarray:
    """One row as [slices, height, width, channels]."""
    channels = into.features.in_row(row.ndim)
    space = row[..., None] if channels is None else np.moveaxis(row, channels, -1)
    return np.moveaxis(space, _along(into), 0)


def _view(thing: Loaded, into: ModelInput) -> Picture:
    return slices(_space(array.fit(thing, into)[0], into))


def _draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    space = _space(np.asarray(values, np.float64), into).sum(axis=-1)
    shown = len(chosen(len(space)))
    drawing = [] if shown == len(space) else [f"{shown} of {counted(len(space), 'slice')}"]
    return laid_out(space, method, slices_map, blurs=(0, 1, 2), drawing=drawing, **how)


KIND = replace(
    array.KIND,
    name="volume",
    title="a volume",
    takes=_takes,
    features=_features,
    view=_view,
    draw=_draw,
    place=60,
)
