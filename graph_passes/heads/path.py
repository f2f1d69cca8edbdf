"""The straight path from the baseline to the input: its ends, and the gradient at points of it."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from ..finish import ATTRIBUTION, BASELINE_SCORE, SCORE, SEED, finish, working_copy
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.twins import TwinEmitter
from ..rules.table import GRADIENT
from ..select.score import first_cotangent, score_of
from ..select.subject import Source, Subject
from .along import POINTS, Mover, moved, scores_at, slopes_at
from .asking import add_baseline_input, ask, per_token
from .walks import SLOPE, Walk

# The input that says where on the path.
ALPHAS = f"{RESERVED}alphas"
# The forward pass at both ends; no walk goes through it.
_ENDS = GRADIENT._replace(emitter=TwinEmitter)


def endpoints(subject: Subject) -> onnx.ModelProto:
    """A model of (input, targets, baseline): both scores and the seed."""
    asked = ask(working_copy(subject), _ENDS)
    subject, emit, seed = asked.subject, asked.emit, asked.seed
    baselines = [add_baseline_input(emit, subject, source) for source in subject.sources]
    pairs = list(zip(subject.starts, baselines, strict=True))
    emit.add_twins(pairs, [subject.weighed], held=subject.held)
    baseline_score = score_of(emit, emit.twin(subject.weighed), seed.weights)
    first = first_cotangent(emit, subject, seed)
    return asked.finished({BASELINE_SCORE: baseline_score, SEED: first})


def path_gradients(subject: Subject, walk: Walk = SLOPE) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K, N]) for points chosen one after the other.

    Its outputs, for each of K points of each of N inputs: `attribution` [K, N, ...], the gradient
    times (x - x'), and the score there, [K, N], without the bias of a last layer: only differences
    of these scores count. Where the file fixes its batch, K must be 1.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    shape = [POINTS, f"{RESERVED}path_batch"]
    alphas = gs.Variable(ALPHAS, dtype=subject.start.dtype, shape=shape)
    at = moved(subject, [alphas], way_from_baseline(alphas), walk)
    emit, subject = at.emit, at.subject
    slopes = slopes_at(at, walk.title)
    outputs: dict[str, gs.Tensor] = {SCORE: scores_at(at)}
    for slope, place in zip(slopes, at.places, strict=True):
        part = slope * emit.Unsqueeze(place.known, [0])
        outputs[subject.name_of(ATTRIBUTION, place.source)] = per_token(emit, place.source, part)
    for tensor in outputs.values():
        tensor.dtype = subject.start.dtype
    return finish(emit.graph, outputs, own_outputs=False)


def way_from_baseline(alphas: gs.Variable) -> Mover:
    """x' + alphas (x - x') as [K, N, ...], and x - x' [N, ...]."""

    def mover(emit: Emitter, subject: Subject, source: Source) -> tuple[gs.Tensor, gs.Tensor]:
        start = source.start
        rank, given = len(start.shape), len(alphas.shape)
        baseline = add_baseline_input(emit, subject, source)
        # Zero stands for an axis that stays as it is.
        column = emit.Reshape(alphas, [0] * given + [1] * (rank + 1 - given))
        difference = emit.term(start) - baseline
        points = column * emit.Unsqueeze(difference, [0]) + baseline
        return points, difference

    return mover
