"""Arrays as the model takes them: `.npy` files of any shape, and `.npz` files with one array.

They are drawn by what is known of their axes: a photo of two spatial axes, lines of one, bars of
elements without an order; else as a strip of numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.features import Features
from ...models.card import ModelCard
from ...models.plain_card import Card, sequence
from ...models.text import counted
from ..pictures.arrays import (
    MOST_LANES,
    bars,
    bars_map,
    laid_out,
    lanes,
    lanes_map,
    named_bars,
    named_bars_map,
    picture,
    strip,
    strip_map,
)
from ..pictures.axes import axes_map, with_axes
from ..pictures.heatmap import Heatmap, Picture, heatmap_of
from .kind import InputKind, ModelInput, Named, Reading, Shape, check_keys
from .stored import BEGINS, SUFFIXES, read_array

KEYS = ("channel_axis", "spatial_axes", "names", "axes")


class Loaded(NamedTuple):
    """An array that was read, and what messages call it."""

    array: np.ndarray
    name: str


def read(given: Any, how: Reading, into: ModelInput) -> Loaded:
    """An array of a `.npy` or `.npz` file, of such a file's bytes, or as it is.

    Raises:
        InvalidInputError: it cannot be read, or is no array of numbers.
    """
    del into
    try:
        stored = isinstance(given, str | os.PathLike | bytes)
        array = read_array(given, how.name) if stored else np.asarray(given)
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"array {how.name}: expected an array, {error}") from None
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"array {how.name}: expected numbers, got {array.dtype}")
    return Loaded(array, how.name)


def fit(thing: Loaded, into: ModelInput) -> np.ndarray:
    """The array with its batch axis, [1, ...].

    Raises:
        InvalidInputError: it is of another shape than the model's input, or several inputs.
    """
    x, shape = thing.array, into.shape
    if shape is None or len(shape) < 2:
        return x
    x = x[None] if x.ndim == len(shape) - 1 else x
    wanted = [d if isinstance(d, int) and d > 0 else None for d in shape[1:]]
    fits = x.ndim == len(shape) and 0 not in x.shape
    fits = fits and all(d in (None, n) for d, n in zip(wanted, x.shape[1:], strict=True))
    row = ", ".join("any" if d is None else str(d) for d in wanted)
    came = f"{thing.array.dtype} {list(thing.array.shape)}"
    if not fits:
        raise InvalidInputError(
            f"array {thing.name}: expected {into.dtype} [{row}] or [1, {row}], as the model's "
            f"input {into.name!r} is, got {came}"
        )
    if len(x) != 1:
        raise InvalidInputError(
            f"array {thing.name}: expected one input, [{row}] or [1, {row}], got "
            f"{counted(len(x), 'input')}, {came}: a file holds one (in Python, explainer(array) "
            "takes several)"
        )
    kinds = {x.dtype.kind, np.dtype(into.dtype).kind}
    if not (kinds == {"f"} or kinds <= {"i", "u"} or len(kinds) == 1):
        raise InvalidInputError(f"array {thing.name}: expected {into.dtype} [{row}], got {came}")
    return x


def tensor(fitted: np.ndarray, into: ModelInput) -> np.ndarray:
    """The array in the model's type."""
    return np.ascontiguousarray(fitted, dtype=np.dtype(into.dtype))


def features(card: Card, shape: Shape) -> Features | None:
    """Where channels and positions lie, as the card says.

    Raises:
        InvalidInputError: an unknown key, or axes that the input does not have.
    """
    return checked_features(card.settings, shape, KEYS)


def checked_features(
    settings: Mapping[str, Any], shape: Shape, keys: tuple[str, ...]
) -> Features | None:
    """The same for a kind with these keys."""
    check_keys(settings, keys)
    rank = len(shape)
    _check_names(settings.get("names"))
    axes = settings.get("axes")
    if axes is not None and [type(one) for one in sequence(axes)] != [str, str]:
        raise InvalidInputError(f"'axes': expected the names of rows and columns, got {axes!r}")
    if "channel_axis" not in settings and "spatial_axes" not in settings:
        return None
    channel = settings.get("channel_axis")
    if channel is not None:
        _check_axis("channel_axis", channel, rank)
    others = [axis for axis in range(1, rank) if axis != channel]
    if "spatial_axes" not in settings:
        return Features(rank, channel, tuple(others) if channel is not None else ())
    spatial = sequence(settings["spatial_axes"])
    for axis in spatial:
        _check_axis("spatial_axes", axis, rank)
    if not set(spatial) <= set(others) or len(set(spatial)) < len(spatial):
        raise InvalidInputError(
            f"'spatial_axes': expected different axes beside channel_axis, got {list(spatial)}"
        )
    return Features(rank, channel, tuple(spatial))


def _check_axis(key: str, axis: Any, rank: int) -> None:
    whole = isinstance(axis, int) and not isinstance(axis, bool)
    if not whole or not 1 <= axis < rank:
        raise InvalidInputError(
            f"{key!r}: expected axes from 1 to {rank - 1} (0 is the batch), got {axis!r}"
        )


