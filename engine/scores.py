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
from .running.locks import BUILDING, Lock
from .running.session import Session, open_session
from .running.settings import Settings

# Rows in one pass. EfficientNet-Lite0 on 2 quiet cores: 7.6 to 8.3 ms a row one by one, 6.5 to 6.8
# in fours, 7.0 to 7.3 in eights; on one thread 11.7 in fours, 12.1 to 13.4 one by one.
_AT_ONCE = 4


class Scores(NamedTuple):
    """What is explained of N inputs.

    Attributes:
        score: float64 [N], the explained number.
        probability: float64 [N], of the explained class: what a final Softmax, LogSoftmax (its
            exponential) or Sigmoid gives, or the Softmax of plain logits where the output has
            several classes. None where there is no such thing: one number, a map, an index tuple.
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
    """

    def __init__(self, subject: Subject, settings: Settings):
        self._subject, self._settings = subject, settings
        self._sessions: dict[int | None, Session] = {}
        self._lock = Lock()

    def __call__(self, x: Any, target: Any = None) -> Scores:
        """The scores of N inputs.

        Args:
            x: as an explainer takes it; inputs that are not explained may have one row for all.
            target: as an explainer takes it, one for each input.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        subject = self._subject
        feeds = check_inputs(subject, x)
        count = len(feeds[subject.input.name])
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
        output = np.asarray(found[self._subject.output.name], np.float64)
        return Scores(score, probability_of(self._subject, output, target), target)


def probability_of(subject: Subject, output: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """The class's probability, [N]; see `Scores`."""
    rows = output.reshape(len(output), -1) if output.ndim else output
    apart = subject.rows.get(subject.output.name) == Place(0)
    plain = target.ndim == 1 and not subject.is_map and not subject.needs_index
    if not (apart and plain) or len(rows) != len(target):
        return None
    chosen = rows[np.arange(len(rows)), target]
    if subject.activation == "LogSoftmax":
        return np.exp(chosen)
    if subject.activation is not None or _are_probabilities(rows):
        return chosen
    if rows.shape[1] < 2:
        return None
    shifted = np.exp(rows - rows.max(axis=1, keepdims=True))
    return shifted[np.arange(len(rows)), target] / shifted.sum(axis=1)


def _are_probabilities(rows: np.ndarray) -> bool:
    """Whether an output that ends in no activation that was seen is one of probabilities."""
    whole = np.allclose(rows.sum(axis=1), 1, atol=1e-3)
    return rows.shape[1] > 1 and bool((rows >= 0).all()) and whole
