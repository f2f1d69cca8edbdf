"""A graph at one size: its symbolic dimensions replaced by typical numbers.

Only there does it show which axes are cut into patches, and what a pooling leaves of a map.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.dims import is_static
from onnxplain.graph_passes.emit import is_constant, is_float
from onnxplain.graph_passes.prepare import with_known_shapes
from onnxplain.graph_passes.subject import Subject

# What a symbolic axis stands for: of pictures, of volumes' depth, of sound, of rows of tokens.
_PICTURE, _DEPTH, _SOUND, _TOKENS = 224, 32, 4000, 32
# Larger weights do not tell anything about shapes.
_WEIGHTS = 1024


def typical_graph(subject: Subject, batch: int) -> gs.Graph:
    """The subject's graph with static shapes, as far as numbers for its symbols give them.

    Args:
        subject: is not changed; its own graph is returned where all shapes are static already.
        batch: what a symbolic batch is replaced by.
    """
    tensors = subject.graph.tensors().values()
    if all(is_static(t.shape) for t in tensors if isinstance(t, gs.Variable) and t.name):
        return subject.graph
    moved = subject.copy()
    graph = moved.graph
    if all(output is not moved.logits for output in graph.outputs):
        # What no output needs would be dropped.
        graph.outputs.append(moved.logits)
    _without_weights(graph)
    sizes: dict[str | None, int] = {subject.batch: batch} if isinstance(subject.batch, str) else {}
    for tensor in sorted(graph.inputs, key=lambda t: t.name != subject.input.name):
        if tensor.shape is not None:
            tensor.shape = [
                dim
                if isinstance(dim, int)
                else sizes.setdefault(dim, _typical(tensor, axis, batch))
                for axis, dim in enumerate(tensor.shape)
            ]
    for output in graph.outputs:
        output.shape = None
    return with_known_shapes(graph)


def _typical(tensor: gs.Variable, axis: int, batch: int) -> int:
    rank = len(tensor.shape)
    if axis == 0:
        return batch
    if rank >= 4:
        return _PICTURE if axis >= rank - 2 or rank == 4 else _DEPTH
    return _SOUND if is_float(tensor) else _TOKENS


def _without_weights(graph: gs.Graph) -> None:
    """Make inputs of the large float constants, which would only be copied about."""
    for tensor in list(graph.tensors().values()):
        if is_constant(tensor) and is_float(tensor) and tensor.values.size > _WEIGHTS:
            shaped = gs.Variable(tensor.name, tensor.dtype, list(tensor.values.shape))
            graph.inputs.append(shaped)
            for node in list(tensor.outputs):
                node.inputs = [shaped if operand is tensor else operand for operand in node.inputs]
