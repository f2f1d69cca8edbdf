"""Quantised operators in float32: integers become whole floats, and quantisers roundings.

A quantiser is q = round(clip(x / s, qmin - z, qmax - z)) + z, a dequantiser x = s (q - z). Sums of
products of 8-bit integers are whole floats too, exact below 2^24, so the scores are the deployed
model's own. The rounding is marked: its gradient is straight-through (1), and the clip before it
passes nothing where the quantiser saturates. DeepLIFT rescales over both.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .... import UnsupportedModelError
from ...graph.emitter import Emitter
from ...graph.names import RANGE, RESERVED, STRAIGHT_THROUGH, marked
from ...graph.rewriting import Formula, Rewrite, of_terms, rewrite_nodes
from ...graph.tensors import (
    is_constant,
    numpy_type,
    onnx_type,
    operator_name,
    optional_input,
    rank_of,
)
from ...graph.terms import NodeView, Term

QUANTISED: dict[str, Rewrite] = {}
_INTEGERS = {np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32)}
_MICROSOFT = "com.microsoft."


def quantised(*ops: str):
    """Register the float form of operators on quantised tensors."""

    def register(formula: Formula) -> Formula:
        QUANTISED.update(dict.fromkeys(ops, of_terms(formula)))
        return formula

    return register


def to_whole_floats(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite every quantised operator, and the tensors between them to float."""
    carriers = {
        output.name
        for node in graph.nodes
        if operator_name(node) in QUANTISED
        for output in node.outputs
        if output.name
    }
    if not carriers:
        return None
    for node in graph.nodes:
        if operator_name(node) in QUANTISED:
            continue
        if node.op != "Shape" and any(t.name in carriers for t in node.inputs):
            _carry_on(node, carriers)
    integers = {t.name: t.dtype for t in graph.outputs if t.name in carriers and _is_integer(t)}
    rewrite_nodes(graph, QUANTISED)
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.name in carriers:
            tensor.dtype = np.dtype(np.float32)
    for index, tensor in enumerate(list(graph.outputs)):
        if tensor.name in integers:
            _cast_output(graph, index, integers[tensor.name])
    return graph


def _is_integer(tensor: gs.Tensor) -> bool:
    return tensor.dtype is not None and numpy_type(tensor.dtype) in _INTEGERS


def _carry_on(node: gs.Node, carriers: set[str]) -> None:
    """A node that works on quantised tensors as they are: its integer constants become floats."""
    if node.op == "Cast":
        return
    integral = [t for t in node.outputs if t.name and (t.dtype is None or _is_integer(t))]
    carriers.update(t.name for t in integral)
    if not integral:
        return
    inputs = []
    for tensor in node.inputs:
        small = is_constant(tensor) and tensor.values.dtype in _INTEGERS - {np.dtype(np.int32)}
        name = f"{RESERVED}whole/{tensor.name}"
        inputs.append(gs.Constant(name, tensor.values.astype(np.float32)) if small else tensor)
    node.inputs = inputs


def _cast_output(graph: gs.Graph, index: int, dtype) -> None:
    inner = graph.outputs[index]
    outer = gs.Variable(inner.name, dtype=dtype, shape=inner.shape)
    inner.name = f"{RESERVED}whole/{inner.name}"
    graph.outputs[index] = outer
    graph.nodes.append(gs.Node("Cast", outer.name, {"to": onnx_type(dtype)}, [inner], [outer]))


def _whole(emit: Emitter, tensor: Term) -> Term:
    """A quantised tensor or parameter as float32 (it may be one already)."""
    if is_constant(tensor):
        return emit.constant(np.asarray(tensor.values).astype(np.float32))
    return emit.Cast(tensor, to=onnx.TensorProto.FLOAT)


