"""Shape inference that leaves the weights at home."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import helper, shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from .followed import follows_values
from .names import bodies_of
from .tensors import is_constant, numpy_type, onnx_type

# Elements of what is a size, an index or a bound rather than a weight, at the most.
_FEW = 1024


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph with inferred shapes, and its weights as inputs.

    Each inference would copy them, 0.45 s of ResNet-50's, and a model with weights of over 2 GB
    could have none.
    """
    return _inferred(without_weights(model, _FEW))


def _inferred(light: onnx.ModelProto) -> onnx.GraphProto:
    """Shapes, following sizes as values where that costs little."""
    known = shape_inference.infer_shapes(light).graph
    if not follows_values(light, known):
        return known
    return shape_inference.infer_shapes(light, data_prop=True).graph


def without_weights(model: onnx.ModelProto, most: int) -> onnx.ModelProto:
    """A copy whose initializers of more than so many elements are inputs of their types."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, whole = light.graph, model.graph
    graph.name = whole.name
    for part in ("node", "input", "output", "value_info"):
        getattr(graph, part).extend(getattr(whole, part))
    given = {value.name for value in whole.input}
    for tensor in whole.initializer:
        if math.prod(tensor.dims) <= most:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(kind)
    return light


def sizes_at(
    graph: gs.Graph, given: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, list[int], Any]]:
    """(name, shape, type) of what a graph computes where its inputs have these shapes.

    Subgraphs count as well. Shapes that values decide are left out.

    Args:
        graph: stays as it is.
        given: the shape of each input.
    """
    model = onnx.ModelProto(ir_version=10)
    light = model.graph
    light.name = "sizes"
    domains = {"": graph.opset}
    domains |= {domain.domain: domain.version for domain in graph.import_domains or []}
    for tensor in graph.inputs:
        kind = onnx_type(tensor.dtype)
        light.input.append(helper.make_tensor_value_info(tensor.name, kind, given[tensor.name]))
    for tensor in graph.tensors().values():
        if not is_constant(tensor):
            continue
        if math.prod(tensor.shape) <= _FEW:
            light.initializer.append(OnnxExporter.export_tensor_proto(tensor))
        else:
            light.input.append(OnnxExporter.export_value_info_proto(tensor, False))
    for node in graph.nodes:
        light.node.append(OnnxExporter.export_node(node))
        domains.setdefault(node.domain or "", 1)
    model.opset_import.extend(helper.make_opsetid(*domain) for domain in domains.items())
    yield from _known(_inferred(model))


def _known(graph: onnx.GraphProto) -> Iterator[tuple[str, list[int], Any]]:
    for value in graph.value_info:
        kind = value.type.tensor_type
        if kind.HasField("shape") and kind.elem_type:
            shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in kind.shape.dim]
            yield value.name, shape, numpy_type(kind.elem_type)
    for node in graph.node:
        for body in bodies_of(node):
            yield from _known(body)
