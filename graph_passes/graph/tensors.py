"""Tensors and nodes as onnx-graphsurgeon holds them: types, constants, and who reads what."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from .terms import NodeView, Term, lowered

# What may stand where a formula has a tensor: one of the file, or a term.
Value: TypeAlias = "gs.Tensor | Term"
Node: TypeAlias = "gs.Node | NodeView"


def onnx_type(dtype: Any) -> int:
    """The TensorProto number of a numpy dtype (numbers pass through)."""
    return (
        dtype if isinstance(dtype, int) else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    )


def numpy_type(dtype: Any) -> np.dtype:
    """The numpy dtype of what onnx-graphsurgeon holds: a numpy dtype or a TensorProto number."""
    return (
        onnx.helper.tensor_dtype_to_np_dtype(dtype) if isinstance(dtype, int) else np.dtype(dtype)
    )


def is_float(tensor: Value) -> bool:
    """True for tensors that can carry a derivative; an unknown type counts as float."""
    if tensor.dtype is None:
        return True
    return onnx_type(tensor.dtype) in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    )


def is_constant(tensor: Any) -> bool:
    """True for initializers."""
    return isinstance(lowered(tensor), gs.Constant)


def optional_input(node: Node, index: int) -> Any:
    """A node's input, or None where it is omitted."""
    tensor = node.inputs[index] if len(node.inputs) > index else None
    return tensor if tensor is not None and tensor.name else None


def captured(node: gs.Node) -> set[str]:
    """Names of the tensors that a node's subgraphs (of If, Loop, Scan) read from around them."""
    found: set[str] = set()
    for body in node.attrs.values():
        if isinstance(body, gs.Graph):
            read = {t.name for inner in body.nodes for t in inner.inputs}
            read.update({t.name for t in body.outputs}, *map(captured, body.nodes))
            made = {t.name for inner in body.nodes for t in inner.outputs}
            found |= read - made - {t.name for t in body.inputs}
    return found


def read_by(node: gs.Node) -> set[str]:
    """Names of the tensors that a node reads, also inside its subgraphs."""
    return {tensor.name for tensor in node.inputs} | captured(node)


def producer_of(tensor: Value) -> gs.Node | None:
    """The node that makes a tensor, or None for graph inputs and initializers."""
    return tensor.inputs[0] if tensor.inputs else None


def rank_of(tensor: Value) -> int:
    """How many axes a tensor has.

    Raises:
        UnsupportedModelError: shape inference could not tell.
    """
    if tensor.shape is None:
        raise UnsupportedModelError(f"the number of axes of tensor {tensor.name!r} is not known")
    return len(tensor.shape)


def operator_name(node: Node) -> str:
    """`Conv`, or `com.microsoft.FusedConv` for another domain than ONNX's own."""
    return node.op if node.domain in (None, "", "ai.onnx") else f"{node.domain}.{node.op}"