def _check_names(names: Any) -> None:
    given = sequence(names)
    if names is not None and not (given and all(isinstance(name, str) for name in given)):
        raise InvalidInputError(f"'names': expected a list of texts, got {names!r}")


def names_of(into: ModelInput, count: int) -> list[str] | None:
    """The card's names of elements or channels, if there are as many."""
    names: list[str] = [] if into.card is None else list(into.card.settings.get("names") or ())
    return names if len(names) == count else None


# How arrays are drawn.


def is_photo(into: ModelInput) -> bool:
    """Whether positions lie along two axes, beside which there are channels at most."""
    found = into.features
    beside = {*range(1, found.rank)} - {found.channel_axis, *found.spatial_axes}
    return len(found.spatial_axes) == 2 and not beside


def _axes_of(into: ModelInput) -> tuple[str, ...]:
    """The card's names of a picture's rows and columns, such as a spectrogram's; () of none."""
    return () if into.card is None else sequence(into.card.settings.get("axes"))


def _is_signal(into: ModelInput) -> bool:
    found = into.features
    return found.rank == 3 and found.channel_axis is not None


def view(thing: Loaded, into: ModelInput) -> Picture:
    """A photo with its values scaled, the lines of a signal, bars, or a strip of numbers."""
    x = fit(thing, into)[0]
    if is_photo(into):
        names = _axes_of(into)
        return with_axes(_photo(x, into), names) if names else _photo(x, into)
    if _is_signal(into):
        lines = _channels_first(x, into)
        if len(lines) <= MOST_LANES:
            return lanes(lines, names_of(into, len(lines)))
        return strip(lines)
    if x.ndim <= 1:
        names = names_of(into, x.size)
        return named_bars(x.reshape(-1), names) if names else bars(x.reshape(-1))
    return strip(_as_rows(x))


def draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    """A map of an array, in the geometry of its view."""
    values = np.asarray(values)
    channels = into.features.in_row(values.ndim)
    if is_photo(into):
        found = heatmap_of(values, method, channels, **how)
        return replace(found, values=axes_map(found.values)) if _axes_of(into) else found
    if _is_signal(into):
        lines = values[None] if channels is None else _channels_first(values, into)
        count = _channel_count(lines, into)
        lay: Callable[..., np.ndarray] = partial(_lanes_of, count=count)
        return laid_out(lines, method, lay, blurs=(1,), **how)
    if values.ndim <= 1:
        how["drawing"] = ["bars reach the edge at the end of the scale"]
        if names_of(into, values.size):
            return named_bars_map(values.reshape(-1), method, **how)
        return laid_out(values.reshape(-1), method, bars_map, **how)
    return laid_out(_as_rows(values), method, strip_map, **how)


def _channel_count(lines: np.ndarray, into: ModelInput) -> int:
    """How many lanes there are, also where a map is of positions alone."""
    axis, shape = into.features.channel_axis, into.shape
    declared = None if axis is None or shape is None else shape[axis]
    return declared if isinstance(declared, int) and declared > 0 else len(lines)


def _lanes_of(values: np.ndarray, limit: float, count: int) -> np.ndarray:
    if count > MOST_LANES:
        return strip_map(np.broadcast_to(values, (count, values.shape[1])), limit)
    return lanes_map(values, count)


def _channels_first(row: np.ndarray, into: ModelInput) -> np.ndarray:
    axis = into.features.channel_axis
    return row if axis is None else np.moveaxis(row, axis - 1, 0)


def _as_rows(row: np.ndarray) -> np.ndarray:
    """[rows, columns]: the last axis stays, the others are one."""
    return row.reshape(-1, row.shape[-1])


def _photo(row: np.ndarray, into: ModelInput) -> Picture:
    """An image's input as a picture, its normalisation undone; of other arrays scaled."""
    channels = into.features.in_row(row.ndim)
    values = row if channels is None else np.moveaxis(row, channels, -1)
    values = np.asarray(values, np.float64)
    card = into.card
    if not isinstance(card, ModelCard):
        return picture(values)
    values = (values * np.asarray(card.std) + np.asarray(card.mean)) / np.asarray(card.scale)
    if card.channels == "BGR":
        values = values[..., ::-1]
    return picture(values, scaled=False)


def suffixes() -> frozenset[str]:
    """Of the files that numpy writes."""
    return SUFFIXES


def begins(content: bytes) -> bool:
    """Whether a file begins as those that numpy writes."""
    return content.startswith(BEGINS)


def _takes(into: ModelInput) -> bool:
    del into
    return True


def zeros(into: ModelInput, thing: Any) -> np.ndarray:
    """The baseline of what has no black: 0, in the model's own numbers."""
    del into, thing
    return np.zeros((), np.float32)


KIND = InputKind(
    name="array",
    title="an array",
    suffixes=suffixes,
    begins=begins,
    takes=_takes,
    read=read,
    fit=fit,
    tensor=tensor,
    features=features,
    view=view,
    draw=draw,
    baselines={"zeros": Named(zeros)},
    place=90,
)
