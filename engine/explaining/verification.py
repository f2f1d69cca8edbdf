"""An explanation against the file itself: its outputs, and the score's own differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from ... import InvalidInputError, UnsupportedModelError
from ...graph_passes import finish
from ...graph_passes.graph.limits import Limits, within
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.heads.path import ALPHAS, endpoints, path_gradients
from ...graph_passes.select.subject import Subject
from ..checking.checks import check_inputs
from ..checking.conditioning import Doubt, Run, nudged
from ..explanation.explanation import Explanation
from ..running.plan import Plan
from ..running.process import BUILDING
from ..running.session import open_session, resolve_providers
from ..running.settings import Settings
from ..targets.target import Target, fed
from .embeddings import OfEmbeddings
from .soundness import Verification, outputs_error, tolerance_of

# Kinks and float32 leave this much between a gradient and the best of its differences.
_CLOSE = 0.05
# Steps along the gradient, as the change of the score that they should make.
_CHANGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Points beside one that lies on a kink, at most.
_BESIDE = 3
# Directions beside the gradient in which a kink is looked for.
_DIRECTIONS = 4
# Times what rounding does to the score, a change of it says something.
_TIMES_NOISE = 50
_SEED = 0


class Verifying(OfEmbeddings):
    """What an explainer compares with the file itself."""

    _limits: Limits
    _settings: Settings
    _several: bool
    _plan: Callable[[bool], Plan]
    _whole_baselines: Callable[..., dict[str, np.ndarray]]

    def verify(self, x: Any, target: Any = None) -> Verification:
        """Compare with the file itself, run by ONNX Runtime, for one input.

        The outputs of the explaining graph with the file's own; the score's gradient with the
        score's change along it, by differences in float32; and how much of the score's difference
        the attributions leave out.

        Args:
            x: one input [1, ...], or {input name: array}.
            target: as in calling the explainer.

        Returns:
            How close they are.

        Raises:
            UnsupportedModelError: something is further off than rounding and, for 8-bit files, a
                quantiser's steps explain.
            InvalidInputError: what was handed in does not fit the model.

        Examples:
            >>> explainer.verify(x).outputs < 1e-5
            True
        """
        return verified(self.serving(target), x, target)

    def check_outputs(self, x: Any, e: Explanation) -> float:
        """How far an explanation's outputs are from what ONNX Runtime makes of the file itself.

        Returns:
            See `Verification.outputs`.

        Raises:
            UnsupportedModelError: more than rounding and, for 8-bit files, a quantiser's steps.

        Examples:
            >>> explainer.check_outputs(x, explainer(x)) < 1e-5
            True
        """
        return compared_outputs(self, check_inputs(self.subject, x), e)


def verified(explainer: Verifying, x: Any, target: Any) -> Verification:
    """See `Explainer.verify`."""
    e = explainer(x, target)
    subject, file = explainer.subject, explainer._file
    feeds = check_inputs(subject, x)
    if len(e.score) != 1:
        raise InvalidInputError(f"verify takes one input and one target, got {len(e.score)}")
    outputs = compared_outputs(explainer, feeds, e)
    gradient = None
    if file.precision != "quantised":
        with within(explainer._limits):
            gradient = gradient_error(subject, feeds, e.targets[0], explainer._settings)
    delta = None if e.relative_delta is None else float(e.relative_delta.max())
    return Verification(outputs, gradient, delta)


def compared_outputs(
    explainer: Verifying, feeds: Mapping[str, np.ndarray], e: Explanation
) -> float:
    """See `Explainer.check_outputs`; `feeds` are checked."""
    file = explainer._file
    providers = resolve_providers(explainer._settings.providers)

    def doubt(name: str, found: np.ndarray, right: np.ndarray) -> float:
        def graphs() -> list[Run]:
            return [Run(*graph) for graph in _graphs_of(explainer, feeds, e.targets)]

        own = Run(file.runnable(), feeds)
        look = Doubt(own, graphs, providers, tolerance_of(file.precision))
        return look.error(name, found, right)

    with within(explainer._limits):
        expected = explainer._run_file(feeds)
        return outputs_error(e.outputs, expected, file.precision, doubt)


def _graphs_of(
    explainer: Verifying, feeds: Mapping[str, np.ndarray], targets: Sequence[Target]
) -> Iterator[tuple[onnx.ModelProto, Mapping[str, Any]]]:
    """Every graph that explains these inputs, in their order, with what it is fed."""
    count, several = len(feeds[explainer.subject.input.name]), explainer._several
    plan = explainer._plan(several)
    baselines = explainer._whole_baselines(feeds, None, several)
    return plan.stages({**feeds, **baselines, **fed(explainer.subject, targets[:count])})


def gradient_error(
    subject: Subject, feeds: Mapping[str, np.ndarray], target: Target, settings: Settings
) -> float | None:
    """The error of d score / d x along itself, the best of a few steps; None: not measurable.

    (S(x + h v) - S(x - h v)) / 2 h against |g|, with v = g / |g|. Where x lies on a kink (a black
    picture in a network without biases) the score has two slopes, and its gradient is a convention:
    a point beside x is looked at instead.

    Args:
        subject: what is explained.
        feeds: the model's inputs, one row.
        target: of an explanation.
        settings: for providers and threads.

    Raises:
        UnsupportedModelError: no step comes close.
    """
    if any(source.start is not source.input for source in subject.sources):
        return None
    try:
        slopes = _Slopes(subject, target, settings)
    except UnsupportedModelError:
        # Black-box methods explain what has no gradient, decision trees say.
        return None
    error = slopes.error(feeds)
    random = np.random.default_rng(_SEED)
    for _ in range(_BESIDE):
        if error is None or error <= _CLOSE or not slopes.on_a_kink(feeds, random):
            break
        error = slopes.error({**feeds, **_beside(subject, feeds, random)})
    if error is not None and error > _CLOSE:
        raise UnsupportedModelError(
            f"the gradient of the score differs from the score's own change along it by "
            f"{error:.1%}; either the model is as good as discontinuous here, or this is a "
            "mistake of onnxplain: please report it with the model"
        )
    return error


def _beside(
    subject: Subject, feeds: Mapping[str, np.ndarray], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """The explained inputs with noise of a hundredth of their size, or of 1 where they are 0."""
    found = {}
    for source in subject.sources:
        x = feeds[source.input.name]
        size = float(np.abs(x).max(initial=0)) or 1.0
        found[source.input.name] = (x + random.normal(0, size / 100, x.shape)).astype(x.dtype)
    return found


class _Slopes:
    """The gradient of a score, and its differences along the gradient."""

    def __init__(self, subject: Subject, target: Target, settings: Settings):
        self._asked = fed(subject, [target])
        self._names = {subject.name_of(finish.BASELINE, s): s.input.name for s in subject.sources}
        self._found = {
            subject.name_of(finish.ATTRIBUTION, s): s.input.name for s in subject.sources
        }
        self._dtype = numpy_type(subject.start.dtype)
        how = settings.providers, settings.threads
        with BUILDING:
            self._ends = open_session(endpoints(subject), *how)
            self._path = open_session(path_gradients(subject), *how)

    def error(self, feeds: Mapping[str, np.ndarray]) -> float | None:
        """How far the best difference along the gradient is from its length, relative.

        Central differences, and those to one side, since the next kink may be close. None where
        the gradient is 0, or where no difference is close to it and none to those of somewhat
        smaller steps: they measure the rounding of a tiny score.
        """
        gradients, length = self._gradients(feeds)
        here, drowned = self._score(feeds, gradients, 0.0), self._drowned(feeds)
        errors, measured = [], False
        for step in self._steps(feeds, gradients, length):
            found = []
            for h in (step, 0.8 * step, 0.6 * step, 0.5 * step):
                ahead, behind = (self._score(feeds, gradients, k) for k in (h, -h))
                found.append([(ahead - behind) / (2 * h), (ahead - here) / h, (here - behind) / h])
            told = [k for k, slope in enumerate(found[0]) if step * abs(slope) > drowned]
            errors += [abs(found[0][k] - length) / length for k in told]
            spread = np.ptp(found, axis=0)
            measured |= any(spread[k] <= _CLOSE * abs(found[0][k]) for k in told)
        best = min(errors, default=None)
        return best if measured or best is None or best <= _CLOSE else None

    def on_a_kink(self, feeds: Mapping[str, np.ndarray], random: np.random.Generator) -> bool:
        """Whether the slopes to both sides differ, along the gradient or a random direction.

        |S(x + h v) - 2 S(x) + S(x - h v)| against the larger of the two changes, at the smallest
        step that says anything: of a smooth score it goes to 0 as h does.
        """
        gradients, length = self._gradients(feeds)
        here, drowned = self._score(feeds, gradients, 0.0), self._drowned(feeds)
        noise = [
            {name: random.normal(size=g.shape) for name, g in gradients.items()}
            for _ in range(_DIRECTIONS)
        ]
        for direction in (gradients, *noise):
            for step in self._steps(feeds, gradients, length):
                sides = [self._score(feeds, direction, h) - here for h in (step, -step)]
                larger = max(map(abs, sides))
                if larger > drowned:
                    if abs(sum(sides)) > _CLOSE * larger:
                        return True
                    break
        return False

    def _steps(self, feeds, gradients, length: float) -> list[float]:
        """Steps, the smallest first, that do not leave the input far behind."""
        if length == 0:
            return []
        here = abs(self._score(feeds, gradients, 0.0))
        size = max(float(np.abs(feeds[name]).max()) for name in gradients)
        wanted = {change * part / length for change in _CHANGES for part in (here, max(here, 1e-2))}
        return [step for step in sorted(wanted) if 0 < step <= 10 * max(size, 1e-3)]

    def _drowned(self, feeds: Mapping[str, np.ndarray]) -> float:
        """Changes of the score up to this are rounding: what it makes of inputs nudged by theirs.

        At least 1e-5 of it.
        """
        here = self._score(feeds, {}, 0.0)
        random = np.random.default_rng(_SEED)
        names = set(self._names.values())
        moved = [
            {k: nudged(random, v) if k in names else v for k, v in feeds.items()}
            for _ in range(_DIRECTIONS)
        ]
        noise = max(abs(self._score(one, {}, 0.0) - here) for one in moved)
        return max(1e-5 * abs(here), _TIMES_NOISE * noise)

    def _gradients(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        """d score / d x by the input's name, and its length."""
        at_x = {name: feeds[own] for name, own in self._names.items()}
        seed = self._ends.run({**feeds, **self._asked, **at_x})[finish.SEED]
        # Against a baseline that is 1 less everywhere the attribution is the gradient itself.
        less = {name: value - np.ones(1, value.dtype) for name, value in at_x.items()}
        point = {finish.SEED: seed, ALPHAS: np.ones((1, 1), self._dtype)}
        slopes = self._path.run({**feeds, **less, **point})
        found = {own: slopes[name][0].astype(np.float64) for name, own in self._found.items()}
        return found, float(np.sqrt(sum((g**2).sum() for g in found.values())))

    def _score(self, feeds, direction: Mapping[str, np.ndarray], step: float) -> float:
        """S(x + step v), v being the direction at length 1."""
        length = float(np.sqrt(sum((v**2).sum() for v in direction.values()))) or 1.0
        moved = {
            name: (feeds[name] + step * v / length).astype(feeds[name].dtype)
            for name, v in direction.items()
        }
        at_x = {name: feeds[own] for name, own in self._names.items()}
        return float(self._ends.run({**feeds, **moved, **self._asked, **at_x})[finish.SCORE][0])
