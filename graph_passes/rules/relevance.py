"""Layer-wise relevance propagation: the walk carries relevance R, the score shared out.

Bach et al.: On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation (2015). Montavon et al.: Layer-Wise Relevance Propagation: An Overview (2019), for gamma
and composites. Every rule hands on what arrives, but for what biases and the stabiliser take.

For y = L x + b, with s(y) = y + epsilon (1 where y >= 0, else -1) and L' the adjoint:

    epsilon       R_x = x L'(R_y / s(y))
    z-plus        the same with L+ x+ + L- x- + b+ in y's place, and these parts
    alpha-beta    alpha times that, less alpha - 1 times the same of the negative parts
    gamma         with L + gamma L+ (and b) where y > 0, with L + gamma L- where y < 0
    flat          as if x and L were ones, without a bias
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, operator_name, optional_input, producer_of
from .registry import ZERO_DERIVATIVE, Family, Rule, gradient_entry
from .table import Resolved, RuleTable, Table, gradient_rules

# Layers with weights of their own; all but convolutions are called dense.
_CONVOLUTIONS, _DENSE = ("Conv", "ConvTranspose"), ("Gemm", "MatMul")
_LAYERS = (*_CONVOLUTIONS, *_DENSE)
# Each output element is one element of the operand, or many are.
_MOVING = {"Identity", "Cast", "Neg", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
_MOVING |= {"Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Tile", "Expand"}
_MOVING |= {"Pad", "DepthToSpace", "SpaceToDepth", "Trilu", "Where", "Dropout", "Compress"}
_POSITIVE = {"Relu", "Sigmoid", "Softplus", "Exp", "Abs", "Softmax", "HardSigmoid", "Sqrt"}


class Strengths(NamedTuple):
    """The numbers of LRP's rules."""

    epsilon: float
    gamma: float
    alpha: float


# (emit, node, relevance, the node's gradient rule, the strengths) -> the operand's relevance.
LayerRule = Callable[[Emitter, gs.Node, gs.Tensor, Rule, Strengths], gs.Tensor]


def relevance_table(rule: str, strengths: Strengths) -> Table:
    """The table of one of `LAYER_RULES`, or of the composite."""
    return Table(f"lrp {rule}", Emitter, partial(_table, rule, strengths), linear=False)


def _table(rule: str, strengths: Strengths, emit: Emitter) -> RuleTable:
    first = _first_layers(emit.graph)

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        resolved = gradient_rules(node, operand, varying)
        if isinstance(resolved, str) or operator_name(node) in ZERO_DERIVATIVE:
            return resolved
        entry = gradient_entry(node, operand)
        assert entry is not None
        others = [k for k in varying if k != operand]
        shared = partial(_with, derivative=resolved.rule, strengths=strengths)
        if (node.op == "Div" and operand == 1) or (node.op == "Pow" and operand == 1):
            return Resolved(nothing, False)
        if entry.family is Family.MAXIMUM:
            return resolved
        if _is_layer(node, varying):
            layer = _layer_rule(rule, node, id(node) in first)
            return Resolved(partial(shared, rule=layer), False)
        if node.op in _MOVING:
            return Resolved(moved_back if node.op == "Neg" else resolved.rule, resolved.broadcasts)
        if node.op in ("Mul", "Div") and operand in (0, 1):
            share = 1.0 if node.op == "Div" or not others else 0.5
            return Resolved(partial(handed_on, share=share), True)
        if entry.family is Family.LINEAR:
            return Resolved(partial(shared, rule=epsilon, operand=operand), resolved.broadcasts)
        if entry.family is Family.BILINEAR:
            share = 0.5 if others else 1.0
            return Resolved(
                partial(shared, rule=epsilon, operand=operand, share=share), resolved.broadcasts
            )
        if entry.family is Family.ELEMENTWISE and not others:
            return Resolved(partial(handed_on, share=1.0), resolved.broadcasts)
        return "no LRP rule where several operands vary" if others else "no LRP rule"

    return table


def _with(
    emit: Emitter,
    node: gs.Node,
    relevance: gs.Tensor,
    *_,
    rule: Any,
    derivative: Rule,
    strengths: Strengths,
    **more: Any,
):
    return rule(emit, node, relevance, derivative, strengths, **more)


