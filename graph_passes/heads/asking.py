"""What heads share: a target that is asked for, the walk back from its score, and differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import onnx
import onnx_graphsurgeon as gs

from ..backward.multipliers import decomposed
from ..backward.walk import Refusal, backward, carried_back, in_steps_only, refusals
from ..finish import (
    ATTRIBUTION,
    BASELINE,
    BASELINE_SCORE,
    DECIDED,
    HEAD_PLACES,
    HEAD_WEIGHTS,
    RESOLVED_PLACES,
    SCORE,
    SEED,
    finish,
    held_names,
    working_copy,
)
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.reach import find_reach
from ..graph.tensors import Value
from ..rules.table import GRADIENT, Table, gradient_rules
from ..select.picked import Head
from ..select.score import (
    Seed,
    first_cotangent,
    make_seed,
    score_of,
    where_to_begin,
)
from ..select.subject import Source, Subject

# The input that a repeated graph adds its part of an output to: this, and the output's name.
TOTAL = f"{RESERVED}total"
# Inputs of graphs that run several times: points' weights, and which of a set of baselines.
WEIGHTS = f"{RESERVED}weights"
WHICH = f"{RESERVED}which"


class Asked(NamedTuple):
    """A working copy of a subject, in which a target is asked for.

    Attributes:
        subject: the copy, whose graph is added to.
        emit: what adds to it.
        table: what the walk goes by.
        seed: the score's weights on the logits, and the places that they stand for.
        score: float [N].
    """

    subject: Subject
    emit: Any
    table: Table
    seed: Seed
    score: Any

    def finished(self, outputs: Mapping[str, gs.Tensor]) -> onnx.ModelProto:
        """The graph as a model of these outputs and the score beside the file's own.

        What targets are resolved from is there, too: the places, and what decides the top class;
        and where in their head they are, if they are picked.
        """
        own = {SCORE: self.score, RESOLVED_PLACES: self.seed.places, DECIDED: self.subject.decided}
        if self.subject.head is not None:
            places = self.emit.Transpose(self.emit.NonZero(self.seed.weights), perm=[1, 0])
            own[HEAD_PLACES] = places
            own[HEAD_WEIGHTS] = self.emit.GatherND(self.seed.weights, places)
        own |= dict(zip(held_names(self.subject), self.subject.held, strict=True))
        return finish(self.subject.graph, {**outputs, **own})


def ask(subject: Subject, table: Table = GRADIENT) -> Asked:
    """Ask for targets: places among the scores, and the weight of each; see `make_seed`.

    Args:
        subject: a `working_copy`, which is added to.
        table: what its walk will go by.
    """
    emit = table.emitter(subject.graph)
    seed = make_seed(emit, subject)
    score = score_of(emit, subject.logits, seed.weights)
    if subject.head is not None:
        seed = seed._replace(weights=_at_head(emit, subject, subject.head, seed))
    return Asked(subject, emit, table, seed, score)


def _at_head(emit: Emitter, subject: Subject, head: Head, seed: Seed) -> gs.Tensor:
    """d score / d head: 1 at the place that the file picked the score from, with weight 1.

    Picking is linear, so that the score is the sum of the head weighed so; and at another input the
    same sum is the score of the same place, whatever the file picks there.
    """
    begin = [(subject.logits, seed.weights)]
    found = backward(emit, gradient_rules, begin, head.parts, "the score")
    every = [
        emit.filled_like(part, 0.0) if weights is None else weights
        for part, weights in zip(head.parts, found, strict=True)
    ]
    if len(every) == 1:
        (weights,) = every
    else:
        flat = [emit.cast_like(emit.Flatten(part, axis=1), head.tensor) for part in every]
        weights = emit.Concat(*flat, axis=1)
    weights.shape = head.tensor.shape
    return weights


def walk_back(asked: Asked, wrt: Sequence[gs.Tensor], title: str) -> list[Any]:
    """What the table's walk from the score brings to each tensor of `wrt`, in its shape.

    Raises:
        UnsupportedModelError: an operator on the way without a rule.
    """
    subject, emit, table = asked.subject, asked.emit, asked.table
    begin = subject.weighed, asked.seed.weights
    if table.linear:
        begin = where_to_begin(subject), first_cotangent(emit, subject, asked.seed)
    return carried_back(emit, table, [begin], wrt, title, True)


def gradient_refusals(
    subject: Subject, wrt: Sequence[gs.Tensor], table: Table = GRADIENT
) -> list[Refusal]:
    """What a table of gradients cannot pass between tensors and the score; emits nothing."""
    path = find_reach(subject.graph, wrt, [subject.logits])
    steps = [in_steps_only(path, tensor, [subject.logits]) for tensor in wrt]
    rules = table.rules(table.emitter(subject.graph))
    return [*refusals(path, rules), *dict.fromkeys(chain(*steps))]


def table_refusals(subject: Subject, table: Table) -> list[Refusal]:
    """What a table cannot pass between the explained inputs and the score.

    Composite operators are written as simple ones first, where the table has rules for these alone.
    """
    if not table.simple:
        return gradient_refusals(subject, subject.starts, table)
    subject = decomposed(working_copy(subject))
    emit = table.emitter(subject.graph)
    path = find_reach(subject.graph, subject.starts, [subject.weighed])
    if table.compares:
        pairs = [(start, start) for start in subject.starts]
        emit.add_twins(pairs, [subject.weighed], held=subject.held)
    ahead = [] if subject.head is None else gradient_refusals(subject, subject.head.parts)
    return [*refusals(path, table.rules(emit)), *ahead]


def relevance_of(asked: Asked, parts: Sequence[Any]) -> onnx.ModelProto:
    """A model of what the score was shared out to, and of what the shares leave of it, `delta`.

    Args:
        asked: the graph.
        parts: for each explained input its shares, in its shape.
    """
    subject, emit, outputs = asked.subject, asked.emit, {}
    for source, part in zip(subject.sources, parts, strict=True):
        part.shape = source.start.shape
        outputs[subject.name_of(ATTRIBUTION, source)] = per_token(emit, source, part)
    nothing = asked.score * 0.0
    shares, apart = list(outputs.values()), subject.coupled is None
    outputs["delta"] = delta_of(emit, shares, asked.score, nothing, apart)
    outputs[BASELINE_SCORE] = nothing
    return asked.finished(outputs)


def per_token(emit: Emitter, source: Source, attribution: Value) -> Any:
    """Summed over each embedding's row, where the input is token ids; as it is otherwise."""
    return emit.ReduceSum(attribution, [-1], keepdims=0) if source.embedded else attribution


