"""Positions in texts, and the sides of what they are in."""

from __future__ import annotations

import re

from ... import InvalidInputError
from .target import About, Answer

Corners = tuple[float, float, float, float]
_NUMBER = r"\s*(-?[0-9]+(?:\.[0-9]*)?)\s*"
_POINT = re.compile(rf"at:{_NUMBER},{_NUMBER}")
_BOX = re.compile(rf"box:{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")


def box_in(text: str) -> Corners | None:
    """x0, y0, x1, y1 of "box:12,40,200,380"; None: the text is another."""
    found = _BOX.fullmatch(text)
    if found is None:
        return None
    x0, y0, x1, y1 = map(float, found.groups())
    return x0, y0, x1, y1


def point_in(text: str) -> Corners | None:
    """x, y, x, y of "at:120,80"; None: the text is another."""
    found = _POINT.fullmatch(text)
    if found is None:
        return None
    x, y = map(float, found.groups())
    return x, y, x, y


def sides_of(about: About, answer: Answer) -> tuple[int, int]:
    """Height and width of the model's input.

    Raises:
        InvalidInputError: nobody knows which axes they are.
    """
    axes = about.subject.sources[0].features.spatial_axes
    if len(axes) != 2:
        raise InvalidInputError(
            "it is not known which axes of the input are height and width; a card's layout says it"
        )
    height, width = (answer.of_all.shape[axis - 1] for axis in axes)
    return height, width
