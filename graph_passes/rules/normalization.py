"""Gradients of Softmax, LogSoftmax and LayerNormalization, from what their outputs hold."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..graph.emitter import Emitter
from ..graph.tensors import Value, rank_of
from ..graph.terms import NodeView, Term
from .registry import Family, gradient

composite = partial(gradient, family=Family.COMPOSITE)


@composite("Softmax")
def softmax(op, node, dy):
    """dx = y (dy - sum(dy y)).

    A row that is masked whole is NaN; where the graph may replace it, it passes nothing.
    """
    y = node.y
    if _may_be_replaced(y):
        y = op.Where(op.IsNaN(y), 0, y)
    axis = node.attrs.get("axis", -1)
    return y * (dy - op.ReduceSum(dy * y, [axis], keepdims=1))


def _may_be_replaced(y: Value) -> bool:
    """True when a Where or IsNaN reads the tensor, also through Casts."""
    for reader in y.outputs:
        if reader.op in ("Where", "IsNaN"):
            return True
        if reader.op in ("Cast", "Identity") and _may_be_replaced(reader.outputs[0]):
            return True
    return False


@composite("LogSoftmax")
def log_softmax(op, node, dy):
    """dx = dy - e^y sum(dy)."""
    axis = node.attrs.get("axis", -1)
    total = op.ReduceSum(dy, [axis], keepdims=1)
    return dy - op.Exp(node.y) * total


@composite("LayerNormalization")
def layer_normalization(op, node, dy, dmean=None, dinverse=None):
    """z = (x - mean) r, y = z scale + bias, g = dy scale: dx = r (g - mean(g) - z mean(g z)).

    Cotangents of the further outputs add dmean / n and -dr r^2 z / n, n elements being averaged.
    """
    z, inverse = standardised_of(op, node)
    axes = normalised_axes(node)
    terms = []
    if dy is not None:
        g = dy * node.inputs[1]
        centred = g - op.ReduceMean(g, axes, keepdims=1)
        along = z * op.ReduceMean(g * z, axes, keepdims=1)
        terms.append(inverse * (centred - along))
    count = op.ReduceProd(op.dims(z, axes[0]), keepdims=0)
    if dmean is not None:
        terms.append(op.expand_like(dmean / op.cast_like(count, z), z))
    if dinverse is not None:
        slope = dinverse * (inverse * inverse) * z
        terms.append(-(slope / op.cast_like(count, z)))
    return op.sum(terms)


@composite("LayerNormalization", operand=1, broadcasts=True)
def layer_normalization_scale(op, node, dy, *_):
    """dscale = dy z, z = (x - mean) r."""
    return None if dy is None else dy * standardised_of(op, node)[0]


@composite("LayerNormalization", operand=2, broadcasts=True)
def layer_normalization_bias(op, node, dy, *_):
    """dbias = dy."""
    return dy


def normalised_axes(node: NodeView) -> list[int]:
    """The axes of a LayerNormalization: from `axis` on."""
    rank = rank_of(node.x)
    return list(range(node.attrs.get("axis", -1) % rank, rank))


def standardised_of(op: Emitter, node: NodeView) -> tuple[Term, Term]:
    """z = (x - mean) r and r = 1 / sqrt(var + epsilon).

    From the node's own second and third outputs.
    """
    x, hints = node.x, ("mean", "inverse_deviation")
    further = [node.output(k, hint, np.float32) for k, hint in enumerate(hints, 1)]
    mean, inverse = (op.cast_like(t, x) for t in further)
    z = (x - mean) * inverse
    z.shape = x.shape
    return z, inverse
