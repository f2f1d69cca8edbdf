"""DeepLIFT's overlay on the gradient table: four families that all sum to delta.

Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation
Differences (2017).

A multiplier m_x obeys sum(m_x dx) = sum(m_y dy) for every operator, with d meaning value at the
input minus value at the baseline. `emit.twin(t)` is t at the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.backward import Resolved, gradient_rules
from onnxplain.graph_passes.rules.arithmetic import extremum_shares
from onnxplain.graph_passes.rules.pooling import (
    global_positions,
    max_positions,
    scatter_globally,
    scatter_to_positions,
)
from onnxplain.graph_passes.rules.reductions import extremum_share, keep_axes
from onnxplain.graph_passes.rules.registry import (
    ZERO_DERIVATIVE,
    Family,
    Rule,
    gradient_entry,
    operator_name,
)
from onnxplain.graph_passes.twins import TwinEmitter

# Differences below this part of the values are rounding: there the derivative stands in for the
# quotient.
RELATIVE_TINY = 1e-6


def deeplift_rules(emit: TwinEmitter):
    """The rule table of DeepLIFT with the rescale rule, for a graph whose twins `emit` holds."""

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        resolved = gradient_rules(node, operand, varying)
        if isinstance(resolved, str):
            return resolved
        if operator_name(node) in ZERO_DERIVATIVE:
            return Resolved(partial(rescale, operand=operand, derivative=zero), True)
        entry = gradient_entry(node, operand)
        assert entry is not None
        others = [k for k in varying if k != operand]
        steering = [
            t.name for k, t in enumerate(node.inputs) if k not in varying and emit.depends(t)
        ]
        if steering:
            return f"its operand {steering[0]!r} depends on the input without a derivative"
        if node.attrs.get("reduction", "none") not in ("none", "add"):
            return f"no DeepLIFT rule for reduction {node.attrs['reduction']!r}"
        if entry.family is Family.LINEAR:
            return (
                "a divisor and a dividend that both vary"
                if node.op == "Div" and others
                else resolved
            )
        if entry.family is Family.BILINEAR:
            if not others:
                return resolved
            return Resolved(
                partial(product, others=others, derivative=resolved.rule), resolved.broadcasts
            )
        if entry.family is Family.MAXIMUM:
            return Resolved(
                partial(maximum, operand=operand, derivative=resolved.rule), resolved.broadcasts
            )
        if entry.family is Family.ELEMENTWISE and not others:
            rule = partial(rescale, operand=operand, derivative=resolved.rule)
            return Resolved(rule, resolved.broadcasts)
        return (
            "no DeepLIFT rule where several of its operands vary" if others else "no DeepLIFT rule"
        )

    return table


def zero(emit: TwinEmitter, node: gs.Node, m: gs.Tensor) -> gs.Tensor:
    """The derivative of a piecewise constant operator."""
    return emit.mul(m, 0.0)


def rescale(emit: TwinEmitter, node: gs.Node, m, *_, operand: int, derivative: Rule) -> gs.Tensor:
    """Rescale (section 3.5.1): m_x = m_y dy / dx, and m_y f'(x) where dx is only rounding."""
    x, y = node.inputs[operand], node.outputs[0]
    reference = emit.twin(x)
    dx, dy = emit.sub(x, reference), emit.sub(y, emit.twin(y))
    size = emit("Max", emit("Abs", x), emit("Abs", reference))
    tiny = emit("LessOrEqual", emit("Abs", dx), emit.mul(size, RELATIVE_TINY))
    safe = emit.add(dx, emit.cast_like(tiny, dx))
    slope = derivative(emit, node, m)
    quotient = emit.mul(m, emit.div(dy, safe))
    return emit("Where", tiny, 0.0 if slope is None else slope, quotient)


def product(
    emit: TwinEmitter, node: gs.Node, m, *_, others: list[int], derivative: Rule
) -> gs.Tensor:
    """The symmetric split d(a b) = da (b + b') / 2 + db (a + a') / 2, for every bilinear operator.

    It is the gradient rule with the other operands in the middle between input and baseline.
    """
    inputs = list(node.inputs)
    for other in others:
        inputs[other] = _middle(emit, inputs[other])
    y = gs.Variable("shape_only", dtype=node.outputs[0].dtype, shape=node.outputs[0].shape)
    stand_in = gs.Node(node.op, node.name, node.attrs, inputs, [y], domain=node.domain)
    multiplier = derivative(emit, stand_in, m)
    stand_in.inputs.clear()
    return multiplier


def _middle(emit: TwinEmitter, tensor: gs.Tensor) -> gs.Tensor:
    middle = emit.mean(tensor, emit.twin(tensor))
    middle.shape = tensor.shape
    return middle


def maximum(emit: TwinEmitter, node: gs.Node, m, *_, operand: int, derivative: Rule) -> gs.Tensor:
    """Through t = max(y, y'): shares of m_y for the argmax at x and for the one at x'.

    m_y (t - y') goes to the argmax at x, m_y (y - t) to the one at x', each over dx. For a minimum
    t = min(y, y'). Windows that overlap add up. Where dx = 0 nothing is owed and the derivative
    stands in.
    """
    y, y_reference = node.outputs[0], emit.twin(node.outputs[0])
    top = emit("Min" if node.op in ("Min", "ReduceMin") else "Max", y, y_reference)
    gain = emit.mul(m, emit.sub(top, y_reference))
    loss = emit.mul(m, emit.sub(y, top))
    owed = emit.add(
        _to_extremum(emit, node, gain, operand),
        _to_extremum(emit, emit.twin_node(node), loss, operand),
    )
    x = node.inputs[operand]
    dx = emit.sub(x, emit.twin(x))
    still = emit("Equal", dx, 0.0)
    quotient = emit.div(owed, emit.add(dx, emit.cast_like(still, dx)))
    return emit("Where", still, derivative(emit, node, m), quotient)


def _to_extremum(emit: TwinEmitter, node: gs.Node, value: gs.Tensor, operand: int) -> gs.Tensor:
    """`value` (in y's shape) placed at the elements of the operand that the node picked."""
    if node.op == "MaxPool":
        return scatter_to_positions(emit, value, max_positions(emit, node), node.inputs[0])
    if node.op == "GlobalMaxPool":
        flat, positions = global_positions(emit, node)
        return scatter_globally(emit, node, value, positions, flat)
    if node.op in ("ReduceMax", "ReduceMin"):
        return emit.mul(keep_axes(emit, node, value), extremum_share(emit, node))
    return emit.mul(value, extremum_shares(emit, node.inputs, node.outputs[0])[operand])
