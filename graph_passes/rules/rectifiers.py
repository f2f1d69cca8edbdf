"""Rules that change a gradient at rectifiers: guided backpropagation and the deconvnet.

A rectifier is a Relu, or a Clip from 0 on (ReLU6); everywhere else these are the gradient's rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, operator_name
from ..graph.terms import NodeView, Term
from .registry import Rule
from .table import Resolved, RuleTable, Table, gradient_rules


def is_rectifier(node: gs.Node) -> bool:
    """Whether a node is max(x, 0), perhaps with an upper bound."""
    if operator_name(node) == "Relu":
        return True
    if operator_name(node) != "Clip" or len(node.inputs) < 2:
        return False
    low = node.inputs[1]
    return is_constant(low) and low.values.size == 1 and float(low.values.item()) == 0.0


def guided(op: Emitter, node: NodeView, dy: Term, *, derivative: Rule) -> Term:
    """dx = relu(dy) [x > 0] (Springenberg et al. 2015, section 3.4)."""
    return derivative(op, node, op.Relu(dy))


def deconvolved(op: Emitter, node: NodeView, dy: Term, *, derivative: Rule) -> Term:
    """dx = relu(dy), whatever went forward (Zeiler, Fergus 2014, section 2.1)."""
    del node, derivative
    return op.Relu(dy)


def _with(rule: Rule, emit: Emitter) -> RuleTable:
    del emit

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        resolved = gradient_rules(node, operand, varying)
        if isinstance(resolved, str) or operand != 0 or not is_rectifier(node):
            return resolved
        return Resolved(partial(rule, derivative=resolved.rule), resolved.broadcasts)

    return table


GUIDED = Table("guided", Emitter, partial(_with, guided))
DECONVNET = Table("deconvnet", Emitter, partial(_with, deconvolved))
