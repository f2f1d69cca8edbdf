"""Weights that are not numbers: refused before anything runs, but for the infinities of masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from ... import UnsupportedModelError
from ..graph.names import bodies_of
from ..graph.operators import Fact, has

# Operators that turn an infinite operand into infinite or undefined results, whatever the input is.
# Others (Add and Where of a mask, Clip, Max ...) may survive one: what they make of it is seen when
# the model runs.
_WEIGHING = {
    *("Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul", "MatMulInteger", "Einsum"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    *("RNN", "LSTM", "GRU", "PRelu", "DequantizeLinear", "QuantizeLinear", "Attention"),
    *("FusedConv", "FusedGemm", "FusedMatMul", "SkipLayerNormalization", "QLinearConv"),
}
# Questions that NaN answers.
_ASKING = {"Where", "IsNaN", "IsInf", "Equal", "Constant"}


def check_finite(model: onnx.ModelProto) -> None:
    """Refuse weights that are NaN, and infinite ones that are multiplied.

    Raises:
        UnsupportedModelError: naming the initializer and the operator that reads it.
    """
    suspects = {
        tensor.name: kind for tensor in _floats(model.graph) if (kind := _not_finite(tensor))
    }
    if suspects:
        _check_readers(model.graph, suspects)


def _check_readers(graph: onnx.GraphProto, suspects: dict[str, str]) -> None:
    for node in graph.node:
        for name in node.input:
            kind = suspects.get(name)
            if kind is None:
                continue
            if has(node.op_type, Fact.COPIES | Fact.PERMUTES):
                # A weight is handed on as it is.
                suspects.update(dict.fromkeys(node.output, kind))
            elif node.op_type in _WEIGHING or (kind == "NaN" and node.op_type not in _ASKING):
                raise UnsupportedModelError(
                    f"initializer {name!r} holds {kind}, and {node.op_type} (node "
                    f"{node.name or node.output[0]!r}) computes with it: no score can be explained"
                )
        for body in bodies_of(node):
            _check_readers(body, suspects)


def _floats(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    """Floating-point initializers and constants, named as what reads them does."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            yield tensor
        for body in bodies_of(node):
            yield from _floats(body)


def _not_finite(tensor: onnx.TensorProto) -> str | None:
    """What a tensor holds beside numbers: "NaN", "infinity", or None."""
    types = onnx.TensorProto
    if tensor.data_type not in (types.FLOAT, types.DOUBLE, types.FLOAT16, types.BFLOAT16):
        return None
    values = numpy_helper.to_array(tensor)
    if values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    if np.isfinite(values).all():
        return None
    return "NaN" if np.isnan(values).any() else "infinity"
