"""Gradients of Softmax, LogSoftmax and LayerNormalization, from what their outputs hold."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import rank_of
from .registry import Family, gradient

composite = partial(gradient, family=Family.COMPOSITE)


@composite("Softmax")
def softmax(emit, node, dy):
    """dx = y (dy - sum(dy y)).

    A row that is masked whole is NaN; where the graph may replace it, it passes nothing.
    """
    y = node.outputs[0]
    if _may_be_replaced(y):
        y = emit("Where", emit("IsNaN", y), 0.0, y)
    axis = node.attrs.get("axis", -1)
    return emit.mul(y, emit.sub(dy, emit("ReduceSum", emit.mul(dy, y), [axis], keepdims=1)))


def _may_be_replaced(y: gs.Tensor) -> bool:
    """True when a Where or IsNaN reads the tensor, also through Casts."""
    for reader in y.outputs:
        if reader.op in ("Where", "IsNaN"):
            return True
        if reader.op in ("Cast", "Identity") and _may_be_replaced(reader.outputs[0]):
            return True
    return False


@composite("LogSoftmax")
def log_softmax(emit, node, dy):
    """dx = dy - e^y sum(dy)."""
    axis = node.attrs.get("axis", -1)
    total = emit("ReduceSum", dy, [axis], keepdims=1)
    return emit.sub(dy, emit.mul(emit("Exp", node.outputs[0]), total))


@composite("LayerNormalization")
def layer_normalization(emit, node, dy, dmean=None, dinverse=None):
    """z = (x - mean) r, y = z scale + bias, g = dy scale: dx = r (g - mean(g) - z mean(g z)).

    Cotangents of the further outputs add dmean / n and -dr r^2 z / n, n elements being averaged.
    """
    z, inverse = _standardised(emit, node)
    axes = _normalised_axes(node)
    terms = []
    if dy is not None:
        g = emit.mul(dy, node.inputs[1])
        centred = emit.sub(g, emit("ReduceMean", g, axes, keepdims=1))
        along = emit.mul(z, emit("ReduceMean", emit.mul(g, z), axes, keepdims=1))
        terms.append(emit.mul(inverse, emit.sub(centred, along)))
    count = emit("ReduceProd", emit.dims(z, axes[0]), keepdims=0)
    if dmean is not None:
        terms.append(emit.expand_like(emit.div(dmean, emit.cast_like(count, z)), z))
    if dinverse is not None:
        slope = emit.mul(emit.mul(dinverse, emit.mul(inverse, inverse)), z)
        terms.append(emit.neg(emit.div(slope, emit.cast_like(count, z))))
    return emit.sum(terms)


@composite("LayerNormalization", operand=1, broadcasts=True)
def layer_normalization_scale(emit, node, dy, *_):
    """dscale = dy z, z = (x - mean) r."""
    return None if dy is None else emit.mul(dy, _standardised(emit, node)[0])


@composite("LayerNormalization", operand=2, broadcasts=True)
def layer_normalization_bias(emit, node, dy, *_):
    """dbias = dy."""
    return dy


def _normalised_axes(node: gs.Node) -> list[int]:
    rank = rank_of(node.inputs[0])
    return list(range(node.attrs.get("axis", -1) % rank, rank))


def _standardised(emit: Emitter, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor]:
    """z = (x - mean) r and r = 1 / sqrt(var + epsilon).

    From the node's own second and third outputs.
    """
    while len(node.outputs) < 3:
        node.outputs.append(gs.Variable.empty())
    for index, hint in ((1, "mean"), (2, "inverse_deviation")):
        if not node.outputs[index].name:
            node.outputs[index] = gs.Variable(emit.name(hint), dtype=np.dtype(np.float32))
    x = node.inputs[0]
    mean, inverse = (emit.cast_like(t, x) for t in node.outputs[1:3])
    z = emit.mul(emit.sub(x, mean), inverse)
    z.shape = x.shape
    return z, inverse
