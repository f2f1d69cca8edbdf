"""DeepLIFT's overlay on the gradient table: four families that all sum to delta.

Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation
Differences (2017).

A multiplier m_x obeys sum(m_x dx) = sum(m_y dy) for every operator, with d meaning value at the
input minus value at the baseline. `emit.twin(t)` is t at the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.tensors import operator_name
from ..graph.twins import TwinEmitter
from .arithmetic import extremum_shares
from .pooling import (
    global_positions,
    max_positions,
    scatter_globally,
    scatter_to_positions,
)
from .reductions import extremum_share, keep_axes
from .registry import ZERO_DERIVATIVE, Family, Rule, gradient_entry
from .table import Resolved, Table, gradient_rules

# Differences below this part of the values are rounding: there the derivative stands in for the
# quotient.
RELATIVE_TINY = 1e-6
# Operators whose slope may be infinite at a number that they take.
_MAY_BE_STEEP = {"Sqrt", "Log", "Reciprocal", "Pow", "Div", "Asin", "Acos", "Acosh", "Atanh"}


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
        if node.op == "Div" and others:
            return Resolved(partial(quotient, operand=operand), True)
        if entry.family is Family.LINEAR:
            return resolved
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
            if operator_name(node) == "Relu":
                return Resolved(rescale_relu, resolved.broadcasts)
            if operator_name(node) == "Clip" and _is_plain_clip(node):
                rule = partial(rescale_clip, derivative=resolved.rule)
                return Resolved(rule, resolved.broadcasts)
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
    """Rescale (section 3.5.1): m_x = m_y dy / dx, and m_y f'(x') where dx is only rounding.

    What concerns the baseline alone (f'(x'), the size below which dx is rounding) is asked of the
    twin, so that it is computed once for each baseline.
    """
    x, y = node.inputs[operand], node.outputs[0]
    reference = emit.twin(x)
    dx, dy = emit.sub(x, reference), emit.sub(y, emit.twin(y))
    rounding = emit.mul(emit("Abs", reference), RELATIVE_TINY)
    # Infinity minus itself, of an attention mask say, is not a number, and no difference either.
    tiny = emit("Not", emit("Greater", emit("Abs", dx), rounding))
    # 0 / 0 is not a number, and not chosen.
    return emit.mul(
        m, emit("Where", tiny, slope_at_baseline(emit, node, derivative), emit.div(dy, dx))
    )


def slope_at_baseline(
    emit: TwinEmitter, node: gs.Node, derivative: Rule, times: float = 1.0
) -> gs.Tensor:
    """f'(x') times a number, in y's shape; 0 where it is infinite: there dx = 0 owes nothing."""
    twin = emit.twin_node(node)
    slope = derivative(emit, twin, emit.filled_like(twin.outputs[0], times))
    if slope is None:
        return emit.constant(0.0, node.outputs[0].dtype)
    if node.op not in _MAY_BE_STEEP:
        return slope
    most = float(np.finfo(node.outputs[0].dtype).max)
    return emit("Where", emit("LessOrEqual", emit("Abs", slope), most), slope, 0.0)


def _is_plain_clip(node: gs.Node) -> bool:
    """Whether the bounds are so much larger than the smallest number that it is lost in them."""
    bounds = [float(t.values.item()) for t in node.inputs[1:] if t.name]
    return all(bound == 0 or abs(bound) > 1e-20 for bound in bounds)


def rescale_relu(emit: TwinEmitter, node: gs.Node, m, *_) -> gs.Tensor:
    """Rescale for max(x, 0): m_x = m_y a / (a - b), with a = max(x, y') and b = min(x, x', -tiny).

    The part of the way from x' to x that lies above 0, as a / (a - b): of max(x, x', 0) to
    min(x, x', 0), what is above. Where both lie above, b is next to nothing and this is 1; at
    x = x' too, where dy / dx is 0 / 0, it is the derivative. Five operators for each activation
    instead of ten: activations are most of what DeepLIFT costs beside its convolutions.
    """
    x = node.inputs[0]
    below = emit("Min", emit.twin(x), -float(np.finfo(x.dtype).tiny))
    top, bottom = emit("Max", x, emit.twin(node.outputs[0])), emit("Min", x, below)
    top.shape = bottom.shape = x.shape
    return emit.mul(m, emit.div(top, emit.sub(top, bottom)))


def rescale_clip(emit: TwinEmitter, node: gs.Node, m, *_, derivative: Rule) -> gs.Tensor:
    """Rescale for a Clip of fixed bounds: m_x = m_y (dy + tiny f'(x')) / (dx + tiny).

    dx and dy are exact where they are small (both are differences of close numbers, and inside the
    bounds the same ones), so only dx = 0 needs the derivative: tiny f' / tiny. Elsewhere tiny, the
    smallest normal number, is lost in rounding.
    """
    x, y = node.inputs[0], node.outputs[0]
    tiny = float(np.finfo(x.dtype).tiny)
    dx, dy = emit.sub(x, emit.twin(x)), emit.sub(y, emit.twin(y))
    rise = emit.add(dy, slope_at_baseline(emit, node, derivative, tiny))
    return emit.mul(m, emit.div(rise, emit.add(dx, tiny)))


def quotient(emit: TwinEmitter, node: gs.Node, m, *_, operand: int) -> gs.Tensor:
    """y = a / b, both varying: m_a = m / b_, m_b = -m y_ / b_, with the means b_ = (b + b') / 2.

    It is the symmetric split of a = y b, da = dy b_ + db y_, solved for dy, so it sums exactly, and
    it stays bounded where b and b' have one sign, also where one of them is next to nothing: the
    products a (1 / b) that Captum and shap see are then differences of numbers of 1 / b' squared.
    Where the sign changes b_ may be 0: there a (1 / b) is split,
    m_a = m (1 / b + 1 / b') / 2 and m_b = -m a_ / (b b').
    """
    (a, b), y = node.inputs, node.outputs[0]
    other_b = emit.twin(b)
    middle = emit.mean(b, other_b)
    crossing = emit("Less", emit.mul(emit("Sign", b), emit("Sign", other_b)), 0.0)
    safe = emit("Where", crossing, 1.0, middle)
    if operand == 0:
        split = emit.mul(emit.add(emit("Reciprocal", b), emit("Reciprocal", other_b)), 0.5)
        return emit.mul(m, emit("Where", crossing, split, emit("Reciprocal", safe)))
    split = emit.div(emit.div(emit.mean(a, emit.twin(a)), b), other_b)
    bounded = emit.div(emit.mean(y, emit.twin(y)), safe)
    return emit.neg(emit.mul(m, emit("Where", crossing, split, bounded)))


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
    # Not a number where both are the same infinity: that is no difference either.
    still = emit("Not", emit("Greater", emit("Abs", dx), 0.0))
    share = emit.div(owed, emit.add(dx, emit.cast_like(still, dx)))
    return emit("Where", still, derivative(emit, node, m), share)


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


RESCALE = Table("rescale", TwinEmitter, deeplift_rules)
