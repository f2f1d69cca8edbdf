"""Targets as people name them: a class, a label, rank2, top5, an index tuple, or "not" those."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import InvalidInputError
from ..graph_passes.select.subject import Subject
from ..models.labels import find_label
from ..models.text import counted
from .checks import check_target

_TOP = re.compile(r"top([0-9]{1,4})")
_RANK = re.compile(r"(?:rank|top(?=1$))([0-9]{1,9})")
_NOT = re.compile(r"not\s+(.+)", re.DOTALL)
_INDEX = re.compile(r"-?[0-9]{1,18}")
_TUPLE = re.compile(r"[0-9]{1,18}(\s*,\s*[0-9]{1,18})+")

# A class, or an index tuple.
Target = int | tuple[int, ...]


class Rank(NamedTuple):
    """The target rankK, the class with the K-th best score; K counts from 1."""

    place: int


class Against(NamedTuple):
    """What speaks against a target: the score times -1; or against a list of classes."""

    target: Any


def targets_of(texts: Sequence[str], subject: Subject, labels: Sequence[str] | None) -> list[Any]:
    """What texts name, each as `target_of` has it; "top5" is the five best, and so five targets.

    Raises:
        InvalidInputError: see `target_of`.
    """
    found = []
    for text in texts:
        negation = _NOT.fullmatch(text.strip())
        several = _TOP.fullmatch((negation[1] if negation else text).strip())
        if several and text.strip() not in (labels or ()):
            # The last first: it may be more than there are.
            last = _checked_rank(int(several[1]), text, subject)
            ranks = [-1, *map(Rank, range(2, int(several[1]))), *([last] if last != -1 else [])]
            found += [Against(rank) for rank in ranks] if negation else ranks
        else:
            found.append(target_of(text, subject, labels))
    return found


def target_of(text: str, subject: Subject, labels: Sequence[str] | None) -> Any:
    """What a text names: -1 for top1, a rank, a class, or an index tuple; or `Against` one of them.

    Raises:
        InvalidInputError: no label is that, the class is out of range, or it names several.
    """
    text = text.strip()
    against = _NOT.fullmatch(text)
    if text == "-0":
        return Against(target_of("0", subject, labels))
    if against and text not in (labels or ()):
        found = target_of(against[1], subject, labels)
        return found.target if isinstance(found, Against) else Against(found)
    rank = _RANK.fullmatch(text)
    if rank:
        return _checked_rank(int(rank[1]), text, subject)
    several = _TOP.fullmatch(text)
    if several:
        raise InvalidInputError(
            f"target {text}: expected one target, got {several[1]}; rank{several[1]} is the "
            "last of them"
        )
    target: Target
    if _INDEX.fullmatch(text):
        target = int(text)
    elif _TUPLE.fullmatch(text):
        target = tuple(int(part) for part in text.split(","))
    else:
        target = find_label(labels, text)
    check_target(subject, target, 1)
    return -1 if target == -1 else target


def _checked_rank(place: int, text: str, subject: Subject) -> int | Rank:
    if place == 1:
        check_target(subject, -1, 1)
        return -1
    if subject.needs_index or subject.is_map:
        raise InvalidInputError(f"target {text}: needs an output with one score for each class")
    classes = subject.classes
    if place < 1 or (isinstance(classes, int) and place > classes):
        raise InvalidInputError(f"target {text}: the model has {counted(classes, 'class')}")
    return Rank(place)


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


def in_numbers(
    target: Any,
    subject: Subject,
    labels: Sequence[str] | None,
    count: int,
    scores: Callable[[], np.ndarray],
) -> Any:
    """A target as `Explainer` takes it, with every text replaced by what it names.

    Of "not" targets an `Against` of that.

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
        found = targets_of([target], subject, labels)
        if len(found) > 1 and count > 1:
            raise InvalidInputError(
                f"target {target}: {counted(len(found), 'target')} for {counted(count, 'input')}"
            )
        target = found[0] if len(found) == 1 else found
    if isinstance(target, Against):
        return Against(in_numbers(target.target, subject, labels, count, scores))
    if isinstance(target, Rank):
        return [class_in_place(row, target.place) for row in _rows(scores(), count)]
    by_name = str | Rank | Against
    if not (isinstance(target, list) and any(isinstance(one, by_name) for one in target)):
        return target
    named = []
    for one in target:
        named += targets_of([one], subject, labels) if isinstance(one, str) else [one]
    against = [isinstance(one, Against) for one in named]
    if all(against):
        named = [one.target for one in named]
        return Against(in_numbers(named, subject, labels, count, scores))
    if any(against):
        raise InvalidInputError("a list of targets is 'not' those classes, or those: not both")
    if any(isinstance(one, tuple) and not isinstance(one, Rank) for one in named):
        raise InvalidInputError("an index tuple stands alone: give one target")
    if not any(isinstance(one, Rank) for one in named):
        return named
    rows = _rows(scores(), count)
    if len(rows) == 1:
        rows = rows * len(named)
    if len(rows) != len(named):
        raise InvalidInputError(
            f"target has {counted(len(named), 'entry')} for {counted(count, 'input')}"
        )
    return [
        class_in_place(row, one.place) if isinstance(one, Rank) else one
        for one, row in zip(named, rows, strict=True)
    ]


def _rows(scores: np.ndarray, count: int) -> list[np.ndarray]:
    if count == 1:
        return [scores.reshape(-1)]
    if scores.shape[:1] != (count,):
        raise InvalidInputError("ranks need an output with a row for each input")
    return list(scores.reshape(count, -1))


def groups(asked: Iterable[Any]) -> list[Any]:
    """What is explained together: all classes; all that are asked against.

    An index tuple asks for a graph of its own.
    """
    targets = list(dict.fromkeys(asked))
    against = [target.target for target in targets if isinstance(target, Against)]
    own = [target for target in targets if not isinstance(target, Against)]
    return [*_together(own), *map(Against, _together(against))]


def _together(targets: Sequence[Target]) -> list[Any]:
    classes = [target for target in targets if isinstance(target, int)]
    return [*([classes] if classes else []), *(t for t in targets if isinstance(t, tuple))]


def listed(group: Any) -> Sequence[Any]:
    """The targets of one of `groups`."""
    if isinstance(group, Against):
        return [Against(target) for target in listed(group.target)]
    return group if isinstance(group, list) else [group]


def plain(target: Any) -> Any:
    """What is asked for or against."""
    return target.target if isinstance(target, Against) else target
