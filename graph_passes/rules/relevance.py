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
from ..graph.operators import Fact, has
from ..graph.tensors import Value, is_constant, optional_input, producer_of
from ..graph.terms import NodeView, Term
from .registry import Family, Rule, gradient_entry
from .table import Resolved, RuleTable, Table, gradient_rules

# Layers with weights of their own.
_LAYER = Fact.CONVOLVES | Fact.DENSE


class Strengths(NamedTuple):
    """The numbers of LRP's rules."""

    epsilon: float
    gamma: float
    alpha: float


# What keeps a product of two that vary from 0, as a part of its mean size.
OF_A_PRODUCT = 0.01

# (op, node, relevance, the node's gradient rule, the strengths) -> the operand's relevance.
LayerRule = Callable[[Emitter, NodeView, Term, Rule, Strengths], Term]


def relevance_table(rule: str, strengths: Strengths) -> Table:
    """The table of one of `LAYER_RULES`, or of the composite."""
    return Table(
        f"lrp {rule}", Emitter, partial(_table, rule, strengths), linear=False, simple=True
    )


def _table(rule: str, strengths: Strengths, emit: Emitter) -> RuleTable:
    first = _first_layers(emit.graph)

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        resolved = gradient_rules(node, operand, varying)
        if isinstance(resolved, str) or has(node, Fact.STEP):
            return resolved
        entry = gradient_entry(node, operand)
        assert entry is not None
        others = [k for k in varying if k != operand]
        shared = partial(_with, derivative=resolved.rule, strengths=strengths)
        if operand == 1 and node.op in ("Div", "Pow"):
            return Resolved(nothing, False)
        if entry.family is Family.MAXIMUM:
            return resolved
        if _is_layer(node, varying):
            layer = _layer_rule(rule, node, id(node) in first)
            return Resolved(partial(shared, rule=layer), False)
        if _moves(node):
            return Resolved(moved_back if node.op == "Neg" else resolved.rule, resolved.broadcasts)
        if node.op in ("Mul", "Div") and operand in (0, 1):
            share = 1.0 if node.op == "Div" or not others else 0.5
            return Resolved(partial(handed_on, share=share), True)
        if _is_shift(node):
            rule_of_it = nothing if operand else partial(handed_on, share=1.0)
            return Resolved(rule_of_it, True)
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
    op: Emitter,
    node: NodeView,
    relevance: Term,
    *_,
    rule: Any,
    derivative: Rule,
    strengths: Strengths,
    **more: Any,
):
    return rule(op, node, relevance, derivative, strengths, **more)


def _is_layer(node: gs.Node, varying: Sequence[int]) -> bool:
    """A product with weights that are constant."""
    return has(node, _LAYER) and list(varying) == [0] and is_constant(node.inputs[1])


def _first_layers(graph: gs.Graph) -> set[int]:
    """Layers that no other layer stands before."""
    behind: set[str] = set()
    first: set[int] = set()
    for node in graph.nodes:
        late = any(t.name in behind for t in node.inputs)
        layer = has(node, _LAYER) and len(node.inputs) > 1 and is_constant(node.inputs[1])
        if layer and not late:
            first.add(id(node))
        if layer or late:
            behind.update(t.name for t in node.outputs)
    return first


def _is_shift(node: gs.Node) -> bool:
    """x - max x, which a Softmax begins with: its result is the same without.

    It is 0 at the maximum, where epsilon's share of either would be the relevance times x / epsilon
    and only their difference be meant.
    """
    if node.op != "Sub":
        return False
    top = producer_of(node.inputs[1])
    return top is not None and top.op == "ReduceMax" and top.inputs[0] is node.inputs[0]


def _moves(node: gs.Node) -> bool:
    """A Dropout too, which DeepLIFT does not see any more."""
    return has(node, Fact.MOVES | Fact.COPIES)


def _layer_rule(rule: str, node: gs.Node, first: bool) -> LayerRule:
    """The rule of one layer; the composite: flat, then z-plus and, where dense, epsilon."""
    if rule != "composite":
        return LAYER_RULES[rule]
    if first:
        return flat
    return z_plus if has(node, Fact.CONVOLVES) else epsilon


def stabilised(op: Emitter, value: Term, strengths: Strengths, part: float = 0.0) -> Term:
    """s(y) = y + e where y >= 0, y - e elsewhere; e = epsilon + part * the mean of |y|.

    The mean is that along the last axis.
    """
    up = op.cast_like(value >= 0, value)
    if not part:
        return value + (up - 0.5) * (2 * strengths.epsilon)
    size = op.ReduceMean(abs(value), [-1], keepdims=1) * part + strengths.epsilon
    return value + (up - 0.5) * 2 * size


def epsilon(
    op: Emitter,
    node: NodeView,
    relevance: Term,
    derivative: Rule,
    strengths: Strengths,
    operand: int = 0,
    share: float = 1.0,
) -> Term:
    """R_x = x L'(R_y / s(y)), the bias taking its part; of a product of two, half for each.

    An attention's products are near 0 where the relevance that a Softmax hands on is not: there
    epsilon alone, far below what they are, would make of rounding what it likes.
    """
    part = OF_A_PRODUCT if share != 1.0 else 0.0
    ratio = relevance / stabilised(op, node.y, strengths, part)
    if share != 1.0:
        ratio = ratio * share
    ratio.shape = node.y.shape
    return node.inputs[operand] * derivative(op, node, ratio)


