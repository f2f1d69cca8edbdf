"""Where the rows of a batch lie in a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np


class Place(NamedTuple):
    """Row n at index (b * N + n) * after + a of an axis, for b < before and a < after."""

    axis: int
    before: int = 1
    after: int = 1


class Lost(NamedTuple):
    """Why rows cannot be told apart.

    Attributes:
        kind: "mixed" (an operator takes rows together), "quantiser" (only a dynamic quantiser's
            range does) or "unknown" (this file does not know what an operator does to them).
        reason: names the operator and its node.
    """

    kind: str
    reason: str


Rows: TypeAlias = "Place | Lost | None"


def join_rows(place: Place, parts: Sequence[np.ndarray]) -> np.ndarray:
    """One tensor of all rows, from tensors of some of them, each with its rows at `place`."""
    axis, before = place[:2]
    if before == 1:
        return np.concatenate(parts, axis=axis)
    shape = parts[0].shape
    split = [p.reshape(*shape[:axis], before, -1, *shape[axis + 1 :]) for p in parts]
    joined = np.concatenate(split, axis=axis + 1)
    return joined.reshape(*shape[:axis], -1, *shape[axis + 1 :])
