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
def relu(emit, node, dy):
    """dx = dy [y > 0]."""
    return emit.gated(dy, above(emit, node.outputs[0], 0.0))


@elementwise("LeakyRelu")
def leaky_relu(emit, node, dy):
    """dx = dy (1 where x > 0, else alpha)."""
    alpha = node.attrs.get("alpha", 0.01)
    positive = above(emit, node.inputs[0], 0.0)
    return emit.gated(dy, emit.add(emit.mul(positive, 1.0 - alpha), alpha))


@elementwise("PRelu", broadcasts=True)
def prelu(emit, node, dy):
    """dx = dy (1 where x > 0, else slope)."""
    x, slope = node.inputs
    positive = above(emit, x, 0.0)
    return emit.gated(dy, emit.add(emit.mul(positive, emit.sub(1.0, slope)), slope))


@gradient("PRelu", operand=1, family=Family.COMPOSITE, broadcasts=True)
def prelu_slope(emit, node, dy):
    """dslope = dy min(x, 0)."""
    return emit.mul(dy, emit("Min", node.inputs[0], 0.0))


@elementwise("ThresholdedRelu")
def thresholded_relu(emit, node, dy):
    """dx = dy [x > alpha]."""
    alpha = node.attrs.get("alpha", 1.0)
    return emit.keep_where(dy, emit("Greater", node.inputs[0], alpha))


@elementwise("Elu")
def elu(emit, node, dy):
    """dx = dy (1 where x > 0, else alpha e^x)."""
    alpha = node.attrs.get("alpha", 1.0)
    x = node.inputs[0]
    below = emit.mul(emit("Exp", emit("Min", x, 0.0)), alpha)
    positive = emit.cast_like(emit("Greater", x, 0.0), dy)
    return emit.mul(dy, emit.add(positive, emit.mul(emit.sub(1.0, positive), below)))


@elementwise("Celu")
def celu(emit, node, dy):
    """dx = dy e^(min(x, 0) / alpha)."""
    alpha = node.attrs.get("alpha", 1.0)
    return emit.mul(dy, emit("Exp", emit.div(emit("Min", node.inputs[0], 0.0), alpha)))


@elementwise("Selu")
def selu(emit, node, dy):
    """dx = dy gamma (1 where x > 0, else alpha e^x)."""
    alpha = node.attrs.get("alpha", 1.67326319217681884765625)
    gamma = node.attrs.get("gamma", 1.05070102214813232421875)
    x = node.inputs[0]
    below = emit.mul(emit("Exp", emit("Min", x, 0.0)), alpha)
    positive = emit.cast_like(emit("Greater", x, 0.0), dy)
    slope = emit.add(positive, emit.mul(emit.sub(1.0, positive), below))
    return emit.mul(emit.mul(dy, slope), gamma)


@elementwise("Clip")
def clip(emit, node, dy):
    """dx = dy [min < y < max]; a bound that is not given does not bind.

    Read off y, not x, so that ONNX Runtime can still fuse the Clip into the Conv before it.
    """
    y = node.outputs[0]
    low, high = (optional_input(node, k) for k in (1, 2))
    masks = [above(emit, y, low)] if low is not None and binds(low, -math.inf) else []
    if high is not None and binds(high, math.inf):
        masks.append(below(emit, y, high))
    if not masks:
        return dy
    return emit.gated(dy, masks[0] if len(masks) == 1 else emit.mul(*masks))


@gradient("Clip", operand=1, family=Family.COMPOSITE, broadcasts=True)
def clip_low(emit, node, dy):
    """dmin = dy [x < min], where max does not bind instead."""
    x, low = node.inputs[:2]
    bound = emit.keep_where(dy, emit("Less", x, low))
    if len(node.inputs) > 2 and node.inputs[2].name:
        bound = emit.keep_where(bound, emit("Less", low, node.inputs[2]))
    return bound


@gradient("Clip", operand=2, family=Family.COMPOSITE, broadcasts=True)
def clip_high(emit, node, dy):
    """dmax = dy [max(x, min) > max]."""
    x, low, high = node.inputs
    raised = emit("Max", x, low) if low.name else x
    return emit.keep_where(dy, emit("Greater", raised, high))


@elementwise("Sigmoid")
def sigmoid(emit, node, dy):
    """dx = dy y (1 - y)."""
    y = node.outputs[0]
    return emit.mul(dy, emit.mul(y, emit.sub(1.0, y)))


