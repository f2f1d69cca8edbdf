"""Pictures as parts of a page: WebP in data URIs, as large as a budget of bytes allows."""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from .heatmap import Heatmap, bar, blend, fit, layer

# Pixels on a map's longer side; the largest that fits is taken. A photo has more by this factor.
SIDES = (48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 256, 288, 320, 384, 448, 512, 640)
_PHOTO = 1.5
_LARGEST_PHOTO = 640
# Pictures from which a size's bytes are estimated, before all of them are made.
_SAMPLED = 24
_BAR = (256, 4)

# Makes a picture with at most so many pixels on its longer side.
Draw = Callable[[int], bytes]


def photo(view: Image.Image) -> Draw:
    """A photo, never enlarged."""
    small = view.convert("RGB")
    small.thumbnail((_LARGEST_PHOTO, _LARGEST_PHOTO))

    def draw(side: int) -> bytes:
        picture = small.copy()
        picture.thumbnail((round(_PHOTO * side), round(_PHOTO * side)))
        return _webp(picture, quality=75)

    return draw


def overlaid(heatmap: Heatmap, view: Image.Image) -> Draw:
    """A map's colours with their densities, never enlarged; or with a ground of its own.

    Of signed maps densities are rounded to few levels (alpha's quality 30), which nobody sees under
    two hues: a DeepLIFT map of 160 x 160 takes 12 to 15 kB, where quality 70 takes 15 to 18 kB.
    Others tell of the evidence by their densities alone, and 8 levels are rings around it: they
    are kept. A Grad-CAM map of 160 x 160 takes 5 to 6 kB so, instead of 1.4 to 1.6.
    """
    alpha = 30 if heatmap.signed else 100

    def draw(side: int) -> bytes:
        if heatmap.placed is not None:
            side = min(round(_PHOTO * side), _LARGEST_PHOTO)
            return _webp(blend(view, heatmap, fit(view.size, side, side)), quality=75)
        height, width = heatmap.values.shape
        side = min(side, max(width, height))
        return _webp(layer(heatmap, fit((width, height), side, side)), quality=60, alpha=alpha)

    return draw


def scale_bar(signed: bool) -> str:
    """The bar of all maps of one kind as a data URI."""
    kind = Heatmap(np.ones((1, 1)), 1.0, signed, (), ())
    return uri_of(_webp(bar(kind, _BAR), quality=90))


def uri_of(content: bytes) -> str:
    """WebP as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def fitted(pictures: Sequence[Draw], room: int) -> list[str] | None:
    """The pictures as data URIs, all of the largest size whose bytes together fit into the room.

    Sizes are tried on some of the pictures; what counts is measured on all of them, encoded.

    Returns:
        None where even the smallest do not fit.
    """
    some = pictures[:: max(len(pictures) // _SAMPLED, 1)]

    def guess(side: int) -> float:
        return sum(_length(draw(side)) for draw in some) * len(pictures) / max(len(some), 1)

    likely = bisect_right(SIDES, room, key=guess)
    # One larger size is tried, as the guess may be high.
    for side in reversed(SIDES[: likely + 1]):
        made = [draw(side) for draw in pictures]
        if sum(map(_length, made)) <= room:
            return [uri_of(content) for content in made]
    return None


def _length(content: bytes) -> int:
    return len(uri_of(content))


def _webp(picture: Image.Image, quality: int, alpha: int = 100) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, alpha_quality=alpha, method=4)
    return file.getvalue()
