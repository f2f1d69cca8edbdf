"""What a detector found: "box2", "person", "person#2", "box:x0,y0,x1,y1", "top3", "all"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.subject import BOX, CLASS, OBJECTNESS
from ...models.labels import find_label
from ...models.text import counted
from .boxes import Found, boxes_in, overlap
from .positions import Corners, box_in
from .target import About, Answer, Target, TargetKind, Wanted

_BOX = re.compile(r"(?:box|rank|top(?=1$))([0-9]{1,6})")
_TOP = re.compile(r"top([0-9]{1,4})")
_OF_CLASS = re.compile(r"(.+?)(?:#([0-9]{1,6}))?", re.DOTALL)


class Strongest(NamedTuple):
    """The box in a place, from 1, of one class or of all."""

    place: int
    label: int | None = None


class Several(NamedTuple):
    """The strongest boxes; None: all."""

    most: int | None


class Over(NamedTuple):
    """The box that overlaps a given one most, in the model's input."""

    corners: Corners


def _parse(value: Any, about: About) -> list[Wanted] | None:
    if about.subject.detector is None or isinstance(value, bool | tuple):
        return None
    if isinstance(value, int):
        return [_wanted(Strongest(1, value) if value >= 0 else Strongest(1))]
    if not isinstance(value, str) or value.startswith("index:"):
        return None
    if value in (about.labels or ()):
        return [_wanted(Strongest(1, find_label(about.labels, value)))]
    if value == "all":
        return [_wanted(Several(None))]
    one, several, corners = _BOX.fullmatch(value), _TOP.fullmatch(value), box_in(value)
    if one:
        return [_wanted(Strongest(_from_one(int(one[1]), value)))]
    if several:
        return [_wanted(Several(_from_one(int(several[1]), value)))]
    if corners is not None:
        x0, y0, x1, y1 = corners
        if not (x0 < x1 and y0 < y1):
            raise InvalidInputError(
                f"target {value}: expected box:x0,y0,x1,y1 with x0 < x1 and y0 < y1"
            )
        return [_wanted(Over(corners))]
    return [_of_class(value, about)]


def _from_one(place: int, text: str) -> int:
    if place < 1:
        raise InvalidInputError(f"target {text}: boxes count from 1")
    return place


def _of_class(text: str, about: About) -> Wanted:
    """A label or a class's number, and which of its boxes: person#2."""
    found = _OF_CLASS.fullmatch(text)
    assert found is not None
    name, place = found[1].strip(), int(found[2] or 1)
    label = int(name) if name.isdecimal() else find_label(about.labels, name)
    return _wanted(Strongest(_from_one(place, text), label))


def _wanted(value: Any) -> Wanted:
    return Wanted(KIND.name, value, _text(value))


def _text(value: Any) -> str:
    if isinstance(value, Strongest):
        return f"box{value.place}" if value.label is None else f"class{value.label}-{value.place}"
    if isinstance(value, Several):
        return "boxes" if value.most is None else f"top{value.most}"
    return "box-" + "-".join(f"{number:g}" for number in value.corners)


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    found = boxes_in(about, answer)
    if isinstance(value, Several):
        return [_target(about, found, k) for k in range(len(found))[: value.most]]
    if isinstance(value, Over):
        given = np.array(value.corners)
        parts = [overlap(np.array(box.corners), given) for box in found]
        best = int(np.argmax(parts))
        if parts[best] == 0:
            raise InvalidInputError(
                f"target {_text(value)}: expected a box there, got {counted(len(found), 'box')} "
                "elsewhere"
            )
        return [_target(about, found, best)]
    own = [k for k, box in enumerate(found) if value.label in (None, box.label)]
    if value.place > len(own):
        what = "" if value.label is None else f" of class {_name(about, value.label)}"
        raise InvalidInputError(
            f"target {_text(value)}: the model found {counted(len(own), 'box')}{what}"
        )
    return [_target(about, found, own[value.place - 1])]


def _name(about: About, label: int) -> str:
    known = about.labels and 0 <= label < len(about.labels)
    return about.labels[label] if known and about.labels else f"class {label}"


def _target(about: About, found: list[Found], place: int) -> Target:
    box, part = found[place], about.subject.part
    places = _places(box, about)
    name, label = f"box{place + 1}", _name(about, box.label)
    return Target(
        np.asarray(places, np.int64),
        np.ones(len(places)),
        index=places[0] if part == OBJECTNESS else box.place,
        label=label if part == CLASS else f"{label}, {part}",
        box=box.corners,
        chance=box.objectness[1] if part == OBJECTNESS and box.objectness else box.chance,
        name=name if part == CLASS else f"{name}-{part}",
    )


def _places(box: Found, about: About) -> list[tuple[int, ...]]:
    """The scores that are explained of a box: its class's, its objectness, or its coordinates.

    Of the coordinates the sum, as the output has them: how far right and down the box lies, and how
    large it is, or its corners.

    Raises:
        InvalidInputError: the explained output does not hold them.
    """
    part = about.subject.part
    if part == CLASS:
        return [box.place]
    if part == OBJECTNESS and box.objectness is not None:
        return [box.objectness[0]]
    if part == BOX and box.sides:
        return list(box.sides)
    what = "an objectness" if part == OBJECTNESS else "the boxes' coordinates"
    raise InvalidInputError(
        f"score {part!r}: expected {what} beside the scores in the output "
        f"{about.subject.output.name!r}, which holds none; --score class explains the class"
    )


def _best(about: About) -> Wanted | None:
    return None if about.subject.detector is None else _wanted(Strongest(1))


def _words(about: About) -> str | None:
    if about.subject.detector is None:
        return None
    return 'a box ("box2", "person", "person#2", "box:x0,y0,x1,y1", "all") or an index tuple'


def _moved(value: Any, to_input: Callable[[Any], Any]) -> Any:
    return Over(to_input(value.corners)) if isinstance(value, Over) else value


KIND = TargetKind(
    "box",
    parse=_parse,
    resolve=_resolve,
    best=_best,
    words=_words,
    moved=_moved,
    usual=["top3"],
    of_places=True,
    place=2,
)
