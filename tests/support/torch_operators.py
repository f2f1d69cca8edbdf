"""Elementwise, shape, reduction, normalisation and matrix operators for `torch_runner`."""

from __future__ import annotations

import math
from typing import Any

import onnx
import torch
from torch.nn import functional as F

from support.torch_operators_table import OPERATORS, Node, operator

Tensor = torch.Tensor

# ---- elementwise -------------------------------------------------------------------------------

_UNARY = {
    "Identity": lambda x: x,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "Softsign": F.softsign,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Sign": torch.sign,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Not": torch.logical_not,
    "IsNaN": torch.isnan,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Asinh": torch.asinh,
    "Acosh": torch.acosh,
    "Atanh": torch.atanh,
}
_BINARY = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}
_VARIADIC = {
    "Sum": lambda *xs: sum(xs[1:], xs[0]),
    "Mean": lambda *xs: sum(xs[1:], xs[0]) / len(xs),
}


def _without_node(function: Any) -> Any:
    return lambda _node, *inputs: function(*inputs)


OPERATORS.update({name: _without_node(f) for name, f in (_UNARY | _BINARY | _VARIADIC).items()})


@operator("Div")
def divide(node: Node, a: Tensor, b: Tensor) -> Tensor:
    whole = not a.is_floating_point()
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


@operator("Mod")
def modulo(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


@operator("Pow")
def power(node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    # A scalar exponent, because the tensor form's backward pass takes log(base).
    return base ** (exponent.item() if exponent.numel() == 1 else exponent)


def _extremum(choose: Any) -> Any:
    def function(_node: Node, *inputs: Tensor) -> Tensor:
        result = inputs[0]
        for value in inputs[1:]:
            result = choose(result, value)
        return result

    return function


OPERATORS["Max"], OPERATORS["Min"] = _extremum(torch.maximum), _extremum(torch.minimum)


@operator("Where")
def where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@operator("Clip")
def clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    lower = node.get("min") if low is None else low.item()
    upper = node.get("max") if high is None else high.item()
    return clamp(x, lower, upper)


def clamp(x: Tensor, lower: float | None, upper: float | None) -> Tensor:
    """min(max(x, lower), upper), with no gradient at the bounds, as F.hardtanh."""
    if not x.is_floating_point():
        return x.clamp(lower, upper)
    x = x if lower is None else F.threshold(x, lower, lower)
    return x if upper is None else -F.threshold(-x, -upper, -upper)


@operator("PRelu")
def parametric_relu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, slope * x)


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return F.threshold(x, node.get("alpha", 1.0), 0.0)


@operator("Elu")
def elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.6732631921768188)
    return node.get("gamma", 1.0507010221481323) * F.elu(x, alpha)


@operator("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return clamp(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


@operator("Cast")
def cast(node: Node, x: Tensor) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(node.get("to"))
    if node.get("to") == onnx.TensorProto.BOOL:
        return x != 0
    if kind.kind not in "iu":
        return x.to(node.dtype)  # every floating-point type is the interpreter's one
    return x.to(getattr(torch, kind.name))


@operator("CastLike")
def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


@operator("Dropout")
def dropout(node: Node, x: Tensor, ratio: Any = None, training: Any = None) -> Any:
    return [x, torch.ones_like(x, dtype=torch.bool)]


# ---- normalisation -----------------------------------------------------------------------------


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 2))


@operator("BatchNormalization")
def batch_normalization(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    deviation = torch.sqrt(per_channel(variance, x) + node.get("epsilon", 1e-5))
    return (x - per_channel(mean, x)) / deviation * per_channel(scale, x) + per_channel(bias, x)


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    axes = list(range(2, x.ndim))
    normal = standardise(x, axes, node.get("epsilon", 1e-5))
    return normal * per_channel(scale, x) + per_channel(bias, x)


@operator("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.get("num_groups")
    grouped = x.reshape(x.shape[0], groups, -1)
    normal = standardise(grouped, [2], node.get("epsilon", 1e-5)).reshape(x.shape)
    repeats = x.shape[1] // scale.numel()  # one value per group before opset 21
    scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return normal * per_channel(scale, x) + per_channel(bias, x)


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = list(range(node.get("axis", -1) % x.ndim, x.ndim))
    normal = standardise(x, axes, node.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


def standardise(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + epsilon)


@operator("LpNormalization")
def lp_normalization(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", -1)
    return x / torch.linalg.vector_norm(x, node.get("p", 2), axis, keepdim=True)


def _softmax(function: Any) -> Any:
    def apply(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, node.get("axis", -1))
        axis = node.get("axis", 1) % x.ndim  # over all axes from this one on, together
        rows = x.reshape(math.prod(x.shape[:axis]), -1)
        return function(rows, 1).reshape(x.shape)

    return apply


OPERATORS["Softmax"] = _softmax(torch.softmax)
OPERATORS["LogSoftmax"] = _softmax(torch.log_softmax)

# ---- matrices ----------------------------------------------------------------------------------


@operator("MatMul")
def matrix_product(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@operator("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    y = node.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + node.get("beta", 1.0) * c


@operator("Einsum")
def einsum(node: Node, *inputs: Tensor) -> Tensor:
    return torch.einsum(node.get("equation"), *inputs)


# ---- reductions --------------------------------------------------------------------------------

_REDUCTIONS = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),  # ties share the gradient
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
}


def _reduction(function: Any) -> Any:
    def apply(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
        axes = node.get_or_input("axes", axes_input)
        if not axes:
            if node.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        return function(x, axes, bool(node.get("keepdims", 1)))

    return apply


OPERATORS.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})


@operator("ReduceProd")
def reduce_product(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = node.get_or_input("axes", axes_input) or list(range(x.ndim))
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=bool(node.get("keepdims", 1)))
    return x


@operator("ArgMax")
def arg_max(node: Node, x: Tensor) -> Tensor:
    return x.argmax(node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


@operator("ArgMin")
def arg_min(node: Node, x: Tensor) -> Tensor:
    return x.argmin(node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


@operator("TopK")
def top_k(node: Node, x: Tensor, count: Tensor) -> Any:
    largest, ordered = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    return x.topk(int(count.item()), node.get("axis", -1), largest, ordered)


@operator("CumSum")
def cumulative_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise NotImplementedError("CumSum: exclusive, reverse")
    return x.cumsum(int(axis.item()))
