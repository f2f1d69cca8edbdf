"""Expected gradients: Integrated Gradients from many baselines at once.

Erion et al.: Improving Performance of Deep Learning Models with Axiomatic Attribution Priors and
Expected Gradients (2021), equation 3. There baselines and points are drawn; here the points are
spread evenly, and each baseline gets as many, one from each part of the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..finish import ATTRIBUTION, BASELINE, BASELINE_SCORE, finish
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import numpy_type
from ..heads.along import POINTS, Mover, moved, points_at_once, scores_at, slopes_at, summed
from ..heads.asking import WEIGHTS, WHICH, add_set_input, added_up, per_token, seeded
from ..heads.halves import Halves, in_turns
from ..heads.loop import looped, with_delta
from ..heads.path import ALPHAS
from ..heads.walks import SLOPE
from ..select.subject import Source, Subject
from .method import Chosen, Method, Repeated, Stages
from .options import BASELINE as BASELINE_OPTION
from .options import SEED, samples
from .saliency import unsupported

_TITLE = "Expected Gradients"
_WALK = SLOPE._replace(title=_TITLE)
# A point's weight in the baselines' mean score.
ENDS = f"{RESERVED}ends"


def from_baselines(alphas: gs.Variable, which: gs.Variable) -> Mover:
    """b + alphas (x - b) and x - b, both [K, N, ...], with a baseline b for each of K points."""

    def mover(emit: Emitter, subject: Subject, source: Source) -> tuple[gs.Tensor, gs.Tensor]:
        start, rank = source.start, len(source.start.shape)
        chosen = emit.Gather(add_set_input(emit, subject, source), which, axis=0)
        baseline = emit.Unsqueeze(chosen, [1])
        difference = emit.Unsqueeze(start, [0]) - baseline
        column = emit.Reshape(alphas, [0] + [1] * rank)
        return column * difference + baseline, difference

    return mover


def expected_chunk(subject: Subject) -> onnx.ModelProto:
    """A model of (input, a set of baselines, seed, alphas, which, weights, ends, totals).

    attribution = total + sum_k weights_k (x - b_k) d score / d x at b_k + alphas_k (x - b_k), and
    the baselines' score = total + sum_k ends_k score there; all four of [K].

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    dtype = subject.start.dtype
    alphas, weights, ends = (
        gs.Variable(name, dtype=dtype, shape=[POINTS]) for name in (ALPHAS, WEIGHTS, ENDS)
    )
    which = gs.Variable(WHICH, dtype=np.dtype(np.int64), shape=[POINTS])
    at = moved(subject, [alphas, which], from_baselines(alphas, which), _WALK, from_logits=True)
    emit, subject = at.emit, at.subject
    slopes = slopes_at(at, _TITLE)
    emit.graph.inputs += [weights, ends]
    parts = {}
    for slope, place in zip(slopes, at.places, strict=True):
        start = place.source.start
        part = summed(emit, slope * place.known, weights, start, start)
        part.shape = start.shape
        part = per_token(emit, place.source, part)
        part.shape = start.shape[: len(start.shape) - place.source.embedded]
        parts[subject.name_of(ATTRIBUTION, place.source)] = part
    score = emit.Unsqueeze(ends, [0]) @ scores_at(at)
    parts[BASELINE_SCORE] = emit.Squeeze(score, [0])
    parts[BASELINE_SCORE].shape = ["?"]
    return finish(emit.graph, added_up(emit, parts), own_outputs=False)


def points_of(samples: int, baselines: int, seed: int) -> dict[str, np.ndarray]:
    """Points of the way, their baselines, and both weights; [T] each.

    T is `samples`, or the next multiple of B, at (t + 1/2) / T. Each B points in a row go to the B
    baselines in an order of their own. Behind them come the B baselines themselves.
    """
    count = -(-samples // baselines) * baselines
    random = np.random.default_rng(seed)
    orders = [random.permutation(baselines) for _ in range(count // baselines)]
    ends = np.repeat([0.0, 1 / baselines], [count, baselines])
    return {
        ALPHAS: np.concatenate([(np.arange(count) + 0.5) / count, np.zeros(baselines)]),
        WHICH: np.concatenate([*orders, np.arange(baselines)]),
        WEIGHTS: np.repeat([1 / count, 0.0], [count, baselines]),
        ENDS: ends,
    }


def turns_of(weights: np.ndarray, baselines: int, size: int) -> tuple[np.ndarray, Halves] | None:
    """Groups of B points in turns, as `in_turns` has them: an order of all points, and its halves.

    Of one baseline the points are the midpoint rule's. Of several, each baseline has one anywhere
    in each group's part of the way: where the gradient walks at random, the error's square is a
    third of the halves' difference's, and where it is smooth, all of it; in between is half.

    Args:
        weights: of all points, flat; those of the baselines, which stay behind, are 0.
        baselines: B.
        size: points in one run.
    """
    count = int((weights > 0).sum())
    error = float(1 / np.sqrt(6 if baselines == 1 else 2))
    found = in_turns(count // baselines, size, baselines, error)
    if found is None:
        return None
    order, halves = found
    places = order[:, None] * baselines + np.arange(baselines)
    return np.concatenate([places.reshape(-1), np.arange(count, weights.size)]), halves


def _rows(
    options: Chosen, baselines: int, size: int, dtype: np.dtype, halves: bool = False
) -> dict[str, np.ndarray]:
    points = points_of(options["samples"], baselines, options["seed"])
    turns = turns_of(points[WEIGHTS], baselines, size) if halves else None
    if turns is not None:
        points = {name: values[turns[0]] for name, values in points.items()}
    missing = -len(points[ALPHAS]) % size
    kinds = {WHICH: np.dtype(np.int64)}
    # What fills the last row has no weight.
    return {
        name: np.pad(values, (0, missing)).reshape(-1, size).astype(kinds.get(name, dtype))
        for name, values in points.items()
    }


def stages(subject: Subject, options: Chosen) -> Stages:
    """The score, and gradients between baselines and input."""

    def rows(size: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        baseline = feeds[subject.name_of(BASELINE, subject.sources[0])]
        return _rows(options, len(baseline), size, baseline.dtype, halves=True)

    def halves(size: int, rows: Mapping[str, np.ndarray]) -> Halves | None:
        found = turns_of(rows[WEIGHTS].reshape(-1), int((rows[ENDS] > 0).sum()), size)
        return None if found is None else found[1]

    along = Repeated(expected_chunk(subject), rows, None, halves)
    return Stages(seeded(subject, from_logits=True), along=along)


def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """The score, and a Loop over the points of a set of a fixed size."""
    sizes = {subject.name_of(ATTRIBUTION, s): s.input.name for s in subject.sources}
    once = points_at_once(subject, options["at_once"], 1, options["samples"])
    rows = _rows(options, options["set_size"], once, numpy_type(subject.start.dtype))
    first = seeded(subject, from_logits=True)
    model = looped(first, expected_chunk(subject), rows, sizes)
    return with_delta(model, list(sizes), subject.coupled is None)


METHODS = (
    Method(
        name="expected-gradients",
        title=_TITLE,
        cite="Erion et al. 2021",
        summary="Integrated Gradients averaged over a set of baselines.",
        options=(
            BASELINE_OPTION,
            samples(200, "Points between baselines and input, at least one for each baseline."),
            SEED,
        ),
        stages=stages,
        whole=whole,
        unsupported=unsupported,
        place=30,
        sums_to="score - the baselines' mean score",
        baselines="always",
    ),
)
