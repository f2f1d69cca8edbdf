"""The same random model as other exporters leave it: with more outputs, or with open lengths."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, shape_inference

import onnxplain
from support.random_graphs import Built, Draw

METHOD = "input-x-gradient"


def check_variants(built: Built, draw: Draw) -> None:
    """Neither changes what is explained.

    Raises:
        AssertionError: one does.
    """
    (name,) = [value.name for value in built.model.graph.output]
    plain = onnxplain.Explainer(built.model, METHOD)
    x = built.x[: plain.subject.batch if isinstance(plain.subject.batch, int) else 1]
    by_index = plain.subject.by_index
    target = (0,) * (len(plain.subject.logits.shape) - 1) if by_index else None
    expected = plain(x, target)
    for other, how in (several_outputs(built, draw), symbolic_lengths(built)):
        e = onnxplain.Explainer(other, METHOD, **how)(x, target)
        scale = max(float(np.abs(expected.attribution).max()), 1e-6)
        assert np.abs(e.score - expected.score).max() <= 1e-4 * np.abs(expected.score).max() + 1e-6
        assert np.abs(e.attribution - expected.attribution).max() <= 1e-3 * scale, how
    found = onnxplain.inspect(several_outputs(built, draw)[0])
    assert found.output and name not in found.others


def several_outputs(built: Built, draw: Draw) -> tuple[onnx.ModelProto, dict]:
    """Some tensors on the way as outputs, too, in front of the own one or behind it."""
    model = _copied(built.model)
    inferred = shape_inference.infer_shapes(model).graph.value_info
    floats = [v for v in inferred if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    own = model.graph.output[0]
    more = [draw(floats) for _ in range(draw([1, 2]))] if floats else []
    more = list({value.name: value for value in more}.values())
    outputs = [*more, own] if draw([True, False]) else [own, *more]
    outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in outputs]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return model, {"output": own.name}


def symbolic_lengths(built: Built) -> tuple[onnx.ModelProto, dict]:
    """Every length of the input behind the batch open in the file, and given."""
    model = _copied(built.model)
    value = next(v for v in model.graph.input if v.name == "x")
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if axis:
            dim.dim_param = f"length{axis}"
    return model, {"shapes": {"x": (None, *built.x.shape[1:])}}


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())