def _along(emit: Emitter, parameter: Term, x: Term, axis: int, block: int = 0) -> Term:
    """A scale or zero point in a shape that broadcasts.

    One number, one for each place of an axis, or one for each block of places of an axis.
    """
    value = _whole(emit, parameter)
    if parameter.shape is None or len(parameter.shape) == 0 or list(parameter.shape) == [1]:
        return emit.Reshape(value, emit.constant(np.zeros(0, np.int64)))
    rank = rank_of(x)
    if block:
        places = list(x.shape or [])[axis % rank]
        if not isinstance(places, int):
            raise UnsupportedModelError("quantisation in blocks along an axis of unknown length")
        return emit.Gather(value, np.arange(places) // block, axis=axis % rank)
    return emit.Reshape(value, [-1 if a == axis % rank else 1 for a in range(rank)])


def _limits(zero: Term | None, node: NodeView) -> tuple[float, float]:
    """The least and the largest integer of the quantised type."""
    if zero is not None and zero.dtype is not None:
        dtype = numpy_type(zero.dtype)
    else:
        kind = node.attrs.get("output_dtype", 0) or onnx.TensorProto.UINT8
        dtype = numpy_type(int(kind))
    if dtype not in _INTEGERS:
        raise UnsupportedModelError(
            f"{node.op} (node {node.name!r}): type {dtype} is not supported"
        )
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def quantise(emit: Emitter, scaled: Term, zero, limits: tuple[float, float]) -> Term:
    """round(clip(x / s, qmin - z, qmax - z)) + z, for x / s."""
    low, high = (limit - zero for limit in limits)
    clipped = emit.Min(emit.Max(scaled, low), high)
    if is_constant(zero) and zero.values.size == 1:
        number = float(zero.values.reshape(-1)[0])
        clipped = emit.Clip(scaled, limits[0] - number, limits[1] - number)
    rounded = emit.Round(clipped)
    rounded.inputs[0].name = marked(STRAIGHT_THROUGH, emit.name("Round"))
    return rounded + zero


def _quantise_to(emit: Emitter, node: NodeView, y, scale: int, zero: int) -> Term:
    """y quantised by the node's scale and zero point inputs (one number each)."""
    zero_point = optional_input(node, zero)
    limits = _limits(zero_point, node)
    point = emit.constant(0.0) if zero_point is None else _single(emit, zero_point)
    return quantise(emit, y / _single(emit, node.inputs[scale]), point, limits)


def _single(emit: Emitter, parameter: Term) -> Term:
    """A parameter that is one number, as a float of rank 0."""
    if is_constant(parameter):
        return emit.constant(float(np.asarray(parameter.values).reshape(-1)[0]))
    return emit.Reshape(_whole(emit, parameter), emit.constant(np.zeros(0, np.int64)))


def _dequantised(emit: Emitter, node: NodeView, index: int) -> Term:
    """s (q - z) of three inputs in a row: q, s, z."""
    q, scale, zero = (optional_input(node, index + k) for k in range(3))
    assert q is not None and scale is not None
    value = _whole(emit, q)
    if zero is not None:
        value = value - _single(emit, zero)
    return value * _single(emit, scale)


@quantised("QuantizeLinear", f"{_MICROSOFT}QuantizeLinear")
def quantize_linear(emit: Emitter, node: NodeView) -> Term:
    """q = round(clip(x / s, ...)) + z, per tensor, per axis or per block."""
    x, scale, zero = node.inputs[0], node.inputs[1], optional_input(node, 2)
    axis, block = node.attrs.get("axis", 1), node.attrs.get("block_size", 0)
    point = emit.constant(0.0) if zero is None else _along(emit, zero, x, axis, block)
    if zero is not None and is_constant(zero) and zero.values.size == 1:
        point = _single(emit, zero)
    steps = x / _along(emit, scale, x, axis, block)
    return quantise(emit, steps, point, _limits(zero, node))


@quantised("DequantizeLinear", f"{_MICROSOFT}DequantizeLinear")
def dequantize_linear(emit: Emitter, node: NodeView) -> Term:
    """x = s (q - z), per tensor, per axis or per block."""
    q, scale, zero = node.inputs[0], node.inputs[1], optional_input(node, 2)
    axis, block = node.attrs.get("axis", 1), node.attrs.get("block_size", 0)
    value = _whole(emit, q)
    if zero is not None:
        value = value - _along(emit, zero, q, axis, block)
    return value * _along(emit, scale, q, axis, block)


@quantised("DynamicQuantizeLinear")
def dynamic_quantize_linear(emit: Emitter, node: NodeView) -> list[Term | None]:
    """s = (max(x, 0) - min(x, 0)) / 255, z = round(clip(-min / s, 0, 255)), and x quantised so."""
    return [*_quantised_by_its_range(emit, node.inputs[0])]


def _quantised_by_its_range(emit: Emitter, x: Term) -> tuple[Term, Term, Term]:
    """q, s and z of DynamicQuantizeLinear.

    Where x is 0 everywhere ONNX Runtime takes s = 1, and all that is quantised is 0. Any s over 0
    says the same; the smallest one leaves every other tensor as it is, and is continuous.
    """
    low = emit.Min(emit.ReduceMin(x, keepdims=0), 0.0)
    high = emit.Max(emit.ReduceMax(x, keepdims=0), 0.0)
    for extremum in (low, high):
        extremum.inputs[0].inputs[0].inputs[0].name = marked(RANGE, emit.name("range"))
    span = high - low
    scale = emit.Max(span / 255.0, float(np.finfo(np.float32).tiny))
    zero = emit.Round(emit.Clip(-low / scale, 0.0, 255.0))
    return quantise(emit, x / scale, zero, (0.0, 255.0)), scale, zero


@quantised("QLinearConv")
def qlinear_conv(emit: Emitter, node: NodeView) -> Term:
    """The whole-number convolution of q - z, plus the bias, times s_x s_w / s_y, quantised."""
    x_scale, w, w_scale, w_zero = (node.inputs[k] for k in (1, 3, 4, 5))
    x = _whole(emit, node.inputs[0]) - _single(emit, node.inputs[2])
    weight = _minus_zero(emit, w, w_zero, 0)
    bias = optional_input(node, 8)
    y = emit.Conv(x, weight, None if bias is None else _whole(emit, bias), **node.attrs)
    rank = len(w.shape)
    column = [1, -1] + [1] * (rank - 2)
    per_channel = emit.Reshape(_whole(emit, w_scale), column)
    factor = per_channel * _single(emit, x_scale)
    return _quantise_to(emit, node, y * factor, 6, 7)


def _minus_zero(emit: Emitter, weight: Term, zero: Term | None, axis: int) -> Term:
    """q - z of a weight, z being one number or one for each place along the axis."""
    if zero is None:
        return _whole(emit, weight)
    if is_constant(weight) and is_constant(zero):
        q, z = (np.asarray(t.values).astype(np.float32) for t in (weight, zero))
        shape = [-1 if a == axis % q.ndim else 1 for a in range(q.ndim)]
        return emit.constant(q - (z.reshape(shape) if z.size > 1 else z.reshape(-1)[:1]))
    return _whole(emit, weight) - _along(emit, zero, weight, axis)


@quantised("QLinearMatMul")
def qlinear_matmul(emit: Emitter, node: NodeView) -> Term:
    """The whole-number product of q - z, times s_a s_b / s_y, quantised."""
    a_scale, b, b_scale, b_zero = (node.inputs[k] for k in (1, 3, 4, 5))
    a = _whole(emit, node.inputs[0]) - _single(emit, node.inputs[2])
    y = a @ _minus_zero(emit, b, b_zero, -1)
    factor = _whole(emit, b_scale) * _single(emit, a_scale)
    return _quantise_to(emit, node, y * factor, 6, 7)


@quantised("ConvInteger")
def conv_integer(emit: Emitter, node: NodeView) -> Term:
    """The convolution of q - z."""
    x = _minus_tensor_zero(emit, node.inputs[0], optional_input(node, 2))
    return emit.Conv(x, _minus_zero(emit, node.inputs[1], optional_input(node, 3), 0), **node.attrs)


@quantised("MatMulInteger")
def matmul_integer(emit: Emitter, node: NodeView) -> Term:
    """The product of q - z."""
    a = _minus_tensor_zero(emit, node.inputs[0], optional_input(node, 2))
    return a @ _minus_zero(emit, node.inputs[1], optional_input(node, 3), -1)


def _minus_tensor_zero(emit: Emitter, q: Term, zero: Term | None) -> Term:
    value = _whole(emit, q)
    return value if zero is None else value - _single(emit, zero)


@quantised(f"{_MICROSOFT}QLinearAdd", f"{_MICROSOFT}QLinearMul")
def qlinear_binary(emit: Emitter, node: NodeView) -> Term:
    """Both dequantised, added (or multiplied), quantised."""
    a, b = _dequantised(emit, node, 0), _dequantised(emit, node, 3)
    op = "Add" if node.op == "QLinearAdd" else "Mul"
    return _quantise_to(emit, node, emit(op, a, b), 6, 7)


_FLOAT_OF = {
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
}


@quantised(
    f"{_MICROSOFT}QLinearGlobalAveragePool",
    f"{_MICROSOFT}QLinearAveragePool",
    f"{_MICROSOFT}QLinearSigmoid",
    f"{_MICROSOFT}QLinearLeakyRelu",
)
def qlinear_unary(emit: Emitter, node: NodeView) -> Term | None:
    """Dequantised, through the float operator of the same name, quantised."""
    attributes = dict(node.attrs)
    if attributes.pop("channels_last", 0):
        return None
    y = emit(_FLOAT_OF[node.op], _dequantised(emit, node, 0), **attributes)
    return _quantise_to(emit, node, y, 3, 4)


@quantised(f"{_MICROSOFT}QLinearSoftmax")
def qlinear_softmax(emit: Emitter, node: NodeView) -> Term:
    """Dequantised, Softmax, quantised."""
    y = emit.Softmax(_dequantised(emit, node, 0), axis=node.attrs.get("axis", -1))
    return _quantise_to(emit, node, y, 3, 4)


@quantised(f"{_MICROSOFT}QLinearConcat")
def qlinear_concat(emit: Emitter, node: NodeView) -> Term:
    """Inputs y_scale, y_zero, then q, s, z of each part: dequantised, joined, quantised."""
    parts = [_dequantised(emit, node, k) for k in range(2, len(node.inputs), 3)]
    return _quantise_to(emit, node, emit.Concat(*parts, axis=node.attrs["axis"]), 0, 1)


@quantised(f"{_MICROSOFT}QGemm")
def qgemm(emit: Emitter, node: NodeView) -> Term:
    """alpha s_a s_b (A B + C), quantised where the node has an output scale."""
    b, b_scale, b_zero, c = (
        node.inputs[3],
        node.inputs[4],
        node.inputs[5],
        optional_input(node, 6),
    )
    turned_b = node.attrs.get("transB", 0)
    a = _whole(emit, node.inputs[0]) - _single(emit, node.inputs[2])
    weight = _minus_zero(emit, b, b_zero, 0 if turned_b else 1)
    bias = None if c is None else _whole(emit, c)
    flags = {"transA": node.attrs.get("transA", 0), "transB": turned_b}
    factor = _whole(emit, b_scale) * _single(emit, node.inputs[1])
    factor = factor * float(node.attrs.get("alpha", 1.0))
    y = emit.Gemm(a, weight, bias, **flags) * factor
    return y if optional_input(node, 7) is None else _quantise_to(emit, node, y, 7, 8)


@quantised(f"{_MICROSOFT}DynamicQuantizeMatMul", f"{_MICROSOFT}MatMulIntegerToFloat")
def matmul_to_float(emit: Emitter, node: NodeView) -> Term:
    """A (quantised here, or before) times dequantised B, plus a bias, in float."""
    if node.op == "DynamicQuantizeMatMul":
        q, scale, zero = _quantised_by_its_range(emit, node.inputs[0])
        a = (q - zero) * scale
        b, b_scale, b_zero, bias = (optional_input(node, k) for k in (1, 2, 3, 4))
    else:
        a_value = _minus_tensor_zero(emit, node.inputs[0], optional_input(node, 4))
        a = a_value * _single(emit, node.inputs[2])
        b, b_scale, b_zero, bias = (optional_input(node, k) for k in (1, 3, 5, 6))
    assert b is not None and b_scale is not None
    y = a @ (_minus_zero(emit, b, b_zero, -1) * _whole(emit, b_scale))
    return y if bias is None else y + bias
