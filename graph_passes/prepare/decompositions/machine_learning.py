"""Operators of ONNX's own ai.onnx.ml domain that scikit-learn's exporter puts around networks."""

from __future__ import annotations

import numpy as np
import onnx

from ...graph.emitter import Emitter
from ...graph.names import RESERVED
from ...graph.tensors import operator_name
from ...graph.terms import NodeView, Term
from .registry import decomposition

_DOMAIN = "ai.onnx.ml"


@decomposition(f"{_DOMAIN}.Scaler")
def scaler(emit: Emitter, node: NodeView) -> Term:
    """y = (x - offset) scale."""
    offset, scale = (
        emit.constant(np.asarray(node.attrs.get(key, [default]), np.float32))
        for key, default in (("offset", 0.0), ("scale", 1.0))
    )
    return (node.inputs[0] - offset) * scale


@decomposition(f"{_DOMAIN}.LinearRegressor")
def linear_regressor(emit: Emitter, node: NodeView) -> Term | None:
    """y = x W^T + b, for no further transformation."""
    if _text(node.attrs.get("post_transform", "NONE")) != "NONE":
        return None
    targets = int(node.attrs.get("targets", 1))
    weight = np.asarray(node.attrs["coefficients"], np.float32).reshape(targets, -1)
    y = _as_float(emit, node.inputs[0]) @ emit.constant(weight.T)
    bias = node.attrs.get("intercepts")
    return y if bias is None else y + emit.constant(np.asarray(bias, np.float32))


@decomposition(f"{_DOMAIN}.LinearClassifier")
def linear_classifier(emit: Emitter, node: NodeView) -> list[Term | None] | None:
    """Scores x W^T + b behind Softmax or Sigmoid; the label stays what ONNX Runtime makes it.

    Where one row of coefficients serves two classes, the other one's score is -s, or 1 - s where
    nothing stands behind.
    """
    transform = _text(node.attrs.get("post_transform", "NONE"))
    found = node.node.outputs[1] if len(node.outputs) > 1 and node.outputs[1].name else None
    # Of what is left of it afterwards nobody reads the scores.
    read = found is not None and (found.outputs or any(found is t for t in emit.graph.outputs))
    if not read or transform not in ("NONE", "SOFTMAX", "LOGISTIC"):
        return None
    attributes, x = dict(node.attrs), node.inputs[0]
    labels = node.attrs.get("classlabels_ints") or node.attrs.get("classlabels_strings") or []
    bias = np.asarray(node.attrs.get("intercepts") or [], np.float32)
    coefficients = np.asarray(node.attrs["coefficients"], np.float32)
    width = x.shape[-1] if x.shape is not None else None
    rows = coefficients.size // width if isinstance(width, int) else bias.size or len(labels)
    if rows == 1 and transform == "SOFTMAX":
        return None
    label, unread = emit.many("LinearClassifier", 2, x, domain=_DOMAIN, **attributes)
    label.dtype, unread.dtype = node.outputs[0].dtype, np.dtype(np.float32)
    scores = _as_float(emit, x) @ emit.constant(coefficients.reshape(rows, -1).T)
    if bias.size:
        scores = scores + emit.constant(bias)
    if rows == 1 and len(labels) == 2:
        other = -scores if transform != "NONE" else 1.0 - scores
        scores = emit.Concat(other, scores, axis=1)
    if transform == "SOFTMAX":
        scores = emit.Softmax(scores, axis=1)
    return [label, scores if transform != "LOGISTIC" else emit.Sigmoid(scores)]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _as_float(emit: Emitter, x: Term) -> Term:
    return x if x.dtype == np.float32 else emit.Cast(x, to=onnx.TensorProto.FLOAT)


# How many columns each returns, by its attributes; ONNX's inference does not know.
_COLUMNS = {
    f"{_DOMAIN}.TreeEnsembleRegressor": ("n_targets",),
    f"{_DOMAIN}.TreeEnsemble": ("n_targets",),
    f"{_DOMAIN}.TreeEnsembleClassifier": ("classlabels_int64s", "classlabels_strings"),
    f"{_DOMAIN}.SVMRegressor": (),
}


@decomposition(*_COLUMNS)
def of_known_columns(emit: Emitter, node: NodeView) -> list[Term | None] | None:
    """The same operator, whose last output is said to be [N, columns]."""
    if (node.name or "").startswith(RESERVED):
        return None
    counts = [node.attrs[name] for name in _COLUMNS[operator_name(node)] if node.attrs.get(name)]
    columns = 1 if not counts else counts[0] if isinstance(counts[0], int) else len(counts[0])
    attributes = dict(node.attrs)
    count = len(node.outputs)
    made = emit.many(node.op, count, *node.inputs, domain=_DOMAIN, **attributes)
    for own, output in zip(made, node.outputs, strict=True):
        own.dtype = output.dtype if count > 1 and own is made[0] else np.dtype(np.float32)
    return [*made[:-1], emit.Reshape(made[-1], [-1, columns])]
