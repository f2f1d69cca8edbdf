"""DeepLIFT (Shrikumar et al.

2017): differences from a baseline, shared out so that they sum to the score's.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from onnxplain.graph_passes.backward import backward, find_path
from onnxplain.graph_passes.decompositions import FOR_DEEPLIFT
from onnxplain.graph_passes.emit import Emitter
from onnxplain.graph_passes.finish import (
    BASELINE_SCORE,
    RESOLVED_TARGET,
    SCORE,
    finish,
    working_copy,
)
from onnxplain.graph_passes.ledger import Ledger
from onnxplain.graph_passes.prepare import infer_shapes
from onnxplain.graph_passes.rewriting import rewrite_nodes
from onnxplain.graph_passes.rules.deeplift import deeplift_rules
from onnxplain.graph_passes.rules.reveal_cancel import (
    RevealCancelEmitter,
    collapsed,
    reveal_cancel_rules,
)
from onnxplain.graph_passes.score import add_target_input, make_seed, score_of
from onnxplain.graph_passes.subject import Subject
from onnxplain.graph_passes.twins import TwinEmitter, changing_names

# The output that a ledger adds: what each node lost, float64 [nodes].
LOSSES = "onnxplain/losses"
# How the paper's two rules for nonlinearities are followed: what emits, and which table.
RULES = {
    "rescale": (TwinEmitter, deeplift_rules),
    "reveal-cancel": (RevealCancelEmitter, reveal_cancel_rules),
}


def deeplift(
    subject: Subject,
    target_width: int | None = None,
    rule: str = "rescale",
    ledger: Ledger | None = None,
) -> onnx.ModelProto:
    """attribution = m_x (x - x'), m by one of `RULES`; sums to score(x) - score(x').

    Returns:
        A model with the further inputs `target` and `baseline` (broadcastable to the input), and
        the outputs `attribution` (the input's shape), `delta`, both scores and the resolved target;
        and, with a ledger, what each of its nodes lost.

    Raises:
        UnsupportedModelError: an operator on the path without a DeepLIFT rule.
    """
    subject = decomposed(working_copy(subject))
    graph = subject.graph
    emitter, rules = RULES[rule]
    emit = emitter(graph)
    target = add_target_input(graph, target_width)
    baseline = add_baseline_input(emit, subject)
    emit.add_twins([(subject.start, baseline)], [subject.logits])
    seed = make_seed(emit, subject, target)
    score = score_of(emit, subject.logits, seed.weights)
    baseline_score = score_of(emit, emit.twin(subject.logits), seed.weights)
    table = rules(emit) if ledger is None else ledger.watching(rules(emit))
    (multiplier,) = backward(
        emit, table, [(subject.logits, seed.weights)], [subject.start], "DeepLIFT"
    )
    assert multiplier is not None
    if isinstance(emit, RevealCancelEmitter):
        multiplier = collapsed(emit, multiplier, subject.start)
    attribution = emit.mul(multiplier, emit.sub(subject.start, baseline))
    attribution.shape = subject.start.shape
    attribution = per_token(emit, subject, attribution)
    outputs = {
        "attribution": attribution,
        "delta": delta_of(emit, attribution, score, baseline_score),
        SCORE: score,
        BASELINE_SCORE: baseline_score,
        RESOLVED_TARGET: seed.target,
    }
    if ledger is not None:
        outputs[LOSSES] = ledger.losses(emit)
    return finish(graph, outputs)


def decomposed(subject: Subject) -> Subject:
    """The subject with composite operators of its path written as simple ones."""
    path = find_path(subject.graph, [subject.start], [subject.logits])
    on_path = {id(node): node for node in path.nodes}
    changing = changing_names(subject.graph, [subject.start])

    def needs_it(node: gs.Node) -> bool:
        if id(node) not in on_path:
            return False
        if node.op == "Where":
            return node.inputs[0].name in changing
        return node.op != "Div" or len(path.operands(node)) == 2

    if not rewrite_nodes(subject.graph, FOR_DEEPLIFT, needs_it):
        return subject
    names = {t.name for t in subject.graph.outputs}
    extra = [] if subject.logits.name in names else [subject.logits]
    subject.graph.outputs.extend(extra)
    graph = infer_shapes(subject.graph)
    if extra:
        graph.outputs.pop()
    tensors = graph.tensors()
    return Subject(
        graph,
        tensors[subject.input.name],
        tensors[subject.start.name],
        tensors[subject.output.name],
        tensors[subject.logits.name],
        subject.activation,
        subject.class_axis,
        subject.embedded,
    )


def per_token(emit: Emitter, subject: Subject, attribution: gs.Tensor) -> gs.Tensor:
    """Summed over each embedding's row, where the input is token ids; as it is otherwise."""
    return emit("ReduceSum", attribution, [-1], keepdims=0) if subject.embedded else attribution


def add_baseline_input(emit: Emitter, subject: Subject) -> gs.Tensor:
    """The graph input `baseline`, repeated to the shape of the explained tensor."""
    rank = len(subject.start.shape)
    shape = [f"baseline_dim{axis}" for axis in range(rank)]
    baseline = gs.Variable("baseline", dtype=subject.start.dtype, shape=shape)
    emit.graph.inputs.append(baseline)
    return emit.expand_like(baseline, subject.start)


def delta_of(emit: Emitter, attribution: gs.Tensor, score, baseline_score) -> gs.Tensor:
    """sum(attribution) - (score - baseline score), float [N]; summed in float64."""
    rows = emit("Cast", emit("Flatten", attribution, axis=1), to=onnx.TensorProto.DOUBLE)
    total = emit("ReduceSum", rows, [1], keepdims=0)
    gap = emit("Cast", emit.sub(score, baseline_score), to=onnx.TensorProto.DOUBLE)
    return emit("Cast", emit.sub(total, gap), to=onnx.TensorProto.FLOAT)
