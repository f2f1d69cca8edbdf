"""The table of gradient rules, and what a DeepLIFT overlay must know about each."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, Flag, auto
from typing import Any, NamedTuple

from ..graph.tensors import Node, operator_name

Rule = Callable[..., Any]


class Family(Enum):
    """How an operator depends on the operand that a rule differentiates."""

    LINEAR = "linear: the rule does not look at the operand's value, nor at other varying operands"
    BILINEAR = "product: linear in each operand while the others stand still"
    ELEMENTWISE = "elementwise: each output element depends on one element of the operand"
    MAXIMUM = "max-like: picks elements"
    COMPOSITE = "anything else: decomposed before DeepLIFT sees it"


class Trait(Flag):
    """What else passes and methods must know about an operator; each stands at its rule."""

    MOVES = auto()
    """Each output element is one element of one operand (or many are), but for its sign."""
    SUMS = auto()
    """A sum of operands; it moves elements where only one of them varies."""
    WEIGHTED = auto()
    """A sum with weights of both signs, the operand that does not vary."""
    AVERAGES = auto()
    """A sum of one operand's elements with weights above zero."""
    REVEALED = auto()
    """A function that RevealCancel's formula fits: defined everywhere, continuous, of bounded
    slope. f(x' + dx+) may not exist for others (Log), overflow (Exp) or land on the wrong side of a
    jump (Round)."""
    RECTIFIES = auto()
    """What LRP takes for never negative at a layer's input."""
    STEEP = auto()
    """The slope may be infinite at a number that the operand takes."""
    KEEPS_SIGN = auto()
    """Positive, or never negative, where the operands are."""
    NEVER_NEGATIVE = auto()
    """Results are 0 or more."""
    POSITIVE = auto()
    """Results are above 0."""
    DROPS = auto()
    """Elements of the operand may be missing in the result."""
    KEEPS_PLACES = auto()
    """Each output element stands where its own input element does."""
    ALIGNS = auto()
    """Operands are aligned at the right, and rows of a batch stay rows."""
    BY_IMAGE = auto()
    """Works on each element of the first axis by itself."""
    CHANNELS_SECOND = auto()
    """Results have channels on the second axis."""
    KEEPS_CHANNELS = auto()
    """Leaves axes where they are."""


class Entry(NamedTuple):
    """A rule with its family; `broadcasts` means that the walk undoes numpy-style broadcasting."""

    rule: Rule
    family: Family
    broadcasts: bool


GRADIENTS: dict[tuple[str, int | None], Entry] = {}

_NONE = Trait(0)
_TRAITS: dict[str, Trait] = {}

# No derivative reaches these operands' operators: piecewise constant in everything.
ZERO_DERIVATIVE = {"Floor", "Ceil", "Sign", "Hardmax"}


def give(*ops: str, traits: Trait) -> None:
    """Give operators their traits, those of several at one rule or those without a rule.

    Raises:
        ValueError: an operator has traits already.
    """
    for op in ops:
        if op in _TRAITS:
            raise ValueError(f"traits of {op} a second time")
        _TRAITS[op] = traits


def has(op: str, trait: Trait) -> bool:
    """Whether an operator has one of these traits."""
    return bool(_TRAITS.get(op, _NONE) & trait)


def operators(trait: Trait) -> list[str]:
    """The operators with one of these traits, in alphabetical order."""
    return sorted(op for op, own in _TRAITS.items() if own & trait)


def gradient(
    *ops: str,
    operand: int | None = 0,
    family: Family,
    broadcasts: bool = False,
    traits: Trait = _NONE,
):
    """Register a rule for one operand of the operators named.

    `operand=None` registers it for every operand. `traits` are the operators' own.

    A rule is called as `rule(op, node, dy)` with one cotangent for each output of the node (None
    where none arrives), and with `operand=k` too when it serves every operand. It returns the
    operand's cotangent.

    Raises:
        ValueError: the operator and operand have a rule already.
    """

    def register(rule: Rule) -> Rule:
        for op in ops:
            key = (op, operand)
            if key in GRADIENTS:
                raise ValueError(f"a second gradient rule for {op}, operand {operand}")
            GRADIENTS[key] = Entry(rule, family, broadcasts)
        if traits:
            give(*ops, traits=traits)
        return rule

    return register


def gradient_entry(node: Node, operand: int) -> Entry | None:
    """The entry for one operand of a node, or None."""
    name = operator_name(node)
    return GRADIENTS.get((name, operand)) or GRADIENTS.get((name, None))


def serves_every_operand(node: Node, operand: int) -> bool:
    """True when the rule for this operand is the operator's one rule for all operands."""
    return (operator_name(node), operand) not in GRADIENTS


# Operators without a rule.
give(
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "Equal",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Sign",
    "Xor",
    traits=Trait.ALIGNS,
)
give("GlobalLpPool", "GridSample", "GroupNormalization", traits=Trait.BY_IMAGE)
give(
    "BatchNormalization",
    "InstanceNormalization",
    "LRN",
    traits=Trait.BY_IMAGE | Trait.CHANNELS_SECOND,
)
