"""Classes: "tabby", "281" or the number, "rank2" (the second best), "top5" (the five best)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.graph.dims import describe
from ...graph_passes.select.score import BEST
from ...models.labels import find_label
from ...models.text import counted
from .target import About, Answer, Target, TargetKind, Wanted, one_score, place_of_class

_TOP = re.compile(r"top([0-9]{1,4})")
_RANK = re.compile(r"(?:rank|top(?=1$))([0-9]{1,9})")
_INDEX = re.compile(r"-?[0-9]{1,18}")


class Rank(NamedTuple):
    """The class with the K-th best score; K counts from 1."""

    place: int


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if not about.subject.per_class:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return [_of_class(value, about)]
    if not isinstance(value, str):
        return None
    if value in (about.labels or ()):
        return [_of_class(find_label(about.labels, value), about)]
    ranks = ranks_in(value)
    if ranks is not None:
        # The last first: it may be more than there are.
        return [_of_rank(place, value, about) for place in ranks[::-1]][::-1]
    return [_of_class(class_named(value, about), about)]


def ranks_in(text: str) -> list[int] | None:
    """The ranks that "top5" or "rank2" stand for, from 1; None: it is neither."""
    one, several = _RANK.fullmatch(text), _TOP.fullmatch(text)
    if one:
        return [int(one[1])]
    return list(range(1, int(several[1]) + 1)) or [0] if several else None


def class_named(text: str, about: About) -> int:
    """The class that a number or a label names.

    Raises:
        InvalidInputError: no label is that, or several are.
    """
    return int(text) if _INDEX.fullmatch(text) else find_label(about.labels, text)


def _of_class(value: int, about: About) -> Wanted:
    return Wanted(KIND.name, checked_class(value, about), "top1" if value == BEST else str(value))


def checked_class(value: int, about: About) -> int:
    """The class, which is in range.

    Raises:
        InvalidInputError: it is not.
    """
    classes = about.subject.classes
    if classes == 1 and value not in (BEST, 0):
        raise InvalidInputError(
            f"target {value} is out of range: {about.subject.output.name!r} is one score, 0; 'not "
            "0' asks for what speaks against it, as for the other of two classes"
        )
    if value < BEST or (isinstance(classes, int) and value >= classes):
        upper = f"0..{classes - 1}" if isinstance(classes, int) else "0 or more"
        raise InvalidInputError(
            f"target {value} is out of range: "
            f"{about.subject.output.name!r} has classes {upper} (-1: top1)"
        )
    return value


def _of_rank(place: int, text: str, about: About) -> Wanted:
    if place == 1:
        return _of_class(BEST, about)
    classes = about.subject.classes
    if place < 1 or (isinstance(classes, int) and place > classes):
        raise InvalidInputError(f"target {text}: the model has {counted(classes, 'class')}")
    return Wanted(KIND.name, Rank(place), f"rank{place}")


def _known(value: Any, about: About) -> Target | None:
    return None if isinstance(value, Rank) else _score_of(value, about)


def _score_of(index: int, about: About) -> Target:
    return one_score(place_of_class(about, index), index=index)


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    if value == BEST:
        value = Rank(1)
    if isinstance(value, Rank):
        value = class_in_place(answer.scores.reshape(-1), value.place)
    return [_score_of(value, about)]


def class_in_place(scores: np.ndarray, place: int) -> int:
    """The class whose score is in this place, from 1; of equal scores the first.

    Raises:
        InvalidInputError: there are fewer classes.
    """
    if place > len(scores):
        raise InvalidInputError(
            f"target rank{place}: the model has {counted(len(scores), 'class')}"
        )
    return int(np.argsort(-scores, kind="stable")[place - 1])


def _best(about: About) -> Wanted | None:
    return _of_class(BEST, about) if about.subject.per_class else None


def _words(about: About) -> str | None:
    if not about.subject.per_class:
        return None
    shape = describe(about.subject.logits.shape)
    return f"a class index into {about.subject.output.name!r} {shape}"


KIND = TargetKind(
    "class",
    parse=_parse,
    resolve=_resolve,
    known=_known,
    best=_best,
    words=_words,
    place=3,
)
