"""AttnLRP: relevance through transformers, as input times a gradient changed in three places.

Achtibat et al.: AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers (2024).

    normalisation   y = (x - mean) / deviation: the deviation stands still (equation 9)
    activation      y = f(x): dx = dy f(x) / x (equation 9)
    product         y = a b, both computed: half the gradient to each (equation 7)

Softmax keeps its gradient, and what is linear its own. CP (Ali et al. 2022): attention's Softmax
passes nothing, so that values have all of their product with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.terms import NodeView, Term
from .normalization import normalised_axes, standardised_of
from .registry import Family, Rule, gradient_entry
from .table import Resolved, RuleTable, Table, gradient_rules, is_step, no_cotangent
from .written_out import (
    QUOTIENT,
    WRITTEN_OUT,
    Traced,
    is_of_a_quantiser,
    is_reciprocal,
    is_shifted,
    sole_operand,
    trace,
    without_shifts,
)

RULES = ("attn", "cp")
# Nearer to 0 than this an activation passes its derivative in place of f(x) / x.
STABILISER = 1e-10
# Composites that pass their derivative: x times that is what they make; and Softmax.
_AS_THEY_ARE = Fact.HOMOGENEOUS | Fact.CLASSIFIES


def attention_table(rule: str, starts: Sequence[gs.Tensor], end: gs.Tensor) -> Table:
    """The table of one of `RULES`, for walks between tensors of these names."""
    names = [tensor.name for tensor in starts], end.name
    return Table(f"attn-lrp {rule}", Emitter, partial(_table, rule, *names), linear=False)


class _Plan(NamedTuple):
    """What passes where, before anything is emitted.

    Attributes:
        traced: the way.
        stopped: (node, operand) to which nothing is passed.
        carried: names of tensors that relevance goes on from, to a start.
        alive: nodes at which some arrives.
    """

    traced: Traced
    stopped: set[tuple[int, int]]
    carried: set[str]
    alive: set[int]


def _planned(rule: str, starts: Sequence[str], end: str, graph: gs.Graph) -> _Plan:
    tensors = graph.tensors()
    traced = trace(graph, [tensors[name] for name in starts], [tensors[end]])
    stopped: set[tuple[int, int]] = set()
    carried = set(starts)
    for node in traced.nodes:
        sole = sole_operand(traced, node)
        if isinstance(sole, int):
            stopped.add((id(node), 1 - sole))
        if is_step(node) or (rule == "cp" and node.op == "Softmax" and _weighs(traced, node)):
            stopped.update((id(node), k) for k in traced.operands(node))
        passed = [k for k in traced.operands(node) if (id(node), k) not in stopped]
        if any(node.inputs[k].name in carried for k in passed):
            carried.update(tensor.name for tensor in node.outputs)
    alive, reached = set(), {end}
    for node in reversed(traced.nodes):
        if not reached.isdisjoint(tensor.name for tensor in node.outputs):
            alive.add(id(node))
            passed = [k for k in traced.operands(node) if (id(node), k) not in stopped]
            reached.update(node.inputs[k].name for k in passed)
    return _Plan(traced, stopped, carried, alive)


def _weighs(traced: Traced, softmax: gs.Node) -> bool:
    """Whether a Softmax's output, perhaps moved or masked, is multiplied with what is computed."""
    waiting = [*softmax.outputs[0].outputs]
    for node in waiting:
        entry = gradient_entry(node, 0)
        product = entry is not None and entry.family is Family.BILINEAR
        if product and len(traced.operands(node)) == 2:
            return True
        if has(node, Fact.MOVES | Fact.COPIES) or node.op in ("Mul", "Div"):
            waiting += node.outputs[0].outputs
    return False


def _table(rule: str, starts: Sequence[str], end: str, emit: Emitter) -> RuleTable:
    plan = _planned(rule, starts, end, emit.graph)

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        if id(node) not in plan.alive or (id(node), operand) in plan.stopped:
            return Resolved(no_cotangent, False)
        resolved = gradient_rules(node, operand, varying)
        if isinstance(resolved, str):
            return resolved
        changed = _changed(plan, node, operand, resolved.rule)
        return changed if isinstance(changed, str) else Resolved(changed, resolved.broadcasts)

    return table


