"""How often a stage behind the first runs, and at what: a driver for each kind of stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...graph_passes import finish
from ...graph_passes.graph.names import RESERVED
from ...graph_passes.heads.asking import TOTAL
from ...graph_passes.heads.halves import error_by_halves
from ...graph_passes.methods.method import Adaptive, Repeated
from .adaptive import AdaptivePath, Progress, follow, run_rows
from .session import Held, Session

# The length of a difference of two halves says little of so few elements: it may be 0 by chance.
_FEWEST_ELEMENTS = 100
# Beside the graphs' outputs: what each path took and where, what it misses in all its intervals,
# and the estimated error of its map.
PASSES, POINTS, RESIDUAL, MAP_ERROR = (
    f"{RESERVED}{name}" for name in ("passes", "path_points", "residual", "map_error")
)

Feeds = Mapping[str, np.ndarray | Held]


class Driven(NamedTuple):
    """What a driver is handed.

    Attributes:
        session: of the stage's graph.
        feeds: of the batch: inputs, baselines, and what the stage before returned.
        names: of the attributions in the graph, one for each explained input.
        inputs: how many there are in the batch.
        at_once: (inputs that have the same points) -> how many points of each go in together.
        progress: called with (passes done, passes in all).
    """

    session: Session
    feeds: Feeds
    names: Sequence[str]
    inputs: int
    at_once: Callable[[int], int]
    progress: Progress


class Driver(NamedTuple):
    """What runs one kind of stage.

    Attributes:
        run: (stage, what it is handed) -> the results by name.
        looked_at: (stage, session, what all runs are fed) -> what some of the runs are fed beside.
        apart: whether each input has points of its own, so that inputs go in one by one.
    """

    run: Callable[[Any, Driven], dict[str, np.ndarray]]
    looked_at: Callable[[Any, Session, Mapping[str, Any]], Iterator[Mapping[str, np.ndarray]]]
    apart: bool


def repeated(stage: Repeated, given: Driven) -> dict[str, np.ndarray]:
    """What all runs add up to, and the estimated error of it where its halves tell."""
    session, size = given.session, given.at_once(given.inputs)
    rows = stage.rows(size, given.feeds)
    halves = None if stage.halves is None else stage.halves(size, rows)
    marks = () if halves is None else halves[:2]
    totals = nothing_yet(session)
    found, marked = run_rows(session, given.feeds, rows, totals, given.progress, marks)
    parts = [_flat({k: v[k].numpy() for k in given.names}, given.names) for v in marked]
    whole = _flat(found, given.names)
    # Whether the halves tell depends on how many rows go at once: NaN is "not known".
    found[MAP_ERROR] = np.full(len(whole), np.nan)
    if halves is not None and len(parts) == 2 and whole.shape[1] >= _FEWEST_ELEMENTS:
        found[MAP_ERROR] = error_by_halves(halves, parts[0], parts[1], whole)
    return found


def _first_middle_and_last(
    stage: Repeated, session: Session, feeds: Mapping[str, Any]
) -> Iterator[Mapping[str, np.ndarray]]:
    del session
    rows = stage.rows(1, feeds)
    runs = len(next(iter(rows.values())))
    for index in sorted({0, runs // 2, runs - 1}):
        yield {name: values[index] for name, values in rows.items()}


def adaptive(stage: Adaptive, given: Driven) -> dict[str, np.ndarray]:
    """The attributions of paths that choose their points, and what was measured on the way."""
    passes, tolerance, of_map = stage.passes, stage.tolerance, stage.map_tolerance
    paths = [AdaptivePath(passes, tolerance, map_tolerance=of_map) for _ in range(given.inputs)]
    most, progress = given.at_once(1), given.progress
    found = follow(given.session, given.feeds, given.names, stage.at, paths, most, progress, passes)
    found[PASSES] = np.array([path.passes for path in paths])
    found[POINTS] = np.full((len(paths), passes), np.nan)
    for row, path in zip(found[POINTS], paths, strict=True):
        row[: path.passes] = path.points
    found[RESIDUAL] = np.array([path.residual for path in paths])
    found[MAP_ERROR] = np.array([path.map_error() for path in paths])
    return found


def _ends_and_middle(
    stage: Adaptive, session: Session, feeds: Mapping[str, Any]
) -> Iterator[Mapping[str, np.ndarray]]:
    kind = session.type_of(stage.at)
    for point in (0.0, 0.5, 1.0):
        yield {stage.at: np.full((1, len(feeds[finish.SCORE])), point, kind)}


DRIVERS: dict[type, Driver] = {
    Repeated: Driver(repeated, _first_middle_and_last, apart=False),
    Adaptive: Driver(adaptive, _ends_and_middle, apart=True),
}
"""By the kind of stage; a stage that runs once needs none."""


def driver_of(stage: Repeated | Adaptive) -> Driver:
    """What runs a stage."""
    return DRIVERS[type(stage)]


def nothing_yet(session: Session) -> dict[str, np.ndarray]:
    """Totals before anything was added: one 0 in as many axes."""
    totals = {f"{TOTAL}_{output}" for output in session.outputs}
    return {name: v for name, v in session.zeros().items() if name in totals}


def _flat(values: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """All attributions as [N, elements]."""
    parts = [values[name].reshape(len(values[name]), -1) for name in names]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