@elementwise("Tanh")
def tanh(emit, node, dy):
    """dx = dy (1 - y^2)."""
    y = node.outputs[0]
    return emit.mul(dy, emit.sub(1.0, emit.mul(y, y)))


@elementwise("HardSigmoid")
def hard_sigmoid(emit, node, dy):
    """dx = dy alpha [0 < y < 1]."""
    y = node.outputs[0]
    inside = emit.mul(above(emit, y, 0.0), below(emit, y, 1.0))
    return emit.gated(emit.mul(dy, node.attrs.get("alpha", 0.2)), inside)


@elementwise("HardSwish")
def hard_swish(emit, node, dy):
    """y = x h(x), h = clip(x/6 + 1/2, 0, 1): dx = dy (h + x/6 [0 < h < 1])."""
    x = node.inputs[0]
    h = emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    inside = emit.mul(above(emit, h, 0.0), below(emit, h, 1.0))
    return emit.mul(dy, emit.add(h, emit.mul(emit.mul(x, 1 / 6), inside)))


@elementwise("Softplus")
def softplus(emit, node, dy):
    """dx = dy sigmoid(x)."""
    return emit.mul(dy, emit("Sigmoid", node.inputs[0]))


@elementwise("Softsign")
def softsign(emit, node, dy):
    """dx = dy / (1 + |x|)^2."""
    denominator = emit.add(emit("Abs", node.inputs[0]), 1.0)
    return emit.div(dy, emit.mul(denominator, denominator))


@elementwise("Mish")
def mish(emit, node, dy):
    """y = x t, t = tanh(softplus(x)): dx = dy (t + x (1 - t^2) sigmoid(x))."""
    x = node.inputs[0]
    t = emit("Tanh", emit("Softplus", x))
    slope = emit.mul(emit.sub(1.0, emit.mul(t, t)), emit("Sigmoid", x))
    return emit.mul(dy, emit.add(t, emit.mul(x, slope)))


@elementwise("Swish")
def swish(emit, node, dy):
    """y = x s, s = sigmoid(alpha x): dx = dy (s + alpha y (1 - s))."""
    alpha = node.attrs.get("alpha", 1.0)
    s = emit("Sigmoid", emit.mul(node.inputs[0], alpha))
    return emit.mul(dy, emit.add(s, emit.mul(emit.mul(node.outputs[0], alpha), emit.sub(1.0, s))))


@elementwise("Gelu")
def gelu(emit, node, dy):
    """Exact: dx = dy (Phi(x) + x phi(x)); tanh form: with t = tanh(u), u = c (x + 0.044715 x^3).

    dx = dy ((1 + t) / 2 + x (1 - t^2) c (1 + 0.134145 x^2) / 2), c = sqrt(2 / pi).
    """
    x = node.inputs[0]
    square = emit.mul(x, x)
    if node.attrs.get("approximate", "none") == "tanh":
        c = math.sqrt(2 / math.pi)
        t = emit("Tanh", emit.mul(x, emit.mul(emit.add(emit.mul(square, 0.044715), 1.0), c)))
        inner = emit.mul(emit.add(emit.mul(square, 3 * 0.044715), 1.0), 0.5 * c)
        slope = emit.mul(emit.mul(x, emit.sub(1.0, emit.mul(t, t))), inner)
        return emit.mul(dy, emit.add(emit.mul(emit.add(t, 1.0), 0.5), slope))
    phi = emit.mul(emit("Exp", emit.mul(square, -0.5)), 1 / math.sqrt(2 * math.pi))
    cdf = emit.mul(emit.add(emit("Erf", emit.mul(x, math.sqrt(0.5))), 1.0), 0.5)
    return emit.mul(dy, emit.add(cdf, emit.mul(x, phi)))


@elementwise("Shrink")
def shrink(emit, node, dy):
    """dx = dy [|x| > lambd]."""
    outside = emit("Greater", emit("Abs", node.inputs[0]), node.attrs.get("lambd", 0.5))
    return emit.keep_where(dy, outside)


@elementwise("Abs")
def absolute(emit, node, dy):
    """dx = dy sign(x)."""
    return emit.gated(dy, emit("Sign", node.inputs[0]))


@elementwise("Exp")
def exp(emit, node, dy):
    """dx = dy y."""
    return emit.mul(dy, node.outputs[0])


@elementwise("Log")
def log(emit, node, dy):
    """dx = dy / x."""
    return emit.div(dy, node.inputs[0])


