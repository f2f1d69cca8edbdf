"""Rows of which the structure does not tell whether they are apart: the file is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np

from ... import UnsupportedModelError
from ...graph_passes.select.subject import Subject

Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
# Rounding, where ONNX Runtime takes another kernel for another number of rows ...
_CLOSE = 1e-3
# ... and where it takes the same one, and a row meets the same numbers.
_ALIKE = 1e-6
# What takes the place of a row: its own numbers, elsewhere. One way may leave a row as it was.
_TURNS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (np.flip, lambda row: np.roll(row, 1))


def samples_in(subject: Subject, feeds: Mapping[str, np.ndarray], rows: int, file: Run) -> int:
    """How many samples the explained inputs hold.

    Mostly one in each row. Where it is not known whether rows depend on each other, and the file
    does not say that its answer has as many, it is asked: without an axis of as many places in the
    answer, all rows are one sample, as the nodes of a graph are.

    Args:
        subject: what is explained.
        feeds: the model's inputs.
        rows: how many rows the explained inputs have.
        file: runs the model as it was given.
    """
    lost, said = subject.coupled, subject.batch in (subject.output.shape or ())
    fixed = isinstance(subject.batch, int)
    if lost is None or lost.kind != "unknown" or rows == 1 or said or fixed:
        return rows
    name = subject.output.name
    return rows if rows in np.shape(file(feeds, [name])[name]) else 1


def check_apart(
    subject: Subject, whole: Mapping[str, np.ndarray], rowed: set[str], count: int, file: Run
) -> None:
    """Run the file on each row alone, and with the other rows replaced, and compare.

    Where the file fixes how many rows there are, none can be alone.

    Args:
        subject: what is explained.
        whole: what the model was given of all rows.
        rowed: the inputs that have a row for each.
        count: how many rows there are.
        file: runs the model as it was given.

    Raises:
        UnsupportedModelError: the file answers otherwise for a row, beside others.
    """
    lost, name, fixed = subject.coupled, subject.output.name, subject.batch
    if lost is None or lost.kind != "unknown" or 1 in (count, fixed):
        return
    size = fixed if isinstance(fixed, int) else count

    def answer(rows: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(file(rows, [name])[name], np.float64)

    for first in range(0, count, size):
        given = _rows(whole, rowed, slice(first, first + size))
        together = answer(given)
        fits = _beside_others(given, rowed, together, size, answer)
        if fits and not isinstance(fixed, int):
            alone = [answer(_rows(whole, rowed, slice(n, n + 1))) for n in range(count)]
            fits = any(_close(together, joined) for joined in _joined(alone))
        if not fits:
            raise UnsupportedModelError(
                f"the rows of {subject.input.name!r} depend on each other ({lost.reason}): "
                "the model answers otherwise for a row beside other ones; explain one at a time"
            )


def _rows(whole: Mapping[str, np.ndarray], rowed: set[str], rows: slice) -> dict[str, np.ndarray]:
    return {name: v[rows] if name in rowed else v for name, v in whole.items()}


def _beside_others(
    given: Mapping[str, np.ndarray],
    rowed: set[str],
    together: np.ndarray,
    size: int,
    answer: Callable[[Mapping[str, np.ndarray]], np.ndarray],
) -> bool:
    """Whether rows keep their results while others are replaced.

    For each binary digit of a row's number those with a 1 are kept, and then those with a 0: of any
    two rows, each is kept once while the other is not.
    """
    digits = [(np.arange(size) >> digit) % 2 == 1 for digit in range((size - 1).bit_length())]
    for kept, turn in product([part for ones in digits for part in (ones, ~ones)], _TURNS):
        others = {n: _replaced(v, kept, turn) if n in rowed else v for n, v in given.items()}
        found = answer(others)
        places = [axis for axis, length in enumerate(together.shape) if length == size]
        same = found.shape == together.shape and any(
            _close(np.compress(kept, together, axis), np.compress(kept, found, axis), _ALIKE)
            for axis in places
        )
        if not same:
            return False
    return True


def _replaced(
    array: np.ndarray, kept: np.ndarray, turn: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The rows that are not kept turned, so that they hold the same values elsewhere.

    Numbers that are the same everywhere are halved and moved.
    """
    changed = np.array(array)
    for n in np.flatnonzero(~kept):
        row = array[n]
        turned = turn(row) if np.ndim(row) else row
        if array.dtype.kind == "f" and np.allclose(turned, row, rtol=_CLOSE, equal_nan=True):
            turned = (row * 0.5 + 0.25).astype(array.dtype)
        changed[n] = turned
    return changed


def _joined(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The parts as one, along each axis that they may be joined along."""
    ranks = range(max(parts[0].ndim, 1))
    return [np.concatenate([np.atleast_1d(part) for part in parts], axis) for axis in ranks]


def _close(a: np.ndarray, b: np.ndarray, tolerance: float = _CLOSE) -> bool:
    """Whether they differ by no more than this part of the largest."""
    if a.shape != b.shape:
        return False
    finite = np.abs(a[np.isfinite(a)])
    return np.allclose(
        a, b, rtol=tolerance, atol=tolerance * max(finite.max(initial=0), 1e-6), equal_nan=True
    )
