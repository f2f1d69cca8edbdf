"""Targets as people name them: a class index, a label, top1, top2 ..., an index tuple."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import InvalidInputError
from ..graph_passes.select.subject import Subject
from ..models.labels import find_label
from .checks import check_target

_TOP = re.compile(r"top([0-9]{1,9})")
_INDEX = re.compile(r"-?[0-9]{1,18}")
_TUPLE = re.compile(r"[0-9]{1,18}(\s*,\s*[0-9]{1,18})+")

# A class, or an index tuple.
Target = int | tuple[int, ...]


class Rank(NamedTuple):
    """The target topK; K counts from 1."""

    place: int


def target_of(text: str, subject: Subject, labels: Sequence[str] | None) -> Target | Rank:
    """What a text names: -1 for top1, a rank, a class, or an index tuple.

    Raises:
        InvalidInputError: no label is that, or the class is out of range.
    """
    text = text.strip()
    rank = _TOP.fullmatch(text)
    if rank:
        return _checked_rank(int(rank[1]), subject)
    target: Target
    if _INDEX.fullmatch(text):
        target = int(text)
    elif _TUPLE.fullmatch(text):
        target = tuple(int(part) for part in text.split(","))
    else:
        target = find_label(labels, text)
    check_target(subject, target, 1)
    return -1 if target == -1 else target


def _checked_rank(place: int, subject: Subject) -> int | Rank:
    if place == 1:
        check_target(subject, -1, 1)
        return -1
    if subject.needs_index or subject.is_map:
        raise InvalidInputError("top2 and below need an output with one score for each class")
    classes = subject.classes
    if place < 1 or (isinstance(classes, int) and place > classes):
        raise InvalidInputError(f"target top{place}: the model has {classes} classes")
    return Rank(place)


def class_in_place(scores: np.ndarray, place: int) -> int:
    """The class whose score is in this place, from 1; of equal scores the first.

    Raises:
        InvalidInputError: there are fewer classes.
    """
    if place > len(scores):
        raise InvalidInputError(f"target top{place}: the model has {len(scores)} classes")
    return int(np.argsort(-scores, kind="stable")[place - 1])


def in_numbers(
    target: Any,
    subject: Subject,
    labels: Sequence[str] | None,
    count: int,
    scores: Callable[[], np.ndarray],
) -> Any:
    """A target as `Explainer` takes it, with every text replaced by what it names.

    Args:
        target: a text, or a list that may hold some; anything else is given back.
        subject: what is explained.
        labels: the classes' names, if known.
        count: how many inputs there are, N.
        scores: -> the model's own scores for them, [N, classes]; asked for a rank only.

    Raises:
        InvalidInputError: see `target_of`.
    """
    if isinstance(target, str):
        found = target_of(target, subject, labels)
        if isinstance(found, Rank):
            return [class_in_place(row, found.place) for row in _rows(scores(), count)]
        return found
    texts = isinstance(target, list) and any(isinstance(one, str) for one in target)
    if not texts:
        return target
    named = [target_of(t, subject, labels) if isinstance(t, str) else t for t in target]
    if any(isinstance(one, tuple) and not isinstance(one, Rank) for one in named):
        raise InvalidInputError("an index tuple stands alone: give one target")
    if not any(isinstance(one, Rank) for one in named):
        return named
    rows = _rows(scores(), count)
    if len(rows) == 1:
        rows = rows * len(named)
    if len(rows) != len(named):
        raise InvalidInputError(f"target has {len(named)} entries for {count} inputs")
    return [
        class_in_place(row, one.place) if isinstance(one, Rank) else one
        for one, row in zip(named, rows, strict=True)
    ]


def _rows(scores: np.ndarray, count: int) -> list[np.ndarray]:
    if count == 1:
        return [scores.reshape(-1)]
    if scores.shape[:1] != (count,):
        raise InvalidInputError("top2 and below need an output with a row for each input")
    return list(scores.reshape(count, -1))
