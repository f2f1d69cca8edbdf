"""The table of gradient rules, and how DeepLIFT must read each."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from ..graph.operators import OPERATORS
from ..graph.tensors import Node, operator_name

Rule = Callable[..., Any]


class Family(Enum):
    """How an operator depends on the operand that a rule differentiates."""

    LINEAR = "linear: the rule does not look at the operand's value, nor at other varying operands"
    BILINEAR = "product: linear in each operand while the others stand still"
    ELEMENTWISE = "elementwise: each output element depends on one element of the operand"
    MAXIMUM = "max-like: picks elements"
    COMPOSITE = "anything else: decomposed before DeepLIFT sees it"


class Entry(NamedTuple):
    """A rule with its family; `broadcasts` means that the walk undoes numpy-style broadcasting."""

    rule: Rule
    family: Family
    broadcasts: bool


GRADIENTS: dict[tuple[str, int | None], Entry] = {}


def gradient(
    *ops: str,
    operand: int | None = 0,
    family: Family,
    broadcasts: bool = False,
):
    """Register a rule for one operand of the operators named.

    `operand=None` registers it for every operand. What else is to be known of an operator stands in
    its row of `graph/operators.py`.

    A rule is called as `rule(op, node, dy)` with one cotangent for each output of the node (None
    where none arrives), and with `operand=k` too when it serves every operand. It returns the
    operand's cotangent.

    Raises:
        ValueError: the operator and operand have a rule already, or the operator has no row.
    """

    def register(rule: Rule) -> Rule:
        for op in ops:
            key = (op, operand)
            if op not in OPERATORS:
                raise ValueError(f"a gradient rule for {op}, which has no row in operators.py")
            if key in GRADIENTS:
                raise ValueError(f"a second gradient rule for {op}, operand {operand}")
            GRADIENTS[key] = Entry(rule, family, broadcasts)
        return rule

    return register


def gradient_entry(node: Node, operand: int) -> Entry | None:
    """The entry for one operand of a node, or None."""
    name = operator_name(node)
    return GRADIENTS.get((name, operand)) or GRADIENTS.get((name, None))


def serves_every_operand(node: Node, operand: int) -> bool:
    """True when the rule for this operand is the operator's one rule for all operands."""
    return (operator_name(node), operand) not in GRADIENTS


def is_elementwise(node: Node) -> bool:
    """Whether a node is a function of each element of its first operand by itself."""
    entry = gradient_entry(node, 0)
    return entry is not None and entry.family is Family.ELEMENTWISE
