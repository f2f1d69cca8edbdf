"""Composite operators written as simple ones.

Always, where no direct rule exists, or for DeepLIFT only.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.emit import Emitter
from onnxplain.graph_passes.rewriting import rewrite_nodes
from onnxplain.graph_passes.softplus import selected_softplus


def decompose(graph: gs.Graph) -> None:
    """Rewrite the operators that no method has a direct rule for."""
    rewrite_nodes(graph, ALWAYS)


def lrn(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """y = x / (bias + alpha / size * sum of x^2 over `size` channels around)^beta.

    The sum slides along the channels as an average pooling of [N, 1, C, positions], which divides
    by `size`.
    """
    x, size = node.inputs[0], node.attrs["size"]
    before = (size - 1) // 2
    square = emit.mul(x, x)
    flat = emit("Unsqueeze", emit("Reshape", square, [0, 0, -1]), [1])
    mean = emit(
        "AveragePool",
        flat,
        kernel_shape=[size, 1],
        strides=[1, 1],
        pads=[before, 0, size - 1 - before, 0],
        count_include_pad=1,
    )
    mean = emit.reshape_like(emit("Squeeze", mean, [1]), x)
    scale = emit.add(emit.mul(mean, node.attrs.get("alpha", 1e-4)), node.attrs.get("bias", 1.0))
    return emit.div(x, emit("Pow", scale, emit.constant(node.attrs.get("beta", 0.75), x.dtype)))


def vector_product(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """MatMul of a vector is one of a matrix with a single row or column, which is dropped again."""
    a, b = node.inputs
    ranks = [None if t.shape is None else len(t.shape) for t in (a, b)]
    if 1 not in ranks:
        return None
    left = emit("Unsqueeze", a, [0]) if ranks[0] == 1 else a
    right = emit("Unsqueeze", b, [1]) if ranks[1] == 1 else b
    dropped = [axis for axis, rank in zip((-2, -1), ranks, strict=True) if rank == 1]
    return emit("Squeeze", emit("MatMul", left, right), dropped)


def softmax(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """y = e / sum(e), e = exp(x - max x)."""
    exponential, total = _exponentials(emit, node)
    return emit.mul(exponential, emit("Reciprocal", total))


def log_softmax(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """y = (x - max x) - ln sum exp(x - max x)."""
    x, axis = node.inputs[0], node.attrs.get("axis", -1)
    shifted = emit.sub(x, emit("ReduceMax", x, [axis], keepdims=1))
    total = emit("ReduceSum", emit("Exp", shifted), [axis], keepdims=1)
    return emit.sub(shifted, emit("Log", total))


def _exponentials(emit: Emitter, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor]:
    x, axis = node.inputs[0], node.attrs.get("axis", -1)
    exponential = emit("Exp", emit.sub(x, emit("ReduceMax", x, [axis], keepdims=1)))
    return exponential, emit("ReduceSum", exponential, [axis], keepdims=1)


def layer_normalization(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, over the axes from `axis` on."""
    if any(output.outputs for output in node.outputs[1:]):
        return None
    x = node.inputs[0]
    rank = len(x.shape)
    axes = list(range(node.attrs.get("axis", -1) % rank, rank))
    centred = emit.sub(x, emit("ReduceMean", x, axes, keepdims=1))
    variance = emit("ReduceMean", emit.mul(centred, centred), axes, keepdims=1)
    deviation = emit("Sqrt", emit.add(variance, node.attrs.get("epsilon", 1e-5)))
    y = emit.mul(emit.mul(centred, emit("Reciprocal", deviation)), node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2].name
    return emit.add(y, node.inputs[2]) if has_bias else y


def division(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """a / b = a (1 / b)."""
    return emit.mul(node.inputs[0], emit("Reciprocal", node.inputs[1]))


ALWAYS = {"Where": selected_softplus, "LRN": lrn, "MatMul": vector_product}
FOR_DEEPLIFT = {
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "LayerNormalization": layer_normalization,
    "Div": division,
}
