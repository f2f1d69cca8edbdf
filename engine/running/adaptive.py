"""Integrated Gradients to a tolerance: each path from baseline to input gets points of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ...graph_passes import finish
from ...graph_passes.heads.asking import TOTAL
from ...graph_passes.heads.quadrature import (
    FEWEST,
    NARROWEST,
    ROUNDING,
    STORE,
    coarse_points,
    residuals,
    urgency,
)
from .map_error import Sample, estimated_error, sample_of
from .session import Held, Session

Progress = Callable[[int, int], None]


class AdaptivePath:
    """The points of one input's path, and what was measured there.

    The attribution is the trapezoid sum over all intervals, so every gradient that was paid for
    counts. An interval that is bisected gives its sum back, for which both its gradients are kept
    (float32, on the host). Where the store is full, the least urgent intervals are settled: their
    sum goes into `_settled` for good and their gradients are let go. So memory is bounded for any
    number of steps.

    Args:
        steps: the most points, at least 2.
        tolerance: stop when |delta| / |score's difference| is at most this after two rounds in a
            row (once may be chance); None: use all steps.
        store: bytes of gradients to keep.
        map_tolerance: stop when the estimated error of the map is at most this, too.

    |delta| is what counts, and not the sum of |r_i| that bounds it: that is the error that
    completeness defines and `relative_delta` reports, and what other libraries compare with; where
    the gradient jumps at thousands of kinks, residuals of both signs cancel, and their magnitudes
    are ten times larger than what they leave.
    """

    def __init__(
        self,
        steps: int,
        tolerance: float | None,
        store: int = STORE,
        map_tolerance: float | None = None,
    ):
        self._steps, self._tolerance, self._store = steps, tolerance, store
        self._map_tolerance = map_tolerance
        self._points = np.zeros(0)
        self._slopes = np.zeros(0)
        self._scores = np.zeros(0)
        # For each point its gradient times (x - x'), flat; None where it was let go.
        self._gradients: list[np.ndarray | None] = []
        # For each interval: the distance of its gradients, and whether it may be bisected.
        self._distances = np.zeros(0)
        self._open = np.zeros(0, bool)
        self._settled: np.ndarray | float = 0.0
        # What stands for the gradients that were let go.
        self._sample: Sample | None = None
        self._drawn: list[np.ndarray | None] = []
        # The attribution, of so many passes.
        self._summed = 0, np.zeros(1)
        self._hits = 0
        self._pending = list(coarse_points(steps))

    @property
    def passes(self) -> int:
        """Points measured so far."""
        return len(self._points)

    @property
    def points(self) -> np.ndarray:
        """Where these were measured, ascending; float64 [passes]."""
        return self._points

    @property
    def reached(self) -> bool:
        """Whether the tolerances are kept, after two rounds in a row."""
        return self._hits >= 2

    @property
    def relative_delta(self) -> float:
        """|delta| / |score's difference| of the points so far."""
        gap = abs(self._scores[-1] - self._scores[0])
        delta = abs(self._residuals().sum())
        return float(delta / gap) if gap else (np.inf if delta else 0.0)

    def next_points(self, most: int) -> np.ndarray:
        """Up to `most` points to measure now; none when the path is finished."""
        if not self._pending:
            self._pending = self._middles(most)
        points, self._pending = self._pending[:most], self._pending[most:]
        return np.asarray(points, np.float64)

    def _middles(self, most: int) -> list[float]:
        """The middles of the most urgent intervals."""
        most = min(most, self._steps - self.passes)
        if self.reached or most < 1:
            return []
        order = np.argsort(-self._urgency(), kind="stable")
        wide = self._open & (np.diff(self._points) > NARROWEST)
        chosen = [i for i in order if wide[i]][:most]
        return [float(self._points[i] + self._points[i + 1]) / 2 for i in chosen]

    def _residuals(self) -> np.ndarray:
        return residuals(self._points, self._slopes, self._scores)

    def _urgency(self) -> np.ndarray:
        return urgency(self._points, self._residuals(), self._distances)

    def add(self, points: np.ndarray, gradients: np.ndarray, scores: np.ndarray) -> None:
        """Take what a pass measured.

        Args:
            points: [K], from `next_points`.
            gradients: gradient times (x - x') at each, [K, ...].
            scores: [K].
        """
        for point, gradient, score in zip(points, gradients, scores, strict=True):
            self._insert(float(point), gradient.reshape(-1).astype(np.float32), float(score))
        self._let_go()
        if not self._pending and (self._tolerance, self._map_tolerance) != (None, None):
            self._hits = self._hits + 1 if self._sum_is_kept() and self._map_is_kept() else 0

    def _sum_is_kept(self) -> bool:
        if self._tolerance is None:
            return True
        # A difference that is rounding itself cannot be met to a part of it.
        rounding = abs(self._residuals().sum()) <= ROUNDING * np.abs(self._scores).max()
        return bool(rounding or self.relative_delta <= self._tolerance)

    def _map_is_kept(self) -> bool:
        if self._map_tolerance is None:
            return True
        # From here on the same elements are looked at after each round.
        self._sample = self._sampled()
        return self.map_error() <= self._map_tolerance

    def _insert(self, point: float, gradient: np.ndarray, score: float) -> None:
        at = int(np.searchsorted(self._points, point))
        self._points = np.insert(self._points, at, point)
        self._slopes = np.insert(self._slopes, at, gradient.sum(dtype=np.float64))
        self._scores = np.insert(self._scores, at, score)
        self._gradients.insert(at, gradient)
        self._drawn.insert(at, None)
        if len(self._points) == 1:
            return
        # One interval becomes two; at an end, one is added.
        sides = [i for i in (at - 1, at) if 0 <= i < len(self._points) - 1]
        distances = [self._distance(i) for i in sides]
        replaced = slice(sides[0], sides[0] + len(sides) - 1)
        rest = np.delete(self._distances, replaced), np.delete(self._open, replaced)
        self._distances = np.insert(rest[0], sides[0], distances)
        self._open = np.insert(rest[1], sides[0], [True] * len(sides))

    def _distance(self, interval: int) -> float:
        left, right = self._gradients[interval], self._gradients[interval + 1]
        assert left is not None and right is not None, "a settled interval was bisected"
        return float(np.linalg.norm(right - left))

    def _part(self, interval: int) -> np.ndarray:
        """h (g_i + g_{i+1}) (x - x') / 2."""
        left, right = self._gradients[interval], self._gradients[interval + 1]
        assert left is not None and right is not None, "a settled interval was counted again"
        width = self._points[interval + 1] - self._points[interval]
        return (left.astype(np.float64) + right) * (width / 2)

    def _let_go(self) -> None:
        """Settle intervals, the least urgent first, until the store holds what is left."""
        kept = [g for g in self._gradients if g is not None]
        surplus = len(kept) - max(FEWEST, self._store // kept[0].nbytes)
        if surplus <= 0 or self._pending:
            return
        self._sample = self._sampled()
        for interval in np.argsort(self._urgency(), kind="stable"):
            if not self._open[interval]:
                continue
            self._settled = self._settled + self._part(interval)
            self._open[interval] = False
            for point in (interval, interval + 1):
                gradient = self._gradients[point]
                if gradient is not None and not self._open[max(point - 1, 0) : point + 1].any():
                    self._drawn[point] = self._sample.of(gradient)
                    self._gradients[point] = None
                    surplus -= 1
            if surplus <= 0:
                return

    def map_error(self) -> float:
        """The estimated |attribution - integral| / |attribution|; see `estimated_error`."""
        sample, kept = self._sampled(), self._sample is not None
        rows = []
        for place, gradient in enumerate(self._gradients):
            row = self._drawn[place]
            if row is None:
                assert gradient is not None, "a gradient was let go without its sample"
                row = sample.of(gradient)
                if kept:
                    self._drawn[place] = row
            rows.append(row)
        return estimated_error(self._points, np.stack(rows))

    def _sampled(self) -> Sample:
        """What stands for a gradient from now on, where one was let go; else for all so far."""
        return self._sample or sample_of(self.attribution())

    @property
    def residual(self) -> float:
        """Sum |r_i| along the path."""
        return float(np.abs(self._residuals()).sum())

    def attribution(self) -> np.ndarray:
        """The trapezoid sum over all intervals, float64, flat."""
        passes, known = self._summed
        if passes != self.passes:
            known = np.zeros(1) + self._settled
            for interval in np.flatnonzero(self._open):
                known = known + self._part(int(interval))
            self._summed = self.passes, known
        return known


def _finite(arrays: Iterable[np.ndarray]) -> bool:
    """Whether all of these numbers are finite; 0.03 ms for a picture's gradients."""
    return all(bool(np.isfinite(array).all()) for array in arrays)


def run_rows(
    session: Session,
    feeds: Mapping[str, np.ndarray | Held],
    rows: Mapping[str, np.ndarray],
    totals: Mapping[str, np.ndarray],
    progress: Progress,
    marks: Sequence[int] = (),
) -> tuple[dict[str, np.ndarray], list[Mapping[str, Held]]]:
    """What a repeated graph returns, added up over its rows; it stops where that is no number.

    Everything stays on the provider's device until the last row is done; a total on a device other
    than the CPU is looked at after 1, 2, 4, 8 ... rows.

    Args:
        session: of a `Repeated`'s model.
        feeds: the batch of inputs, baselines and seed.
        rows: an array [runs, ...] for each input that every run has its own value of.
        totals: what the inputs that hold the outputs so far begin with.
        progress: called with (runs done, runs in all).
        marks: after which runs the totals so far are kept.

    Returns:
        The outputs, and those at the marks, still on the device.
    """
    known = session.place(feeds)
    runs = len(next(iter(rows.values())))
    placed = [
        session.place({name: np.asarray(v[k]) for name, v in rows.items()}) for k in range(runs)
    ]
    added: Mapping[str, np.ndarray | Held] = totals
    held: dict[str, Held] = {}
    marked: list[Mapping[str, Held]] = []
    for done, row in enumerate(placed, start=1):
        held = session.hold({**known, **row, **added})
        added = {f"{TOTAL}_{name}": value for name, value in held.items()}
        progress(done, runs)
        if done in marks:
            marked.append(held)
        # What is no number stays none, however much is added to it.
        if session.cheap_to_see(done) and not _finite(v.numpy() for v in added.values()):
            break
    return {name: value.numpy() for name, value in held.items()}, marked


def follow(
    session: Session,
    feeds: Mapping[str, np.ndarray | Held],
    names: Sequence[str],
    at: str,
    paths: Sequence[AdaptivePath],
    most: int,
    progress: Progress,
    steps: int,
) -> dict[str, np.ndarray]:
    """Measure until every path is finished; one batch of inputs, each with points of its own.

    It stops where a gradient or a score is no finite number, which no other point would mend.

    Args:
        session: what `path_gradients` made.
        feeds: the batch of inputs, baselines and seed.
        names: the attributions' names, one for each explained input.
        at: the input that says where on its path each point is.
        paths: one for each row of the batch; several only where the file fixes its batch.
        most: points of each path in one pass.
        progress: called with (passes done, passes at most).
        steps: passes at most.

    Returns:
        The attributions named, float32 [N, ...].
    """
    shapes: list[tuple[int, ...]] = []
    while True:
        chosen = [path.next_points(most) for path in paths]
        count = max(len(points) for points in chosen)
        if not count:
            break
        # A finished path of a fixed batch goes along at its baseline; nobody looks at it.
        alphas = np.zeros((count, len(paths)), session.type_of(at))
        for row, points in enumerate(chosen):
            alphas[: len(points), row] = points
        results = session.run({**feeds, at: alphas})
        sound = _finite(results[name] for name in (*names, finish.SCORE))
        shapes = [results[name].shape[2:] for name in names]
        flat = [results[name].reshape(count, len(paths), -1) for name in names]
        gradients = np.concatenate(flat, axis=2) if len(flat) > 1 else flat[0]
        for row, (path, points) in enumerate(zip(paths, chosen, strict=True)):
            if len(points):
                used = slice(0, len(points))
                path.add(points, gradients[used, row], results[finish.SCORE][used, row])
        if not sound:
            return {
                name: np.full((len(paths), *shape), np.nan, np.float32)
                for name, shape in zip(names, shapes, strict=True)
            }
        progress(min(max(path.passes for path in paths), steps - 1), steps)
    progress(steps, steps)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    rows = [np.split(path.attribution(), ends) for path in paths]
    return {
        name: np.stack([row[k] for row in rows]).reshape(-1, *shape).astype(np.float32)
        for k, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
