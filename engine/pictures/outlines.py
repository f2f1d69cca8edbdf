"""What is explained, where it is a part of the picture: its outline, drawn over the map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)


def with_box(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """The picture with a frame: light on a dark edge, to be seen on every ground.

    box: x0, y0, x1, y1 as parts of the picture's sides.
    """
    width, height = picture.size
    sides = [side * part for side, part in zip((width, height) * 2, box, strict=True)]
    x0, x1 = (min(max(round(x), 1), width - 2) for x in sides[::2])
    y0, y1 = (min(max(round(y), 1), height - 2) for y in sides[1::2])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x0 - 1, y0 - 1, max(x1, x0) + 1, max(y1, y0) + 1), outline=_DARK, width=4)
    draw.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=_LIGHT, width=2)
    return picture


def with_region(picture: Image.Image, region: np.ndarray) -> Image.Image:
    """The picture with the outline of a region: light on a dark edge.

    region: bool [H, W], stretched over the picture.
    """
    mask = Image.fromarray(region.astype(np.uint8) * 255).resize(picture.size, 0)
    inside = np.asarray(mask) > 0
    pixels = np.array(picture)
    for colour, first, last in ((_DARK, -3, 3), (_LIGHT, -1, 1)):
        wide, narrow = (_grown(inside, pixels) for pixels in (last, first))
        pixels[wide & ~narrow] = colour
    return Image.fromarray(pixels)


def _grown(region: np.ndarray, pixels: int) -> np.ndarray:
    """The region, larger by some pixels or smaller; the picture's edge is no edge of it."""
    from scipy import ndimage  # 50 ms, which only this needs

    if pixels > 0:
        return ndimage.binary_dilation(region, iterations=pixels)
    return ndimage.binary_erosion(region, iterations=-pixels, border_value=1)
