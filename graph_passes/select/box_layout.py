"""How all candidates of a detector's head are read, in numbers and columns, without its values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# What makes a score a chance: nothing, a Sigmoid of its logit, its share among classes that exclude
# each other, their Softmax, or the square root of its product with the objectness.
OWN, SIGMOID, SHARE, SOFTMAX, ROOT = "own", "sigmoid", "share", "softmax", "root"
# Sides of a box.
SIDES = 4
# Where so large a part of an answer's numbers is up to this, they are parts of the input's sides.
SMALL, MOSTLY = 1.5, 0.9
# Where more than this part of an answer's boxes have their corners in order, they are corners.
IN_ORDER = 0.99


class Layout(NamedTuple):
    """A detector's outputs side by side as one table [A, K]: A candidates of K numbers.

    With numbers b of a candidate's box, v = offset + factor b holds its corners x0, y0, x1, y1, or
    where `middles` its middle and two lengths; where `growth` is given, b's last two are
    exp(growth b) first. What v is may be seen at all candidates of an answer alone: whether its
    numbers are parts of the input's sides (`within`), and which of the two they are (`seen`).

    Attributes:
        parts: the outputs of each part; of several, one after the other along the candidates. The
            scores come first.
        classes: the columns of the classes' scores, 0 being the first class.
        sides: the columns of the box's four numbers, or of the bins of all four; none: b is 0.
        offset, factor: [A, 4], or [1, 4] for all candidates.
        middles: whether v is a middle and two lengths.
        seen: whether v is so where not nearly all are in the order of corners; see `IN_ORDER`.
        within: (height, width) of the input, of which v are parts where most are small; see
            `SMALL`. None: they are pixels for sure.
        growth: of lengths that are exponents; or None.
        chance: `OWN`, `SIGMOID`, `SHARE`, `SOFTMAX` or `ROOT`.
        among: the first columns that share 1.
        objectness: the column that scores are multiplied by, or None.
        labels: of boxes that the file picked the column of their classes; or None. -1 means none.
        turned: whether outputs are [K, A].
        picked: whether the file has suppressed what overlaps already.
        beside: so many of the first columns are of the output that is explained.
    """

    parts: tuple[tuple[str, ...], ...]
    classes: tuple[int, ...]
    sides: tuple[int, ...]
    offset: np.ndarray
    factor: np.ndarray
    middles: bool = False
    growth: float | None = None
    seen: bool = False
    within: tuple[int, int] | None = None
    chance: str = OWN
    among: int = 0
    objectness: int | None = None
    labels: int | None = None
    turned: bool = False
    picked: bool = False
    beside: int = 0

    @property
    def in_bins(self) -> bool:
        """Whether each number of a box is the mean over bins."""
        return len(self.sides) > SIDES

    def same_as(self, other: Layout) -> bool:
        """Whether two read a head in the same way."""
        mine, theirs = self._replace(offset=0, factor=0), other._replace(offset=0, factor=0)
        numbers = ((self.offset, other.offset), (self.factor, other.factor))
        return mine == theirs and all(np.array_equal(a, b) for a, b in numbers)
