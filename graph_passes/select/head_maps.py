"""What a detector's scores look at: for each of its scales a map of its own branch."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from ..graph.reach import find_reach
from ..graph.tensors import is_constant, producer_of
from .dominance import dominators, nodes_behind
from .sigmoid_parts import moves

# Axes of a map: rows, channels, height and width.
_RANK = 4


def head_maps(graph: gs.Graph, start: gs.Variable, leaves: Sequence[gs.Tensor]) -> tuple[str, ...]:
    """For each scale of a detector the map [N, C, H, W] that its scores look at, by name.

    The last one ahead of a window of more than a cell: heads end in convolutions of 1 x 1, and
    ahead of these alone a score has a gradient in its own cell and nowhere else.
    """
    return tuple(_widened(graph, start, tensor).name for tensor in _maps_ahead(leaves))


def _maps_ahead(leaves: Sequence[gs.Tensor]) -> list[gs.Variable]:
    """The maps that the last convolutions ahead of scores read.

    Of several convolutions behind each other without an activation what the first one reads.
    """
    found: dict[str, gs.Variable] = {}
    ahead = [*leaves]
    while ahead:
        node = producer_of(ahead.pop(0))
        if node is None:
            continue
        if node.op == "Conv":
            tensor = node.inputs[0]
            while (before := producer_of(tensor)) is not None and before.op == "Conv":
                tensor = before.inputs[0]
            found |= {} if is_constant(tensor) else {tensor.name: tensor}
        elif node.op == "Concat" or moves(node):
            ahead += node.inputs[: None if node.op == "Concat" else 1]
    return list(found.values())


def _widened(graph: gs.Graph, start: gs.Variable, tensor: gs.Variable) -> gs.Variable:
    """The last map of the same size that is ahead of a window; itself where it is or none is."""
    if any(_is_window(node) for node in tensor.outputs if node.op == "Conv"):
        return tensor
    path = find_reach(graph, [start], [tensor])
    for before in reversed(dominators(path, start)):
        if not _same_size(before, tensor):
            break
        if any(map(_is_window, nodes_behind(before, path))):
            return before
    return tensor


def _is_window(node: gs.Node) -> bool:
    """Whether each place of what a node makes depends on several places of what it reads."""
    kernel = node.attrs.get("kernel_shape")
    if kernel is None and node.op == "Conv" and node.inputs[1].shape:
        kernel = node.inputs[1].shape[2:]
    return any(isinstance(length, int) and length > 1 for length in kernel or ())


def _same_size(one: gs.Variable, other: gs.Variable) -> bool:
    """Whether both are maps of one height and width."""
    a, b = one.shape, other.shape
    return bool(a and b and len(a) == len(b) == _RANK and list(a)[2:] == list(b)[2:])
