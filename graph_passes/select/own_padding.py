"""Borders that a window asks for: a Pad ahead of a convolution is a part of it."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.operators import Fact, operators
from ..graph.tensors import is_constant, optional_input

_WINDOWS = operators(Fact.CONVOLVES | Fact.POOLS) - {"ConvTranspose"}


def is_own_padding(node: gs.Node) -> bool:
    """Whether a Pad adds no more on any axis than the windows that alone read it are wide.

    Exporters write paddings that differ on two sides so. A letterbox adds more than that.
    """
    read = node.outputs[0].outputs
    if node.op != "Pad" or not read or any(one.op not in _WINDOWS for one in read):
        return False
    pads, axes = node.inputs[1], optional_input(node, 3)
    if not is_constant(pads) or axes is not None:
        return False
    added = np.asarray(pads.values).reshape(2, -1).sum(axis=0)
    return all(_fits(added, one) for one in read)


def _fits(added: np.ndarray, window: gs.Node) -> bool:
    """d (k - 1) on each side at most, both sides together, as much as keeps the size."""
    shape = window.inputs[1].shape if len(window.inputs) > 1 else None
    kernel = window.attrs.get("kernel_shape") or list(shape or [])[2:]
    dilations = window.attrs.get("dilations") or [1] * len(kernel)
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    return len(added) == len(reach) + 2 and bool((added <= [0, 0, *reach]).all())
