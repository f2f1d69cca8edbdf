"""What a graph says of its input: a normalisation at its head, an integer type, YOLOX's head."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..own_card import PRESETS
from .place import Facts, Place

_MOST_CONSTANT = 16
# input = a * pixel + b, for each channel or for all.
_Affine = tuple[np.ndarray, np.ndarray]
_RAW = {key: PRESETS["raw"][key] for key in ("scale", "mean", "std")}
_UNIT = {key: PRESETS["unit"][key] for key in ("scale", "mean", "std")}
# Models' numbers span about so much: (x - mean) / std of 0..1 spans 4.5, x / 127.5 - 1 spans 2.
_LEAST, _MOST = 0.5, 8.0


def integer_input(place: Place) -> Facts:
    """A picture in bytes: pixels as they are."""
    image = place.image
    return dict(_RAW) if image is not None and image.dtype == TensorProto.UINT8 else {}


def head(place: Place) -> Facts:
    """A normalisation ahead of the first layer: pixels go in as 0..255, or as 0..1.

    It is a * x + b. Pixels of 0..255 become numbers that span 255 |a|, those of 0..1 span |a|: the
    one that spans 0.5 to 8 is taken; of a = 1 the size of b tells.
    """
    image = place.image
    if image is None:
        return {}
    found = _affine_behind(place.graph, image.name)
    if found is None:
        return {}
    slope, shift = float(np.abs(found[0]).mean()), float(np.abs(found[1]).max())
    if not (math.isfinite(slope) and math.isfinite(shift)):
        return {}
    if math.isclose(slope, 1.0, rel_tol=1e-6):
        return {} if shift == 0 else dict(_RAW if shift > 1 else _UNIT)
    if _LEAST <= 255 * slope <= _MOST:
        return dict(_RAW)
    return dict(_UNIT) if _LEAST <= slope <= _MOST else {}


def _affine_behind(graph: onnx.GraphProto, name: str) -> _Affine | None:
    """(a, b) of the steps behind an input that are read by nothing else; None: there are none."""
    known = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for read in dict.fromkeys(node.input):
            readers.setdefault(read, []).append(node)
    found: _Affine | None = None
    for _ in graph.node:
        behind = readers.get(name, [])
        step = _STEPS.get(behind[0].op_type) if len(behind) == 1 else None
        if step is None:
            return found
        node = behind[0]
        others = [_constant(known.get(other)) for other in node.input if other != name]
        if any(other is None for other in others):
            return found
        changed = step(node, found or (np.ones(1), np.zeros(1)), others, node.input[0] == name)
        if changed is None:
            return found
        found = found if changed == "same" else changed
        name = node.output[0]
    return found


def _constant(tensor: onnx.TensorProto | None) -> np.ndarray | None:
    """A constant of one number, or of one for each channel."""
    if tensor is None or tensor.external_data or math.prod(tensor.dims) > _MOST_CONSTANT:
        return None
    try:
        return numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None


def _added(node: Any, own: _Affine, others: list, first: bool) -> _Affine:
    return own[0], own[1] + others[0]


def _multiplied(node: Any, own: _Affine, others: list, first: bool) -> _Affine:
    return own[0] * others[0], own[1] * others[0]


def _subtracted(node: Any, own: _Affine, others: list, first: bool) -> _Affine:
    return (own[0], own[1] - others[0]) if first else (-own[0], others[0] - own[1])


def _divided(node: Any, own: _Affine, others: list, first: bool) -> _Affine | None:
    if not first or not others[0].all():
        return None
    return own[0] / others[0], own[1] / others[0]


def _normalised(node: Any, own: _Affine, others: list, first: bool) -> _Affine | None:
    """scale (x - mean) / sqrt(variance + epsilon) + bias, of each channel."""
    if len(others) != 4 or not first:
        return None
    scale, bias, mean, variance = others
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    slope = scale / np.sqrt(np.maximum(variance + epsilon, 1e-12))
    return own[0] * slope, (own[1] - mean) * slope + bias


def _passed(node: Any, own: _Affine, others: list, first: bool) -> str:
    return "same"


_STEPS: dict[str, Callable[..., Any]] = {
    "Add": _added,
    "Sub": _subtracted,
    "Mul": _multiplied,
    "Div": _divided,
    "BatchNormalization": _normalised,
    "Cast": _passed,
    "Identity": _passed,
    "Transpose": _passed,
}


def yolox(place: Place) -> Facts:
    """YOLOX's head: offsets from a Conv beside two Sigmoids, objectness and classes, of each scale.

    BGR from 0 to 255, fitted at the top left on gray 114; the new size is cut to whole pixels.
    """
    made = {name: node.op_type for node in place.graph.node for name in node.output}
    heads = [
        node
        for node in place.graph.node
        if [made.get(name) for name in node.input] == ["Conv", *["Sigmoid"] * 2]
    ]
    ranks = [len(one.shape) for one in place.outputs if one.shape is not None]
    if not heads or {node.op_type for node in heads} != {"Concat"} or ranks != [3]:
        return {}
    pad = {"resize": "pad", "pad_color": 114.0, "pad_position": "top-left", "rounding": "down"}
    return {"task": "detection", "channels": "BGR", "interpolation": "bilinear", **pad, **_RAW}
