"""Quantised operators for `torch_runner`, with straight-through gradients.

A quantised tensor is held as whole numbers in the interpreter's floating-point type, so that
gradients pass. Rounding has the gradient of the identity, and none where the quantiser saturates:
where x lies outside the range or at its ends, as ReLU6, which a quantiser may stand for.
"""

from __future__ import annotations

import torch

from support.torch_operators_table import Node, operator
from support.torch_spatial import convolution

Tensor = torch.Tensor


def along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Shape a per-axis scale or zero point (or a single one) to broadcast with `x`."""
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if index == axis % x.ndim else 1 for index in range(x.ndim)])


@operator("QuantizeLinear")
def quantize(node: Node, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    zero_point = torch.zeros(1, dtype=torch.uint8) if zero_point is None else zero_point
    limits = torch.iinfo(zero_point.dtype)
    axis = node.get("axis", 1)
    zero = along(zero_point, x, axis).to(x.dtype)
    low, high = limits.min - zero, limits.max - zero
    scaled = x / along(scale, x, axis)
    rounded = scaled.detach().round().clamp(low, high) + zero
    passed = scaled * ((scaled > low) & (scaled < high))
    return rounded + (passed - passed.detach())  # whole numbers still: 0 is added


@operator("DequantizeLinear")
def dequantize(node: Node, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    axis = node.get("axis", 1)
    zeros = 0 if zero_point is None else along(zero_point, x, axis).to(scale.dtype)
    return (x.to(scale.dtype) - zeros) * along(scale, x, axis)


@operator("QLinearConv")
def quantized_convolution(
    node: Node,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    weight_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    per_channel = Node({"axis": 0}, node.opset, 1, node.dtype)
    real_weight = dequantize(per_channel, weight, weight_scale, weight_zero)
    real_bias = None if bias is None else bias.to(x_scale.dtype) * (x_scale * weight_scale)
    y = convolution(node, dequantize(node, x, x_scale, x_zero), real_weight, real_bias)
    return quantize(node, y, y_scale, y_zero)


@operator("QLinearMatMul")
def quantized_matrix_product(node: Node, *operands: Tensor) -> Tensor:
    a, b = dequantize(node, *operands[:3]), dequantize(node, *operands[3:6])
    return quantize(node, a @ b, *operands[6:])


@operator("ConvInteger")
def integer_convolution(
    node: Node,
    x: Tensor,
    weight: Tensor,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
) -> Tensor:
    one = torch.ones((), dtype=node.dtype)
    rows = Node({"axis": 0}, node.opset, 1, node.dtype)
    return convolution(
        node, dequantize(node, x, one, x_zero), dequantize(rows, weight, one, weight_zero)
    )


@operator("MatMulInteger")
def integer_matrix_product(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    one = torch.ones((), dtype=node.dtype)
    columns = Node({"axis": -1}, node.opset, 1, node.dtype)
    return dequantize(node, a, one, a_zero) @ dequantize(columns, b, one, b_zero)


@operator("DynamicQuantizeLinear")
def dynamic_quantize(node: Node, x: Tensor) -> list[Tensor]:
    """Scale and zero point count as constants for the gradient."""
    low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
    scale = (high - low) / 255
    zero = (-low / scale).round().clamp(0, 255).to(torch.uint8)
    return [quantize(node, x, scale, zero), scale, zero]
