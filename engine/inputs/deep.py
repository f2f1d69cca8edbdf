"""Images of more than 8 bits: their values as floats from 0 to 255, which lose none of the bits.

Pillow decodes colours of 16 bits to their high bytes. Told that the file has its bytes in the other
order, it decodes the low ones; both together are the values.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

_DEEP = "onnxplain: deep"
_NATIVE = "RGB;16B" if sys.byteorder == "little" else "RGB;16L"
# What a file's pixels are called -> what they are called for their low bytes.
_LOW = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": _NATIVE,
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": _NATIVE.replace("RGB", "RGBA"),
}
_FORMATS = "PNG", "TIFF"
# Gray and alpha of 16 bits are four bytes: both bytes of each.
_GRAY_AND_ALPHA = "LA;16B"


def deep_of(image: Image.Image) -> np.ndarray | None:
    """The values of an image that has more than 8 bits: float32 [H, W, 1 or 3]; else None.

    From 0 to 255, as the image's own pixels are, which hold them rounded.
    """
    values = image.info.get(_DEEP)
    fits = isinstance(values, np.ndarray) and values.shape[:2] == image.size[::-1]
    return values if fits else None


def keep_deep(image: Image.Image, values: np.ndarray | None) -> Image.Image:
    """The same image with its values, unless its pixels hold them as they are.

    values: [H, W] or [H, W, 3], from 0 to 255.
    """
    image.info.pop(_DEEP, None)
    if values is not None and (values != np.rint(values)).any():
        image.info[_DEEP] = np.atleast_3d(values).astype(np.float32)
    return image


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file, not yet decoded, has colours of 16 bits."""
    name = _name(image)
    known = image.format in _FORMATS and "transparency" not in image.info
    return known and (name in _LOW or name == _GRAY_AND_ALPHA)


def colours(file: Path | bytes) -> np.ndarray:
    """The upright colours of a file that `is_deep`, on white: float32 [H, W, 3], 0 to 255."""
    with _opened(file) as image:
        name = _name(image)
        if name == _GRAY_AND_ALPHA:
            both = np.asarray(_decoded(image, "RGBA")).astype(np.uint16)
            values = (both[..., 0::2] << 8 | both[..., 1::2])[..., [0, 0, 0, 1]]
        else:
            high = np.asarray(_decoded(image, name)).astype(np.uint16)
            with _opened(file) as again:
                values = high << 8 | np.asarray(_decoded(again, _LOW[name]))
    values = values / np.float32(257)
    if values.shape[2] == 3:
        return values
    seen = values[..., 3:] / 255
    return seen * values[..., :3] + (1 - seen) * 255


def _opened(file: Path | bytes) -> Image.Image:
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    return Image.open(source, formats=_FORMATS)


def _name(image: Image.Image) -> str:
    """What the decoder is told of a file's pixels."""
    tile = getattr(image, "tile", None)
    told = tile[0].args if tile else None
    told = told[0] if isinstance(told, tuple) and told else told
    return told if isinstance(told, str) else ""


def _decoded(image: Any, name: str) -> Image.Image:
    """The pixels of an opened file, its decoder told that they are something else; upright."""
    tiles = []
    for tile in image.tile:
        args = (name, *tile.args[1:]) if isinstance(tile.args, tuple) else name
        tiles.append(tile._replace(args=args))
    image.tile = tiles
    image.load()
    return ImageOps.exif_transpose(image)
