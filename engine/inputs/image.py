"""Images in: from a file to the tensor that the model takes, and to the region that it sees."""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ... import InvalidInputError
from ...graph_passes.select.features import Features, with_channels
from ...models.assumed_card import assume_card
from ...models.card import ModelCard, black_image, white_image
from ...models.files import check_regular
from ...models.plain_card import Card
from ..pictures.heatmap import Heatmap, heatmap_of
from .decoding import damage_of, decoded, image_extensions, to_rgb
from .kind import Box, InputKind, ModelInput, Named, Reading, Shape
from .pixels import (
    Pixels,
    blurred_pixels,
    checked,
    covering,
    model_pixels,
    pixels_to_tensor,
    placed,
    scales_and_shifts,
    view_of,
)
from .stdin import STDIN, stdin_bytes
from .stored import read_numbers

BASELINE_CHOICES = ("black", "white", "mean", "blur")


def read_image(
    path: str | os.PathLike[str],
    draft: ModelCard | None = None,
    as_it_is: bool = False,
    strict: bool = False,
) -> Image.Image:
    """Read an image file as `read_image_file` does; "-" is what comes on standard input."""
    if os.fspath(path) == STDIN:
        return read_image_bytes(stdin_bytes(), STDIN, draft, strict)
    return read_image_file(path, draft, as_it_is, strict)


def read_image_file(
    path: str | os.PathLike[str],
    draft: ModelCard | None = None,
    as_it_is: bool = False,
    strict: bool = False,
) -> Image.Image:
    """Read an image file as 8-bit RGB, turned upright as its EXIF orientation says.

    Transparency is composited on white; 16-bit and floating-point images are scaled to 0..255
    (floats by 255 where they lie in 0..1), and `deep_of` has the values behind those 8 bits; of an
    animation the first frame is taken. With
    `as_it_is` the mode stays the file's own (a mask's ids). What a damaged file has left is taken;
    `decoding.damage_of` says so, and with `strict` it is refused.

    draft: decode a JPEG file at 1/2, 1/4 or 1/8 of its size, as long as that covers this card's
    size: faster, other pixels.

    Raises InvalidInputError when the file is missing, a directory, empty, none of the formats of
    `decoding.FORMATS`, truncated or damaged, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    path = Path(path)
    if check_regular(path, "image") == 0:
        raise InvalidInputError(f"image {path}: expected an image, got an empty file")
    return _whole(decoded(path, str(path), _least(draft), as_it_is), str(path), strict)


def read_image_bytes(
    content: bytes, name: str, draft: ModelCard | None = None, strict: bool = False
) -> Image.Image:
    """Read an image file's bytes, as `read_image_file` does; `name` stands for it in messages."""
    if not content:
        raise InvalidInputError(f"image {name}: expected an image, got no bytes")
    return _whole(decoded(content, name, _least(draft)), name, strict)


def _whole(image: Image.Image, name: str, strict: bool) -> Image.Image:
    damage = damage_of(image)
    if strict and damage is not None:
        raise InvalidInputError(f"image {name}: {damage}")
    return image


def _least(card: ModelCard | None) -> Callable[[tuple[int, int]], int] | None:
    """How long the sides of a draft of a photo must be at least, by its size."""
    if card is None:
        return None
    # Turned or not: as many pixels along both sides as the longer one needs.
    return lambda size: max(*covering(size, card)[:2], *card.size)


def read_photo(photo: Any) -> tuple[Image.Image, str | None]:
    """A photo as RGB, and its path if it has one.

    Raises:
        InvalidInputError: it is none of what `Explainer.explain` takes, or cannot be read.
    """
    if isinstance(photo, str | os.PathLike):
        return read_image_file(photo), os.fspath(photo)
    if isinstance(photo, Image.Image):
        return to_rgb(ImageOps.exif_transpose(photo)), None
    if isinstance(photo, np.ndarray):
        return image_of_array(photo, "(an array)"), None
    if isinstance(photo, bytes | bytearray | memoryview):
        return read_image_bytes(bytes(photo), "(bytes)"), None
    if isinstance(photo, io.IOBase) or hasattr(photo, "read"):
        content = photo.read()
        if isinstance(content, bytes):
            return read_image_bytes(content, str(getattr(photo, "name", "(a file)"))), None
    raise InvalidInputError(
        "photo: expected a path, bytes, a file opened as bytes, a PIL image or an array, got "
        f"{type(photo).__name__}"
    )


