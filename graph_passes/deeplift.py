"""DeepLIFT: differences from a baseline, shared out so that they sum to the score's.

Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation
Differences (2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_graphsurgeon as gs

from onnxplain.graph_passes.backward import backward, find_path
from onnxplain.graph_passes.decompositions import FOR_DEEPLIFT
from onnxplain.graph_passes.emit import Emitter
from onnxplain.graph_passes.finish import (
    ATTRIBUTION,
    BASELINE,
    BASELINE_SCORE,
    RESOLVED_TARGET,
    SCORE,
    finish,
    working_copy,
)
from onnxplain.graph_passes.ledger import Ledger
from onnxplain.graph_passes.names import RESERVED
from onnxplain.graph_passes.prepare import infer_shapes
from onnxplain.graph_passes.rewriting import rewrite_nodes
from onnxplain.graph_passes.rules.deeplift import deeplift_rules
from onnxplain.graph_passes.rules.reveal_cancel import (
    RevealCancelEmitter,
    collapsed,
    reveal_cancel_rules,
)
from onnxplain.graph_passes.score import (
    add_target_input,
    first_cotangent,
    make_seed,
    score_of,
    where_to_begin,
)
from onnxplain.graph_passes.subject import Source, Subject
from onnxplain.graph_passes.twins import TwinEmitter, changing_names

# The output that a ledger adds: what each node lost, float64 [nodes].
LOSSES = f"{RESERVED}losses"
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
    whole_baseline: bool = False,
) -> onnx.ModelProto:
    """attribution = m_x (x - x'), m by one of `RULES`; sums to score(x) - score(x').

    Args:
        subject: what is explained.
        target_width: None for a `target` of shape [N], else the length of index tuples.
        rule: one of `RULES`.
        ledger: notes what each node loses, if given.
        whole_baseline: expect the baseline in the input's own shape. Then the baseline's
            activations depend on nothing else, and `split` can take them out of the model.

    Returns:
        A model with the further inputs `target` and, for each explained input, `baseline`
        (broadcastable to it), and the outputs `attribution` (its shape), `delta`, both scores and
        the resolved target; and, with a ledger, what each of its nodes lost.

    Raises:
        UnsupportedModelError: an operator on the path without a DeepLIFT rule.
    """
    subject = decomposed(working_copy(subject))
    graph = subject.graph
    emitter, rules = RULES[rule]
    emit = emitter(graph)
    target = add_target_input(graph, target_width)
    baselines = [
        add_baseline_input(emit, subject, source, whole_baseline) for source in subject.sources
    ]
    pairs = list(zip(subject.starts, baselines, strict=True))
    emit.add_twins(pairs, [subject.logits], shapes=whole_baseline)
    seed = make_seed(emit, subject, target)
    score = score_of(emit, subject.logits, seed.weights)
    baseline_score = score_of(emit, emit.twin(subject.logits), seed.weights)
    table = rules(emit) if ledger is None else ledger.watching(rules(emit))
    begin = subject.logits, seed.weights
    if ledger is None and rule == "rescale":
        # A linear layer's multipliers are its derivative.
        begin = where_to_begin(subject), first_cotangent(emit, subject, seed)
    multipliers = backward(emit, table, [begin], subject.starts, "DeepLIFT", True)
    outputs = {}
    for source, baseline, multiplier in zip(subject.sources, baselines, multipliers, strict=True):
        if isinstance(emit, RevealCancelEmitter) and multiplier is not None:
            multiplier = collapsed(emit, multiplier, source.start)
        difference = emit.sub(source.start, baseline)
        attribution = emit.mul(0.0 if multiplier is None else multiplier, difference)
        attribution.shape = source.start.shape
        outputs[subject.name_of(ATTRIBUTION, source)] = per_token(emit, source, attribution)
    outputs |= {
        "delta": delta_of(emit, list(outputs.values()), score, baseline_score),
        SCORE: score,
        BASELINE_SCORE: baseline_score,
        RESOLVED_TARGET: seed.target,
    }
    if ledger is not None:
        outputs[LOSSES] = ledger.losses(emit)
    return finish(graph, outputs)


def decomposed(subject: Subject) -> Subject:
    """The subject with composite operators of its path written as simple ones."""
    path = find_path(subject.graph, subject.starts, [subject.logits])
    on_path = {id(node): node for node in path.nodes}
    changing = changing_names(subject.graph, subject.starts)

    def needs_it(node: gs.Node) -> bool:
        if id(node) not in on_path:
            return False
        if node.op == "Where":
            return node.inputs[0].name in changing
        if node.op != "Mul" or len(path.operands(node)) == 2:
            return True
        # A mask that varies, though it has no derivative.
        return any(t.name in changing and t.name not in path.varying for t in node.inputs)

    if not rewrite_nodes(subject.graph, FOR_DEEPLIFT, needs_it):
        return subject
    names = {t.name for t in subject.graph.outputs}
    needed = {t.name: t for t in (subject.logits, subject.decided)}
    extra = [tensor for name, tensor in needed.items() if name not in names]
    subject.graph.outputs.extend(extra)
    graph = infer_shapes(subject.graph)
    del graph.outputs[len(graph.outputs) - len(extra) :]
    return subject.moved_to(graph)


def per_token(emit: Emitter, source: Source, attribution: gs.Tensor) -> gs.Tensor:
    """Summed over each embedding's row, where the input is token ids; as it is otherwise."""
    return emit("ReduceSum", attribution, [-1], keepdims=0) if source.embedded else attribution


def add_baseline_input(
    emit: Emitter, subject: Subject, source: Source, whole: bool = False
) -> gs.Tensor:
    """The graph input `baseline`, repeated to the shape of the explained tensor.

    With `whole` it comes in that shape.
    """
    name = subject.name_of(BASELINE, source)
    if whole:
        shape = list(source.start.shape)
        baseline = gs.Variable(name, dtype=source.start.dtype, shape=shape)
        emit.graph.inputs.append(baseline)
        return baseline
    shape = [f"{RESERVED}{name}_dim{axis}" for axis in range(len(source.start.shape))]
    baseline = gs.Variable(name, dtype=source.start.dtype, shape=shape)
    emit.graph.inputs.append(baseline)
    return emit.expand_like(baseline, source.start)


def delta_of(emit: Emitter, attributions: Sequence[gs.Tensor], score, baseline_score) -> gs.Tensor:
    """sum(attributions) - (score - baseline score), float [N]; summed in float64."""

    def wide(tensor: gs.Tensor) -> gs.Tensor:
        return emit("Cast", tensor, to=onnx.TensorProto.DOUBLE)

    flat = [wide(emit("Flatten", attribution, axis=1)) for attribution in attributions]
    total = emit.sum([emit("ReduceSum", rows, [1], keepdims=0) for rows in flat])
    gap = wide(emit.sub(score, baseline_score))
    return emit("Cast", emit.sub(total, gap), to=onnx.TensorProto.FLOAT)
