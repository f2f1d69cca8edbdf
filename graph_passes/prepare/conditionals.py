"""If: the branch that sizes decide upon, or a selection between what both branches return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import same_shape
from ..graph.emitter import Emitter
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import captured, is_constant, is_float, operator_name, producer_of

# What cannot fail on operands of shapes that inference let pass, whatever their values are.
_TOTAL = {
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
    "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Flatten", "Gelu", "Gemm", "GlobalAveragePool",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min",
    "Mul", "Neg", "Not", "Pow", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "Relu", "Shape", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Sqrt", "Sub", "Sum", "Tanh",
    "Transpose", "Where",
}  # fmt: skip
# Sizes are few, and so are the operators between a size and a decision.
_MOST, _LONGEST = 64, 100
# An array of sizes; None stands for one that is not known.
Sizes = Any


def resolve_conditionals(graph: gs.Graph) -> gs.Graph | None:
    """Replace every If that needs none.

    Where sizes that are known decide, the branch taken is written out. Where activations decide
    and the branches read activations, both are, and Where selects: an If has no derivative of its
    own, and both copies of a network must be free to take another branch. That is done only where
    neither branch can fail and both return the same shapes; other Ifs stay.
    """
    return rewrite_nodes(graph, {"If": _resolved})


def _resolved(emit: Emitter, node: gs.Node) -> list[gs.Tensor | None] | None:
    branches = [node.attrs["then_branch"], node.attrs["else_branch"]]
    if any(isinstance(v, gs.Graph) for b in branches for n in b.nodes for v in n.attrs.values()):
        return None
    (condition,) = node.inputs
    decision = decided(condition)
    if decision is not None:
        taken: list[gs.Tensor | None] = [*write_out(emit, branches[0 if decision else 1])]
        _forget(branches)
        return taken
    if not captured(node) or not all(map(_can_be_computed, branches)):
        return None
    pairs = list(zip(*(branch.outputs for branch in branches), strict=True))
    if not all(a.shape is not None and same_shape(a.shape, b.shape) for a, b in pairs):
        return None
    if not all(is_float(a) and is_float(b) for a, b in pairs):
        return None
    results = zip(*(write_out(emit, branch) for branch in branches), strict=True)
    selected: list[gs.Tensor | None] = []
    for (a, b), (outer, _) in zip(results, pairs, strict=True):
        chosen = emit.Where(condition, a, b)
        chosen.shape = outer.shape
        selected.append(chosen)
    _forget(branches)
    return selected


def _forget(branches: list[gs.Graph]) -> None:
    """Let the tensors around no longer count the branches' nodes among their readers."""
    for branch in branches:
        for node in branch.nodes:
            node.inputs.clear()


def _can_be_computed(branch: gs.Graph) -> bool:
    return all(operator_name(node) in _TOTAL for node in branch.nodes)


def write_out(emit: Emitter, branch: gs.Graph) -> list[gs.Tensor]:
    """Emit a branch's nodes; returns its outputs."""
    made: dict[str, gs.Tensor] = {}

    def renamed(tensor: gs.Tensor) -> gs.Tensor:
        return made.get(tensor.name, tensor)

    for node in branch.nodes:
        value = node.attrs.get("value")
        if node.op == "Constant" and isinstance(value, gs.Constant):
            made[node.outputs[0].name] = emit.constant(np.asarray(value.values))
            continue
        outputs = []
        for output in node.outputs:
            fresh = gs.Variable.empty()
            if output.name:
                fresh = gs.Variable(emit.name(node.op), dtype=output.dtype, shape=output.shape)
                made[output.name] = fresh
            outputs.append(fresh)
        inputs = [renamed(tensor) for tensor in node.inputs]
        copy = gs.Node(node.op, emit.name("branch"), dict(node.attrs), inputs, outputs)
        copy.domain = node.domain
        emit.graph.nodes.append(copy)
    return [renamed(tensor) for tensor in branch.outputs]


def decided(condition: gs.Tensor) -> bool | None:
    """What a condition is, where constants and known sizes tell."""
    value = _sizes(condition, {})
    if value is None or value.size != 1 or value.item() is None:
        return None
    return bool(value.item())


def _sizes(tensor: gs.Tensor, found: dict[str, Sizes | None], depth: int = 0) -> Sizes | None:
    """An object array of numbers, None for those that are not known; None for anything else.

    Args:
        tensor: of a graph without a cycle.
        found: what is known of tensors asked for before.
        depth: how many operators lie between this and the first that was asked for.
    """
    if tensor.name not in found:
        found[tensor.name] = None if depth > _LONGEST else _computed(tensor, found, depth)
    return found[tensor.name]


def _computed(tensor: gs.Tensor, found: dict[str, Sizes | None], depth: int) -> Sizes | None:
    if is_constant(tensor):
        return np.asarray(tensor.values).astype(object) if tensor.values.size <= _MOST else None
    node = producer_of(tensor)
    if node is None:
        return None
    if operator_name(node) == "Shape":
        return _shape(node)
    compute = _ARITHMETIC.get(operator_name(node))
    if compute is None:
        return None
    operands = [_sizes(t, found, depth + 1) for t in node.inputs if t.name]
    if any(operand is None or operand.size > _MOST for operand in operands):
        return None
    try:
        return np.asarray(compute(node, *operands), dtype=object)
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return None


def _shape(node: gs.Node) -> Sizes | None:
    shape = node.inputs[0].shape
    if shape is None:
        return None
    known = [dim if isinstance(dim, int) else None for dim in shape]
    return np.asarray(known, dtype=object)[node.attrs.get("start", 0) : node.attrs.get("end")]


def _where_known(compute: Callable[..., Any]) -> Callable[..., Sizes]:
    """Element by element; unknown wherever an operand is."""

    def apply(_node: gs.Node, *operands: Sizes) -> Sizes:
        def one(*values: Any) -> Any:
            return None if None in values else compute(*values)

        return np.frompyfunc(one, len(operands), 1)(*operands)

    return apply


def _gather(node: gs.Node, data: Sizes, indices: Sizes) -> Sizes:
    return np.take(data, indices.astype(np.int64), axis=node.attrs.get("axis", 0))


def _slice(node: gs.Node, data: Sizes, starts: Sizes, ends: Sizes, *rest: Sizes) -> Sizes:
    del node
    if data.ndim != 1 or (rest and rest[0].tolist() != [0]):
        raise ValueError
    step = int(rest[1].item()) if len(rest) > 1 else 1
    return data[int(starts.item()) : int(ends.item()) : step]


_ARITHMETIC: dict[str, Callable[..., Sizes]] = {
    "Gather": _gather,
    "Slice": _slice,
    "Concat": lambda node, *parts: np.concatenate(parts),
    "Identity": lambda node, x: x,
    "Cast": lambda node, x: x,
    "Squeeze": lambda node, x, *_: x.reshape([]) if x.size == 1 else x,
    "Unsqueeze": lambda node, x, *_: x.reshape([1]) if x.size == 1 else x,
    "Equal": _where_known(lambda a, b: a == b),
    "Greater": _where_known(lambda a, b: a > b),
    "Less": _where_known(lambda a, b: a < b),
    "GreaterOrEqual": _where_known(lambda a, b: a >= b),
    "LessOrEqual": _where_known(lambda a, b: a <= b),
    "Not": _where_known(lambda a: not a),
    "And": _where_known(lambda a, b: a and b),
    "Or": _where_known(lambda a, b: a or b),
    "Add": _where_known(lambda a, b: a + b),
    "Sub": _where_known(lambda a, b: a - b),
    "Mul": _where_known(lambda a, b: a * b),
}
