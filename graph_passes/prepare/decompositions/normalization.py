"""Normalisations as means, squares and roots."""

from __future__ import annotations

import numpy as np

from ...graph.emitter import Emitter
from ...graph.names import marked
from ...graph.tensors import optional_input, rank_of
from ...graph.terms import NodeView, Term
from .registry import FOR_DEEPLIFT, decomposition

# Marks the mean over a batch that a BatchNormalization in training mode takes.
BATCH_STATISTICS = "batch_statistics"


@decomposition("LRN")
def lrn(emit: Emitter, node: NodeView) -> Term:
    """y = x / (bias + alpha / size * sum of x^2 over `size` channels around)^beta.

    The sum slides along the channels as an average pooling of [N, 1, C, positions], which divides
    by `size`.
    """
    x, size = node.inputs[0], node.attrs["size"]
    before = (size - 1) // 2
    square = x * x
    flat = emit.Unsqueeze(emit.Reshape(square, [0, 0, -1]), [1])
    mean = emit.AveragePool(
        flat,
        kernel_shape=[size, 1],
        strides=[1, 1],
        pads=[before, 0, size - 1 - before, 0],
        count_include_pad=1,
    )
    mean = emit.reshape_like(emit.Squeeze(mean, [1]), x)
    scale = mean * node.attrs.get("alpha", 0.0001) + node.attrs.get("bias", 1.0)
    return x / emit.Pow(scale, emit.constant(node.attrs.get("beta", 0.75), x.dtype))


def standardised(emit: Emitter, x: Term, axes: list[int], epsilon: float) -> Term:
    """(x - mean) / sqrt(var + epsilon) over the axes."""
    centred = x - emit.ReduceMean(x, axes, keepdims=1)
    variance = emit.ReduceMean(centred * centred, axes, keepdims=1)
    deviation = emit.Sqrt(variance + epsilon)
    return centred / deviation


@decomposition("LayerNormalization", table=FOR_DEEPLIFT)
def layer_normalization(emit: Emitter, node: NodeView) -> Term | None:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, over the axes from `axis` on."""
    if any(output.outputs for output in node.outputs[1:]):
        return None
    x = node.inputs[0]
    rank = rank_of(x)
    axes = list(range(node.attrs.get("axis", -1) % rank, rank))
    y = standardised(emit, x, axes, node.attrs.get("epsilon", 1e-05)) * node.inputs[1]
    has_bias = optional_input(node, 2) is not None
    return y + node.inputs[2] if has_bias else y


@decomposition("InstanceNormalization")
def instance_normalization(emit: Emitter, node: NodeView) -> Term:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, over each channel's positions."""
    x, scale, bias = node.inputs
    rank = rank_of(x)
    column = [-1] + [1] * (rank - 2)
    z = standardised(emit, x, list(range(2, rank)), node.attrs.get("epsilon", 1e-5))
    y = z * emit.Reshape(scale, column)
    return y + emit.Reshape(bias, column)


@decomposition("MeanVarianceNormalization")
def mean_variance_normalization(emit: Emitter, node: NodeView) -> Term:
    """y = (x - mean) / (sqrt(var) + 1e-9)."""
    x, axes = node.inputs[0], list(node.attrs.get("axes", [0, 2, 3]))
    centred = x - emit.ReduceMean(x, axes, keepdims=1)
    variance = emit.ReduceMean(centred * centred, axes, keepdims=1)
    return centred / (emit.Sqrt(variance) + 1e-09)


@decomposition("LpNormalization")
def lp_normalization(emit: Emitter, node: NodeView) -> Term:
    """y = x / |x|_p along an axis; where the norm is 0, so is y."""
    x = node.inputs[0]
    norm = emit(f"ReduceL{node.attrs.get('p', 2)}", x, [node.attrs.get("axis", -1)], keepdims=1)
    return x / emit.Max(norm, float(np.finfo(x.dtype).tiny))


@decomposition("BatchNormalization")
def training_batch_normalization(emit: Emitter, node: NodeView) -> list[Term | None] | None:
    """In training mode: statistics of the batch itself, and the running ones moved towards them.

    running' = running momentum + batch's (1 - momentum); the batch's variance is the biased one.
    """
    if not node.attrs.get("training_mode", 0):
        return None
    x, scale, bias, running_mean, running_variance = node.inputs
    rank = rank_of(x)
    axes, column = [0, *range(2, rank)], [-1] + [1] * (rank - 2)
    mean = emit.ReduceMean(x, axes, keepdims=0)
    mean.inputs[0].name = marked(BATCH_STATISTICS, node.name or node.outputs[0].name)
    centred = x - emit.Reshape(mean, column)
    variance = emit.ReduceMean(centred * centred, axes, keepdims=0)
    deviation = emit.Sqrt(variance + node.attrs.get("epsilon", 1e-05))
    standard = centred / emit.Reshape(deviation, column)
    y = standard * emit.Reshape(scale, column)
    y = y + emit.Reshape(bias, column)
    momentum = node.attrs.get("momentum", 0.9)
    moved: list[Term | None] = [
        old * momentum + new * (1 - momentum)
        for old, new in ((running_mean, mean), (running_variance, variance))
    ]
    return [y, *moved][: len(node.outputs)]
