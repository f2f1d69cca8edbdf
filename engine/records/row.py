"""Rows of tables: what a batch keeps of one image, method and target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The columns of numbers, in their order.
NUMBERS = "score", "probability", "baseline_score", "delta", "relative_delta", "map_error"


@dataclass(frozen=True)
class Row:
    """One row; of an image that failed, `image` and `error` alone, or a method beside them.

    Attributes:
        box: x0, y0, x1, y1 of an explained box in the photo's own pixels; None: of no box.
        target_index: a class, or a list; None: the row is a failure.
        attribution: as it is stored; None: it is not.
        error: why there is no explanation; None: there is one.
    """

    image: str
    method: str | None = None
    target_index: int | list[int] | None = None
    target_label: str | None = None
    score: float | None = None
    probability: float | None = None
    baseline_score: float | None = None
    delta: float | None = None
    relative_delta: float | None = None
    map_error: float | None = None
    steps: int | None = None
    box: list[float] | None = None
    attribution: np.ndarray | None = None
    error: str | None = None
