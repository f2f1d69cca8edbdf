"""From an image's pixels to the model's numbers: resized, cropped, padded, normalised; the view."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from ... import InvalidInputError
from ...models.card import ModelCard, normalise
from ..pictures.heatmap import smoothed
from .decoding import to_rgb
from .deep import deep_of

LONGEST_VIEW = 4096
MOST_RESIZED = 2**26
# As Pillow has them.
_LUMA = 19595 / 65536, 38470 / 65536, 7471 / 65536
_INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


# Of the size that the model takes: an image, or the values of one of more than 8 bits.
Pixels: TypeAlias = "Image.Image | np.ndarray"


def checked(image: Image.Image) -> Image.Image:
    """Return the image as RGB, for callers who have opened it themselves."""
    if 0 in image.size:
        raise InvalidInputError(f"image: expected pixels, got size {image.size}")
    return image if image.mode == "RGB" else to_rgb(image, image.format)


def covering(size: tuple[int, int], card: ModelCard) -> tuple[int, int, int, int]:
    """Return (width, height) of the resized photo, and (left, top) of the centre crop in it.

    size: the photo's (width, height).
    """
    width, height = size
    crop_height, crop_width = card.size
    covered_height, covered_width = covered_size(card)
    whole = round if card.rounding == "nearest" else int
    resized_width, resized_height = covered_width, covered_height
    if covered_height * width >= covered_width * height:
        resized_width = whole(covered_height * width / height)
    else:
        resized_height = whole(covered_width * height / width)
    left = round((resized_width - crop_width) / 2)
    top = round((resized_height - crop_height) / 2)
    return resized_width, resized_height, left, top


def covered_size(card: ModelCard) -> tuple[int, int]:
    """(height, width) that "crop" covers before it cuts out the centre."""
    height, width = (round(side / card.crop_fraction) for side in card.size)
    return height, width


def _crop_box(size: tuple[int, int], card: ModelCard) -> tuple[float, float, float, float]:
    """Return the centre crop as (left, top, right, bottom) in the photo's own pixels."""
    resized_width, resized_height, left, top = covering(size, card)
    across, down = size[0] / resized_width, size[1] / resized_height
    right, bottom = (left + card.size[1]) * across, (top + card.size[0]) * down
    return left * across, top * down, min(right, size[0]), min(bottom, size[1])


def _padded(size: tuple[int, int], card: ModelCard) -> tuple[int, int, int, int]:
    """Return (left, top, width, height) of the photo on the card's canvas."""
    height, width = card.size
    scale = min(width / size[0], height / size[1])
    whole = int if card.rounding == "down" else round
    inner_width = min(max(whole(size[0] * scale), 1), width)
    inner_height = min(max(whole(size[1] * scale), 1), height)
    if card.pad_position == "top-left":
        return 0, 0, inner_width, inner_height
    return (width - inner_width) // 2, (height - inner_height) // 2, inner_width, inner_height


def scales_and_shifts(size: tuple[int, int], card: ModelCard) -> tuple[tuple[float, float], ...]:
    """For x and for y (a, b): input = a * photo + b, in pixels that count from the top left corner.

    size: the photo's (width, height).
    """
    height, width = card.size
    if card.resize == "stretch":
        return (width / size[0], 0.0), (height / size[1], 0.0)
    if card.resize == "crop":
        resized_width, resized_height, left, top = covering(size, card)
        return (resized_width / size[0], float(-left)), (resized_height / size[1], float(-top))
    left, top, inner_width, inner_height = _padded(size, card)
    return (inner_width / size[0], float(left)), (inner_height / size[1], float(top))


def model_pixels(image: Image.Image, card: ModelCard) -> Pixels:
    """Bring an RGB image to the card's size: what `pixels_to_tensor` takes.

    Of an image of more than 8 bits its values, float32 [height, width, 1 or 3] from 0 to 255.
    """
    deep = deep_of(image)
    if deep is None:
        return placed(image, card)
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(deep, 2, 0)]
    colors = filling(card) if len(bands) == 3 else (_luma(filling(card)),)
    resized = [np.asarray(placed(b, card, color)) for b, color in zip(bands, colors, strict=True)]
    # Interpolation may overshoot, which 8 bits cannot.
    return np.clip(np.stack(resized, axis=2), 0, 255)


