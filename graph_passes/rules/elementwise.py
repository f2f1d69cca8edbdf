"""Gradients of operators that map each element by itself.

At kinks they follow PyTorch: Relu'(0) = 0, Clip'(bound) = 0, Abs'(0) = 0. `y` is the node's output.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.tensors import is_constant, optional_input
from .masks import above, below, binds
from .registry import Family, gradient

elementwise = partial(gradient, family=Family.ELEMENTWISE)


@elementwise("Relu")
def relu(op, node, dy):
    """dx = dy [y > 0]."""
    return op.gated(dy, above(op, node.y, 0.0))


@elementwise("LeakyRelu")
def leaky_relu(op, node, dy):
    """dx = dy (1 where x > 0, else alpha)."""
    alpha = node.attrs.get("alpha", 0.01)
    positive = above(op, node.x, 0.0)
    return op.gated(dy, positive * (1.0 - alpha) + alpha)


@elementwise("PRelu", broadcasts=True)
def prelu(op, node, dy):
    """dx = dy (1 where x > 0, else slope)."""
    x, slope = node.inputs
    positive = above(op, x, 0.0)
    return op.gated(dy, positive * (1 - slope) + slope)


@gradient("PRelu", operand=1, family=Family.COMPOSITE, broadcasts=True)
def prelu_slope(op, node, dy):
    """dslope = dy min(x, 0)."""
    return dy * op.Min(node.x, 0)


@elementwise("ThresholdedRelu")
def thresholded_relu(op, node, dy):
    """dx = dy [x > alpha]."""
    alpha = node.attrs.get("alpha", 1.0)
    return op.keep_where(dy, node.x > alpha)


@elementwise("Elu")
def elu(op, node, dy):
    """dx = dy (1 where x > 0, else alpha e^x)."""
    alpha = node.attrs.get("alpha", 1.0)
    x = node.x
    below = op.Exp(op.Min(x, 0)) * alpha
    positive = op.cast_like(x > 0, dy)
    return dy * (positive + (1 - positive) * below)


@elementwise("Celu")
def celu(op, node, dy):
    """dx = dy e^(min(x, 0) / alpha)."""
    alpha = node.attrs.get("alpha", 1.0)
    return dy * op.Exp(op.Min(node.x, 0) / alpha)


@elementwise("Selu")
def selu(op, node, dy):
    """dx = dy gamma (1 where x > 0, else alpha e^x)."""
    alpha = node.attrs.get("alpha", 1.67326319217681884765625)
    gamma = node.attrs.get("gamma", 1.05070102214813232421875)
    x = node.x
    below = op.Exp(op.Min(x, 0)) * alpha
    positive = op.cast_like(x > 0, dy)
    slope = positive + (1 - positive) * below
    return dy * slope * gamma


@elementwise("Clip")
def clip(op, node, dy):
    """dx = dy [min < y < max]; a bound that is not given does not bind.

    Read off y, not x, so that ONNX Runtime can still fuse the Clip into the Conv before it.
    """
    y = node.y
    low, high = (optional_input(node, k) for k in (1, 2))
    masks = [above(op, y, low)] if low is not None and binds(low, -math.inf) else []
    if high is not None and binds(high, math.inf):
        masks.append(below(op, y, high))
    if not masks:
        return dy
    return op.gated(dy, masks[0] if len(masks) == 1 else masks[0] * masks[1])


@gradient("Clip", operand=1, family=Family.COMPOSITE, broadcasts=True)
def clip_low(op, node, dy):
    """dmin = dy [x < min], where max does not bind instead."""
    x, low = node.inputs[:2]
    bound = op.keep_where(dy, x < low)
    high = optional_input(node, 2)
    return bound if high is None else op.keep_where(bound, low < high)


@gradient("Clip", operand=2, family=Family.COMPOSITE, broadcasts=True)
def clip_high(op, node, dy):
    """dmax = dy [max(x, min) > max]."""
    x, low, high = node.inputs
    raised = x if low is None else op.Max(x, low)
    return op.keep_where(dy, raised > high)


@elementwise("Sigmoid")
def sigmoid(op, node, dy):
    """dx = dy y (1 - y)."""
    y = node.y
    return dy * (y * (1 - y))


@elementwise("Tanh")
def tanh(op, node, dy):
    """dx = dy (1 - y^2)."""
    y = node.y
    return dy * (1 - y * y)


@elementwise("HardSigmoid")
def hard_sigmoid(op, node, dy):
    """dx = dy alpha [0 < y < 1]."""
    y = node.y
    inside = above(op, y, 0.0) * below(op, y, 1.0)
    return op.gated(dy * node.attrs.get("alpha", 0.2), inside)


@elementwise("HardSwish")
def hard_swish(op, node, dy):
    """y = x h(x), h = clip(x/6 + 1/2, 0, 1): dx = dy (h + x/6 [0 < h < 1])."""
    x = node.x
    h = op.HardSigmoid(x, alpha=1 / 6, beta=0.5)
    inside = above(op, h, 0.0) * below(op, h, 1.0)
    return dy * (h + x * (1 / 6) * inside)


@elementwise("Softplus")
def softplus(op, node, dy):
    """dx = dy sigmoid(x)."""
    return dy * op.Sigmoid(node.x)


@elementwise("Softsign")
def softsign(op, node, dy):
    """dx = dy / (1 + |x|)^2."""
    denominator = abs(node.x) + 1
    return dy / (denominator * denominator)


@elementwise("Mish")
def mish(op, node, dy):
    """y = x t, t = tanh(softplus(x)): dx = dy (t + x (1 - t^2) sigmoid(x))."""
    x = node.x
    t = op.Tanh(op.Softplus(x))
    slope = (1 - t * t) * op.Sigmoid(x)
    return dy * (t + x * slope)


@elementwise("Swish")
def swish(op, node, dy):
    """y = x s, s = sigmoid(alpha x): dx = dy (s + alpha y (1 - s))."""
    alpha = node.attrs.get("alpha", 1.0)
    s = op.Sigmoid(node.x * alpha)
    return dy * (s + node.y * alpha * (1 - s))


@elementwise("Gelu")
def gelu(op, node, dy):
    """Exact: dx = dy (Phi(x) + x phi(x)); tanh form: with t = tanh(u), u = c (x + 0.044715 x^3).

    dx = dy ((1 + t) / 2 + x (1 - t^2) c (1 + 0.134145 x^2) / 2), c = sqrt(2 / pi).
    """
    x = node.x
    square = x * x
    if node.attrs.get("approximate", "none") == "tanh":
        c = math.sqrt(2 / math.pi)
        t = op.Tanh(x * ((square * 0.044715 + 1) * c))
        inner = (square * (3 * 0.044715) + 1) * (0.5 * c)
        slope = x * (1 - t * t) * inner
        return dy * ((t + 1) * 0.5 + slope)
    phi = op.Exp(square * -0.5) * (1 / math.sqrt(2 * math.pi))
    cdf = (op.Erf(x * math.sqrt(0.5)) + 1) * 0.5
    return dy * (cdf + x * phi)


@elementwise("Shrink")
def shrink(op, node, dy):
    """dx = dy [|x| > lambd]."""
    outside = abs(node.x) > node.attrs.get("lambd", 0.5)
    return op.keep_where(dy, outside)


@elementwise("Abs")
def absolute(op, node, dy):
    """dx = dy sign(x)."""
    return op.gated(dy, op.Sign(node.x))


@elementwise("Exp")
def exp(op, node, dy):
    """dx = dy y."""
    return dy * node.y


@elementwise("Log")
def log(op, node, dy):
    """dx = dy / x."""
    return dy / node.x


@elementwise("Sqrt")
def sqrt(op, node, dy):
    """dx = dy / (2 y)."""
    return dy * 0.5 / node.y


@elementwise("Reciprocal")
def reciprocal(op, node, dy):
    """dx = -dy y^2."""
    y = node.y
    return -(dy * (y * y))


@elementwise("Erf")
def erf(op, node, dy):
    """dx = dy (2 / sqrt(pi)) e^(-x^2)."""
    x = node.x
    return dy * (op.Exp(-(x * x)) * (2 / math.sqrt(math.pi)))


@elementwise("Round")
def round_(op, node, dy):
    """dx = 0; dx = dy for a quantiser's rounding (Bengio et al. 2013, straight-through)."""
    return dy if is_marked(node.name, STRAIGHT_THROUGH) else None


