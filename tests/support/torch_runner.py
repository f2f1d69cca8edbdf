"""An independent oracle: interpret an ONNX graph, node by node, with differentiable PyTorch.

`run` follows the operator spec at the model's own opset, so that `torch.autograd` gives the
gradient of any model, and of any tensor inside it. At kinks it behaves as PyTorch's modules do:
relu'(0) = 0, Clip has no gradient at its bounds (as ReLU6), max pooling follows the first maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
import onnx.inliner
import torch
from onnx import numpy_helper

from support import (
    torch_operators,  # noqa: F401  # registers its operators
    torch_quantization,  # noqa: F401  # registers its operators
    torch_shapes,  # noqa: F401  # registers its operators
    torch_spatial,  # noqa: F401  # registers its operators
)
from support.torch_operators_table import OPERATORS, Node

Values = dict[str, "torch.Tensor | None"]


def run(
    model: onnx.ModelProto,
    feeds: dict[str, torch.Tensor],
    dtype: torch.dtype = torch.float64,
    keep: Iterable[str] = (),
) -> dict[str, torch.Tensor]:
    """Return the model's outputs, and the tensors named in `keep`, with their autograd graph.

    All floating-point tensors, whatever their type in the file, are computed in `dtype`.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    values: Values = {"": None}
    values.update((name, as_dtype(value, dtype)) for name, value in feeds.items())
    _run_graph(model.graph, values, opset, dtype)
    result: dict[str, torch.Tensor] = {}
    for name in [*(output.name for output in model.graph.output), *keep]:
        value = values[name]
        assert value is not None, name
        result[name] = value
    return result


def gradients(
    model: onnx.ModelProto,
    feeds: dict[str, torch.Tensor],
    cotangents: dict[str, torch.Tensor],
    wanted: Sequence[str],
    dtype: torch.dtype = torch.float64,
) -> dict[str, torch.Tensor]:
    """Vector-Jacobian products: of the `cotangents` by tensor name, for each tensor in `wanted`.

    A wanted tensor on which nothing depends has a gradient of zeros.
    """
    leaves = {
        name: value.detach().to(dtype).requires_grad_() if value.is_floating_point() else value
        for name, value in feeds.items()
    }
    values = run(model, leaves, dtype, keep=[*cotangents, *(n for n in wanted if n not in feeds)])
    values.update(leaves)
    found = torch.autograd.grad(
        [values[name] for name in cotangents],
        [values[name] for name in wanted],
        [cotangent.to(dtype) for cotangent in cotangents.values()],
        materialize_grads=True,
        allow_unused=True,
    )
    return dict(zip(wanted, found, strict=True))


def as_dtype(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Cast a floating-point tensor to the interpreter's type; leave integers and booleans."""
    return value.to(dtype) if value.is_floating_point() else value


def constant(tensor: onnx.TensorProto, dtype: torch.dtype) -> torch.Tensor:
    array = np.array(numpy_helper.to_array(tensor))  # a writable copy
    if array.dtype.kind not in "fiub":  # bfloat16, float8 and the like: ml_dtypes
        array = array.astype(np.float32)
    return as_dtype(torch.from_numpy(array), dtype)


def _run_graph(graph: onnx.GraphProto, values: Values, opset: int, dtype: torch.dtype) -> None:
    """Compute all of the graph's tensors into `values`, which holds its inputs already."""
    for initializer in graph.initializer:
        if initializer.name not in values:  # a fed input overrides its default
            values[initializer.name] = constant(initializer, dtype)
    for proto in graph.node:
        inputs = [values[name] for name in proto.input]
        if proto.op_type == "If":
            outputs = _run_if(proto, inputs, values, opset, dtype)
        else:
            outputs = run_node(proto, inputs, opset, dtype)
        values.update((name, out) for name, out in zip(proto.output, outputs, strict=False) if name)


def run_node(
    proto: onnx.NodeProto, inputs: list[torch.Tensor | None], opset: int, dtype: torch.dtype
) -> Sequence[torch.Tensor]:
    """Compute one node's outputs; an absent input is None."""
    function = OPERATORS.get(proto.op_type) if proto.domain in ("", "ai.onnx") else None
    if function is None:
        raise NotImplementedError(f"no torch semantics for {proto.domain}:{proto.op_type}")
    attributes = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = constant(value, dtype)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    outputs = function(Node(attributes, opset, len(proto.output), dtype), *inputs)
    return [outputs] if isinstance(outputs, torch.Tensor) else outputs


def _run_if(
    proto: onnx.NodeProto,
    inputs: list[torch.Tensor | None],
    values: Values,
    opset: int,
    dtype: torch.dtype,
) -> list[torch.Tensor | None]:
    condition = inputs[0]
    assert condition is not None
    wanted = "then_branch" if condition.item() else "else_branch"
    branch = next(attribute.g for attribute in proto.attribute if attribute.name == wanted)
    inner = dict(values)
    _run_graph(branch, inner, opset, dtype)
    return [inner[output.name] for output in branch.output]
