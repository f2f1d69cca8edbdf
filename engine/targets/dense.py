"""A class of an output that has a score for each pixel: its score where the model predicts it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import InvalidInputError, UnsupportedModelError
from ...graph_passes.graph.dims import describe
from ...graph_passes.select.ending import is_probability
from ...graph_passes.select.score import BEST
from .classes import checked_class, class_named, ranks_in
from .target import About, Answer, Target, TargetKind, Wanted, out_of_range


def is_dense(about: About) -> bool:
    """Whether there is a score for each class and pixel."""
    shape = about.subject.logits.shape
    return not about.subject.per_class and shape is not None and len(shape) == 4


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if not is_dense(about) or isinstance(value, bool) or not isinstance(value, int | str):
        return None
    _check_axis(about)
    if isinstance(value, str):
        ranks = None if value in (about.labels or ()) else ranks_in(value)
        if ranks == [1]:
            value = BEST
        elif ranks is not None:
            raise InvalidInputError(
                f"target {value}: needs an output with one score for each class"
            )
        else:
            value = class_named(value, about)
    return [_wanted(value, about)]


def _check_axis(about: About) -> None:
    subject = about.subject
    if subject.readings is not None:
        first, second = subject.readings
        raise UnsupportedModelError(
            f"output {subject.output.name!r} {describe(subject.logits.shape)} may hold {first} or "
            f"{second}, and the graph does not say which: name one score by its index tuple"
        )


def _wanted(value: int, about: About) -> Wanted:
    return Wanted(KIND.name, checked_class(value, about), "top1" if value == BEST else str(value))


def _known(value: Any, about: About) -> Target | None:
    # The model's answer says which pixels.
    return None


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    """The class where the model predicts it; top1: the class of most pixels."""
    subject, scores = about.subject, answer.scores
    axis = subject.class_axis - 1
    if scores.shape[axis] == 1:
        value = max(value, 0)
        found = scores > (0.5 if is_probability(subject.decided) else 0.0)
        region = np.asarray(found.any(axis=axis))
    else:
        predicted = np.argmax(scores, axis=axis)
        if value == BEST:
            value = int(np.argmax(np.bincount(predicted.reshape(-1), minlength=1)))
        if value >= scores.shape[axis]:
            raise out_of_range(subject, value)
        region = predicted == value
    places = np.insert(np.argwhere(region), axis, value, axis=1)
    return [Target(places, np.ones(len(places)), value, region=region)]


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


KIND = TargetKind("pixels", _parse, _known, _resolve, _best, _words, place=4)
