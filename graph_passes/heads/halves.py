"""A sum's error by its halves: how a method's runs are split in two, without a further pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Prouhet's and Thue's and Morse's: a sum with these signs cancels what is quadratic.
_SIGNS = np.array([1, -1, -1, 1, -1, 1, 1, -1])


class Halves(NamedTuple):
    """Two parts of the runs that stand for each other.

    Attributes:
        first: runs of the first part, which come first of all.
        both: runs of both; what comes then is in neither.
        share: the first part's weight, of that of both.
        error: the error of all, as a part of the parts' difference at equal weights.
        mean: whether totals are means of all runs so far, and not sums.
    """

    first: int
    both: int
    share: float
    error: float
    mean: bool = False


def of_samples(weights: np.ndarray, mean: bool = False) -> Halves | None:
    """The first and the second half of samples that are drawn alike; None of a single run.

    The difference of the parts' means m1 - m2 has the variance v / n1 + v / n2, and the mean of all
    n = n1 + n2 has v / n = (m1 - m2)^2 n1 n2 / n^2, on average.

    Args:
        weights: of each sample, [runs, at once].
        mean: see `Halves`.
    """
    runs = len(weights)
    if runs < 2:
        return None
    counts = (weights > 0).sum(axis=1)
    share = float(counts[: runs // 2].sum() / counts.sum())
    return Halves(runs // 2, runs, share, 1.0, mean)


def in_turns(
    count: int, size: int, group: int = 1, error: float = 1 / np.sqrt(6)
) -> tuple[np.ndarray, Halves] | None:
    """An order of equally weighty points of a path, and its halves; None of too few points.

    Of eight points in a row four are in each half, so that the halves' difference cancels the
    gradient up to what is quadratic along the path. Where the gradient walks at random, of variance
    s^2 for a length of 1, that difference is h^2 s^2 / 2 on average, with points h apart: each
    second step between points counts. The rule's own error is h^2 s^2 / 12 then, a sixth of that.

    Args:
        count: points, ascending, or groups of them that stay together.
        size: points in one run; 4 groups must be a multiple of it.
        group: points in a group.
        error: the rule's own error, as a part of the halves' difference.
    """
    blocks = count // len(_SIGNS)
    if not blocks or 4 * group % size:
        return None
    signs = np.zeros(count, int)
    signs[: blocks * len(_SIGNS)] = np.tile(_SIGNS, blocks)
    order = np.concatenate([np.flatnonzero(signs == sign) for sign in (1, -1, 0)])
    runs = blocks * 4 * group // size
    # The points that are left over have errors of their own.
    rest = np.sqrt(count / (blocks * len(_SIGNS)))
    return order, Halves(runs, 2 * runs, 0.5, float(rest * error))


def error_by_halves(
    halves: Halves, first: np.ndarray, both: np.ndarray, whole: np.ndarray
) -> np.ndarray:
    """|error| / |whole| of each row, float64 [N]; 0 / 0 is 0.

    Args:
        halves: how the runs were split.
        first: the totals behind the first part, [N, elements].
        both: behind both.
        whole: of all runs.
    """
    a, b, all_of = (np.asarray(part, np.float64) for part in (first, both, whole))
    w, rest = halves.share, 1 - halves.share
    # The second part's own, as a sum or as a mean.
    second = (b - w * a) / rest if halves.mean else b - a
    gap = np.sqrt(w * rest) * (a - second) if halves.mean else _scaled(a, second, w)
    error = halves.error * np.linalg.norm(gap, axis=1)
    size = np.linalg.norm(all_of, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / size)


def _scaled(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """sqrt(w1 w2) (first / w1 - second / w2)."""
    ratio = np.sqrt((1 - share) / share)
    return first * ratio - second / ratio
