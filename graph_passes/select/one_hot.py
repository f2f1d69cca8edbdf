"""Ids that become float as rows of zeros with a one: OneHot, or compared with 0, 1, 2 ..."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.tensors import is_constant, is_float

# Ids whose rows are written out for a baseline that is given as ids.
_MOST = 4096


def one_hot_of(node: gs.Node, ids: gs.Variable) -> gs.Node | None:
    """The node that makes float rows of `ids` (or of their copies along a new last axis), or None.

    Args:
        node: that reads them.
        ids: whole numbers.
    """
    output = node.outputs[0]
    if node.op == "Equal" and any(tensor is ids for tensor in node.inputs):
        return _float_of(node) if _classes(node) is not None else None
    if not node.inputs or node.inputs[0] is not ids:
        return None
    if node.op == "Expand":
        made = [one_hot_of(reader, output) for reader in output.outputs]
        return made[0] if len(made) == 1 else None
    if node.op == "OneHot":
        last = node.attrs.get("axis", -1) in (-1, len(output.shape or ()) - 1)
        return _float_of(node) if last and all(map(is_constant, node.inputs[1:3])) else None
    return None


def is_one_hot(node: gs.Node) -> bool:
    """Whether a node's float output has such rows."""
    return _chooser(node) is not None


def rows_of_all(node: gs.Node) -> np.ndarray | None:
    """The rows of 0, 1, 2 ..., [ids, ids]; None: too many, or of other numbers."""
    chooser = _chooser(node)
    if chooser is None:
        return None
    if chooser.op == "OneHot":
        number = int(np.ravel(chooser.inputs[1].values)[0])
        off, on = (float(v) for v in chooser.inputs[2].values)
    else:
        classes = _classes(chooser)
        assert classes is not None
        number, off, on = len(classes), 0.0, 1.0
        if (classes != np.arange(number)).any():
            return None
    if number > _MOST:
        return None
    return np.where(np.eye(number, dtype=bool), on, off).astype(np.float32)


def _classes(node: gs.Node) -> np.ndarray | None:
    """The different numbers along the last axis that an Equal compares ids with, or None."""
    shape = node.outputs[0].shape
    others = [t for t in node.inputs if is_constant(t)]
    if len(others) != 1 or not shape or others[0].values.ndim < 1:
        return None
    values = others[0].values
    known = values.reshape(-1, values.shape[-1])
    ids = next(t for t in node.inputs if not is_constant(t)).shape
    single = ids is not None and len(ids) == len(shape) and ids[-1] in (1, shape[-1])
    different = len(np.unique(known[0])) == known.shape[1] > 1
    return known[0] if single and different and (known == known[0]).all() else None


def _float_of(node: gs.Node) -> gs.Node | None:
    """The node itself, or the Cast behind it, that makes float of what it chooses."""
    while not is_float(node.outputs[0]):
        readers = node.outputs[0].outputs
        if len(readers) != 1 or readers[0].op != "Cast":
            return None
        node = readers[0]
    return node


def _chooser(node: gs.Node) -> gs.Node | None:
    """The OneHot or Equal that float rows come from."""
    if not is_float(node.outputs[0]):
        return None
    while node.op == "Cast" and node.inputs[0].inputs:
        node = node.inputs[0].inputs[0]
    if node.op == "OneHot":
        return node
    return node if node.op == "Equal" and _classes(node) is not None else None
