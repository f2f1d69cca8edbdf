"""What lies between input and output, counted at the sizes that are handed in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from onnx.shape_inference import InferenceError

from ...graph_passes.graph.dims import same_dim
from ...graph_passes.graph.inference import sizes_at
from ...graph_passes.graph.limits import ACTIVATIONS_PER_BYTE, bytes_of, hold, in_force
from ...graph_passes.graph.tensors import is_constant
from ...graph_passes.select.subject import Subject


def check_sizes(subject: Subject, arrays: Mapping[str, np.ndarray]) -> None:
    """Hold what lies between input and output to the limit, at the sizes that are handed in.

    Rows that are apart count as one, for few of them go through a graph at once. What the caller's
    own arrays take adds to the limit, as the file's size does.

    Raises:
        UnsupportedModelError: more than the limit on activations allows.
    """
    rows = 1 if subject.coupled is None else max(map(len, filter(np.ndim, arrays.values())))
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in subject.graph.inputs:
        array = arrays[tensor.name]
        # A file may declare a scalar and be handed a row: ONNX Runtime says whether that fits.
        dims = list(tensor.shape or ())
        dims = dims if len(dims) == array.ndim else [None] * array.ndim
        apart = [rows == 1 and same_dim(dim, subject.batch) for dim in dims]
        pairs = zip(array.shape, dims, apart, strict=True)
        shapes[tensor.name] = tuple(
            1 if one and not isinstance(dim, int) else n for n, dim, one in pairs
        )
    key = tuple(shapes.items())
    declared = {t.name: t.shape or () for t in subject.graph.inputs}
    same = all(
        isinstance(dim, int) or n == 1
        for name, shape in shapes.items()
        for n, dim in zip(shape, declared[name], strict=False)
    )
    if same or key in subject.sized:
        return
    constants = sum(t.values.nbytes for t in subject.graph.tensors().values() if is_constant(t))
    own = sum(4 * math.prod(shape) for shape in shapes.values())
    extra = ACTIVATIONS_PER_BYTE * (constants + own) + (rows - 1) * in_force().activations_bytes
    try:
        sizes = [bytes_of(shape, dtype) for _, shape, dtype in sizes_at(subject.graph, shapes)]
    except InferenceError:
        return  # sizes that do not fit each other: ONNX Runtime says which
    hold("activations_bytes", f"bytes of all tensors for inputs of {list(key)}", sum(sizes), extra)
    subject.sized.add(key)
