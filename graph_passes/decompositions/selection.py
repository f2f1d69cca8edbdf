"""Where with a condition that compares activations: a sum of products that DeepLIFT can pass."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.decompositions.registry import FOR_DEEPLIFT, decomposition
from onnxplain.graph_passes.emit import Emitter, is_float

_COMPARISONS = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")


@decomposition("Where", table=FOR_DEEPLIFT)
def selection(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """y = b + c (a - b), c = 1 where the condition holds, else 0, as a float function of it.

    Only for conditions that vary with the input and compare floats (DeepLIFT's head asks for no
    other): others keep their Where, so that infinities on the unchosen side stay harmless.
    """
    condition, a, b = node.inputs
    chosen = _as_number(emit, condition)
    return None if chosen is None else emit.add(b, emit.mul(chosen, emit.sub(a, b)))


def _as_number(emit: Emitter, condition: gs.Tensor) -> gs.Tensor | None:
    """A comparison as 1 or 0 by way of Sign, over which DeepLIFT can rescale; and, or and not."""
    node = condition.inputs[0] if condition.inputs else None
    if node is None:
        return None
    if node.op in ("Cast", "Identity") and not is_float(node.inputs[0]):
        return _as_number(emit, node.inputs[0])
    if node.op in ("Not", "And", "Or"):
        parts = [_as_number(emit, tensor) for tensor in node.inputs]
        if any(part is None for part in parts):
            return None
        if node.op == "Not":
            return emit.sub(1.0, parts[0])
        both = emit.mul(*parts)
        return both if node.op == "And" else emit.sub(emit.add(*parts), both)
    if node.op not in _COMPARISONS or not all(is_float(t) for t in node.inputs):
        return None
    left, right = node.inputs
    if node.op in ("Less", "GreaterOrEqual"):
        left, right = right, left
    # [left > right], with equality on the side of "not greater".
    above = emit("Relu", emit("Sign", emit.sub(left, right)))
    return emit.sub(1.0, above) if node.op.endswith("OrEqual") else above
