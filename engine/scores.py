"""The explained score of many inputs, without an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import OnnxplainError
from ..graph_passes import finish
from ..graph_passes.heads.asking import seeded
from ..graph_passes.select.rows.places import Place
from ..graph_passes.select.subject import Subject
from .checks import check_inputs, check_target, if_out_of_range
from .running.answers import Reading, probabilities, rows_of
from .running.apart import Run, samples_in
from .running.process import BUILDING, Lock
from .running.session import Session, open_session
from .running.settings import Settings

# Rows in one pass. EfficientNet-Lite0 on 2 quiet cores: 7.6 to 8.3 ms a row one by one, 6.5 to 6.8
# in fours, 7.0 to 7.3 in eights; on one thread 11.7 in fours, 12.1 to 13.4 one by one.
_AT_ONCE = 4


class Scores(NamedTuple):
    """What is explained of N inputs.

    Attributes:
        score: float64 [N], the explained number.
        probability: float64 [N], of the explained class, as `answers.probabilities` reads it.
            None where there is no such thing: one number, a map, an index tuple.
        target: int64 [N] classes, or [N, R] index tuples.
    """

    score: np.ndarray
    probability: np.ndarray | None
    target: np.ndarray


class Scorer:
    """Scores inputs of one subject; from any thread.

    Args:
        subject: what is explained.
        settings: for providers and threads.
        reading: how the output is read.
        file: runs the model as it was given.
    """

    def __init__(self, subject: Subject, settings: Settings, reading: Reading, file: Run):
        self._subject, self._settings, self._reading = subject, settings, reading
        self._file = file
        self._sessions: dict[int | None, Session] = {}
        self._lock = Lock()

    def __call__(self, x: Any, target: Any = None) -> Scores:
        """The scores of N inputs.

        Args:
            x: as an explainer takes it; inputs that are not explained may have one row for all.
            target: as an explainer takes it, in numbers, one for each input.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        subject = self._subject
        feeds = check_inputs(subject, x)
        count = samples_in(subject, feeds, len(feeds[subject.input.name]), self._file)
        targets = check_target(subject, target, count)
        session = self._session(targets.shape[1] if targets.ndim == 2 else None)
        size = self._at_once(feeds)
        parts = []
        for first in range(0, count, size):
            rows = slice(first, first + size)
            own = {k: v[rows] if len(v) == count else v for k, v in feeds.items() if v.ndim}
            asked = {**feeds, **own, "target": targets[rows]}
            names = [finish.SCORE, finish.RESOLVED_TARGET, subject.output.name]
            try:
                found = session.run(asked, names)
            except OnnxplainError as error:
                raise if_out_of_range(subject, target, error) from error
            parts.append(self._read(found))
        chances = [part.probability for part in parts if part.probability is not None]
        return Scores(
            np.concatenate([part.score for part in parts]),
            np.concatenate(chances) if len(chances) == len(parts) else None,
            np.concatenate([part.target for part in parts]),
        )

    def _at_once(self, feeds: Mapping[str, np.ndarray]) -> int:
        """Rows in one pass: one where others go beside them, or a row may depend on the others."""
        fixed = self._subject.batch
        if isinstance(fixed, int):
            return fixed
        return _AT_ONCE if len(feeds) == 1 and self._subject.coupled is None else 1

    def _session(self, width: int | None) -> Session:
        with self._lock:
            session = self._sessions.get(width)
            if session is None or session.lost:
                with BUILDING:
                    model = seeded(self._subject, width, from_logits=True)
                    how = self._settings.providers, self._settings.threads
                    session = self._sessions[width] = open_session(model, *how)
            return session

    def _read(self, found: Mapping[str, np.ndarray]) -> Scores:
        score = np.asarray(found[finish.SCORE], np.float64)
        target = np.asarray(found[finish.RESOLVED_TARGET])
        output = found[self._subject.output.name]
        return Scores(score, self._probability(output, target), target)

    def _probability(self, output: np.ndarray, target: np.ndarray) -> np.ndarray | None:
        apart = self._subject.rows.get(self._reading.output) == Place(0)
        rows = rows_of(self._reading, output) if apart and target.ndim == 1 else None
        found = None if rows is None else probabilities(self._reading, rows)[0]
        if found is None or len(found) != len(target):
            return None
        return found[np.arange(len(found)), target]
