"""Checking a model that was read: what is harmless is put right, and the rest refused."""

import math
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from .. import UnsupportedModelError
from .meaning import check_meaning, in_one_form

# Elements of these types share bytes: how many bits one takes.
_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check(model: onnx.ModelProto, source: str) -> None:
    """Put right, in place, what is harmless, and raise on what is not; `source` begins messages.

    Raises:
        UnsupportedModelError: the model is incomplete, structurally broken, or has texts that are
            no UTF-8 or tensors whose data are not of their shape.
    """
    if not _is_text(model):
        raise UnsupportedModelError(
            f"{source}: expected a valid ONNX model, but it holds a name that is no UTF-8 text"
        )
    graph = model.graph
    versions = {opset.domain: opset.version for opset in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    opset = versions.get("", versions.get("ai.onnx"))
    problem = None
    if not model.HasField("graph"):
        problem = "it has no graph (is it an ONNX model?)"
    elif not graph.node:
        problem = "its graph has no nodes"
    elif not graph.output:
        problem = "its graph has no outputs"
    elif not versions:
        problem = "it does not say its opset"
    elif opset is not None and opset > newest:
        problem = f"its opset is {opset}, and the installed onnx package knows up to {newest}"
    if problem:
        raise UnsupportedModelError(f"{source}: expected a complete ONNX model, but {problem}")
    for tensor in tensors_of(model):
        _check_tensor(tensor, source)
    check_meaning(model, source)
    _repair(model)
    try:
        onnx.checker.check_model(_with_shapes(model))
    except Exception as error:  # the checker's own, and whatever C++ raises of a damaged file
        reason = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"{source}: expected a valid ONNX model, but {reason}"
        ) from None


def _repair(model: onnx.ModelProto) -> None:
    """Put right, in place, what ONNX Runtime lets pass and the checker does not."""
    graph = model.graph
    graph.name = graph.name or "graph"
    in_one_form(model)
    typed = [info for info in graph.value_info if info.type.WhichOneof("value")]
    if len(typed) < len(graph.value_info):
        del graph.value_info[:]
        graph.value_info.extend(typed)
    unique = {tensor.name: tensor for tensor in graph.initializer}
    if len(unique) < len(graph.initializer):
        kept = list(unique.values())
        del graph.initializer[:]
        graph.initializer.extend(kept)
    # Before IR version 4 every initializer was an input as well; exporters did not all know.
    if model.ir_version == 3 and not unique.keys() <= {value.name for value in graph.input}:
        model.ir_version = 4
    _sort(graph)
    versions = {opset.domain for opset in model.opset_import}
    for domain in dict.fromkeys(node.domain for node in graph.node):
        if domain not in versions and domain not in ("", "ai.onnx"):
            model.opset_import.append(onnx.helper.make_opsetid(domain, 1))


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node behind those that make its inputs (ONNX Runtime's own converters do not)."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        index: {maker[name] for name in _read_by(node) if name in maker}
        for index, node in enumerate(graph.node)
    }
    if all(max(makers, default=-1) < index for index, makers in needs.items()):
        return
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError:
        return  # the checker says it better
    nodes = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the tensors that a node reads, or that the graphs inside it do."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read_by(inner)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model for the checker, which refuses unknown ranks, common and harmless."""
    graph = model.graph
    values = (*graph.input, *graph.output)
    tensors = [value for value in values if value.type.WhichOneof("value") == "tensor_type"]
    untyped_output = any(not value.type.WhichOneof("value") for value in graph.output)
    if all(map(_has_shape, tensors)) and not untyped_output:
        return model
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for value in checked.graph.output:
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for value in (*checked.graph.input, *checked.graph.output):
        if value.type.WhichOneof("value") == "tensor_type" and not _has_shape(value):
            value.type.tensor_type.shape.SetInParent()
    return checked


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape")


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Go through every tensor in the graph, its subgraphs, its attributes and the functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def _check_tensor(tensor: onnx.TensorProto, source: str) -> None:
    """Refuse a tensor that holds more or fewer elements than its shape says."""
    types = onnx.TensorProto.DataType
    known = tensor.data_type in types.values() and tensor.data_type != types.UNDEFINED
    if not known or any(dim < 0 for dim in tensor.dims):
        raise UnsupportedModelError(
            f"{source}: tensor {tensor.name!r}: expected a type and a shape that ONNX knows, got "
            f"type {tensor.data_type} and {list(tensor.dims)}"
        )
    if tensor.HasField("segment"):
        raise UnsupportedModelError(
            f"{source}: tensor {tensor.name!r} is a segment of a larger one"
        )
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    expected, came = _stored(tensor, types.Name(tensor.data_type))
    if expected != came:
        unit = "bytes" if tensor.HasField("raw_data") else "values"
        raise UnsupportedModelError(
            f"{source}: tensor {tensor.name!r} of shape {list(tensor.dims)}: expected "
            f"{expected:,} {unit}, got {came:,}"
        )


def _stored(tensor: onnx.TensorProto, kind: str) -> tuple[int, int]:
    """How many bytes, or else values, a tensor should hold, and how many it does."""
    count = math.prod(tensor.dims)
    bits = _BITS.get(kind)
    if tensor.HasField("raw_data"):
        if bits is None:
            bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        return -(-count * bits // 8), len(tensor.raw_data)
    if bits is not None:
        count = -(-count * bits // 8)
    elif kind.startswith("COMPLEX"):
        count *= 2
    return count, sum(len(getattr(tensor, field)) for field in _FIELDS)


def _is_text(message: Message) -> bool:
    """Whether every text in a message is UTF-8; protobuf hands out the others as bytes."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        # Not the numbers of tensors: asking for them copies them.
        tensor = isinstance(found, onnx.TensorProto)
        fields = _tensor_texts(found) if tensor else found.ListFields()
        for field, value in fields:
            values = value if field.is_repeated else [value]
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting.extend(values)
            elif field.type == FieldDescriptor.TYPE_STRING and any(
                isinstance(text, bytes) for text in values
            ):
                return False
    return True


def _tensor_texts(tensor: onnx.TensorProto) -> Iterator[tuple[Any, Any]]:
    for name in ("name", "doc_string", "external_data", "metadata_props"):
        yield tensor.DESCRIPTOR.fields_by_name[name], getattr(tensor, name)
