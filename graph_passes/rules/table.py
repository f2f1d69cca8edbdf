"""A rule table as a value: what a head is handed, so that the same head makes another method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.operators import Fact, has
from ..graph.tensors import Node, Value
from .registry import Rule, gradient_entry, serves_every_operand


class Resolved(NamedTuple):
    """The rule that a table chose for one operand of one node."""

    rule: Rule
    broadcasts: bool


# A rule table: (node, operand, the node's varying operands) -> the rule, or the reason why there is
# none.
RuleTable = Callable[[gs.Node, int, Sequence[int]], "Resolved | str"]


def no_cotangent(*_) -> None:
    """The rule of piecewise constant operators: dx = 0, so nothing is passed on."""


def is_step(node: Node) -> bool:
    """Whether a node's derivative is 0 everywhere: a rounding that is no quantiser's, say."""
    rounds = node.op == "Round" and not is_marked(node.name, STRAIGHT_THROUGH)
    return rounds or has(node, Fact.STEP)


def gradient_rules(node: Node, operand: int, varying: Sequence[int]) -> Resolved | str:
    """The plain gradient's table."""
    del varying
    if has(node, Fact.STEP):
        return Resolved(no_cotangent, False)
    entry = gradient_entry(node, operand)
    if entry is None:
        if gradient_entry(node, 0) is None:
            return "no gradient rule"
        return f"no gradient rule for its operand {operand}"
    rule = entry.rule
    if serves_every_operand(node, operand):
        rule = partial(rule, operand=operand)
    return Resolved(rule, entry.broadcasts)


def _as_it_came(emit: Emitter, cotangent: Any, tensor: Value) -> Any:
    del emit, tensor
    return cotangent


class Table(NamedTuple):
    """Rules, and what goes with them.

    Attributes:
        name: of the table, for messages.
        emitter: what emits its nodes.
        rules: the table itself, for a graph that such an emitter writes into.
        linear: whether it hands a linear layer's derivative on, so that a walk may begin behind
            the last one.
        collapse: (emit, what arrived at a tensor, the tensor) -> one cotangent.
        simple: whether it has rules for simple operators only, in which composite ones are written
            before.
        compares: whether it compares with what the network makes of a baseline, its twins.
    """

    name: str
    emitter: Callable[..., Any]
    rules: Callable[[Any], RuleTable]
    linear: bool = True
    collapse: Callable[[Any, Any, Any], Any] = _as_it_came
    simple: bool = False
    compares: bool = False


GRADIENT = Table("gradient", Emitter, lambda emit: gradient_rules)
