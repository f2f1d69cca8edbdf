"""Arrays of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(value: Any) -> np.ndarray:
    """A numpy array of anything that says `__array__` or `__dlpack__`, of whatever library.

    Tensors that a gradient is asked of, or that lie on another device, are taken off both first, as
    PyTorch's have `detach` and `cpu` for.
    """
    for step in ("detach", "cpu"):
        take = getattr(value, step, None)
        if callable(take) and not isinstance(value, np.ndarray):
            value = take()
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)