def _is_layer(node: gs.Node, varying: Sequence[int]) -> bool:
    """A product with weights that are constant."""
    return node.op in _LAYERS and list(varying) == [0] and is_constant(node.inputs[1])


def _first_layers(graph: gs.Graph) -> set[int]:
    """Layers that no other layer stands before."""
    behind: set[str] = set()
    first: set[int] = set()
    for node in graph.nodes:
        late = any(t.name in behind for t in node.inputs)
        layer = node.op in _LAYERS and len(node.inputs) > 1 and is_constant(node.inputs[1])
        if layer and not late:
            first.add(id(node))
        if layer or late:
            behind.update(t.name for t in node.outputs)
    return first


def _layer_rule(rule: str, node: gs.Node, first: bool) -> LayerRule:
    """The rule of one layer; the composite: flat, then z-plus and, where dense, epsilon."""
    if rule != "composite":
        return LAYER_RULES[rule]
    if first:
        return flat
    return z_plus if node.op in _CONVOLUTIONS else epsilon


def stabilised(emit: Emitter, value: gs.Tensor, strengths: Strengths) -> gs.Tensor:
    """s(y) = y + epsilon where y >= 0, y - epsilon elsewhere."""
    up = emit.cast_like(emit("GreaterOrEqual", value, 0.0), value)
    return emit.add(value, emit.mul(emit.sub(up, 0.5), 2 * strengths.epsilon))


def epsilon(
    emit: Emitter,
    node: gs.Node,
    relevance: gs.Tensor,
    derivative: Rule,
    strengths: Strengths,
    operand: int = 0,
    share: float = 1.0,
) -> gs.Tensor:
    """R_x = x L'(R_y / s(y)), the bias taking its part; of a product of two, half for each."""
    ratio = emit.div(relevance, stabilised(emit, node.outputs[0], strengths))
    if share != 1.0:
        ratio = emit.mul(ratio, share)
    ratio.shape = node.outputs[0].shape
    return emit.mul(node.inputs[operand], derivative(emit, node, ratio))


class _Part(NamedTuple):
    """One of the products that a rule splits a layer into.

    Attributes:
        x: what goes in.
        node: the product itself.
    """

    x: gs.Tensor
    node: gs.Node


def _part(emit: Emitter, node: gs.Node, x: gs.Tensor, weight: gs.Tensor, bias: Any) -> _Part:
    """The layer's operator on other values; `bias` None: without one."""
    weight.shape = node.inputs[1].shape
    x.shape = node.inputs[0].shape
    y = emit(node.op, x, weight, *([] if bias is None else [bias]), **node.attrs)
    y.shape = node.outputs[0].shape
    (made,) = y.inputs
    return _Part(x, made)


def _back(emit: Emitter, part: _Part, ratio: gs.Tensor, derivative: Rule) -> gs.Tensor:
    """x L'(ratio) of one part."""
    ratio.shape = part.node.outputs[0].shape
    return emit.mul(part.x, derivative(emit, part.node, ratio))


def _positive(emit: Emitter, value: gs.Tensor) -> gs.Tensor:
    return emit("Relu", value)


def _negative(emit: Emitter, value: gs.Tensor) -> gs.Tensor:
    return emit("Min", value, 0.0)


def _never_negative(tensor: gs.Tensor) -> bool:
    """Whether a tensor is what a rectifier makes, perhaps moved or pooled."""
    node = producer_of(tensor)
    while node is not None and node.op in ("MaxPool", "AveragePool", "GlobalAveragePool", *_MOVING):
        if node.op in ("Neg", "Concat", "Where", "Pad"):
            return False
        node = producer_of(node.inputs[0])
    if node is None:
        return False
    low = optional_input(node, 1) if node.op == "Clip" else None
    return node.op in _POSITIVE or (low is not None and is_constant(low) and low.values.min() >= 0)