def add_baseline_input(emit: Emitter, subject: Subject, source: Source, whole: bool = False) -> Any:
    """The graph input `baseline`, repeated to the shape of the explained tensor.

    With `whole` it comes in that shape.
    """
    name = subject.name_of(BASELINE, source)
    if whole:
        shape = list(source.start.shape)
        return emit.input(name, source.start.dtype, shape)
    return emit.expand_like(add_set_input(emit, subject, source), source.start)


def add_set_input(emit: Emitter, subject: Subject, source: Source) -> Any:
    """The graph input `baseline` as a set, [B, ...], each of which broadcasts to a row."""
    name = subject.name_of(BASELINE, source)
    shape = [f"{RESERVED}{name}_dim{axis}" for axis in range(len(source.start.shape))]
    return emit.input(name, source.start.dtype, shape)


def delta_of(
    emit: Emitter, attributions: Sequence[gs.Tensor], score, baseline_score, apart: bool = True
) -> gs.Tensor:
    """sum(attributions) - (score - baseline score), float [N]; summed in float64.

    Without `apart` all rows may be one sample: there is a sum for each score.
    """

    def wide(tensor: gs.Tensor) -> gs.Tensor:
        return emit.Cast(tensor, to=onnx.TensorProto.DOUBLE)

    def rows(tensor: gs.Tensor) -> gs.Tensor:
        if apart:
            return emit.Flatten(tensor, axis=1)
        return emit.Reshape(tensor, emit.Concat(emit.Shape(score), [-1], axis=0))

    flat = [wide(rows(attribution)) for attribution in attributions]
    total = emit.sum([emit.ReduceSum(part, [1], keepdims=0) for part in flat])
    gap = wide(emit.term(score) - baseline_score)
    return emit.Cast(total - gap, to=onnx.TensorProto.FLOAT)


def seeded(subject: Subject, from_logits: bool = False) -> onnx.ModelProto:
    """A model of (input, targets): the score, and the seed of what follows."""
    asked = ask(working_copy(subject))
    seed = asked.seed.weights
    if not from_logits:
        seed = first_cotangent(asked.emit, asked.subject, asked.seed)
    return asked.finished({SEED: seed})


def total_input(emit: Emitter, output: str, like: Value) -> Any:
    """The input that holds what an output came to so far; ones as sizes stand for nothing yet."""
    name = f"{TOTAL}_{output}"
    shape = [f"{name}_dim{axis}" for axis in range(len(like.shape))]
    return emit.input(name, like.dtype, shape)


def added_up(emit: Emitter, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Each part added to its total."""
    outputs = {}
    for name, part in parts.items():
        outputs[name] = part + total_input(emit, name, part)
        outputs[name].shape = part.shape
    return outputs
