"""An output that a Squeeze without axes made: with a row for each input, for one input, too."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.tensors import is_constant, optional_input, producer_of
from ..rules.registry import is_elementwise

_KEEPS_SHAPE = Fact.COPIES | Fact.CLASSIFIES | Fact.ARITHMETIC


def with_rows(graph: gs.Graph, output: gs.Variable) -> gs.Variable:
    """The tensor that an output would be did Squeeze leave the axes that the file leaves open.

    Of one input such a Squeeze takes the batch away as well: `[1, 1]` becomes a number, where
    `[2, 1]` becomes two. Only what keeps shapes may stand between it and the output.
    """
    chain: list[tuple[gs.Node, int]] = []
    tensor = output
    while not _squeezes_all(node := producer_of(tensor)):
        varying = [] if node is None else [k for k, t in enumerate(node.inputs) if _varies(t)]
        if node is None or len(varying) != 1 or not _keeps_shape(node):
            return output
        chain.append((node, varying[0]))
        tensor = node.inputs[varying[0]]
    squeeze = producer_of(tensor)
    assert squeeze is not None
    x = squeeze.inputs[0]
    ones = [axis for axis, dim in enumerate(x.shape) if dim == 1]
    emit = Emitter(graph, "rows")
    value = emit.Squeeze(x, ones) if ones else emit.Identity(x)
    value.shape = [dim for dim in x.shape if dim != 1]
    for node, operand in reversed(chain):
        inputs, shape = list(node.inputs), value.shape
        inputs[operand] = value
        value = emit(node.op, *inputs, **node.attrs)
        value.shape = shape
    return value


def _squeezes_all(node: gs.Node | None) -> bool:
    """A Squeeze without axes, of a shape that is known but for some lengths."""
    if node is None or node.op != "Squeeze" or optional_input(node, 1) is not None:
        return False
    shape = node.inputs[0].shape
    return shape is not None and not is_static(shape)


def _varies(tensor: gs.Tensor) -> bool:
    return bool(tensor.name) and not is_constant(tensor)


def _keeps_shape(node: gs.Node) -> bool:
    if any(is_constant(t) and t.values.size > 1 for t in node.inputs if t.name):
        return False
    return is_elementwise(node) or has(node, _KEEPS_SHAPE)
