"""A class of an output that has a score for each pixel: its scores where the model predicts it.

"cat"; "cat#2", one connected region, the largest first; "at:120,80", the score of what is
predicted there; "box:x0,y0,x1,y1", the scores of what is predicted most in there. Positions are in
the photo's own pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from ... import InvalidInputError, UnsupportedModelError
from ...graph_passes.graph.dims import describe
from ...graph_passes.select.ending import is_probability
from ...graph_passes.select.score import BEST
from ...models.text import counted
from .classes import checked_class, class_named, ranks_in
from .positions import Corners, box_in, point_in, sides_of
from .target import About, Answer, Target, TargetKind, Wanted, out_of_range

_PART = re.compile(r"(.+?)#([0-9]{1,6})", re.DOTALL)


class Part(NamedTuple):
    """One connected region of a class, from 1, the largest first."""

    label: int
    place: int


class At(NamedTuple):
    """What is predicted in x0, y0, x1, y1 of the model's input; of a point both corners are it."""

    corners: Corners


def is_dense(about: About) -> bool:
    """Whether there is a score for each class and pixel."""
    subject = about.subject
    return not subject.per_class and not subject.by_index and subject.detector is None


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if not is_dense(about) or isinstance(value, bool) or not isinstance(value, int | str):
        return None
    _check_axis(about)
    return [_wanted(value if isinstance(value, int) else _named(value, about), about)]


def _named(text: str, about: About) -> Any:
    """What a text asks for: a class, a part of one, or a place."""
    if text in (about.labels or ()):
        return class_named(text, about)
    corners, part = point_in(text) or box_in(text), _PART.fullmatch(text)
    if corners is not None:
        x0, y0, x1, y1 = corners
        if x0 > x1 or y0 > y1:
            raise InvalidInputError(f"target {text}: expected box:x0,y0,x1,y1, x0 < x1 and y0 < y1")
        return At(corners)
    if part:
        if int(part[2]) < 1:
            raise InvalidInputError(f"target {text}: regions count from 1")
        return Part(checked_class(class_named(part[1].strip(), about), about), int(part[2]))
    ranks = ranks_in(text)
    if ranks == [1]:
        return BEST
    if ranks is not None:
        raise InvalidInputError(f"target {text}: needs an output with one score for each class")
    return class_named(text, about)


def _check_axis(about: About) -> None:
    subject = about.subject
    if subject.readings is not None:
        first, second = subject.readings
        raise UnsupportedModelError(
            f"output {subject.output.name!r} {describe(subject.logits.shape)} may hold {first} or "
            f"{second}, and the graph does not say which: name one score by its index tuple"
        )


def _wanted(value: Any, about: About) -> Wanted:
    if isinstance(value, Part):
        return Wanted(KIND.name, value, f"{value.label}-part{value.place}")
    if isinstance(value, At):
        return Wanted(KIND.name, value, "at-" + "-".join(f"{n:g}" for n in value.corners))
    return Wanted(KIND.name, checked_class(value, about), "top1" if value == BEST else str(value))


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    """The class where the model predicts it; top1: the class of most pixels."""
    predicted = _predicted(about, answer)
    if isinstance(value, At):
        return [_in_place(value, about, answer, predicted)]
    place, value = (value.place, value.label) if isinstance(value, Part) else (None, value)
    axis = about.subject.class_axis - 1
    if answer.scores.shape[axis] == 1:
        value = max(value, 0)
    elif value == BEST:
        value = int(np.argmax(np.bincount(predicted.reshape(-1), minlength=1)))
    if value >= answer.scores.shape[axis]:
        raise out_of_range(about.subject, value)
    region, name = predicted == value, None
    if place is not None:
        region, name = _part_of(region, value, place), f"{value}-part{place}"
    return [_over(region, value, axis, name)]


def _predicted(about: About, answer: Answer) -> np.ndarray:
    """The class of each pixel, int; of one class 0 where it is predicted, and -1 elsewhere."""
    axis, scores = about.subject.class_axis - 1, answer.scores
    if scores.shape[axis] > 1:
        return np.argmax(scores, axis=axis)
    limit = 0.5 if is_probability(about.subject.decided) else 0.0
    return np.where(np.squeeze(scores, axis) > limit, 0, -1)


def _over(region: np.ndarray, label: int, axis: int, name: str | None) -> Target:
    """The scores of a class, summed over a region [H, W]."""
    places = np.insert(np.argwhere(region), axis, label, axis=1)
    return Target(places, np.ones(len(places)), label, region=region, name=name)


def _part_of(region: np.ndarray, label: int, place: int) -> np.ndarray:
    """One connected region; pixels that meet at a corner are connected."""
    from scipy import ndimage  # 50 ms, which only this needs

    found, count = cast(tuple[np.ndarray, int], ndimage.label(region, np.ones((3, 3))))
    if place > count:
        raise InvalidInputError(
            f"target {label}#{place}: the model predicts {counted(count, 'region')} of it"
        )
    sizes = np.bincount(found.reshape(-1))[1:]
    return found == 1 + int(np.argsort(-sizes, kind="stable")[place - 1])


def _in_place(value: At, about: About, answer: Answer, predicted: np.ndarray) -> Target:
    """What is predicted at a point, or most in a box: its scores there."""
    height, width = predicted.shape
    sides = sides_of(about, answer)
    x0, y0, x1, y1 = value.corners
    rows, columns = (
        (int(np.floor(a * n / side)), int(np.ceil(b * n / side)))
        for a, b, n, side in ((y0, y1, height, sides[0]), (x0, x1, width, sides[1]))
    )
    region = np.zeros(predicted.shape, bool)
    region[slice(*_inside(rows, height)), slice(*_inside(columns, width))] = True
    if not region.any():
        raise InvalidInputError(
            f"target at {x0:g}, {y0:g}: expected a place inside of what the model sees"
        )
    labels = predicted[region]
    label = max(int(np.bincount(labels[labels >= 0], minlength=1).argmax()), 0)
    shown = value.corners[:2] if (x0, y0) == (x1, y1) else value.corners
    name = "at-" + "-".join(f"{n:g}" for n in shown)
    kept = region & (predicted == label)
    kept = kept if kept.any() else region
    return _over(kept, label, about.subject.class_axis - 1, name)


def _inside(ends: tuple[int, int], length: int) -> tuple[int, int]:
    """Pixels from one on to another, at least one, as far as they are there."""
    first, last = ends
    last = max(last, first + 1)
    return (max(first, 0), min(last, length)) if last > 0 and first < length else (0, 0)


def _best(about: About) -> Wanted | None:
    if not is_dense(about):
        return None
    _check_axis(about)
    return _wanted(BEST, about)


def _words(about: About) -> str | None:
    if not is_dense(about):
        return None
    subject, shape = about.subject, describe(about.subject.logits.shape)
    if subject.readings is not None:
        return f"an index tuple into {shape}, which may hold {' or '.join(subject.readings)}"
    return f"a class along axis {subject.class_axis} of {shape}, or an index tuple"


def _moved(value: Any, to_input: Callable[[Any], Any]) -> Any:
    return At(to_input(value.corners)) if isinstance(value, At) else value


KIND = TargetKind(
    "pixels",
    parse=_parse,
    resolve=_resolve,
    best=_best,
    words=_words,
    moved=_moved,
    of_places=True,
    place=4,
)