def _changed(plan: _Plan, node: gs.Node, operand: int, derivative: Rule) -> Rule | str:
    """The rule of an operand that something is passed to, or the reason why there is none."""
    entry, operands = gradient_entry(node, operand), plan.traced.operands(node)
    if has(node, Fact.STEP) or entry is None:
        return derivative
    sole = sole_operand(plan.traced, node)
    if isinstance(sole, str):
        return sole
    if is_reciprocal(plan.traced, node):
        return QUOTIENT
    if node.op == "LayerNormalization":
        return deviation_held if operand == 0 else "its scale or shift is computed"
    if entry.family is Family.BILINEAR:
        going = [k for k in operands if (id(node), k) not in plan.stopped]
        going = [k for k in going if node.inputs[k].name in plan.carried]
        return partial(shared, derivative=derivative, share=1 / max(len(going), 1))
    bounds = entry.family is Family.MAXIMUM and has(node, Fact.ALIGNS) and len(operands) == 1
    if entry.family is Family.ELEMENTWISE or bounds:
        return _activation(plan.traced, node, operand, derivative)
    if entry.family is Family.COMPOSITE and not has(node, _AS_THEY_ARE):
        if node.op == "ReduceSumSquare":
            return partial(shared, derivative=derivative, share=0.5)
        return "no AttnLRP rule"
    return derivative if _may_join(plan.traced, node) else WRITTEN_OUT


def _may_join(traced: Traced, node: gs.Node) -> bool:
    """Whether branches that a selection takes from are of one tensor without shifts, or of several.

    x where x > 0, else e^x - 1 is one function of x, which its branches do not hand on as such.
    """
    adds = has(node, Fact.SUMS | Fact.ARITHMETIC)
    if adds or not has(node, Fact.ALIGNS) or len(traced.operands(node)) < 2:
        return True
    common = traced.common(node)
    found = [node.inputs[k] for k in traced.operands(node)]
    return not common or all(without_shifts(traced, tensor, common) for tensor in found)


def _activation(traced: Traced, node: gs.Node, operand: int, derivative: Rule) -> Rule | str:
    """f(x) / x; where that is its derivative anyway, or a quantiser's, the derivative."""
    if len(traced.operands(node)) > 1:
        return "it is a function of several computed tensors"
    if has(node, Fact.HOMOGENEOUS) or is_of_a_quantiser(traced, node):
        return derivative
    if is_shifted(traced, node.inputs[operand]):
        return WRITTEN_OUT
    return partial(ratio, derivative=derivative, operand=operand)


def shared(op: Emitter, node: NodeView, dy: Term, *, derivative: Rule, share: float) -> Term:
    """da = share dy b: a half where both are computed, all where one stands still."""
    return derivative(op, node, dy if share == 1.0 else op.term(dy) * share)


def ratio(op: Emitter, node: NodeView, dy: Term, *, derivative: Rule, operand: int) -> Term:
    """dx = dy f(x) / x, and dy f'(x) where |x| < STABILISER."""
    x = node.inputs[operand]
    near = op.cast_like(abs(x) < STABILISER, x)
    away = dy * ((1 - near) * node.y / (x + near))
    return away + op.gated(derivative(op, node, dy), near)


def deviation_held(op: Emitter, node: NodeView, dy, dmean=None, dinverse=None) -> Term | None:
    """y = (x - mean) r scale + bias, g = dy scale r, r standing still: dx = g - mean(g)."""
    del dinverse
    z, inverse = standardised_of(op, node)
    axes, parts = normalised_axes(node), []
    if dy is not None:
        g = dy * node.inputs[1] * inverse
        parts.append(g - op.ReduceMean(g, axes, keepdims=1))
    if dmean is not None:
        count = op.ReduceProd(op.dims(z, axes[0]), keepdims=0)
        parts.append(op.expand_like(dmean / op.cast_like(count, z), z))
    return op.sum(parts) if parts else None
