"""Operators of ONNX's own ai.onnx.ml domain that scikit-learn's exporter puts around networks."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.emitter import Emitter
from .registry import decomposition

_DOMAIN = "ai.onnx.ml"


@decomposition(f"{_DOMAIN}.Scaler")
def scaler(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """y = (x - offset) scale."""
    offset, scale = (
        emit.constant(np.asarray(node.attrs.get(key, [default]), np.float32))
        for key, default in (("offset", 0.0), ("scale", 1.0))
    )
    return emit.Mul(emit.Sub(node.inputs[0], offset), scale)


@decomposition(f"{_DOMAIN}.LinearRegressor")
def linear_regressor(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """y = x W^T + b, for no further transformation."""
    if node.attrs.get("post_transform", "NONE") != "NONE":
        return None
    targets = int(node.attrs.get("targets", 1))
    weight = np.asarray(node.attrs["coefficients"], np.float32).reshape(targets, -1)
    y = emit.MatMul(node.inputs[0], emit.constant(weight.T))
    bias = node.attrs.get("intercepts")
    return y if bias is None else emit.Add(y, emit.constant(np.asarray(bias, np.float32)))
