"""From what was asked for to targets: by what is known before, or by what the model answered."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...models.text import counted
from .target import About, Answer, Answers, Target, TargetKind, Wanted

# Of a target that was found before, handed in again.
_GIVEN = "given"


@cache
def kinds() -> dict[str, TargetKind]:
    """Every kind of target by its name, in the order in which they are tried."""
    package = import_module(__name__.rpartition(".")[0])
    found: list[TargetKind] = []
    for module in pkgutil.iter_modules(package.__path__):
        kind = getattr(import_module(f"{package.__name__}.{module.name}"), "KIND", None)
        found += [] if kind is None else [kind]
    names = [kind.name for kind in found]
    assert len(set(names)) == len(names), f"two kinds of one name: {sorted(names)}"
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.place, kind.name))}


def wanted_of(value: Any, about: About) -> list[Wanted]:
    """What one text, number, tuple or None asks for; "top5" for five targets.

    Raises:
        InvalidInputError: it names none.
    """
    if isinstance(value, Wanted):
        return [value]
    if isinstance(value, Target):
        return [Wanted(_GIVEN, value, value.asked or value.key)]
    value = value.strip() if isinstance(value, str) else value
    if isinstance(value, np.integer):
        value = int(value)
    for kind in kinds().values():
        best = kind.best(about) if value is None else None
        found = kind.parse(value, about) if value is not None else best and [best]
        if found is not None:
            return found
    raise InvalidInputError(f"target must be {described(about)}; got {value!r}")


def moved(target: Any, about: About, to_input: Callable[[Any], Any]) -> Any:
    """A target with positions in a photo's own pixels as one in the model's input.

    Args:
        target: as a caller hands it in.
        about: what it is of.
        to_input: (x0, y0, x1, y1) -> the same.
    """
    if isinstance(target, list):
        return [moved(one, about, to_input) for one in target]
    if not isinstance(target, str | Wanted):
        return [target] if isinstance(target, Target) else target
    return [moved_one(wanted, to_input) for wanted in wanted_of(target, about)]


def moved_one(wanted: Wanted, to_input: Callable[[Any], Any]) -> Wanted:
    """See `moved`."""
    kind = kinds().get(wanted.kind)
    return wanted if kind is None else wanted._replace(value=kind.moved(wanted.value, to_input))


def usual(about: About) -> list[str]:
    """What is explained where nobody said, as texts."""
    return next((kind.usual for kind in kinds().values() if kind.best(about) is not None), ["top1"])


def of_places(about: About) -> bool:
    """Whether the scores are of places of the picture: a box's, a region's, a character's."""
    return any(kind.of_places for kind in kinds().values() if kind.best(about) is not None)


def one_wanted(value: Any, about: About) -> Wanted:
    """What a text that stands for one target asks for.

    Raises:
        InvalidInputError: it names none, or several.
    """
    found = wanted_of(value, about)
    if len(found) != 1:
        raise InvalidInputError(
            f"target {value}: expected one target, got {len(found)}; rank{len(found)} is the last "
            "of them"
        )
    return found[0]


def all_wanted(texts: Sequence[Any], about: About) -> list[Wanted]:
    """What several ask for, each once.

    Raises:
        InvalidInputError: see `wanted_of`.
    """
    return list(dict.fromkeys(one for text in texts for one in wanted_of(text, about)))


def described(about: About) -> str:
    """What a target can be for these scores, in words."""
    return next(words for kind in kinds().values() if (words := kind.words(about)) is not None)


def known(wanted: Wanted, about: About) -> Target | None:
    """The target, where no answer is needed for it."""
    if wanted.kind == _GIVEN:
        assert isinstance(wanted.value, Target)
        return wanted.value
    found = kinds()[wanted.kind].known(wanted.value, about)
    return None if found is None else replace(found, asked=wanted.text)