class _Part(NamedTuple):
    """One of the products that a rule splits a layer into.

    Attributes:
        x: what goes in.
        node: the product itself.
    """

    x: Term
    node: NodeView


def _part(op: Emitter, node: NodeView, x: Term, weight: Term, bias: Any) -> _Part:
    """The layer's operator on other values; `bias` None: without one."""
    weight.shape = node.inputs[1].shape
    x.shape = node.x.shape
    y = op(node.op, x, weight, *([] if bias is None else [bias]), **node.attrs)
    y.shape = node.y.shape
    (made,) = y.inputs
    return _Part(x, NodeView(op, made))


def _back(op: Emitter, part: _Part, ratio: Term, derivative: Rule) -> Term:
    """x L'(ratio) of one part."""
    ratio.shape = part.node.y.shape
    return part.x * derivative(op, part.node, ratio)


def _positive(op: Emitter, value: Term) -> Term:
    return op.Relu(value)


def _negative(op: Emitter, value: Term) -> Term:
    return op.Min(value, 0)


def _never_negative(tensor: Value) -> bool:
    """Whether a tensor is what a rectifier makes, perhaps moved or pooled."""
    node = producer_of(tensor)
    while node is not None and (has(node, Fact.POOLS | Fact.POOLS_ALL) or _moves(node)):
        if node.op in ("Neg", "Where") or has(node, Fact.KEEPS_SIGNS | Fact.FILLS):
            return False
        node = producer_of(node.inputs[0])
    if node is None:
        return False
    low = optional_input(node, 1) if node.op == "Clip" else None
    return has(node, Fact.RECTIFIES) or (
        low is not None and is_constant(low) and low.values.min() >= 0
    )


def _signed_parts(op: Emitter, node: NodeView, up: bool) -> list[_Part]:
    """L+ x+ + L- x- + b+, or with `up` false L- x+ + L+ x- + b-."""
    x, weight = node.inputs[:2]
    bias = optional_input(node, 2)
    same, other = (_positive, _negative) if up else (_negative, _positive)
    bias = None if bias is None else same(op, bias)
    parts = [_part(op, node, _positive(op, x), same(op, weight), bias)]
    if not _never_negative(x):
        parts.append(_part(op, node, _negative(op, x), other(op, weight), None))
    return parts


def _shared_by(
    op: Emitter,
    parts: Sequence[_Part],
    relevance: Term,
    derivative: Rule,
    strengths: Strengths,
) -> Term:
    """The parts' shares in relevance over their stabilised sum."""
    total = op.sum([part.node.y for part in parts])
    ratio = relevance / stabilised(op, total, strengths)
    return op.sum([_back(op, part, ratio, derivative) for part in parts])


def z_plus(op: Emitter, node: NodeView, relevance, derivative: Rule, strengths: Strengths):
    """Positive parts only: x and w of one sign, and a positive bias."""
    parts = _signed_parts(op, node, True)
    return _shared_by(op, parts, relevance, derivative, strengths)


def alpha_beta(op: Emitter, node: NodeView, relevance, derivative: Rule, strengths: Strengths):
    """alpha of the positive parts' shares less beta = alpha - 1 of the negative parts'."""
    up, down = (
        _shared_by(op, _signed_parts(op, node, sign), relevance, derivative, strengths)
        for sign in (True, False)
    )
    weighed = up * strengths.alpha
    if strengths.alpha == 1:
        return weighed
    return weighed - down * (strengths.alpha - 1)


def gamma(op: Emitter, node: NodeView, relevance, derivative: Rule, strengths: Strengths):
    """The parts that go y's way, stronger by gamma: w + gamma w+ for x+, w + gamma w- for x-."""
    x, weight = node.inputs[:2]
    bias, y = optional_input(node, 2), node.y

    def stronger(value: Term, up: bool) -> Any:
        part = _positive(op, value) if up else _negative(op, value)
        return value + part * strengths.gamma

    found = []
    for up in (True, False):
        own = None if bias is None else stronger(bias, up)
        parts = [_part(op, node, _positive(op, x), stronger(weight, up), own)]
        if not _never_negative(x):
            parts.append(_part(op, node, _negative(op, x), stronger(weight, not up), None))
        mine = relevance * op.cast_like(y >= 0 if up else y < 0, relevance)
        found.append(_shared_by(op, parts, mine, derivative, strengths))
    return op.sum(found)


def flat(op: Emitter, node: NodeView, relevance, derivative: Rule, strengths: Strengths):
    """As if all inputs and weights were 1: the same for each input that reaches an output."""
    x, weight = node.inputs[:2]
    ones = op.filled_like(x, 1.0)
    fill = op.single(1, weight.dtype, "one")
    shape = op.constant(np.asarray(weight.shape, np.int64))
    part = _part(op, node, ones, op.ConstantOfShape(shape, value=fill), None)
    return _shared_by(op, [part], relevance, derivative, strengths)


def handed_on(op: Emitter, node: NodeView, relevance, *_, share: float) -> Term:
    """R_x = R_y: an activation's, a scale's; of a product of two, half for each."""
    return relevance if share == 1.0 else relevance * share


def moved_back(op: Emitter, node: NodeView, relevance, *_) -> Term:
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
