"""Integrated Gradients: the gradient averaged along the way from the baseline.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (2017).

Two graphs: `endpoints` scores both ends of the path, `gradient_chunk` does some of its points, or
`path_gradients` (of `heads/path.py`, as the ends are) those that are chosen one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import InvalidInputError
from ..backward.walk import Refusal
from ..finish import (
    ATTRIBUTION,
    finish,
)
from ..graph.tensors import numpy_type
from ..heads.adaptive_loop import adaptive_path, elements_of
from ..heads.along import POINTS, moved, points_at_once, slopes_at
from ..heads.asking import WEIGHTS, added_up, gradient_refusals, per_token
from ..heads.halves import Halves, in_turns
from ..heads.loop import looped, with_delta
from ..heads.path import ALPHAS, endpoints, path_gradients, way_from_baseline
from ..heads.path_state import Rule
from ..heads.quadrature import ADAPTIVE, NAMES, quadrature_rule
from ..heads.walks import SLOPE
from ..select.subject import Subject
from .method import Adaptive, Chosen, Method, Option, Repeated, Stages
from .options import BASELINE, one_of, real_number, whole_number

_TITLE = "Integrated Gradients"
_WALK = SLOPE._replace(title=_TITLE)
# Unless asked otherwise: to 1 % of the score's difference, in at most so many passes; and the
# passes of a fixed rule.
TOLERANCE, MOST_STEPS, FIXED_STEPS = 0.01, 200, 50
# Rules of which the error has one sign along the whole path, which halves do not show.
_ONE_SIDED = ("left", "right")


def gradient_chunk(subject: Subject) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K], weights [K], total) that adds to the total.

    attribution = total + (x - x') sum_k weights_k d score / d x at x' + alphas_k (x - x') (equation
    1, as a sum). The K points of all N inputs go through the graph as one batch of K N; where the
    file fixes its batch, K must be 1.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    alphas, weights = (
        gs.Variable(name, dtype=subject.start.dtype, shape=[POINTS]) for name in (ALPHAS, WEIGHTS)
    )
    at = moved(subject, [alphas], way_from_baseline(alphas), _WALK)
    emit, subject = at.emit, at.subject
    slopes = slopes_at(at, _TITLE, weights)
    emit.graph.inputs.append(weights)
    parts = {}
    for slope, place in zip(slopes, at.places, strict=True):
        part = slope * place.known
        part.shape = place.source.start.shape
        name = subject.name_of(ATTRIBUTION, place.source)
        parts[name] = per_token(emit, place.source, part)
        if place.source.embedded:
            parts[name].shape = place.source.start.shape[:-1]
    return finish(emit.graph, added_up(emit, parts), own_outputs=False)


def chunks_of(
    points: np.ndarray, weights: np.ndarray, size: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights as rows of `size`, [chunks, size].

    The last row is filled with weight 0.
    """
    missing = -len(points) % size
    points = np.concatenate([points, np.full(missing, points[-1])])
    weights = np.concatenate([weights, np.zeros(missing)])
    return (
        points.reshape(-1, size).astype(dtype),
        weights.reshape(-1, size).astype(dtype),
    )


def settle(options: dict[str, Any]) -> dict[str, Any]:
    """What steps, tolerance and quadrature come to together.

    Raises:
        InvalidInputError: a tolerance for a rule that always takes all its steps.
    """
    steps, tolerance, quadrature = (options[k] for k in ("steps", "tolerance", "quadrature"))
    of_map = options["map_tolerance"]
    if (tolerance, of_map) != (None, None) and quadrature not in (None, ADAPTIVE):
        raise InvalidInputError(
            f"a tolerance needs quadrature 'adaptive'; {quadrature!r} always takes all its steps"
        )
    open_ended = quadrature in (None, ADAPTIVE) and steps is None
    if tolerance is None and (open_ended or of_map is not None):
        tolerance = TOLERANCE
    if quadrature is None:
        quadrature = "gauss-legendre" if tolerance is None else ADAPTIVE
    most = MOST_STEPS if quadrature == ADAPTIVE else FIXED_STEPS
    settled = {"tolerance": tolerance, "quadrature": quadrature, "steps": steps or most}
    quadrature_rule(quadrature, settled["steps"])
    return {**options, **settled}


