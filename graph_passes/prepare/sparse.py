"""Sparse constants written out: no other pass, nor ONNX's version converter, takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from ... import UnsupportedModelError
from ..graph.names import bodies_of
from .folding import budget


def without_sparse(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Sparse initializers and Constants become plain ones, in place, in subgraphs, too.

    Raises:
        UnsupportedModelError: one is larger than the limits allow, or has indices outside of it.
    """
    changed = False
    for graph in _graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(dense(sparse, sparse.values.name))
        changed |= bool(graph.sparse_initializer)
        del graph.sparse_initializer[:]
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "sparse_value":
                    plain = dense(attribute.sparse_tensor, node.output[0])
                    attribute.CopyFrom(onnx.helper.make_attribute("value", plain))
                    changed = True
    return model if changed else None


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for body in bodies_of(node):
            yield from _graphs(body)


def dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """The tensor with zeros wherever it says nothing; indices are flat, or one row for each."""
    values, shape = numpy_helper.to_array(sparse.values), tuple(sparse.dims)
    size = int(np.prod([int(d) for d in shape], dtype=object)) * values.itemsize
    budget().take(f"the sparse tensor {name!r}", size)
    indices: np.ndarray | None = numpy_helper.to_array(sparse.indices)
    assert indices is not None
    if indices.ndim == 2:
        inside = indices.shape[1] == len(shape) and ((indices >= 0) & (indices < shape)).all()
        flat = np.ravel_multi_index(tuple(indices.T), shape) if inside else None
        indices = None if flat is None else np.asarray(flat)
    elif not ((indices >= 0) & (indices < int(np.prod(shape)))).all():
        indices = None
    if indices is None or len(indices) != len(values):
        raise UnsupportedModelError(f"the sparse tensor {name!r} has indices outside of {shape}")
    whole = np.zeros(int(np.prod(shape)), values.dtype)
    whole[indices] = values
    return numpy_helper.from_array(whole.reshape(shape), name)