def resolve(wanted: Wanted, about: About, answer: Answer) -> list[Target]:
    """The targets that it comes to, by what the model answered.

    Raises:
        InvalidInputError: there is none of that sort in the answer.
    """
    if wanted.kind == _GIVEN:
        assert isinstance(wanted.value, Target)
        return [wanted.value]
    found = kinds()[wanted.kind].resolve(wanted.value, about, answer)
    return [replace(target, asked=wanted.text) for target in found]


class Asked(NamedTuple):
    """The targets of N inputs, or of one.

    Attributes:
        about: what they are of.
        wanted: as they were asked for: one for each input, or any number for the only one.
        known: the targets, where no answer is needed for any of them.
    """

    about: About
    wanted: tuple[Wanted, ...]
    known: tuple[Target, ...] | None

    def __len__(self) -> int:
        return len(self.wanted)

    def of(self, rows: slice) -> Asked:
        """Some of them."""
        some = None if self.known is None else self.known[rows]
        return Asked(self.about, self.wanted[rows], some)

    def answered(self, count: int, answers: Answers) -> list[Target]:
        """One target for each of N inputs, or all of one input, by what the model answered."""
        return (self.of_one if count == 1 else self.by_row)(answers)

    def by_row(self, answers: Answers) -> list[Target]:
        """One target for each of N inputs, by what the model answered.

        Raises:
            InvalidInputError: one comes to none or to several.
        """
        found = []
        for row, wanted in enumerate(self.wanted):
            own = resolve(wanted, self.about, answers.of(row))
            if len(own) != 1:
                raise InvalidInputError(
                    f"target {wanted.text}: {counted(len(own), 'target')} for one of "
                    f"{counted(len(self.wanted), 'input')}"
                )
            found += own
        return found

    def of_one(self, answers: Answers) -> list[Target]:
        """All targets of the only input, by what the model answered."""
        answer = answers.of(0)
        return [t for wanted in self.wanted for t in resolve(wanted, self.about, answer)]


def asked_for(target: Any, about: About, count: int) -> Asked:
    """The targets of N inputs, or of one, from what a caller handed in.

    Args:
        target: None (the top class of each), or what `wanted_of` takes for all; or a list of such.
        about: what they are of.
        count: N.

    Raises:
        InvalidInputError: see `wanted_of`; or they are not as many as the inputs.
    """
    if isinstance(target, np.ndarray) and target.ndim == 0:
        target = target[()]
    target = _taken_apart(target, about)
    if isinstance(target, list | np.ndarray):
        wanted = _each(target, about)
        if len(wanted) != count and (count != 1 or not wanted):
            raise InvalidInputError(
                f"target has {counted(len(wanted), 'entry')} for {counted(count, 'input')}"
            )
    else:
        wanted = wanted_of(target, about)
        if len(wanted) > 1 and count > 1:
            raise InvalidInputError(
                f"target {target}: {counted(len(wanted), 'target')} for {counted(count, 'input')}"
            )
        wanted = wanted * count if len(wanted) == 1 else wanted
    found = [known(one, about) for one in wanted]
    whole = tuple(one for one in found if one is not None)
    return Asked(about, tuple(wanted), whole if len(whole) == len(wanted) else None)


def _taken_apart(target: Any, about: About) -> Any:
    """An array that some kind reads as values of its own: a list of them, or the only one."""
    if not hasattr(target, "__array__"):
        return target
    for kind in kinds().values():
        found = kind.of_array(target, about)
        if found is not None:
            return found[0] if len(found) == 1 else found
    return target


def _each(target: Any, about: About) -> list[Wanted]:
    if isinstance(target, np.ndarray) and (target.ndim > 1 or target.dtype.kind not in "iuOU"):
        raise InvalidInputError(f"target must be {described(about)}; got {target!r}")
    return [wanted for one in target for wanted in _all_of(one, about)]


def _all_of(one: Any, about: About) -> list[Wanted]:
    """What one entry of a list asks for; a list in it has what a text stood for; see `moved`."""
    if isinstance(one, list) and all(isinstance(part, Wanted) for part in one):
        return one
    return wanted_of(one, about)
