"""Conditions that compare activations, as numbers: sums and products that DeepLIFT can pass."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from ...graph.emitter import Emitter
from ...graph.tensors import Value, is_float, producer_of
from ...graph.terms import NodeView, Term
from .registry import FOR_DEEPLIFT, decomposition

_COMPARISONS = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")


@decomposition("Where", table=FOR_DEEPLIFT)
def selection(emit: Emitter, node: NodeView) -> Value | None:
    """y = b + c (a - b), c = 1 where the condition holds, else 0, as a float function of it.

    Only for conditions that vary with the input and compare floats (DeepLIFT's head asks for no
    other): others keep their Where, so that infinities on the unchosen side stay harmless.

    What only replaces NaN is left out: what is a number is passed as it is, and NaN, of an
    attention whose row is masked whole, has no difference to share out: it stays NaN, and is seen.
    """
    condition, a, b = node.inputs
    if (guarded := _guarded(*node.node.inputs)) is not None:
        return guarded
    chosen = _as_number(emit, condition)
    return None if chosen is None else b + chosen * (a - b)


def masked(emit: Emitter, node: NodeView) -> Term | None:
    """x - (x > 0) and its kind: the mask, a comparison cast to float, as a float function."""
    numbers = [_mask_as_number(emit, tensor) for tensor in node.inputs]
    if all(number is None for number in numbers):
        return None
    operands = [x if n is None else n for x, n in zip(node.inputs, numbers, strict=True)]
    return emit(node.op, *operands)


decomposition("Add", "Sub", table=FOR_DEEPLIFT)(masked)


def _mask_as_number(emit: Emitter, tensor: Term) -> Term | None:
    maker = producer_of(tensor)
    if maker is None or maker.op != "Cast" or not is_float(tensor) or is_float(maker.inputs[0]):
        return None
    return _as_number(emit, maker.inputs[0])


def _guarded(condition: gs.Tensor, a: gs.Tensor, b: gs.Tensor) -> gs.Tensor | None:
    """The tensor that is returned where it is a number: `b` of Where(IsNaN(b), a, b)."""
    maker = producer_of(condition)
    while maker is not None and maker.op in ("Identity", "Not"):
        if maker.op == "Not":
            a, b = b, a
        maker = producer_of(maker.inputs[0])
    return b if maker is not None and maker.op == "IsNaN" and maker.inputs[0] is b else None


def _as_number(
    emit: Emitter, condition: Value, known: dict[int, Term | None] | None = None
) -> Term | None:
    """A comparison as 1 or 0 by way of Sign, over which DeepLIFT can rescale; and, or and not.

    known: by tensor, each made once: And(a, a) of And(b, b) ... has two to the depth paths.
    """
    known = {} if known is None else known
    if id(condition) not in known:
        known[id(condition)] = _made_number(emit, condition, known)
    return known[id(condition)]


def _made_number(emit: Emitter, condition: Value, known: dict[int, Term | None]) -> Term | None:
    node = condition.inputs[0] if condition.inputs else None
    if node is None:
        return None
    if node.op in ("Cast", "Identity") and not is_float(node.inputs[0]):
        return _as_number(emit, node.inputs[0], known)
    if node.op in ("Not", "And", "Or"):
        parts: list[Any] = [_as_number(emit, tensor, known) for tensor in node.inputs]
        if any(part is None for part in parts):
            return None
        if node.op == "Not":
            return 1.0 - parts[0]
        first, second = parts
        both = first * second
        return both if node.op == "And" else first + second - both
    if node.op not in _COMPARISONS or not all(is_float(t) for t in node.inputs):
        return None
    left, right = node.inputs
    if node.op in ("Less", "GreaterOrEqual"):
        left, right = right, left
    # [left > right], with equality on the side of "not greater".
    above = emit.Relu(emit.Sign(emit.term(left) - right))
    return 1.0 - above if node.op in ("LessOrEqual", "GreaterOrEqual") else above