@elementwise("Sqrt")
def sqrt(emit, node, dy):
    """dx = dy / (2 y)."""
    return emit.div(emit.mul(dy, 0.5), node.outputs[0])


@elementwise("Reciprocal")
def reciprocal(emit, node, dy):
    """dx = -dy y^2."""
    y = node.outputs[0]
    return emit.neg(emit.mul(dy, emit.mul(y, y)))


@elementwise("Erf")
def erf(emit, node, dy):
    """dx = dy (2 / sqrt(pi)) e^(-x^2)."""
    x = node.inputs[0]
    return emit.mul(dy, emit.mul(emit("Exp", emit.neg(emit.mul(x, x))), 2 / math.sqrt(math.pi)))


@elementwise("Round")
def round_(emit, node, dy):
    """dx = 0; dx = dy for a quantiser's rounding (Bengio et al. 2013, straight-through)."""
    return dy if is_marked(node.name, STRAIGHT_THROUGH) else None


@elementwise("Sin")
def sin(emit, node, dy):
    """dx = dy cos(x)."""
    return emit.mul(dy, emit("Cos", node.inputs[0]))


@elementwise("Cos")
def cos(emit, node, dy):
    """dx = -dy sin(x)."""
    return emit.neg(emit.mul(dy, emit("Sin", node.inputs[0])))


@elementwise("Tan")
def tan(emit, node, dy):
    """dx = dy (1 + y^2)."""
    y = node.outputs[0]
    return emit.mul(dy, emit.add(emit.mul(y, y), 1.0))


@elementwise("Asin")
def asin(emit, node, dy):
    """dx = dy / sqrt(1 - x^2)."""
    x = node.inputs[0]
    return emit.div(dy, emit("Sqrt", emit.sub(1.0, emit.mul(x, x))))


@elementwise("Acos")
def acos(emit, node, dy):
    """dx = -dy / sqrt(1 - x^2)."""
    return emit.neg(asin(emit, node, dy))


@elementwise("Atan")
def atan(emit, node, dy):
    """dx = dy / (1 + x^2)."""
    x = node.inputs[0]
    return emit.div(dy, emit.add(emit.mul(x, x), 1.0))


@elementwise("Sinh")
def sinh(emit, node, dy):
    """dx = dy cosh(x)."""
    return emit.mul(dy, emit("Cosh", node.inputs[0]))


@elementwise("Cosh")
def cosh(emit, node, dy):
    """dx = dy sinh(x)."""
    return emit.mul(dy, emit("Sinh", node.inputs[0]))


@elementwise("Asinh")
def asinh(emit, node, dy):
    """dx = dy / sqrt(x^2 + 1)."""
    x = node.inputs[0]
    return emit.div(dy, emit("Sqrt", emit.add(emit.mul(x, x), 1.0)))


@elementwise("Acosh")
def acosh(emit, node, dy):
    """dx = dy / sqrt(x^2 - 1)."""
    x = node.inputs[0]
    return emit.div(dy, emit("Sqrt", emit.sub(emit.mul(x, x), 1.0)))


@elementwise("Atanh")
def atanh(emit, node, dy):
    """dx = dy / (1 - x^2)."""
    x = node.inputs[0]
    return emit.div(dy, emit.sub(1.0, emit.mul(x, x)))


@elementwise("Pow", broadcasts=True)
def power(emit, node, dy):
    """dx = dy b x^(b - 1), and 0 where b = 0, as PyTorch has it, also at x = 0."""
    x, exponent = node.inputs
    if is_constant(exponent) and np.all(exponent.values == 2):
        return emit.mul(dy, emit.mul(x, 2.0))
    if is_constant(exponent):
        b = np.asarray(exponent.values).astype(x.dtype)
        factor, less = emit.constant(b), emit.constant(np.where(b == 0, 1, b - 1))
    else:
        factor = emit.cast_like(exponent, x)
        none = emit.cast_like(emit("Equal", factor, 0.0), x)
        less = emit.add(emit.sub(factor, 1.0), emit.mul(none, 2.0))
    return emit.gated(dy, emit.mul(factor, emit("Pow", x, less)))


@gradient("Pow", operand=1, family=Family.ELEMENTWISE, broadcasts=True)
def power_exponent(emit, node, dy):
    """db = dy y ln(x), and 0 where x = 0, as PyTorch has it."""
    x = node.inputs[0]
    zero = emit("Equal", x, 0.0)
    safe = emit.add(x, emit.cast_like(zero, x))
    return emit.mul(dy, emit.mul(node.outputs[0], emit("Log", safe)))
