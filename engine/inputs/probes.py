"""A photo a little changed, and pictures of nothing: what a model's answer is held against."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

# Of each side, what is cut off all around.
_TRIMMED = 0.06


def views_of(photo: Image.Image) -> list[Image.Image]:
    """The photo, its mirror image, and the photo without its rim."""
    width, height = photo.size
    across, down = round(width * _TRIMMED), round(height * _TRIMMED)
    inner = photo.crop((across, down, max(width - across, 1), max(height - down, 1)))
    return [photo, ImageOps.mirror(photo), inner]


def nothings() -> list[Image.Image]:
    """Gray, and noise in which nothing can be seen."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return [Image.new("RGB", (64, 64), (127, 127, 127)), Image.fromarray(noise)]
