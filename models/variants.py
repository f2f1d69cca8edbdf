"""A file as its user wants it read: with lengths that it leaves open, or with a further output.

The file stays as it is; what is changed is the message that was read from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import onnx
from onnx import shape_inference

from .. import InvalidInputError
from .text import counted

# None: as the file has it.
Length: TypeAlias = "int | None"
Shapes: TypeAlias = "Mapping[str, Sequence[Length]]"


def parse_shape(text: str) -> tuple[str, tuple[Length, ...]]:
    """(input, lengths) of a text such as "x=1,300,40"; ? leaves a length as the file has it.

    Raises:
        InvalidInputError: it is none.
    """
    name, equals, lengths = text.rpartition("=")
    parts = [part.strip() for part in lengths.replace("x", ",").split(",")]
    if not name or not equals or not all(part == "?" or part.isdecimal() for part in parts):
        raise InvalidInputError(f"shape: expected NAME=1,300,40 (? leaves one open), got {text!r}")
    return name.strip(), tuple(None if part == "?" else int(part) for part in parts)


def with_shapes(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Give inputs these lengths, in place, and other inputs those of the same name.

    What the file says of its other tensors may be wrong then, and is dropped.

    Raises:
        InvalidInputError: no such input, or a shape that cannot be its.
    """
    inputs = {value.name: value for value in _inputs(model)}
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise InvalidInputError(
                f"shapes: the model has no input {name!r}; it has {', '.join(map(repr, inputs))}"
            )
        _check_lengths(name, shape)
        symbols |= _set(inputs[name], shape)
    for name, value in inputs.items():
        for dim in value.type.tensor_type.shape.dim:
            if name not in shapes and dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def all_known(model: onnx.ModelProto) -> bool:
    """Whether every length of every input is a number."""
    kinds = [value.type.tensor_type for value in _inputs(model)]
    return all(
        kind.HasField("shape") and all(dim.dim_value > 0 for dim in kind.shape.dim)
        for kind in kinds
    )


def _inputs(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights and value.type.HasField("tensor_type"):
            yield value


def _check_lengths(name: str, shape: Sequence[Length]) -> None:
    text = isinstance(shape, str) or not isinstance(shape, Sequence)
    if text or not all(d is None or (isinstance(d, int) and d > 0) for d in shape):
        raise InvalidInputError(
            f"shapes: expected whole numbers above 0 for {name!r} (None leaves one as the file has "
            f"it), got {shape!r}"
        )


def _set(value: onnx.ValueInfoProto, shape: Sequence[Length]) -> dict[str, int]:
    """Give one input its lengths; returns those of the file's names."""
    declared, symbols = value.type.tensor_type, {}
    if not declared.HasField("shape"):
        declared.shape.dim.extend([onnx.TensorShapeProto.Dimension()] * len(shape))
    dims = declared.shape.dim
    if len(dims) != len(shape):
        raise InvalidInputError(
            f"shapes: {value.name!r} has {counted(len(dims), 'axis')}, got {list(shape)} of "
            f"{len(shape)}"
        )
    for dim, length in zip(dims, shape, strict=True):
        if length is not None:
            if dim.dim_param:
                symbols[dim.dim_param] = length
            dim.dim_value = length
    return symbols


def without_zipmaps(model: onnx.ModelProto) -> None:
    """Hand out the probabilities that a ZipMap makes maps of, in place, under its output's name.

    A map of each class's number is for programs that look a label up; numbers are the same.
    """
    graph = model.graph
    maps = [n for n in graph.node if n.op_type == "ZipMap" and n.domain == "ai.onnx.ml"]
    for node in maps:
        for output in graph.output:
            if output.name == node.output[0]:
                kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
                output.type.CopyFrom(kind)
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]


def with_output(model: onnx.ModelProto, name: str) -> None:
    """Let a tensor of the graph be an output, too, in place; nothing happens where it is one.

    Raises:
        InvalidInputError: no node makes such a tensor.
    """
    graph = model.graph
    if any(output.name == name for output in graph.output):
        return
    made = [tensor for node in graph.node for tensor in node.output if tensor]
    if name not in made:
        outputs = [output.name for output in graph.output]
        near = difflib.get_close_matches(name, made, 1, 0.6)
        hint = f", and a tensor {near[0]!r}" if near and near[0] not in outputs else ""
        raise InvalidInputError(
            f"the model has no output or other tensor {name!r}; its outputs are "
            f"{', '.join(map(repr, outputs))}{hint}"
        )
    graph.output.append(_described(model, name))


def with_output_first(model: onnx.ModelProto, name: str) -> None:
    """Let a tensor of the graph be the first output, in place; see `with_output`."""
    outputs = [onnx.ValueInfoProto.FromString(o.SerializeToString()) for o in model.graph.output]
    with_output(model, name)
    added = next(o for o in model.graph.output if o.name == name)
    ordered = [onnx.ValueInfoProto.FromString(added.SerializeToString())]
    ordered += [output for output in outputs if output.name != name]
    del model.graph.output[:]
    model.graph.output.extend(ordered)


def _described(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The tensor's name, type and shape, as far as they can be told."""
    try:
        known = shape_inference.infer_shapes(model).graph.value_info
    except Exception:  # what inference refuses, ONNX Runtime may still know
        known = model.graph.value_info
    for value in known:
        if value.name == name:
            return value
    return onnx.ValueInfoProto(name=name)
