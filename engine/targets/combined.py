"""Targets made of others: what speaks against one, and the difference of two.

"not tabby", "-0" (a score times -1), "no" of the only score; "tiger cat - Egyptian cat" (one score
less another).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ... import InvalidInputError
from .asking import known, moved_one, one_wanted, resolve, wanted_of
from .target import About, Answer, Target, TargetKind, Wanted, difference, negative

_NOT = re.compile(r"not\s+(.+)", re.DOTALL)
_NAME = "combined"


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if not isinstance(value, str) or value in (about.labels or ()):
        return None
    if value == "-0" or (value in ("no", "not") and about.subject.classes == 1):
        return [_against(one) for one in wanted_of("0", about)]
    against = _NOT.fullmatch(value)
    if against:
        return [_against(one) for one in wanted_of(against[1], about)]
    return _difference(value, about)


def _against(wanted: Wanted) -> Wanted:
    """What speaks against it; of what speaks against a target, the target."""
    if wanted.kind == _NAME and isinstance(wanted.value, tuple) and len(wanted.value) == 1:
        return wanted.value[0]
    return Wanted(_NAME, (wanted,), f"not-{wanted.text}")


def _difference(text: str, about: About) -> list[Wanted] | None:
    """Both sides of a " - " that are targets; a label may hold one, too."""
    parts = text.split(" - ")
    sides = [(" - ".join(parts[:k]), " - ".join(parts[k:])) for k in range(1, len(parts))]
    errors = []
    for first, second in sides:
        try:
            a, b = (one_wanted(side, about) for side in (first, second))
        except InvalidInputError as error:
            errors.append(error)
            continue
        if a == b:
            raise InvalidInputError(f"target {text}: expected two different targets")
        return [Wanted(_NAME, (a, b), f"{a.text}-minus-{b.text}")]
    if errors:
        raise errors[0]
    return None


def _known(value: Any, about: About) -> Target | None:
    found = [known(one, about) for one in value]
    if len(found) == 1:
        return None if found[0] is None else negative(found[0])
    a, b = found
    if a is None or b is None or a.is_open or b.is_open:
        return None
    return _less(a, b)


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    found = [resolve(one, about, answer) for one in value]
    if len(found) == 1:
        return [negative(target) for target in found[0]]
    for one, own in zip(value, found, strict=True):
        if len(own) != 1:
            raise InvalidInputError(f"target {one.text}: expected one target, got {len(own)}")
    return [_less(found[0][0], found[1][0])]


def _less(a: Target, b: Target) -> Target:
    for target in (a, b):
        if target.minus is not None or target.against:
            raise InvalidInputError(
                "a difference is of two targets, A - B, neither of which is a difference or 'not'"
            )
    if a.index == b.index:
        raise InvalidInputError(f"target {a.asked} - {b.asked}: both are {a.index}")
    return difference(a, b)


def _moved(value: Any, to_input: Callable[[Any], Any]) -> Any:
    """Each of the targets that it is made of."""
    return tuple(moved_one(one, to_input) for one in value)


KIND = TargetKind(
    _NAME,
    parse=_parse,
    resolve=_resolve,
    known=_known,
    moved=_moved,
    place=0,
)
