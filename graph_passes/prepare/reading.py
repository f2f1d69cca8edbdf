"""From a file to a graph: honest shapes, no functions, one opset, weights as initializers."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, defs, helper, inliner, numpy_helper, version_converter

from ... import UnsupportedModelError
from ..graph.names import own_dim
from ..graph.tensors import onnx_type
from .old_resizing import hide_old_resizing
from .shapes import with_shapes

CANONICAL_OPSET = 21
# What changed between opsets 13 and 21 in types, and in attributes that default to what was before.
_WIDENED = frozenset({
    *("Add", "Cast", "Constant", "ConstantOfShape", "Div", "Equal", "Flatten", "Identity"),
    *("LeakyRelu", "Mul", "PRelu", "Pow", "Relu", "Reshape", "Shape", "Size", "Squeeze", "Sub"),
    *("Transpose", "Unsqueeze", "Where"),
})  # fmt: skip


def imported(model: onnx.ModelProto) -> gs.Graph:
    """The model as a graph with every shape and type that ONNX's inference can tell."""
    return gs.import_onnx(with_shapes(model))


def check_types(graph: gs.Graph, model: onnx.ModelProto) -> None:
    """Refuse a file that gives a tensor another type than its node makes.

    Raises:
        UnsupportedModelError: as ONNX Runtime does, naming the tensor.
    """
    tensors = graph.tensors()
    for value in model.graph.value_info:
        said, tensor = value.type.tensor_type.elem_type, tensors.get(value.name)
        if said and tensor is not None and tensor.dtype is not None:
            made = onnx_type(tensor.dtype)
            if made and made != said:
                names = [TensorProto.DataType.Name(kind).lower() for kind in (made, said)]
                raise UnsupportedModelError(
                    f"tensor {value.name!r} is of type {names[0]}, and the file says {names[1]}"
                )


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Local functions are written out where they are called."""
    return inliner.inline_local_functions(model) if model.functions else None


def default_opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model asks for."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def with_honest_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose declared shapes claim nothing that may be false.

    Intermediate and output shapes are dropped (they are inferred again), initializers are no
    inputs, and unknown input dimensions (-1, 0, none, or a name used twice in one shape such as
    '?') get names of their own.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    del graph.input[:]
    graph.input.extend(inputs)
    for value in graph.input:
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            names = [dim.dim_param for dim in dims]
            for index, dim in enumerate(dims):
                named = names.count(dim.dim_param) == 1 and dim.dim_param not in ("", "?")
                if not named and not dim.dim_value > 0:
                    dim.dim_param = f"{value.name}?{index}"
                elif named:
                    dim.dim_param = own_dim(dim.dim_param)
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return copy


def convert_opset(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model in `CANONICAL_OPSET`, if it is in an older one.

    Raises:
        UnsupportedModelError: ONNX's converter cannot do it.
    """
    version = default_opset(model)
    if version >= CANONICAL_OPSET:
        return None
    if _means_the_same(model, version):
        own = next(o for o in model.opset_import if o.domain in ("", "ai.onnx"))
        own.domain, own.version = "", CANONICAL_OPSET
        return model
    if version < 9 and any(node.op_type == "Scan" for node in model.graph.node):
        raise UnsupportedModelError("Scan of opset 8 (with a batch axis) is not supported")
    # Below 4 the converter wants initializers among the inputs, where they are no longer.
    model.ir_version = max(model.ir_version, 4)
    hide_old_resizing(model, version)
    try:
        return version_converter.convert_version(model, CANONICAL_OPSET)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(
            f"the model's opset {version} cannot be converted to {CANONICAL_OPSET}: {reason}"
        ) from error


def _means_the_same(model: onnx.ModelProto, version: int) -> bool:
    """Whether every node means in `CANONICAL_OPSET` what it means in an older one.

    Then there is nothing to convert. ONNX's converter takes 8 ms of each model, however small, for
    tables of its own: of a network of five nodes a fifth of the time until its first explanation.
    """
    return version >= 13 and all(
        node.domain not in ("", "ai.onnx")
        or node.op_type in _WIDENED
        or _unchanged(node.op_type, version)
        for node in model.graph.node
    )


@cache
def _unchanged(operator: str, version: int) -> bool:
    """Whether an operator's definition of that opset is still that of `CANONICAL_OPSET`."""
    try:
        older, newer = (defs.get_schema(operator, v) for v in (version, CANONICAL_OPSET))
    except defs.SchemaError:
        return False
    return older.since_version == newer.since_version


def constants_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Constant nodes of the main graph become initializers, in their declared types."""
    graph = model.graph
    kept = []
    for node in graph.node:
        tensor = _constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    if len(kept) == len(graph.node):
        return None
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _constant_tensor(node: onnx.NodeProto) -> TensorProto | None:
    if len(node.attribute) != 1:
        return None
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
        return tensor
    types = {"value_float": np.float32, "value_floats": np.float32}
    types |= {"value_int": np.int64, "value_ints": np.int64}
    if attribute.name in types:
        return numpy_helper.from_array(np.asarray(value, types[attribute.name]))
    return None