def _signed_parts(emit: Emitter, node: gs.Node, up: bool) -> list[_Part]:
    """L+ x+ + L- x- + b+, or with `up` false L- x+ + L+ x- + b-."""
    x, weight = node.inputs[:2]
    bias = optional_input(node, 2)
    same, other = (_positive, _negative) if up else (_negative, _positive)
    bias = None if bias is None else same(emit, bias)
    parts = [_part(emit, node, _positive(emit, x), same(emit, weight), bias)]
    if not _never_negative(x):
        parts.append(_part(emit, node, _negative(emit, x), other(emit, weight), None))
    return parts


def _shared_by(
    emit: Emitter,
    parts: Sequence[_Part],
    relevance: gs.Tensor,
    derivative: Rule,
    strengths: Strengths,
) -> gs.Tensor:
    """The parts' shares in relevance over their stabilised sum."""
    total = emit.sum([part.node.outputs[0] for part in parts])
    ratio = emit.div(relevance, stabilised(emit, total, strengths))
    return emit.sum([_back(emit, part, ratio, derivative) for part in parts])


def z_plus(emit: Emitter, node: gs.Node, relevance, derivative: Rule, strengths: Strengths):
    """Positive parts only: x and w of one sign, and a positive bias."""
    parts = _signed_parts(emit, node, True)
    return _shared_by(emit, parts, relevance, derivative, strengths)


def alpha_beta(emit: Emitter, node: gs.Node, relevance, derivative: Rule, strengths: Strengths):
    """alpha of the positive parts' shares less beta = alpha - 1 of the negative parts'."""
    up, down = (
        _shared_by(emit, _signed_parts(emit, node, sign), relevance, derivative, strengths)
        for sign in (True, False)
    )
    weighed = emit.mul(up, strengths.alpha)
    if strengths.alpha == 1:
        return weighed
    return emit.sub(weighed, emit.mul(down, strengths.alpha - 1))


def gamma(emit: Emitter, node: gs.Node, relevance, derivative: Rule, strengths: Strengths):
    """The parts that go y's way, stronger by gamma: w + gamma w+ for x+, w + gamma w- for x-."""
    x, weight = node.inputs[:2]
    bias, y = optional_input(node, 2), node.outputs[0]

    def stronger(value: gs.Tensor, up: bool) -> gs.Tensor:
        part = _positive(emit, value) if up else _negative(emit, value)
        return emit.add(value, emit.mul(part, strengths.gamma))

    found = []
    for up, op in ((True, "GreaterOrEqual"), (False, "Less")):
        own = None if bias is None else stronger(bias, up)
        parts = [_part(emit, node, _positive(emit, x), stronger(weight, up), own)]
        if not _never_negative(x):
            parts.append(_part(emit, node, _negative(emit, x), stronger(weight, not up), None))
        mine = emit.mul(relevance, emit.cast_like(emit(op, y, 0.0), relevance))
        found.append(_shared_by(emit, parts, mine, derivative, strengths))
    return emit.sum(found)


def flat(emit: Emitter, node: gs.Node, relevance, derivative: Rule, strengths: Strengths):
    """As if all inputs and weights were 1: the same for each input that reaches an output."""
    x, weight = node.inputs[:2]
    ones = emit.filled_like(x, 1.0)
    fill = gs.Constant(emit.name("one"), np.ones(1, weight.dtype))
    shape = emit.constant(np.asarray(weight.shape, np.int64))
    part = _part(emit, node, ones, emit("ConstantOfShape", shape, value=fill), None)
    return _shared_by(emit, [part], relevance, derivative, strengths)


def handed_on(emit: Emitter, node: gs.Node, relevance, *_, share: float) -> gs.Tensor:
    """R_x = R_y: an activation's, a scale's; of a product of two, half for each."""
    return relevance if share == 1.0 else emit.mul(relevance, share)


def moved_back(emit: Emitter, node: gs.Node, relevance, *_) -> gs.Tensor:
    """R_x = R_y, whatever the sign."""
    return relevance


def nothing(*_) -> None:
    """A denominator's, an exponent's: the other operand has it all."""


LAYER_RULES: dict[str, LayerRule] = {
    "epsilon": epsilon,
    "gamma": gamma,
    "z-plus": z_plus,
    "alpha-beta": alpha_beta,
}
RULES = (*LAYER_RULES, "composite")
