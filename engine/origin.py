"""Where an explanation comes from: what is needed to draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import InvalidInputError
from ..models.plain_card import Card
from .running.answers import MODEL, Reading, answer, best, chance_at, is_close

if TYPE_CHECKING:
    from .inputs.kind import InputKind, ModelInput
    from .pictures.heatmap import Picture

# Classes that a record tells of.
TOP = 5


@dataclass(frozen=True, eq=False)
class Origin:
    """What an explanation was made of.

    Attributes:
        card: how a thing becomes the input and what classes are called; None: not known.
        inputs: the explained inputs by name, as the model takes them.
        reading: which output is explained, and how its numbers are read as answers.
        count: how many inputs there are.
        into: by the explained inputs' names what the model takes there.
        image: path of the file; None: an array was given.
        view: the ground that maps are drawn over, of what was read; None: an array was given.
        kind: of what was read; None: an array was given.
        labels: the classes' names; None: not known.
        doubt: why a map may lie elsewhere than it is drawn; None: it does not.
        damage: what is wrong with the image file, which had some pixels all the same; or None.
        explainer: what explained a photo, for `Explanation.evidence`; a pickle goes without it.
        in_photo: x0, y0, x1, y1 of the first pixel of the model's input in the photo's own pixels;
            None: there is no photo.
        tested: what `Explanation.evidence` has found, by target.
    """

    card: Card | None
    inputs: dict[str, np.ndarray]
    reading: Reading
    count: int
    into: dict[str, ModelInput]
    image: str | None = None
    view: Picture | None = None
    kind: InputKind | None = None
    labels: tuple[str, ...] | None = None
    doubt: str | None = None
    damage: str | None = None
    explainer: Any = None
    in_photo: tuple[float, float, float, float] | None = None
    tested: dict[str, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "explainer": None}


def known_origin(e: Any) -> Origin:
    """What an explanation is of.

    Raises:
        InvalidInputError: it does not know.
    """
    if e.origin is None:
        raise InvalidInputError("this explanation does not know what it is of")
    return e.origin


def recorded(e: Any, row: int) -> dict[str, Any]:
    """What is written beside a picture of one row, as results.json names it.

    Raises:
        InvalidInputError: it does not know what it is of.
    """
    origin = known_origin(e)

    def number(values: np.ndarray | None) -> float | None:
        return None if values is None or not math.isfinite(values[row]) else float(values[row])

    said = {"doubt": origin.doubt, "damage": origin.damage}
    return {
        "method": e.method,
        "target": {**target_record(e, row), "output": origin.reading.output},
        "score": number(e.score),
        **answer_of(e, row),
        "baseline_score": number(e.baseline_score),
        "delta": number(e.delta),
        "relative_delta": number(e.relative_delta),
        "map_error": number(e.map_error),
        "steps": e.steps,
        "feature_map": e.feature_map,
        **{name: text for name, text in said.items() if text is not None},
    }


def target_record(e: Any, row: int) -> dict[str, Any]:
    """What a record says of one row's target: index and label; "minus", "against"."""
    target, labels = e.targets[row], known_origin(e).labels
    found = {"index": target.index, "label": target.named(labels)}
    if target.minus is not None:
        found["minus"] = target.minus
    if target.against:
        found["against"] = True
    if target.name is not None:
        found["name"] = target.name
    if target.box is not None:
        found["box"] = _in_photo(known_origin(e), target.box)
        found["box_in_view"] = _in_view(known_origin(e), target.box)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _in_photo(origin: Origin, box: Sequence[float]) -> list[float]:
    """A box of the model's input in the photo's own pixels."""
    left, top, right, bottom = origin.in_photo or (0.0, 0.0, 1.0, 1.0)
    sizes, shifts = [right - left, bottom - top] * 2, [left, top] * 2
    parts = zip(box, sizes, shifts, strict=True)
    return [round(number * size + shift, 1) for number, size, shift in parts]


def _in_view(origin: Origin, box: Sequence[float]) -> list[float]:
    """A box of the model's input as parts of its width and height."""
    name, x = next(iter(origin.inputs.items()))
    down, across = origin.into[name].features.spatial_axes
    sides = [x.shape[across], x.shape[down]]
    return [round(number / side, 5) for number, side in zip(box, sides * 2, strict=True)]


def region_of(e: Any, row: int) -> np.ndarray | None:
    """The positions that one row's target sums over, where these are some of a picture."""
    region = e.targets[row].region if e.targets else None
    return None if region is None or region.all() else region


def label_of(origin: Origin, index: int) -> str | None:
    """A class's name; None: not known."""
    return origin.labels[index] if origin.labels and index < len(origin.labels) else None


def answer_of(e: Any, row: int, k: int = TOP) -> dict[str, Any]:
    """What the model answered to one input: the target's probability, and the best classes.

    Returns:
        `probability`, `probability_from` ("model", "softmax", "sigmoid" or None), `close_call` and
        `top`, of k classes each with index, label, score and probability.
    """
    origin = known_origin(e)
    reading, output = origin.reading, e.outputs.get(origin.reading.output)
    if output is None:
        return {"probability": None, "probability_from": None, "close_call": False, "top": []}
    found, target = answer(reading, output, row), e.targets[row]
    how, anchor = found.how, None
    if isinstance(target.index, tuple):
        chance = target.chance
        if chance is None:
            chance = chance_at(reading, output, target.index, row)
        how = MODEL if chance is not None else how
    else:
        chance = found.chance(target.index)
        if chance and target.minus is None:
            anchor = float(e.score[row]) * (-1 if target.against else 1) - math.log(chance)
    top = [one._asdict() for one in best(reading, found, origin.labels, k, anchor)]
    return {
        # What speaks against a class has none, nor has a difference.
        "probability": None if target.against or target.minus is not None else chance,
        "probability_from": how,
        "close_call": is_close(top, how, reading.activation),
        "top": top,
    }
