"""Where an explanation comes from: what is needed to draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import InvalidInputError
from ..models.plain_card import Card
from .records.record import Evidence, Outcome
from .running.answers import MODEL, Reading, Top, answer, best, chance_at, is_close
from .targets.recorded import TargetRecord

if TYPE_CHECKING:
    from .explainer import Explainer
    from .explanation import Explanation
    from .inputs.kind import InputKind, ModelInput
    from .pictures.heatmap import Picture

# Classes that a record tells of.
TOP = 5


@dataclass
class Shared:
    """What all results of one input have in common, made when it is first needed.

    Attributes:
        blurred: the input without what is in any place of it; see `evidence`.
        packed: the input as a file has it, deflated.
    """

    blurred: np.ndarray | None = None
    packed: bytes = b""


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
        shared: what all tests of its input have in common.
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
    explainer: Explainer | None = None
    in_photo: tuple[float, float, float, float] | None = None
    tested: dict[str, Evidence | None] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "explainer": None}


def known_origin(e: Explanation) -> Origin:
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


def recorded(e: Explanation, row: int) -> Outcome:
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


def target_record(e: Explanation, row: int) -> TargetRecord:
    """What a record says of one row's target."""
    target, origin = e.targets[row], known_origin(e)
    in_box: dict[str, tuple[float, ...]] = {}
    if target.box is not None:
        in_box["box"] = _in_photo(origin, target.box)
        in_box["box_in_view"] = _in_view(origin, target.box)
    return TargetRecord(
        index=target.index,
        label=target.named(origin.labels),
        output=origin.reading.output,
        minus=target.minus,
        against=target.against,
        name=target.name,
        versus=target.versus,
        own=target,
        **in_box,
    )


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


def region_of(e: Explanation, row: int) -> np.ndarray | None:
    """The positions that one row's target sums over, where these are some of a picture."""
    region = e.targets[row].region if e.targets else None
    return None if region is None or region.all() else region


def answer_of(e: Explanation, row: int, k: int = TOP) -> Answered:
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
