"""What of a photo an array shows that somebody else made of it."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
from PIL import Image

from ...models.card import ModelCard
from .image import image_to_tensor, read_image_file
from .kind import ModelInput

logger = logging.getLogger("onnxplain")
# Correlations with the array's own picture: what the card makes of a photo is all but it (another
# resampling is left); a view of another part is far below.
_ALIKE, _NEARER, _LEAST_ALIKE = 0.95, 0.05, 0.7


def ground_of(image: Any, into: ModelInput, own: Image.Image | None) -> Image.Image:
    """What a map is drawn over, of a photo that belongs to the explained input.

    Args:
        image: a path, a PIL image, or an array [H, W, 3] of bytes.
        into: what the model takes.
        own: the input's own picture; None where the photo is known to have become the input.
    """
    if isinstance(image, str | os.PathLike):
        image = read_image_file(image)
    elif not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    if not isinstance(into.card, ModelCard):
        return image if own is None else _that_shows(own, image, image)
    seen = image_to_tensor(image, into.card)[1]
    return seen if own is None else _that_shows(own, seen, image)


def _that_shows(own: Image.Image, seen: Image.Image, whole: Image.Image) -> Image.Image:
    """What of a photo an array shows that the caller made: the card's view of it, or all of it.

    Where it shows neither, nobody knows which part it is of: then the array's own picture.
    """
    alike = {id(view): _likeness(own, view) for view in (seen, whole)}
    best = max((seen, whole), key=lambda view: alike[id(view)])
    # The card's, unless another is clearly nearer.
    if alike[id(seen)] > _ALIKE or alike[id(best)] - alike[id(seen)] < _NEARER:
        best = seen
    if alike[id(best)] > _LEAST_ALIKE:
        return best
    logger.warning(
        "the array does not show what the model card makes of the photo, nor all of it: the map is "
        "drawn on the array itself"
    )
    return own


def _likeness(own: Image.Image, view: Image.Image) -> float:
    """The correlation of two pictures' grey values, in the first one's size."""
    grey = [np.asarray(one.convert("L").resize(own.size), np.float64) for one in (own, view)]
    a, b = (values - values.mean() for values in grey)
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else 0.0
