"""The explained score of many inputs, without an explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import OnnxplainError
from ...graph_passes import finish
from ...graph_passes.graph.names import RESERVED
from ...graph_passes.select.rows.places import Place
from ...graph_passes.select.subject import Subject
from ..checking.checks import check_inputs, if_out_of_range
from ..explanation.scored import Scores
from ..running.answers import Reading, probabilities, rows_of
from ..running.apart import Run, samples_in
from ..running.process import BUILDING, Lock
from ..running.session import Session, open_session, run_small
from ..running.settings import Settings
from ..targets.asking import Asked, asked_for
from ..targets.target import About, Answers, Target, at_head, indices_of, out_of_range

# Rows in one pass. EfficientNet-Lite0 on 2 quiet cores: 7.6 to 8.3 ms a row one by one, 6.5 to 6.8
# in fours, 7.0 to 7.3 in eights; on one thread 11.7 in fours, 12.1 to 13.4 one by one.
_AT_ONCE = 4
# All scores, as they are weighed; and what they are picked from, where a file picks them.
_LOGITS, _HEAD = f"{RESERVED}logits", f"{RESERVED}head"


def answering(subject: Subject, picked: bool = False) -> onnx.ModelProto:
    """A model of the file's inputs: its outputs, all scores, and what the top class is read off.

    picked: whether what the network picks inside is given, too.
    """
    copy = finish.working_copy(subject)
    for name, tensor in zip(finish.held_names(subject), copy.held, strict=True):
        if picked:
            given = gs.Variable(name, dtype=tensor.dtype, shape=tensor.shape)
            copy.graph.inputs.append(given)
            for node in list(tensor.outputs):
                node.inputs = [given if t is tensor else t for t in node.inputs]
    head = {} if copy.head is None else {_HEAD: copy.head.tensor}
    own = {_LOGITS: copy.logits, finish.DECIDED: copy.decided}
    return finish.finish(copy.graph, {**own, **head})


class Scorer:
    """Scores inputs; from any thread.

    Args:
        about: what is explained.
        settings: for providers and threads.
        reading: how the output is read.
        file: runs the model as it was given.
    """

    def __init__(self, about: About, settings: Settings, reading: Reading, file: Run):
        self._about, self._settings, self._reading = about, settings, reading
        self._file = file
        self._opened: dict[bool, Session] = {}
        self._lock = Lock()

    def __call__(self, x: Any, target: Any = None) -> Scores:
        """The scores of N inputs.

        Args:
            x: as an explainer takes it; inputs that are not explained may have one row for all.
            target: as an explainer takes it, one for each input.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        subject = self._about.subject
        feeds = check_inputs(subject, x)
        count = samples_in(subject, feeds, len(feeds[subject.input.name]), self._file)
        asked = asked_for(target, self._about, count)
        picked = asked.known is not None and all(target.picks for target in asked.known)
        if picked and count < len(asked):
            assert asked.known is not None
            return _joined([self(x, target) for target in asked.known])
        session, size = self._session(picked), self._at_once(feeds)
        # All outputs only for targets that are found in them.
        every = [t.name for t in subject.graph.outputs] if asked.known is None else [self._output]
        held = asked.known is not None and all(target.held for target in asked.known)
        weighed = _HEAD if held else _LOGITS
        names = [*every, weighed, finish.DECIDED]
        shape = feeds[subject.input.name].shape[1:]
        scores, chances, targets = [], [], []
        for first in range(0, count, size):
            rows = slice(first, first + size)
            own = {k: v[rows] if len(v) == count else v for k, v in feeds.items() if v.ndim}
            if picked:
                own |= self._picks(asked.of(rows) if count > 1 else asked)
            try:
                found = session.run({**feeds, **own}, names)
            except OnnxplainError as error:
                raise if_out_of_range(subject, target, error) from error
            part = _targets_of(asked.of(rows) if count > 1 else asked, count, found, shape)
            targets += part
            scores += self._weighed(found[weighed], list(map(at_head, part)) if held else part)
            chances.append(self._probability(found[self._output], part))
        known = [chance for chance in chances if chance is not None]
        return Scores(
            np.asarray(scores, np.float64),
            np.concatenate(known) if len(known) == len(chances) else None,
            indices_of(targets),
            tuple(targets),
        )

    def answers(self, x: Any) -> Answers:
        """What the model answers, without a target: one pass.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        subject = self._about.subject
        feeds = check_inputs(subject, x)
        names = [*(t.name for t in subject.graph.outputs), finish.DECIDED]
        found = self._session().run(feeds, names)
        return Answers(found[finish.DECIDED], found, feeds[subject.input.name].shape[1:], run_small)

    @property
    def _output(self) -> str:
        return self._about.subject.output.name

    def _at_once(self, feeds: Mapping[str, np.ndarray]) -> int:
        """Rows in one pass: one where others go beside them, or a row may depend on the others."""
        subject = self._about.subject
        if isinstance(subject.batch, int):
            return subject.batch
        return _AT_ONCE if len(feeds) == 1 and subject.coupled is None else 1

    def _picks(self, asked: Asked) -> dict[str, np.ndarray]:
        """What the network picked inside for the targets of some inputs, a row for each input."""
        assert asked.known is not None
        names = finish.held_names(self._about.subject)
        own = zip(*(target.picks for target in asked.known), strict=True)
        return {name: np.stack(several) for name, several in zip(names, own, strict=True)}

    def _session(self, picked: bool = False) -> Session:
        with self._lock:
            session = self._opened.get(picked)
            if session is None or session.lost:
                with BUILDING:
                    how = self._settings.providers, self._settings.threads
                    model = answering(self._about.subject, picked)
                    self._opened[picked] = session = open_session(model, *how)
            return session

    def _weighed(self, scores: np.ndarray, targets: Sequence[Target]) -> list[float]:
        """sum_r weight_r score[place_r], in float64, of each row's target or of those of one row.

        Raises:
            InvalidInputError: a place is out of range of the scores.
        """
        rows = scores.reshape(len(scores), -1) if scores.ndim < 2 else scores
        found = []
        for row, target in zip(cycle(rows), targets, strict=False):
            try:
                own = np.asarray(row[tuple(target.places.T)], np.float64)
            except IndexError as error:
                raise out_of_range(self._about.subject, target.index) from error
            found.append(float(np.sum(own * target.weights)))
        return found

    def _probability(self, output: np.ndarray, targets: Sequence[Target]) -> np.ndarray | None:
        classes = all(target.is_class for target in targets)
        apart = self._about.subject.rows.get(self._reading.output) == Place(0)
        rows = rows_of(self._reading, output) if apart and classes else None
        found = None if rows is None else probabilities(self._reading, rows)[0]
        if found is None or len(found) != len(targets):
            return None
        return found[np.arange(len(found)), [target.index for target in targets]]


def _joined(several: Sequence[Scores]) -> Scores:
    """The scores of several targets of one input."""
    targets = tuple(target for one in several for target in one.targets)
    scores = np.concatenate([one.score for one in several])
    return Scores(scores, None, indices_of(targets), targets)


def _targets_of(
    asked: Asked, count: int, found: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> list[Target]:
    """The targets of some rows, with classes where the graph would look for the best."""
    if asked.known is not None and not any(target.is_open for target in asked.known):
        return list(asked.known)
    return asked.answered(count, Answers(found[finish.DECIDED], found, shape, run_small))