def image_of_array(pixels: np.ndarray, name: str) -> Image.Image:
    """An image of pixels that somebody else has read: RGB.

    pixels: uint8 [H, W], or [H, W, C] of 1 (gray), 3 (RGB) or 4 channels (RGBA).

    Raises InvalidInputError where they are something else; `name` stands for the image there.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1 if pixels.ndim == 2 else 0
    if pixels.dtype != np.uint8 or channels not in (1, 3, 4) or 0 in pixels.shape:
        raise InvalidInputError(
            f"image {name}: expected uint8 [H, W] or [H, W, 1, 3 or 4], got {pixels.dtype} "
            f"{list(pixels.shape)}"
        )
    return to_rgb(Image.fromarray(pixels[:, :, 0] if channels == 1 == pixels.ndim - 2 else pixels))


def region_of_input(region: np.ndarray, card: ModelCard) -> np.ndarray:
    """Where a region of a photo lies in the model's input: bool [H, W], cropped and resized alike.

    region: bool [height, width] in the photo's pixels, upright.
    """
    pixels = Image.fromarray(np.where(region, 255, 0).astype(np.uint8)).convert("RGB")
    plain = replace(card, interpolation="nearest", labels=None, pad_color=0)
    return np.asarray(placed(pixels, plain).convert("L")) > 127


def to_input(box: Sequence[float], card: ModelCard, photo_size: tuple[int, int]) -> Box:
    """Corners x0, y0, x1, y1 in a photo's own pixels -> in the model's input.

    Both count from the top left corner of the first pixel. What the card crops away leads outside
    of the input; nothing is cut off.

    photo_size: (width, height), upright.
    """
    (a, b), (c, d) = scales_and_shifts(photo_size, card)
    x0, y0, x1, y1 = box
    return x0 * a + b, y0 * c + d, x1 * a + b, y1 * c + d


def to_photo(box: Sequence[float], card: ModelCard, photo_size: tuple[int, int]) -> Box:
    """Corners in the model's input -> in the photo's own pixels: the inverse of `to_input`."""
    (a, b), (c, d) = scales_and_shifts(photo_size, card)
    x0, y0, x1, y1 = box
    return (x0 - b) / a, (y0 - d) / c, (x1 - b) / a, (y1 - d) / c


def image_to_tensor(image: Image.Image, card: ModelCard) -> tuple[np.ndarray, Image.Image]:
    """Turn an image into the model's input, and the region of the photo that the model sees.

    Returns the tensor, `card.tensor_shape` in `card.dtype`, and the *view*: what lies under the
    tensor, at the photo's own resolution. For "crop" it is the centre, for "stretch" the whole
    photo (so its aspect is the photo's), for "pad" the photo on its canvas (at most 4096
    pixels a side).
    """
    image = checked(image)
    tensor = pixels_to_tensor(model_pixels(image, card), card)
    return tensor, view_of(image, card)


def baseline_image(choice: str, image: Image.Image, card: ModelCard) -> np.ndarray:
    """Make the baseline for an image: float32, broadcastable to `card.tensor_shape`.

    choice: as for `fixed_baseline`; or "mean", the image's own mean of each channel; or "blur", the
    image after a Gaussian blur whose sigma is a tenth of its width.

    Raises InvalidInputError when the file cannot be read or its array does not fit.
    """
    if choice == "mean":
        tensor, _ = image_to_tensor(image, card)
        over_space = tuple(axis for axis in (1, 2, 3) if axis != card.channel_axis)
        return tensor.astype(np.float64).mean(axis=over_space, keepdims=True).astype(np.float32)
    if choice == "blur":
        blurred = blurred_pixels(model_pixels(checked(image), card))
        return pixels_to_tensor(blurred, card).astype(np.float32)
    return fixed_baseline(choice, card)


def fixed_baseline(choice: str, card: ModelCard) -> np.ndarray:
    """Make a baseline that serves every image: float32, broadcastable to `card.tensor_shape`.

    choice: "black" or "white"; or a file, either an image, which goes through `image_to_tensor`, or
    a `.npy` array as the model takes it.

    Raises InvalidInputError when the file cannot be read or its array does not fit.
    """
    if choice == "black":
        return black_image(card)
    if choice == "white":
        return white_image(card)
    if choice.lower().endswith(".npy"):
        return read_numbers(choice, card.tensor_shape)
    if not Path(choice).exists():
        choices = ", ".join(BASELINE_CHOICES)
        raise InvalidInputError(f"baseline: expected {choices} or a file, got {choice!r}")
    return image_to_tensor(read_image(choice), card)[0].astype(np.float32)


def _card_of(into: ModelInput) -> ModelCard:
    """The card that says how an image becomes the input.

    Raises:
        InvalidInputError: there is none, or it is of another kind of input.
    """
    if isinstance(into.card, ModelCard):
        return into.card
    if into.card is not None and into.card.kind is not None:
        raise InvalidInputError(
            f"expected a file of kind {into.card.kind!r}, as the model card says, got an image"
        )
    # What the model takes may be no image at all.
    assume_card(into.shape, into.dtype)
    raise InvalidInputError(
        "no model card says how a picture becomes the input; give card= or preprocess="
    )


def _refuse(into: ModelInput) -> None:
    _card_of(into)


def _read(given: Any, how: Reading, into: ModelInput) -> Image.Image:
    draft = _card_of(into) if how.fast else None
    if isinstance(given, str):
        return read_image_file(given, draft, strict=how.strict)
    if isinstance(given, bytes):
        return read_image_bytes(given, how.name, draft, how.strict)
    if isinstance(given, np.ndarray):
        return image_of_array(given, how.name)
    return read_photo(given)[0]


def _suffixes() -> frozenset[str]:
    return image_extensions()


def _takes(into: ModelInput) -> bool:
    return isinstance(into.card, ModelCard)


def _fit(image: Image.Image, into: ModelInput) -> Pixels:
    return model_pixels(checked(image), _card_of(into))


def _tensor(pixels: Pixels, into: ModelInput) -> np.ndarray:
    return pixels_to_tensor(pixels, _card_of(into))


def _features(card: Card, shape: Shape) -> Features | None:
    # An input of other axes beside the image's is none.
    if not isinstance(card, ModelCard) or len(shape) != 4:
        return None
    return with_channels(4, card.channel_axis)


def _view(image: Image.Image, into: ModelInput) -> Image.Image:
    return view_of(checked(image), _card_of(into))


def draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    """A map of a picture, [H, W] or with channels, over all of it."""
    return heatmap_of(values, method, into.features.in_row(np.ndim(values)), **how)


def _named(choice: str, into: ModelInput, image: Any) -> np.ndarray:
    card = _card_of(into)
    return fixed_baseline(choice, card) if image is None else baseline_image(choice, image, card)


def _baseline_file(path: str, into: ModelInput) -> np.ndarray:
    return fixed_baseline(path, _card_of(into))


def _box_in_photo(box: Box, image: Image.Image, into: ModelInput) -> Box:
    return to_photo(box, _card_of(into), image.size)


def _box_in_input(box: Box, image: Image.Image, into: ModelInput) -> Box:
    return to_input(box, _card_of(into), image.size)


KIND = InputKind(
    name="image",
    title="an image",
    suffixes=_suffixes,
    takes=_takes,
    read=_read,
    fit=_fit,
    tensor=_tensor,
    features=_features,
    view=_view,
    draw=draw,
    baselines={
        name: Named(partial(_named, name), name in ("mean", "blur")) for name in BASELINE_CHOICES
    },
    baseline_file=_baseline_file,
    damage=damage_of,
    box_in_thing=_box_in_photo,
    box_in_input=_box_in_input,
    refuse=_refuse,
    place=10,
)
