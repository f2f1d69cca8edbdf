"""Outputs that rounding alone moves by much: compared where their numbers are well conditioned.

A Sigmoid far below 0 is good to an absolute 1e-7, which is all of an output of 1e-7. Such outputs
are compared in front of their activation, and with what ONNX Runtime itself answers when it adds up
in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import onnx

from ... import OnnxplainError
from ...graph_passes.select.ending import ACTIVATIONS, TAIL
from ..running.session import Session

# Times what ONNX Runtime's answers differ among themselves, a difference may be rounding.
_NOISES = 3
# Of what activations return, which is at most 1.
_OF_ACTIVATIONS = 1e-6
# Part of the tolerance on outputs that is left for numbers in front of an activation.
_STRICTER = 0.1
_SEED = 0
# No score is a product of more.
_FACTORS = 8


class Run(NamedTuple):
    """A graph, and what it is fed."""

    model: onnx.ModelProto
    feeds: Mapping[str, np.ndarray]


class Doubt:
    """A second look at outputs that differ.

    Args:
        file: the model as it was given, of a version that ONNX Runtime knows.
        explaining: gives the graphs of a method's run; the first that makes an output is asked.
        providers: ONNX Runtime's names.
        tolerance: relative, on well-conditioned outputs.
    """

    def __init__(
        self,
        file: Run,
        explaining: Callable[[], Iterable[Run]],
        providers: Sequence[str],
        tolerance: float,
    ):
        self._file, self._explaining = file, explaining
        self._providers, self._tolerance = providers, tolerance

    def error(self, name: str, found: np.ndarray, right: np.ndarray) -> float:
        """The relative difference that rounding does not explain, of the output or its logits."""
        if found.shape != right.shape or right.dtype.kind != "f" or not _comparable(found, right):
            return np.inf
        inner = self._in_front(name, found, right)
        return self._beyond_noise(name, found, right) if inner is None else inner

    def _in_front(self, name: str, found: np.ndarray, right: np.ndarray) -> float | None:
        """The difference in front of final activations; None: there is none to compare.

        |dp| <= 2 max(p) sum max|dz|, for Softmax, Sigmoid and products of them alike, beside the
        activations' rounding: an activation that is not the file's own shows there.
        """
        own = before_activations(self._file.model, name)
        theirs, run = self._made_by(name)
        if not own or run is None or len(own) != len(theirs):
            return None
        worst = step = 0.0
        for tensor, other in zip(own, theirs, strict=True):
            expected, logits = self._answers(tensor), _asked(run, other, self._providers)
            if not expected or logits is None or not _comparable(logits, expected[0]):
                return None
            step += _most(logits, expected[0])
            worst = max(worst, _beyond(logits, expected, self._tolerance * _STRICTER))
        allowed = _OF_ACTIVATIONS + 2 * np.abs(right).max() * step
        return np.inf if _most(found, right) > allowed else worst / _STRICTER

    def _beyond_noise(self, name: str, found: np.ndarray, right: np.ndarray) -> float:
        """The output's difference beyond those of ONNX Runtime's own answers."""
        return _beyond(found, [right, *self._answers(name)], self._tolerance)

    def _made_by(self, name: str) -> tuple[list[str], Run | None]:
        """What stands before the activations of an output in the explaining graphs."""
        for run in self._explaining():
            if any(value.name == name for value in run.model.graph.output):
                return before_activations(run.model, name), run
        return [], None

    def _answers(self, name: str) -> list[np.ndarray]:
        """What ONNX Runtime makes of a tensor of the file: optimised, not so, and of x nudged."""
        runs = [(self._file, True), (self._file, False)]
        runs += [(run, False) for run in self._nudged]
        found = [_asked(run, name, self._providers, optimised) for run, optimised in runs]
        return [answer for answer in found if answer is not None]

    @cached_property
    def _nudged(self) -> list[Run]:
        """The file's inputs moved by their own rounding, up or down at random, twice."""
        random = np.random.default_rng(_SEED)
        return [
            Run(self._file.model, {k: nudged(random, v) for k, v in self._file.feeds.items()})
            for _ in range(2)
        ]


def before_activations(model: onnx.ModelProto, name: str) -> list[str]:
    """The tensors that the last Sigmoids or Softmaxes in front of an output read.

    Of a product, objectness times class say, those of each factor; nothing if one has none.
    """
    makers = {made: node for node in model.graph.node for made in node.output}
    found, waiting = [], [name]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.domain not in ("", "ai.onnx") or not node.input:
            return []
        if node.op_type in ACTIVATIONS:
            found.append(node.input[0])
        elif node.op_type == "Mul":
            waiting += reversed(node.input)
        elif node.op_type in TAIL:
            waiting.append(node.input[0])
        else:
            return []
        if len(found) + len(waiting) > _FACTORS:
            return []
    return found


def _beyond(found: np.ndarray, answers: Sequence[np.ndarray], tolerance: float) -> float:
    """The difference from the first answer, less what the others explain; 0 within `tolerance`."""
    base = answers[0]
    size = max(float(np.abs(base).max(initial=0)), 1e-30)
    error = _most(found, base)
    if error <= tolerance * size:
        return 0.0
    noise = max((_most(other, base) for other in answers[1:]), default=0.0)
    return max(error - _NOISES * noise, 0.0) / size


def _asked(
    run: Run, name: str, providers: Sequence[str], optimised: bool = True
) -> np.ndarray | None:
    """One tensor of a graph; None where ONNX Runtime will not hand it out."""
    model = onnx.ModelProto()
    model.CopyFrom(run.model)
    if all(value.name != name for value in model.graph.output):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    try:
        found = Session(model, providers, None, optimised).run(run.feeds, [name])[name]
    except OnnxplainError:
        return None
    return np.asarray(found, np.float64) if np.asarray(found).dtype.kind == "f" else None


def nudged(random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """x, each number moved to one of its two neighbours."""
    if x.dtype.kind != "f":
        return x
    ends = np.where(random.random(x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype)
    return np.nextafter(x, ends)


def _comparable(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.isfinite(a).all() and np.isfinite(b).all())


def _most(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference."""
    if a.shape != b.shape:
        return np.inf
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))
