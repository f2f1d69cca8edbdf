"""DeepLIFT's multipliers of any graph: the walk by a table that compares with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from ..finish import finish, free_names
from ..graph.reach import find_reach
from ..graph.rewriting import rewrite_nodes
from ..graph.twins import changing_names
from ..prepare.decompositions import FOR_DEEPLIFT
from ..prepare.shapes import infer_shapes
from ..rules.table import Table
from ..select.subject import Subject
from .vjp import chosen
from .walk import carried_back


def multipliers(
    graph: gs.Graph,
    table: Table,
    inputs: list[str] | None = None,
    outputs: list[str] | None = None,
) -> onnx.ModelProto:
    """multiplier_<input>, of which sum(multiplier dx) = sum over outputs of cotangent dy.

    d is the difference to what the network makes of the baselines. The gradient's counterpart is
    `vjp`.

    Args:
        graph: prepared; changed in place.
        table: of DeepLIFT.
        inputs: inputs to differentiate by; None takes every float input.
        outputs: outputs to differentiate; None takes every float output.

    Returns:
        A model of the model's inputs, then `baseline_<input>` for each input, then
        `cotangent_<output>` for each output, that returns the model's outputs, then
        `multiplier_<input>` for each input (zeros where nothing depends on it) and
        `baseline_<output>` for each output: what the baselines make of it.

    Raises:
        InvalidInputError: a name that the model does not have, or that is not float.
        UnsupportedModelError: operators without a DeepLIFT rule, or no float inputs or outputs.
    """
    starts, ends = chosen(graph.inputs, inputs, "input"), chosen(graph.outputs, outputs, "output")
    if in_simple_operators(graph, starts, ends):
        names = [[tensor.name for tensor in side] for side in (starts, ends)]
        graph = infer_shapes(graph)
        starts = chosen(graph.inputs, names[0], "input")
        ends = chosen(graph.outputs, names[1], "output")
    made = [f"{kind}_{t.name}" for t in starts for kind in ("baseline", "multiplier")]
    free_names(
        graph, made + [f"{kind}_{t.name}" for t in ends for kind in ("baseline", "cotangent")]
    )
    emit = table.emitter(graph)
    pairs = [(t, emit.input(f"baseline_{t.name}", t.dtype, t.shape)) for t in starts]
    seeds = [(t, emit.input(f"cotangent_{t.name}", t.dtype, t.shape)) for t in ends]
    emit.add_twins(pairs, ends)
    found = carried_back(emit, table, seeds, starts, "DeepLIFT")
    named = {
        f"multiplier_{t.name}": emit.filled_like(t, 0.0) if m is None else m
        for t, m in zip(starts, found, strict=True)
    }
    return finish(graph, named | {f"baseline_{t.name}": emit.twin(t) for t in ends})


def in_simple_operators(
    graph: gs.Graph, starts: Sequence[gs.Tensor], ends: Sequence[gs.Tensor]
) -> bool:
    """Write composite operators between tensors as simple ones, in place; True if any was there."""
    path = find_reach(graph, starts, ends)
    on_path = {id(node): node for node in path.nodes}
    changing = changing_names(graph, starts)

    def needs_it(node: gs.Node) -> bool:
        if id(node) not in on_path:
            return False
        if node.op == "Where":
            return node.inputs[0].name in changing
        if node.op != "Mul" or len(path.operands(node)) == 2:
            return True
        # A mask that varies, though it has no derivative.
        return any(t.name in changing and t.name not in path.varying for t in node.inputs)

    return rewrite_nodes(graph, FOR_DEEPLIFT, needs_it) is not None


def decomposed(subject: Subject) -> Subject:
    """The subject with composite operators of its path written as simple ones."""
    if not in_simple_operators(subject.graph, subject.starts, [subject.weighed]):
        return subject
    names = {t.name for t in subject.graph.outputs}
    needed: dict[str, Any] = {t.name: t for t in (subject.logits, subject.decided, subject.weighed)}
    extra = [tensor for name, tensor in needed.items() if name not in names]
    subject.graph.outputs.extend(extra)
    graph = infer_shapes(subject.graph)
    del graph.outputs[len(graph.outputs) - len(extra) :]
    return subject.moved_to(graph)
