"""Shape inference that leaves the weights at home."""

from __future__ import annotations

import math

import onnx
from onnx import helper, shape_inference

# Elements of what is a size, an index or a bound rather than a weight, at the most.
_FEW = 1024


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph with inferred shapes, and its weights as inputs.

    They become inputs of their type and shape: else each inference would copy them, 0.45 s of
    ResNet-50's, and a model with weights of over 2 GB could have none.
    """
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, whole = light.graph, model.graph
    graph.name = whole.name
    graph.node.extend(whole.node)
    graph.input.extend(whole.input)
    graph.output.extend(whole.output)
    graph.value_info.extend(whole.value_info)
    given = {value.name for value in whole.input}
    for tensor in whole.initializer:
        if math.prod(tensor.dims) <= _FEW:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(kind)
    return shape_inference.infer_shapes(light, data_prop=True).graph
