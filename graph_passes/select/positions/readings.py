"""Ways to read the places of a tensor, and how those of several operands become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.tensors import is_constant, optional_input
from . import moves
from .positions import Grids, Places, compressed, nowhere

# A matrix of attention has two readings until it is multiplied with the values.
_MOST_READINGS = 2


class Source(NamedTuple):
    """Where places came from: an operand and one of its readings; `exact`: id for id."""

    operand: int
    reading: int
    exact: bool


class Reading(NamedTuple):
    """One way to read the places of a tensor (by its queries, by its keys), and its sources."""

    places: Places
    sources: tuple[Source, ...] = ()


# For each operand its readings; an empty tuple where they are not known.
Operands = Sequence[tuple[Places, ...]]
# For each output its readings; an empty list where they are not known.
Readings = list[list[Reading]]


def constant_operand(node: gs.Node, index: int) -> np.ndarray | None:
    """A constant operand's value, or None where it is omitted.

    Raises:
        ValueError: it is only known at run time.
    """
    tensor = optional_input(node, index)
    if tensor is None:
        return None
    if not is_constant(tensor):
        raise ValueError(f"{tensor.name!r} is only known at run time")
    return tensor.values


def each_reading(
    operands: Operands, move: Callable[[Places], Places | None], exact: bool = True
) -> list[Reading]:
    """Every reading of operand 0, moved."""
    moved = [(j, move(places)) for j, places in enumerate(operands[0])]
    return [Reading(p, (Source(0, j, exact),)) for j, p in moved if p is not None]


class _Merged:
    """A reading that others are merged into, as long as they agree."""

    def __init__(self, places: Places, source: Source):
        self.places = places
        self.sources = [source]

    @property
    def reading(self) -> Reading:
        return Reading(self.places, tuple(self.sources))

    def absorb(self, grids: Grids, other: Places, source: Source) -> bool:
        """Take in what agrees wherever both stand for a place; False where they do not."""
        ids = _agreed(self.places.ids, other.ids)
        if ids is None:
            # Every second row of one grid, and another of half the size, are the same places.
            mine, theirs = grids.ranked(self.places.ids), grids.ranked(other.ids)
            ids = None if mine is None or theirs is None else _agreed(mine, theirs)
            if ids is None:
                return False
            self.sources = [s._replace(exact=False) for s in self.sources]
            source = source._replace(exact=False)
        self.places = self.places._replace(ids=ids)
        self.sources.append(source)
        return True


def _agreed(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Ids of which each is one of both, where they do not contradict; `a` itself if it can be."""
    if a is b or (b.size == 1 and b.flat[0] < 0):
        return a
    if a.shape == b.shape and (a == b).all():
        return a
    if not ((a < 0) | (b < 0) | (a == b)).all():
        return None
    return compressed(np.where(a < 0, b, a), range(a.ndim))


def elementwise(grids: Grids, operands: Operands, shape: tuple[int, ...]) -> list[Reading]:
    """The places of the operand that has the finest ones; the others must not contradict.

    A coarser operand (a gate for each column, what a mean left) has its effect, but no say.
    """
    speaking = [(k, ps) for k, ps in enumerate(operands) if any(p.anywhere for p in ps)]
    unknown = any(not readings for readings in operands)
    if not speaking:
        sources = tuple(Source(k, 0, True) for k in range(len(operands)))
        return [] if unknown else [Reading(nowhere(shape), sources)]

    def weight(entry: tuple[int, tuple[Places, ...]]):
        finest = max(grids.places_in(places.ids) for places in entry[1])
        return entry[1][0].shape == shape, len(entry[1]), finest

    base, first = max(speaking, key=weight)
    whole = first[0].shape == shape
    if unknown and not whole:
        return []
    found = [_Merged(moves.expanded(p, shape), Source(base, j, True)) for j, p in enumerate(first)]
    for k, readings in enumerate(operands):
        for j, places in enumerate(readings):
            wide = moves.expanded(places, shape)
            if k == base or any([m.absorb(grids, wide, Source(k, j, True)) for m in found]):
                continue
            as_fine = grids.places_in(wide.ids) >= grids.places_in(found[0].places.ids)
            if whole and places.shape == shape and as_fine and len(readings) == len(first) == 1:
                return []
    return [merged.reading for merged in found]


def contracted(
    grids: Grids,
    operands: Operands,
    letters: Sequence[str],
    result: str,
    shape: Sequence[int],
) -> list[Reading]:
    """The readings of an Einsum: those that are summed over give way to those that are not.

    What attention returns stands where its queries do: the keys' and values' places are summed.
    """
    kept: list[_Merged] = []
    summed: list[_Merged] = []
    lost = any(not readings for readings in operands)
    for k, (readings, term) in enumerate(zip(operands, letters, strict=True)):
        axes = [axis for axis, letter in enumerate(term) if letter not in result]
        for j, places in enumerate(readings):
            ids = grids.mixed(places.ids, axes)
            if ids is None:
                lost = True
                continue
            untouched = all(places.ids.shape[axis] == 1 for axis in axes)
            wide = Places(_in_order(ids, term, result), tuple(shape))
            if not wide.anywhere:
                continue
            group, source = kept if untouched else summed, Source(k, j, untouched)
            if not any(other.absorb(grids, wide, source) for other in group):
                group.append(_Merged(wide, source))
    if not kept and lost:
        return []
    if not kept and not summed:
        return [Reading(nowhere(shape), _of_no_place(operands))]
    if len(kept) > _MOST_READINGS or (not kept and len(summed) > 1):
        return []
    return [merged.reading for merged in kept or summed]


def _of_no_place(operands: Operands) -> tuple[Source, ...]:
    """The readings without any place: a class token's, that a matrix is multiplied with."""
    return tuple(
        Source(k, j, True)
        for k, readings in enumerate(operands)
        for j, places in enumerate(readings)
        if not places.anywhere
    )


def _in_order(ids: np.ndarray, term: str, result: str) -> np.ndarray:
    """The ids with the axes of the result, size 1 where the operand has none."""
    present = [letter for letter in result if letter in term]
    gone = [letter for letter in term if letter not in result]
    ids = ids.transpose([term.index(letter) for letter in present + gone])
    size = dict(zip(present, ids.shape, strict=False))
    return ids.reshape([size.get(letter, 1) for letter in result])
