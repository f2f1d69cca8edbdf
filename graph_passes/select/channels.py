"""On which axis of an input its channels lie: where the first layer with channels reads them."""

from __future__ import annotations

from collections import deque

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.operators import Fact, has
from ..graph.tensors import is_constant, optional_input

# As many tensors are looked at; the first layer stands near the input.
_MOST = 60


def channels_behind(start: gs.Tensor, products: bool = False) -> int | None:
    """The axis of `start` that the first convolution, pooling or normalisation takes for channels.

    With `products` also the one along which the first matrix of weights adds up: the features of
    tokens. None where none of them reads it, or what lies between is not known.
    """
    if start.shape is None or len(start.shape) < 3:
        return None
    # For each axis of a tensor the axis of `start` that it is; None: a new one.
    own: list[int | None] = [*range(len(start.shape))]
    waiting = deque([(start, own)])
    seen: set[str] = set()
    while waiting and len(seen) < _MOST:
        tensor, axes = waiting.popleft()
        for node in tensor.outputs:
            if has(node, Fact.CHANNELS_SECOND):
                if node.inputs[0] is tensor and len(axes) > 1:
                    return axes[1]
                continue
            if has(node, Fact.DENSE):
                weighed = node.inputs[0] is tensor and is_constant(node.inputs[1])
                if products and weighed:
                    return axes[-1]
                after = None if weighed else _of_a_product(node, tensor, axes)
            else:
                after = _behind(node, tensor, axes)
            for made in node.outputs:
                if after is not None and made.name not in seen:
                    seen.add(made.name)
                    waiting.append((made, after))
    return None


def _of_a_product(
    node: gs.Node, tensor: gs.Tensor, axes: list[int | None]
) -> list[int | None] | None:
    """Of A B with another tensor that varies: A's rows, or B's columns, stay."""
    shape = node.outputs[0].shape
    if node.op != "MatMul" or shape is None or len(shape) != len(axes):
        return None
    if node.inputs[1] is tensor:
        return [*axes[:-2], None, axes[-1]]
    return [*axes[:-1], None]


def _behind(node: gs.Node, tensor: gs.Tensor, axes: list[int | None]) -> list[int | None] | None:
    """The same for what a node makes of a tensor; None: not known."""
    if not node.outputs or (node.inputs[0] is not tensor and node.op in ("Reshape", "Transpose")):
        return None
    if node.op == "Transpose":
        perm = node.attrs.get("perm") or list(range(len(axes)))[::-1]
        return [axes[axis] for axis in perm]
    shape = node.outputs[0].shape
    if has(node, Fact.RESHAPES):
        return _with_ones(node, tensor, axes)
    # A list of places along one axis, in another order or some of them.
    listed = node.op == "Gather" and node.inputs[0] is tensor
    if not listed and not has(node, Fact.ALIGNS | Fact.KEEPS_AXES):
        return None
    return axes if shape is not None and len(shape) == len(axes) else None


def _with_ones(node: gs.Node, tensor: gs.Tensor, axes: list[int | None]) -> list[int | None] | None:
    """Axes of length 1 may come and go; all others must stay in their order."""
    before, after = list(tensor.shape or []), node.outputs[0].shape
    named = optional_input(node, 1)
    if after is None or len(before) != len(axes):
        return None
    if node.op == "Unsqueeze" and named is not None and is_constant(named):
        new = {int(axis) % len(after) for axis in np.ravel(named.values)}
        old = iter(axes)
        return [None if axis in new else next(old) for axis in range(len(after))]
    kept = [axis for axis, length in zip(axes, before, strict=True) if length != 1]
    lengths = [length for length in before if length != 1]
    same = [length for length in after if length != 1] == lengths
    # But for the batch, which a Reshape may leave open.
    if not same and (len(lengths) < 2 or [d for d in after[1:] if d != 1] != lengths[1:]):
        return None
    left = iter(kept)
    return [None if length == 1 else next(left, None) for length in after]
