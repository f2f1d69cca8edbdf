"""Convolution, pooling and resizing, after the ONNX spec, for `torch_runner`.

Padding is always explicit here: a tensor is padded first (or cropped last), and torch's kernels
run without padding, so asymmetric pads, `auto_pad` and `ceil_mode` need no special cases.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from support.torch_operators_table import Node, operator

Tensor = torch.Tensor


class Windows:
    """The geometry of a sliding window, per spatial axis."""

    def __init__(self, node: Node, sizes: list[int], kernel: list[int]):
        rank = len(sizes)
        self.kernel = kernel
        self.strides = node.get("strides", [1] * rank)
        self.dilations = node.get("dilations", [1] * rank)
        self.spans = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilations, strict=True)]
        mode = node.get("auto_pad", "NOTSET")
        pads = node.get("pads", [0] * (2 * rank)) if mode == "NOTSET" else [0] * (2 * rank)
        self.begins, self.ends = list(pads[:rank]), list(pads[rank:])
        if mode.startswith("SAME"):
            for axis, (size, stride) in enumerate(zip(sizes, self.strides, strict=True)):
                total = (math.ceil(size / stride) - 1) * stride + self.spans[axis] - size
                less, more = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
                upper = mode == "SAME_UPPER"
                self.begins[axis], self.ends[axis] = (less, more) if upper else (more, less)
        # What a last, partial window of ceil_mode lacks at the end, besides the padding.
        self.extras = [0] * rank
        if node.get("ceil_mode", 0):
            for axis, (size, stride) in enumerate(zip(sizes, self.strides, strict=True)):
                padded = size + self.begins[axis] + self.ends[axis]
                last = math.ceil((padded - self.spans[axis]) / stride)
                if last * stride >= size + self.begins[axis]:
                    last -= 1  # a window may not start beyond the input and its left padding
                self.extras[axis] = max(last * stride + self.spans[axis] - padded, 0)

    def pad(self, x: Tensor, value: float) -> Tensor:
        return pad_axes(x, self.begins, self.ends, value)

    def pad_extras(self, x: Tensor, value: float) -> Tensor:
        return pad_axes(x, [0] * len(self.extras), self.extras, value)

    def sums(self, x: Tensor) -> Tensor:
        """Sum over each window, one axis after the other."""
        for axis, (span, stride) in enumerate(zip(self.spans, self.strides, strict=True)):
            x = x.unfold(axis + 2, span, stride)[..., :: self.dilations[axis]].sum(-1)
        return x


def pad_axes(x: Tensor, begins: list[int], ends: list[int], value: float = 0.0) -> Tensor:
    """Pad (or, where negative, crop) the last axes."""
    amounts = [side for pair in zip(begins, ends, strict=True) for side in pair]
    flat = [side for axis in reversed(range(len(begins))) for side in amounts[2 * axis :][:2]]
    return F.pad(x, flat, value=value) if any(flat) else x


@operator("Conv")
def convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    windows = Windows(node, list(x.shape[2:]), list(weight.shape[2:]))
    function: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[x.ndim - 2]
    return function(
        windows.pad(x, 0.0),
        weight,
        bias,
        windows.strides,
        0,
        windows.dilations,
        node.get("group", 1),
    )


@operator("ConvTranspose")
def transposed_convolution(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    pads = list(node.get("pads", [0] * (2 * rank)))
    extras = node.get("output_padding", [0] * rank)
    mode, shape = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if shape is None and mode.startswith("SAME"):
        shape = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    function: Any = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    # No padding and no bias: `pads` are cropped from, output_padding is added to, the full result.
    full = function(x, weight, None, strides, 0, 0, node.get("group", 1), dilations)
    if shape is not None:
        for axis in range(rank):
            total = full.shape[2 + axis] + extras[axis] - shape[axis]
            less, more = total // 2, total - total // 2
            upper = mode == "SAME_UPPER"
            pads[axis], pads[rank + axis] = (less, more) if upper else (more, less)
    ends = [extra - pad for extra, pad in zip(extras, pads[rank:], strict=True)]
    y = pad_axes(full, [-pad for pad in pads[:rank]], ends)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


@operator("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor:
    if node.outputs > 1:
        raise NotImplementedError("MaxPool's Indices")
    windows = Windows(node, list(x.shape[2:]), node.get("kernel_shape"))
    padded = windows.pad_extras(windows.pad(x, -math.inf), -math.inf)
    function: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[x.ndim - 2]
    return function(padded, windows.kernel, windows.strides, 0, windows.dilations)


@operator("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    windows = Windows(node, list(x.shape[2:]), node.get("kernel_shape"))
    include_padding = float(node.get("count_include_pad", 0))
    counted = windows.pad(torch.ones_like(x[:1, :1]), include_padding)
    sums = windows.sums(windows.pad_extras(windows.pad(x, 0.0), 0.0))
    return sums / windows.sums(windows.pad_extras(counted, 0.0))


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Tensor) -> Tensor:
    return x.mean(dim=list(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Tensor) -> Tensor:
    first_maximum = x.flatten(2).argmax(-1, keepdim=True)
    return x.flatten(2).gather(-1, first_maximum).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


@operator("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    size = node.get("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    padded = F.pad(x.square(), [0, 0] * (x.ndim - 2) + [before, after])
    sums = padded.unfold(1, size, 1).sum(-1)
    scale = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * sums
    return x / scale ** node.get("beta", 0.75)


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    if node.get("mode", "DCR") == "DCR":
        y = x.reshape(batch, block, block, channels // block**2, height, width)
        y = y.permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(batch, channels // block**2, block, block, height, width)
        y = y.permute(0, 1, 4, 2, 5, 3)
    return y.reshape(batch, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    y = x.reshape(batch, channels, height // block, block, width // block, block)
    y = y.permute(0, 3, 5, 1, 2, 4)
    return y.reshape(batch, channels * block**2, height // block, width // block)


@operator("Upsample")
def upsample(node: Node, x: Tensor, scales: Tensor | None = None) -> Any:
    return resize(node, x, None, node.get_or_input("scales", scales))


@operator("Resize")
def resize(
    node: Node, x: Tensor, roi: Any = None, scales: Any = None, sizes: Tensor | None = None
) -> Tensor:
    """Resize one axis after the other, each by an interpolation matrix."""
    if node.opset < 11:  # Upsample's inputs and coordinates: (x, scales)
        scales = roi if scales is None else scales
    if node.get("antialias", 0) or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("Resize: antialias, keep_aspect_ratio_policy")
    factors = scales.tolist() if isinstance(scales, Tensor) else scales
    axes = node.get("axes", list(range(x.ndim)))
    for index, axis in enumerate(axes):
        size = x.shape[axis]
        if sizes is not None:
            length = int(sizes[index])
            scale = length / size
        else:
            scale = factors[index]
            length = math.floor(size * scale)
        if (length, scale) != (size, 1.0):
            matrix = _interpolation(node, size, length, scale).to(x)
            x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return x


def _interpolation(node: Node, size: int, length: int, scale: float) -> Tensor:
    """The [length, size] matrix that resizes one axis."""
    default = "half_pixel" if node.opset >= 11 else "asymmetric"
    coordinates = node.get("coordinate_transformation_mode", default)
    rounding = node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    matrix = torch.zeros(length, size, dtype=torch.float64)
    for row in range(length):
        position = {
            "asymmetric": row / scale,
            "half_pixel": (row + 0.5) / scale - 0.5,
            "pytorch_half_pixel": (row + 0.5) / scale - 0.5 if length > 1 else 0.0,
            "align_corners": row * (size - 1) / (length - 1) if length > 1 else 0.0,
        }[coordinates]
        floor = math.floor(position)
        part = position - floor
        weights = {
            "nearest": {
                {
                    "floor": floor,
                    "ceil": math.ceil(position),
                    "round_prefer_floor": math.ceil(position - 0.5),
                    "round_prefer_ceil": math.floor(position + 0.5),
                }[rounding]: 1.0
            },
            "linear": {floor: 1 - part, floor + 1: part},
            "cubic": _cubic_weights(floor, part, node.get("cubic_coeff_a", -0.75)),
        }[node.get("mode", "nearest")]
        if node.get("exclude_outside", 0):
            weights = {index: w for index, w in weights.items() if 0 <= index < size}
            weights = {index: w / sum(weights.values()) for index, w in weights.items()}
        for index, weight in weights.items():
            matrix[row, min(max(index, 0), size - 1)] += weight
    return matrix


def _cubic_weights(floor: int, part: float, a: float) -> dict[int, float]:
    weights = {}
    for offset in (-1, 0, 1, 2):
        t = abs(offset - part)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        weights[floor + offset] = near if t <= 1 else far
    return weights
