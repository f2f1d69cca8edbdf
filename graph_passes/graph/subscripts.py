"""Einsum's equations, with every letter written out."""

from __future__ import annotations

import string

from .tensors import Node, rank_of


def subscripts(node: Node) -> tuple[list[str], str]:
    """The letters of each operand of an Einsum, and those of its result.

    An ellipsis becomes letters of its own, aligned at the right. An implied result has these, then
    the letters that occur once, in alphabetical order.

    Raises:
        UnsupportedModelError: an operand has an ellipsis, and its number of axes is not known.
    """
    terms, arrow, result = node.attrs["equation"].replace(" ", "").partition("->")
    operands = terms.split(",")
    covered = [
        rank_of(x) - len(term.replace("...", "")) if "..." in term else 0
        for term, x in zip(operands, node.inputs, strict=True)
    ]
    dots = unused_letters(terms)[: max(covered)]
    if not arrow:
        result = "..." + "".join(sorted(c for c in terms if c.isalpha() and terms.count(c) == 1))
    letters = [
        term.replace("...", dots[len(dots) - count :])
        for term, count in zip(operands, covered, strict=True)
    ]
    return letters, result.replace("...", dots)


def unused_letters(equation: str) -> str:
    """The letters that an equation leaves free."""
    return "".join(letter for letter in string.ascii_letters if letter not in equation)