@elementwise("Sin")
def sin(op, node, dy):
    """dx = dy cos(x)."""
    return dy * op.Cos(node.x)


@elementwise("Cos")
def cos(op, node, dy):
    """dx = -dy sin(x)."""
    return -(dy * op.Sin(node.x))


@elementwise("Tan")
def tan(op, node, dy):
    """dx = dy (1 + y^2)."""
    y = node.y
    return dy * (y * y + 1)


@elementwise("Asin")
def asin(op, node, dy):
    """dx = dy / sqrt(1 - x^2)."""
    x = node.x
    return dy / op.Sqrt(1 - x * x)


@elementwise("Acos")
def acos(op, node, dy):
    """dx = -dy / sqrt(1 - x^2)."""
    return -asin(op, node, dy)


@elementwise("Atan")
def atan(op, node, dy):
    """dx = dy / (1 + x^2)."""
    x = node.x
    return dy / (x * x + 1)


@elementwise("Sinh")
def sinh(op, node, dy):
    """dx = dy cosh(x)."""
    return dy * op.Cosh(node.x)


@elementwise("Cosh")
def cosh(op, node, dy):
    """dx = dy sinh(x)."""
    return dy * op.Sinh(node.x)


@elementwise("Asinh")
def asinh(op, node, dy):
    """dx = dy / sqrt(x^2 + 1)."""
    x = node.x
    return dy / op.Sqrt(x * x + 1)


@elementwise("Acosh")
def acosh(op, node, dy):
    """dx = dy / sqrt(x^2 - 1)."""
    x = node.x
    return dy / op.Sqrt(x * x - 1)


@elementwise("Atanh")
def atanh(op, node, dy):
    """dx = dy / (1 - x^2)."""
    x = node.x
    return dy / (1 - x * x)


@elementwise("Pow", broadcasts=True)
def power(op, node, dy):
    """dx = dy b x^(b - 1), and 0 where b = 0, as PyTorch has it, also at x = 0."""
    x, exponent = node.inputs
    if is_constant(exponent) and np.all(exponent.values == 2):
        return dy * (x * 2)
    if is_constant(exponent):
        b = np.asarray(exponent.values).astype(x.dtype)
        factor, less = op.constant(b), op.constant(np.where(b == 0, 1, b - 1))
    else:
        factor = op.cast_like(exponent, x)
        none = op.cast_like(op.Equal(factor, 0), x)
        less = factor - 1 + none * 2
    return op.gated(dy, factor * op.Pow(x, less))


@gradient("Pow", operand=1, family=Family.ELEMENTWISE, broadcasts=True)
def power_exponent(op, node, dy):
    """db = dy y ln(x), and 0 where x = 0, as PyTorch has it."""
    x = node.x
    zero = op.Equal(x, 0)
    safe = x + op.cast_like(zero, x)
    return dy * (node.y * op.Log(safe))
