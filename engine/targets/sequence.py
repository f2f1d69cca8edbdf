"""Characters of a text, and tokens of a sequence: "char3", "text", "token4".

For outputs [N, T, C] with a score for each step and class, where labels are known. A text is read
as CTC has it (Graves et al. 2006, equation 1): the best class of each step, repeats as one, blanks
left out. A character's score is that of its surest step; the text's is the sum of them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...models.text import counted
from .target import About, Answer, Target, TargetKind, Wanted

_TEXT = re.compile(r"(char|token)([0-9]{1,6})")
# Beside the labels there may be a blank, and a space.
_BESIDE = 2


class One(NamedTuple):
    """A character or a token, from 1."""

    what: str
    place: int


class Whole(NamedTuple):
    """All characters."""


class Character(NamedTuple):
    """A character that was read: its step, and its class."""

    step: int
    label: int


def _serves(about: About) -> bool:
    shape = about.subject.logits.shape
    if shape is None or len(shape) != 3 or about.subject.detector is not None:
        return False
    classes = shape[2]
    known = len(about.labels or ())
    return isinstance(classes, int) and known > 1 and 0 <= classes - known <= _BESIDE


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if not isinstance(value, str) or not _serves(about):
        return None
    if value in ("text", "top1"):
        return [Wanted(KIND.name, Whole(), "text")]
    found = _TEXT.fullmatch(value)
    if found is None:
        return None
    if int(found[2]) < 1:
        raise InvalidInputError(f"target {value}: {found[1]}s count from 1")
    return [Wanted(KIND.name, One(found[1], int(found[2])), value)]


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    scores = answer.scores
    if isinstance(value, One) and value.what == "token":
        if value.place > len(scores):
            raise _too_few(value, len(scores), "token")
        step = value.place - 1
        token = Character(step, int(np.argmax(scores[step])))
        return [_over([token], about, scores, str_of(value))]
    found = read(scores, about)
    if isinstance(value, Whole):
        if not found:
            raise InvalidInputError("target text: the model reads no character")
        return [_over(found, about, scores, "text")]
    if value.place > len(found):
        raise _too_few(value, len(found), "character")
    return [_over([found[value.place - 1]], about, scores, str_of(value))]


def _too_few(value: One, count: int, what: str) -> InvalidInputError:
    return InvalidInputError(f"target {str_of(value)}: the model reads {counted(count, what)}")


def str_of(value: One) -> str:
    """As it is asked for."""
    return f"{value.what}{value.place}"


def blank_of(scores: np.ndarray, about: About) -> int | None:
    """The class that stands for no character: the one called so, else the first or the last.

    None where each class has a label, and none is called so.
    """
    labels = about.labels or ()
    classes, known = scores.shape[1], len(labels)
    if classes == known:
        return next((k for k in (0, known - 1) if labels[k].strip("<>[]").lower() == "blank"), None)
    best = np.argmax(scores, axis=1)
    return 0 if (best == 0).sum() >= (best == classes - 1).sum() else classes - 1


def read(scores: np.ndarray, about: About) -> list[Character]:
    """The characters of [T, C] scores, each at its surest step; see CTC's best path."""
    best, blank = np.argmax(scores, axis=1), blank_of(scores, about)
    found: list[Character] = []
    for step, label in enumerate(map(int, best)):
        if label == blank:
            continue
        repeated = step > 0 and best[step - 1] == label
        if repeated and found:
            if scores[step, label] > scores[found[-1].step, label]:
                found[-1] = Character(step, label)
            continue
        found.append(Character(step, label))
    return found


def letter(label: int, scores: np.ndarray, about: About) -> str:
    """A class as a text: its label; the one behind all labels is a space."""
    labels = about.labels or ()
    without_blank = len(labels) < scores.shape[1]
    place = label - (1 if without_blank and blank_of(scores, about) == 0 else 0)
    return labels[place] if 0 <= place < len(labels) else " "


def _over(found: list[Character], about: About, scores: np.ndarray, name: str) -> Target:
    places = np.array([list(one) for one in found], np.int64)
    label = "".join(letter(one.label, scores, about) for one in found)
    return Target(places, np.ones(len(found)), tuple(found[0]), label=label, name=name)


def _best(about: About) -> Wanted | None:
    return Wanted(KIND.name, Whole(), "text") if _serves(about) else None


def _words(about: About) -> str | None:
    return '"text", "char3", "token4" or an index tuple' if _serves(about) else None


KIND = TargetKind(
    "sequence",
    parse=_parse,
    resolve=_resolve,
    best=_best,
    words=_words,
    usual=["text"],
    of_places=True,
    place=5,
)