def stages(subject: Subject, options: Chosen) -> Stages:
    """Both ends, and points between them."""
    ends, steps = endpoints(subject), options["steps"]
    if options["quadrature"] == ADAPTIVE:
        tolerances = options["tolerance"], options["map_tolerance"]
        return Stages(
            ends, along=Adaptive(path_gradients(subject, _WALK), ALPHAS, steps, *tolerances)
        )
    told = options["quadrature"] not in _ONE_SIDED
    rows = _rows(options["quadrature"], steps, subject, turns=told)

    def halves(size: int, rows: Mapping[str, np.ndarray]) -> Halves | None:
        del rows
        found = in_turns(steps, size) if told else None
        return None if found is None else found[1]

    return Stages(ends, along=Repeated(gradient_chunk(subject), rows, steps, halves))


def _rows(quadrature: str, steps: int, subject: Subject, turns: bool = False):
    points, weights = quadrature_rule(quadrature, steps)
    dtype = numpy_type(subject.start.dtype)

    def rows(size: int, feeds: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        del feeds
        turned = in_turns(steps, size) if turns else None
        order = slice(None) if turned is None else turned[0]
        found = chunks_of(points[order], weights[order], size, dtype)
        return dict(zip((ALPHAS, WEIGHTS), found, strict=True))

    return rows


def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """Both ends, and a Loop over the points: chosen on the way, given, or of a fixed rule."""
    steps = options["steps"]
    if options["quadrature"] == ADAPTIVE and options["points"] is None:
        once = points_at_once(subject, options["at_once"], 1, steps)
        stop = options["tolerance"], options["map_tolerance"]
        return adaptive_path(subject, _WALK, Rule(steps, *stop, once, elements_of(subject)))
    points, weights = options["points"] or quadrature_rule(options["quadrature"], steps)
    once = points_at_once(subject, options["at_once"], 1, len(points))
    alphas, shares = chunks_of(points, weights, once, numpy_type(subject.start.dtype))
    rows = {ALPHAS: alphas, WEIGHTS: shares}
    sizes = {subject.name_of(ATTRIBUTION, s): s.input.name for s in subject.sources}
    model = looped(endpoints(subject), gradient_chunk(subject), rows, sizes)
    return with_delta(model, list(sizes), subject.coupled is None)


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Operators on the path without a gradient."""
    del options
    return gradient_refusals(subject, subject.starts)


def facts(options: Chosen) -> dict[str, Any]:
    """The rule: a fixed one's steps, or where an adaptive one stops."""
    names = ["quadrature", "steps"]
    if options["quadrature"] == ADAPTIVE:
        names += ["tolerance", "map_tolerance"]
    return {name: options[name] for name in names}


METHODS = (
    Method(
        name="integrated-gradients",
        aliases=("ig", "intgrad", "intgrads"),
        title=_TITLE,
        cite="Sundararajan, Taly, Yan 2017",
        summary="The gradient averaged along the way from a baseline.",
        options=(
            BASELINE,
            Option(
                "steps",
                "Gradient passes of Integrated Gradients. Default: as many as a tolerance of 1 % "
                "takes, at most 200.",
                whole_number("steps"),
                kind=int,
                metavar="N",
            ),
            Option(
                "tolerance",
                "Integrated Gradients adds passes, at most --steps, until completeness is kept to "
                "this part of the score's difference. Default: 0.01 (1%) without --steps.",
                real_number("tolerance", positive=True),
                kind=float,
                metavar="T",
            ),
            Option(
                "map_tolerance",
                "Integrated Gradients adds passes, at most --steps, until the estimated error of "
                "the map (relative L2) is at most this, too: 0.05 is 5 %.",
                real_number("map_tolerance", positive=True),
                kind=float,
                metavar="T",
            ),
            Option(
                "quadrature",
                "The rule that chooses the points.",
                one_of("quadrature", NAMES),
                choices=NAMES,
                command_line=False,
            ),
        ),
        stages=stages,
        whole=whole,
        unsupported=unsupported,
        place=2,
        default=True,
        sums_to="score - baseline score",
        settle=settle,
        facts=facts,
    ),
)
