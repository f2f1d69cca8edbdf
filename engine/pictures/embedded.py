"""Pictures as parts of a page: WebP in data URIs, as large as a budget of bytes allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from .heatmap import Heatmap, bar, fit, layer

# Pixels on the longer side, the largest that fits is taken.
SIDES = (640, 512, 448, 384, 320, 272, 224, 192, 160, 128, 96, 64, 48)
# Pictures from which a size's bytes are estimated, before all of them are made.
_SAMPLED = 24
_BAR = (256, 4)

# Makes a picture with at most so many pixels on its longer side.
Draw = Callable[[int], bytes]


def photo(view: Image.Image) -> Draw:
    """A photo, never enlarged."""
    small = view.convert("RGB")
    small.thumbnail((SIDES[0], SIDES[0]))

    def draw(side: int) -> bytes:
        picture = small.copy()
        picture.thumbnail((side, side))
        return _webp(picture, quality=78)

    return draw


def overlaid(heatmap: Heatmap) -> Draw:
    """A map's colours with their densities, never enlarged."""

    def draw(side: int) -> bytes:
        height, width = heatmap.values.shape
        side = min(side, max(width, height))
        return _webp(layer(heatmap, fit((width, height), side, side)), quality=70)

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
    for side in SIDES:
        guess = sum(len(uri_of(draw(side))) for draw in some) * len(pictures) / max(len(some), 1)
        if guess > 1.1 * room:
            continue
        made = [uri_of(draw(side)) for draw in pictures]
        if sum(map(len, made)) <= room:
            return made
    return None


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, alpha_quality=quality, method=4)
    return file.getvalue()
