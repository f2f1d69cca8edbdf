"""What a graph must know of a model card to make a photo the model's input by itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image

from ... import InvalidInputError
from ...graph_passes.finish.preprocessing import Framing
from ...graph_passes.graph.tensors import numpy_type
from ...models.assumed_card import assume_card
from ...models.card import ModelCard
from .image import KIND as IMAGE
from .kind import ModelInput, described
from .pixels import LONGEST_VIEW, MOST_RESIZED, covered_size, pixels_to_tensor, whole_color

_ORDERS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0), "GRAY": None}


def framing_of(into: ModelInput, of_photo: bool) -> Framing:
    """How a photo becomes the input, for a graph.

    Args:
        into: what the model takes.
        of_photo: whether the graph is to take the photo, not only to show it.

    Raises:
        InvalidInputError: no card says so, or the input is not as the card has it.
    """
    card = into.card
    if not isinstance(card, ModelCard):
        if card is not None:
            IMAGE.refuse(into)
        assume_card(into.shape, into.dtype)
        raise InvalidInputError("no model card says how a photo becomes the input; give card=")
    _check_shape(into, card, of_photo)
    return Framing(
        size=card.size,
        resize=card.resize,
        covered=covered_size(card),
        down=card.rounding == "down" or (card.resize == "crop" and card.rounding is None),
        centred=card.pad_position == "center",
        fill=whole_color(card),
        interpolation=card.interpolation,
        tall_first=_tall_first(),
        most=MOST_RESIZED,
        order=_ORDERS[card.channels],
        channel_axis=card.channel_axis,
        table=_table(card).astype(numpy_type(into.dtype)),
        factor=_of_channels(card, np.divide(card.std, card.scale)),
        shift=_of_channels(card, np.divide(card.mean, card.scale)),
        longest=LONGEST_VIEW,
    )


def _check_shape(into: ModelInput, card: ModelCard, of_photo: bool) -> None:
    """Refuse what is no image of the card's; and what one photo does not fill."""
    expected: list[int | None] = list(card.tensor_shape)
    if not of_photo:
        expected = [own if k == card.channel_axis else None for k, own in enumerate(expected)]
    shape = into.shape
    if shape is None:
        return
    fits = len(shape) == 4 and all(
        own is None or not isinstance(length, int) or length == own
        for length, own in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = f"one photo, {list(card.tensor_shape)}" if of_photo else "photos"
        raise InvalidInputError(
            f"expected an input that takes {wanted} as the model card says, "
            f"got {into.name!r}: {described(into)}"
        )


def _of_channels(card: ModelCard, values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values, (card.channel_count,))


def _table(card: ModelCard) -> np.ndarray:
    """The model's number for each grey level, [channels, 256], as Python makes it."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    made = pixels_to_tensor(Image.fromarray(levels), replace(card, size=(1, 256)))
    return np.moveaxis(made, card.channel_axis, 0).reshape(card.channel_count, 256)


@cache
def _tall_first() -> bool:
    """Whether this Pillow resizes the columns of a tall picture first: 13 and later do.

    Both orders round in between, to other grey levels; so it is tried.
    """
    how = Image.Resampling.LANCZOS
    levels = np.random.default_rng(0).integers(0, 2, (64, 8)) * 255
    picture = Image.fromarray(levels.astype(np.uint8))
    columns_first = picture.resize((8, 16), how).resize((6, 16), how)
    found = np.asarray(picture.resize((6, 16), how))
    return np.array_equal(found, np.asarray(columns_first))