def filling(card: ModelCard) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 255, of what "pad" fills with."""
    color = np.ravel(card.pad_color)
    return float(color[0]), float(color[color.size // 2]), float(color[-1])


def _luma(color: tuple[float, float, float]) -> float:
    return sum(part * weight for part, weight in zip(color, _LUMA, strict=True))


def whole_color(card: ModelCard) -> tuple[int, ...]:
    """Red, green and blue of what "pad" fills with, as whole numbers."""
    return tuple(round(part) for part in filling(card))


def placed(image: Image.Image, card: ModelCard, color: float | None = None) -> Image.Image:
    """Crop, stretch or pad an RGB image to the card's size; or one of one band, padded with color.

    The size to which it is scaled, (height, width) -> (h, w): for "crop" and "pad" the one ratio
    that covers, or fits, made whole by the card's rounding.
    """
    height, width = card.size
    resample = _INTERPOLATIONS[card.interpolation]
    if card.resize == "crop":
        resized_width, resized_height, left, top = covering(image.size, card)
        if resized_width * resized_height > MOST_RESIZED:
            # A very long photo: the same but for rounding, without the parts that are cut off.
            return image.resize((width, height), resample, box=_crop_box(image.size, card))
        resized = image.resize((resized_width, resized_height), resample)
        return resized.crop((left, top, left + width, top + height))
    if card.resize == "stretch":
        return image.resize((width, height), resample)
    left, top, inner_width, inner_height = _padded(image.size, card)
    fill = whole_color(card) if color is None else color
    canvas = Image.new(image.mode, (width, height), fill)
    canvas.paste(image.resize((inner_width, inner_height), resample), (left, top))
    return canvas


def blurred_pixels(pixels: Pixels) -> Pixels:
    """After a Gaussian blur whose sigma is a tenth of the width."""
    if isinstance(pixels, Image.Image):
        return pixels.filter(ImageFilter.GaussianBlur(pixels.width / 10))
    sigma = pixels.shape[1] / 10
    return np.stack([smoothed(b, (sigma, sigma)) for b in np.moveaxis(pixels, 2, 0)], axis=2)


def view_of(image: Image.Image, card: ModelCard) -> Image.Image:
    """Cut out of the photo what the model sees, at the photo's own resolution."""
    if card.resize == "stretch":
        return image.copy()
    if card.resize == "crop":
        left, top, right, bottom = (round(edge) for edge in _crop_box(image.size, card))
        # A photo of a few pixels, or a very long one, may round to nothing.
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    left, top, inner_width, inner_height = _padded(image.size, card)
    height, width = card.size
    zoom = max(image.width / inner_width, image.height / inner_height)
    zoom = max(min(zoom, LONGEST_VIEW / max(width, height)), 1 / max(width, height))
    extent = max(round(width * zoom), 1), max(round(height * zoom), 1)
    canvas = Image.new("RGB", extent, whole_color(card))
    inner = max(round(inner_width * zoom), 1), max(round(inner_height * zoom), 1)
    canvas.paste(
        image.resize(inner, Image.Resampling.BICUBIC), (round(left * zoom), round(top * zoom))
    )
    return canvas


def pixels_to_tensor(pixels: Pixels, card: ModelCard) -> np.ndarray:
    """Normalise an RGB image of the card's size, and put its axes in the card's order."""
    if isinstance(pixels, np.ndarray):
        values = _in_channels(pixels.astype(np.float64), card)
    elif card.channels == "GRAY":
        values = np.asarray(pixels.convert("L"))[:, :, None]
    else:
        values = np.asarray(pixels)[:, :, :: -1 if card.channels == "BGR" else 1]
    values = normalise(values, card)
    dtype = np.dtype(card.dtype)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    if card.channel_axis == 1:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], dtype=dtype)


def _in_channels(values: np.ndarray, card: ModelCard) -> np.ndarray:
    """Values [H, W, 1 or 3] in the card's channels; gray as ITU-R 601 weighs colours."""
    if card.channels == "GRAY":
        return values if values.shape[2] == 1 else (values @ np.array(_LUMA))[:, :, None]
    values = values.repeat(3, axis=2) if values.shape[2] == 1 else values
    return values[:, :, ::-1] if card.channels == "BGR" else values
