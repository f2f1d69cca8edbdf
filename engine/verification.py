"""The score's gradient against the score's own differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .. import UnsupportedModelError
from ..graph_passes import finish
from ..graph_passes.graph.tensors import numpy_type
from ..graph_passes.methods.integrated_gradients import ALPHAS, endpoints, path_gradients
from ..graph_passes.select.subject import Subject
from .running.locks import BUILDING
from .running.session import open_session
from .running.settings import Settings

# Kinks and float32 leave this much between a gradient and the best of its differences.
_CLOSE = 0.05
# Steps along the gradient, as the change of the score that they should make.
_CHANGES = (1e-3, 1e-2, 1e-1, 1.0)


def gradient_error(
    subject: Subject, feeds: Mapping[str, np.ndarray], target, settings: Settings
) -> float | None:
    """The error of d score / d x along itself, the best of a few steps; None: not measurable.

    (S(x + h v) - S(x - h v)) / 2 h against |g|, with v = g / |g|.

    Args:
        subject: what is explained.
        feeds: the model's inputs, one row.
        target: what an explanation says it was.
        settings: for providers and threads.

    Raises:
        UnsupportedModelError: no step comes close.
    """
    index = isinstance(target, tuple)
    width = len(target) if index else None
    targets = np.asarray([target] if index else target, np.int64).reshape(1, -1)
    asked = {"target": targets if index else targets[0]}
    names = {subject.name_of(finish.BASELINE, s): s for s in subject.sources}
    straight = [s for s in subject.sources if s.start is s.input]
    if len(straight) < len(subject.sources):
        return None
    with BUILDING:
        ends = open_session(endpoints(subject, width), settings.providers, settings.threads)
        path = open_session(path_gradients(subject), settings.providers, settings.threads)
    at_x = {name: feeds[s.input.name] for name, s in names.items()}
    seed = ends.run({**feeds, **asked, **at_x})[finish.SEED]
    dtype = numpy_type(subject.start.dtype)
    # Against a baseline that is 1 less everywhere the attribution is the gradient itself.
    less = {name: value - np.ones(1, value.dtype) for name, value in at_x.items()}
    point = {finish.SEED: seed, ALPHAS: np.ones((1, 1), dtype)}
    slopes = path.run({**feeds, **less, **point})
    gradients = {
        s.input.name: slopes[subject.name_of(finish.ATTRIBUTION, s)][0].astype(np.float64)
        for s in subject.sources
    }
    length = float(np.sqrt(sum((g**2).sum() for g in gradients.values())))
    if length == 0:
        return None

    def score(step: float) -> float:
        moved = {
            name: (feeds[name] + step * g / length).astype(feeds[name].dtype)
            for name, g in gradients.items()
        }
        return float(ends.run({**feeds, **moved, **asked, **at_x})[finish.SCORE][0])

    size = max(float(np.abs(feeds[name]).max()) for name in gradients)
    return _best_difference(score, length, size)


def _best_difference(score: Callable[[float], float], length: float, size: float) -> float | None:
    """How far the best central difference along the gradient is from its length, as a part of it.

    Args:
        score: of a step along the gradient.
        length: the gradient's.
        size: the input's largest number.

    Raises:
        UnsupportedModelError: no step comes close.
    """
    here = abs(score(0.0))
    errors = []
    for change in _CHANGES:
        step = change * max(here, 1e-2) / length
        rise = score(step) - score(-step)
        # Steps that leave the input, or a change that rounding drowns, say nothing.
        if step <= 10 * max(size, 1e-3) and abs(rise) > 1e-5 * here:
            errors.append(abs(rise / (2 * step) - length) / length)
    if not errors:
        return None
    if min(errors) > _CLOSE:
        raise UnsupportedModelError(
            f"the gradient of the score differs from the score's own change along it by "
            f"{min(errors):.1%}; either the model is as good as discontinuous here, or this is a "
            "mistake of onnxplain: please report it with the model"
        )
    return min(errors)
