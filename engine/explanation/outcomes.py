"""What came out for each target, read off an explanation: what is said beside its picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ... import InvalidInputError
from ..records.record import Outcome
from ..running.answers import MODEL, Top, answer, best, chance_at, is_close
from ..targets.recorded import TargetRecord
from ..targets.target import Target
from .attributions import Attributions
from .origin import Origin

# Classes that a record tells of.
TOP = 5


def known_origin(e: Attributions) -> Origin:
    """What an explanation is of.

    Raises:
        InvalidInputError: it does not know.
    """
    if e.origin is None:
        raise InvalidInputError("this explanation does not know what it is of")
    return e.origin


class Answered(NamedTuple):
    """What the model answered to one input.

    Attributes:
        probability: of the target; None: not known.
        probability_from: "model", "softmax", "sigmoid" or None.
        close_call: whether the first two classes are near each other.
        top: the best classes, the best first.
    """

    probability: float | None = None
    probability_from: str | None = None
    close_call: bool = False
    top: tuple[Top, ...] = ()


def recorded(e: Attributions, row: int) -> Outcome:
    """What is said beside a picture of one row.

    Raises:
        InvalidInputError: it does not know what it is of.
    """
    origin = known_origin(e)

    def number(values: np.ndarray | None) -> float | None:
        return None if values is None or not math.isfinite(values[row]) else float(values[row])

    return Outcome(
        method=e.method,
        target=target_record(e, row),
        score=number(e.score),
        **answer_of(e, row)._asdict(),
        baseline_score=number(e.baseline_score),
        delta=number(e.delta),
        relative_delta=number(e.relative_delta),
        map_error=number(e.map_error),
        steps=e.steps,
        feature_map=e.feature_map,
        doubt=origin.doubt,
        damage=origin.damage,
    )


def target_record(e: Attributions, row: int) -> TargetRecord:
    """What a record says of one row's target."""
    target, origin = e.targets[row], known_origin(e)
    in_box: dict[str, tuple[float, ...]] = {}
    if target.box is not None:
        in_box["box"] = _in_photo(origin, target.box)
        in_box["box_in_view"] = _in_view(origin, target.box)
    return TargetRecord(
        index=target.index,
        label=_label(target, origin),
        output=origin.reading.output,
        minus=target.minus,
        against=target.against,
        name=target.name,
        versus=target.versus,
        own=target,
        **in_box,
    )


def _label(target: Target, origin: Origin) -> str | None:
    """The class's name; of a map of one score that nobody named it is the foreground."""
    named = target.named(origin.labels)
    one = target.region is not None and origin.reading.number == 1
    return "foreground" if named is None and one else named


def _in_photo(origin: Origin, box: Sequence[float]) -> tuple[float, ...]:
    """A box of the model's input in the photo's own pixels."""
    left, top, right, bottom = origin.in_photo or (0.0, 0.0, 1.0, 1.0)
    sizes, shifts = [right - left, bottom - top] * 2, [left, top] * 2
    parts = zip(box, sizes, shifts, strict=True)
    return tuple(round(number * size + shift, 1) for number, size, shift in parts)


def _in_view(origin: Origin, box: Sequence[float]) -> tuple[float, ...]:
    """A box of the model's input as parts of its width and height."""
    name, x = next(iter(origin.inputs.items()))
    down, across = origin.into[name].features.spatial_axes
    sides = [x.shape[across], x.shape[down]]
    return tuple(round(number / side, 5) for number, side in zip(box, sides * 2, strict=True))


def region_of(e: Attributions, row: int) -> np.ndarray | None:
    """The positions that one row's target sums over, where these are some of a picture."""
    region = e.targets[row].region if e.targets else None
    return None if region is None or region.all() else region


def answer_of(e: Attributions, row: int, k: int = TOP) -> Answered:
    """What the model answered to one input: the target's probability, and the best classes.

    Of `k` classes.
    """
    origin = known_origin(e)
    reading, output = origin.reading, e.outputs.get(origin.reading.output)
    if output is None:
        return Answered()
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
    top = best(reading, found, origin.labels, k, anchor)
    # What speaks against a class has none, nor has a difference.
    none = target.against or target.minus is not None
    close = is_close(top, how, reading.activation)
    return Answered(None if none else chance, how, close, tuple(top))
