"""One score by its place: "index:1,20,30", "1,20,30", or the tuple, behind the batch axis."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ... import InvalidInputError
from ...graph_passes.graph.dims import describe
from ...models.text import counted
from .target import About, Answer, Target, TargetKind, Wanted, index_text, one_score

_NUMBERS = r"[0-9]{1,18}(?:\s*,\s*[0-9]{1,18})"
_TEXT = re.compile(rf"index:\s*({_NUMBERS}*)|({_NUMBERS}+)")


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if isinstance(value, str):
        found = _TEXT.fullmatch(value)
        if found is None or value in (about.labels or ()):
            return None
        value = tuple(int(part) for part in (found[1] or found[2]).split(","))
    if not isinstance(value, tuple):
        return None
    index = _checked(about, value)
    return [Wanted(KIND.name, index, index_text(index))]


def _checked(about: About, target: tuple) -> tuple[int, ...]:
    shape, output = about.subject.logits.shape, about.subject.output.name
    integers = all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in target)
    rank_fits = shape is None or len(target) == len(shape) - 1
    if not integers or not rank_fits:
        raise InvalidInputError(
            f"target {target!r}: an index tuple needs "
            f"{counted(len(shape or ()) - 1, 'whole number')}, "
            f"after the batch axis of {output!r} {describe(shape)}"
        )
    for index, dim in zip(target, list(shape or [])[1:], strict=False):
        if index < 0 or (isinstance(dim, int) and index >= dim):
            raise InvalidInputError(
                f"target {target!r} is out of range of {output!r} {describe(shape)}"
            )
    return tuple(int(index) for index in target)


def _known(value: Any, about: About) -> Target | None:
    return one_score(value, index=value)


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    return [one_score(value, index=value)]


def _words(about: About) -> str | None:
    if not about.subject.by_index:
        return None
    shape = describe(about.subject.logits.shape)
    return f"an index tuple (after the batch axis) into {about.subject.output.name!r} {shape}"


KIND = TargetKind(
    "index",
    parse=_parse,
    resolve=_resolve,
    known=_known,
    words=_words,
    place=1,
)
