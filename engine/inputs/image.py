"""Images in: from a file to the tensor that the model takes, and to the region that it sees."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from ... import InvalidInputError
from ...models.card import ModelCard, black_image, normalise, white_image
from ...models.files import check_regular
from ..pictures.heatmap import smoothed
from .decoding import damage_of, decoded, image_extensions, to_rgb
from .deep import deep_of

BASELINE_CHOICES = ("black", "white", "mean", "blur")
BASELINES_OF_THE_IMAGE = ("mean", "blur")
_LONGEST_VIEW = 4096
# The name of what comes on standard input, of which at most so many bytes are read.
STDIN, _MOST_OF_STDIN = "-", 2**30
_MOST_RESIZED = 2**26
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


@cache
def stdin_bytes() -> bytes:
    """All that comes on standard input, read once."""
    return sys.stdin.buffer.read(_MOST_OF_STDIN)


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
    return lambda size: max(*_covering(size, card)[:2], *card.size)


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
    plain = replace(card, interpolation="nearest", labels=None)
    return np.asarray(_placed(pixels, plain).convert("L")) > 127


def image_files(paths: Sequence[str]) -> list[str]:
    """These paths, with each folder replaced by the files in it whose names end as images' do."""
    ends, found = image_extensions(), []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        names = sorted(n for n in os.listdir(path) if not n.startswith("."))
        found += [os.path.join(path, n) for n in names if os.path.splitext(n)[1].lower() in ends]
    return found


def image_to_tensor(image: Image.Image, card: ModelCard) -> tuple[np.ndarray, Image.Image]:
    """Turn an image into the model's input, and the region of the photo that the model sees.

    Returns the tensor, `card.tensor_shape` in `card.dtype`, and the *view*: what lies under the
    tensor, at the photo's own resolution. For "crop" it is the centre, for "stretch" the whole
    photo (so its aspect is the photo's), for "pad" the photo on its black canvas (at most 4096
    pixels a side).
    """
    image = _checked(image)
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
        blurred = _blurred(model_pixels(_checked(image), card))
        return pixels_to_tensor(blurred, card).astype(np.float32)
    return fixed_baseline(choice, card)


def is_of_the_image(choice: str | Sequence[str] | None) -> bool:
    """Whether a baseline, or one of several, depends on the image that is explained."""
    return any(one in BASELINES_OF_THE_IMAGE for one in _listed(choice))


def baseline_arrays(
    choice: str | Sequence[str], card: ModelCard, image: Image.Image | None = None
) -> np.ndarray | list[np.ndarray]:
    """Make a baseline, as `baseline_image` does, or of several choices a set of them.

    image: needed where `is_of_the_image`.
    """
    made = [
        fixed_baseline(one, card) if image is None else baseline_image(one, image, card)
        for one in _listed(choice)
    ]
    return made[0] if isinstance(choice, str) else made


def _listed(choice: str | Sequence[str] | None) -> Sequence[str]:
    return [] if choice is None else [choice] if isinstance(choice, str) else choice


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
        return _read_array(choice, card)
    if not Path(choice).exists():
        choices = ", ".join(BASELINE_CHOICES)
        raise InvalidInputError(f"baseline: expected {choices} or a file, got {choice!r}")
    return image_to_tensor(read_image(choice), card)[0].astype(np.float32)


def _checked(image: Image.Image) -> Image.Image:
    """Return the image as RGB, for callers who have opened it themselves."""
    if 0 in image.size:
        raise InvalidInputError(f"image: expected pixels, got size {image.size}")
    return image if image.mode == "RGB" else to_rgb(image, image.format)


def _covering(size: tuple[int, int], card: ModelCard) -> tuple[int, int, int, int]:
    """Return (width, height) of the resized photo, and (left, top) of the centre crop in it.

    size: the photo's (width, height).
    """
    width, height = size
    crop_height, crop_width = card.size
    covered_height = round(crop_height / card.crop_fraction)
    covered_width = round(crop_width / card.crop_fraction)
    resized_width, resized_height = covered_width, covered_height
    if covered_height * width >= covered_width * height:
        resized_width = int(covered_height * width / height)
    else:
        resized_height = int(covered_width * height / width)
    left = round((resized_width - crop_width) / 2)
    top = round((resized_height - crop_height) / 2)
    return resized_width, resized_height, left, top


def _crop_box(size: tuple[int, int], card: ModelCard) -> tuple[float, float, float, float]:
    """Return the centre crop as (left, top, right, bottom) in the photo's own pixels."""
    resized_width, resized_height, left, top = _covering(size, card)
    across, down = size[0] / resized_width, size[1] / resized_height
    right, bottom = (left + card.size[1]) * across, (top + card.size[0]) * down
    return left * across, top * down, min(right, size[0]), min(bottom, size[1])


def _padded(size: tuple[int, int], card: ModelCard) -> tuple[int, int, int, int]:
    """Return (left, top, width, height) of the photo on the card's canvas."""
    height, width = card.size
    scale = min(width / size[0], height / size[1])
    inner_width = min(max(round(size[0] * scale), 1), width)
    inner_height = min(max(round(size[1] * scale), 1), height)
    return (width - inner_width) // 2, (height - inner_height) // 2, inner_width, inner_height


def model_pixels(image: Image.Image, card: ModelCard) -> Pixels:
    """Bring an RGB image to the card's size: what `pixels_to_tensor` takes.

    Of an image of more than 8 bits its values, float32 [height, width, 1 or 3] from 0 to 255.
    """
    deep = deep_of(image)
    if deep is None:
        return _placed(image, card)
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(deep, 2, 0)]
    # Interpolation may overshoot, which 8 bits cannot.
    return np.clip(np.stack([np.asarray(_placed(b, card)) for b in bands], axis=2), 0, 255)


def _placed(image: Image.Image, card: ModelCard) -> Image.Image:
    height, width = card.size
    resample = _INTERPOLATIONS[card.interpolation]
    if card.resize == "crop":
        resized_width, resized_height, left, top = _covering(image.size, card)
        if resized_width * resized_height > _MOST_RESIZED:
            # A very long photo: the same but for rounding, without the parts that are cut off.
            return image.resize((width, height), resample, box=_crop_box(image.size, card))
        resized = image.resize((resized_width, resized_height), resample)
        return resized.crop((left, top, left + width, top + height))
    if card.resize == "stretch":
        return image.resize((width, height), resample)
    left, top, inner_width, inner_height = _padded(image.size, card)
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image.resize((inner_width, inner_height), resample), (left, top))
    return canvas


def _blurred(pixels: Pixels) -> Pixels:
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
    zoom = max(min(zoom, _LONGEST_VIEW / max(width, height)), 1 / max(width, height))
    canvas = Image.new("RGB", (max(round(width * zoom), 1), max(round(height * zoom), 1)))
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


def _read_array(path: str, card: ModelCard) -> np.ndarray:
    """Read a baseline from a `.npy` file."""
    check_regular(path, "baseline")
    try:
        # Mapped: what the file says that it holds is compared with its size, and not allocated.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("got an archive of arrays")
    except Exception as error:
        # What its header says is read as Python's own, which raises nearly anything.
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"baseline {path}: expected a .npy array, {reason}") from None
    shape = card.tensor_shape
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise InvalidInputError(
            f"baseline {path}: expected finite numbers broadcastable to {list(shape)}, "
            f"got {array.dtype} {list(array.shape)}"
        )
    return np.array(array, np.float32)
