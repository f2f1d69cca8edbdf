"""Maps that know nothing of the model: what every method has to beat."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

RANDOM, EDGES = "random", "edges"


def random_map(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Independent uniform numbers."""
    return random.random(shape)


def edge_map(x: np.ndarray, channel_axis: int) -> np.ndarray:
    """The magnitude of Sobel's gradient of a picture's mean over channels.

    Args:
        x: [N, C, H, W] or [N, H, W, C].
        channel_axis: of x.

    Returns:
        float64 [N, H, W].
    """
    grey = x.astype(np.float64).mean(axis=channel_axis)
    down, across = (ndimage.sobel(grey, axis=axis, mode="nearest") for axis in (1, 2))
    return np.hypot(down, across)
