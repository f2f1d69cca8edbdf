"""Where an explanation comes from: what is needed to draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import InvalidInputError
from ..models.card import ModelCard

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Origin:
    """What an explanation was made of.

    Attributes:
        card: how a picture becomes the input and what classes are called; None: not known.
        inputs: the explained inputs by name, as the model takes them.
        output: the explained output's name.
        probabilities: for each row what the model's own output gives, where that is one.
        image: path of the image file; None: an array was given.
        view: what the model saw of that image; None: an array was given.
        doubt: why a map may lie elsewhere than it is drawn; None: it does not.
        damage: what is wrong with the image file, which had some pixels all the same; or None.
    """

    card: ModelCard | None
    inputs: dict[str, np.ndarray]
    output: str
    probabilities: Sequence[float | None]
    image: str | None = None
    view: Image.Image | None = None
    doubt: str | None = None
    damage: str | None = None


def channel_axis_of(origin: Origin, values: np.ndarray) -> int | None:
    """The axis of the channels in one row of a map or an input; None where it has none.

    Raises:
        InvalidInputError: the row is no picture.
    """
    if values.ndim == 2:
        return None
    if values.ndim == 3 and origin.card is not None:
        return origin.card.channel_axis - 1
    if values.ndim == 3:
        # Without a card: the axis that is as short as channels are.
        few = [axis for axis in (0, 2) if values.shape[axis] in (1, 3, 4)]
        if few:
            return few[0]
    raise InvalidInputError(
        f"picture: expected a map [H, W], or with channels, got {list(values.shape)}"
    )


def record_of(e: Any, row: int, origin: Origin) -> dict[str, Any]:
    """What is written beside a picture of one row, as results.json names it."""
    index: Any = list(e.target) if isinstance(e.target, tuple) else int(e.target[row])
    labels = origin.card.labels if origin.card is not None else None
    label = labels[index] if labels and isinstance(index, int) and index < len(labels) else None

    def number(values: np.ndarray | None) -> float | None:
        return None if values is None else float(values[row])

    said = {"doubt": origin.doubt, "damage": origin.damage}
    return {
        **{name: text for name, text in said.items() if text is not None},
        "method": e.method,
        "target": {"index": index, "label": label, "output": origin.output},
        "score": number(e.score),
        "probability": origin.probabilities[row] if row < len(origin.probabilities) else None,
        "baseline_score": number(e.baseline_score),
        "delta": number(e.delta),
        "relative_delta": number(e.relative_delta),
        "map_error": number(e.map_error),
        "steps": e.steps,
        "feature_map": e.feature_map,
    }
