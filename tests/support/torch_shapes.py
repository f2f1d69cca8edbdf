"""Operators that move, select or make elements, and never compute with them, for `torch_runner`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from support.torch_operators_table import Node, operator

Tensor = torch.Tensor


@operator("Constant")
def constant(node: Node) -> Tensor:
    ((name, value),) = node.attributes.items()
    if name == "value":
        return value
    return torch.tensor(value, dtype=node.dtype if "float" in name else torch.int64)


@operator("ConstantOfShape")
def constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.get("value", torch.zeros(1, dtype=node.dtype))
    return value.reshape(()).expand(shape.tolist()).clone()


@operator("Shape")
def shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end")], dtype=torch.int64)


@operator("Size")
def size(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@operator("Range")
def arange(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("Reshape")
def reshape(node: Node, x: Tensor, shape_input: Tensor | None = None) -> Tensor:
    target = list(node.get_or_input("shape", shape_input))
    if not node.get("allowzero", 0):
        target = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(target)]
    return x.reshape(target)


@operator("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze")
def squeeze(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = node.get_or_input("axes", axes_input)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = node.get_or_input("axes", axes_input)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concatenate(node: Node, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, node.get("axis"))


@operator("Split")
def split(node: Node, x: Tensor, parts: Tensor | None = None) -> Any:
    axis = node.get("axis", 0)
    sizes = node.get_or_input("split", parts)
    if sizes is None:
        sizes = math.ceil(x.shape[axis] / node.outputs)
    return x.split(sizes, axis)


@operator("Slice")
def slice_axes(
    node: Node,
    x: Tensor,
    starts_input: Tensor | None = None,
    ends_input: Tensor | None = None,
    axes_input: Tensor | None = None,
    steps_input: Tensor | None = None,
) -> Tensor:
    starts = node.get_or_input("starts", starts_input)
    ends = node.get_or_input("ends", ends_input)
    axes = node.get_or_input("axes", axes_input, list(range(len(starts))))
    steps = node.get_or_input("steps", steps_input, [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # ONNX's end of -INT_MAX says "past the first element", where Python wants None.
        size = x.shape[axis]
        stop = None if step < 0 and end < -size else end
        chosen = range(size)[slice(start, stop, step)]
        x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


@operator("Gather")
def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    wrapped = torch.where(indices < 0, indices + x.shape[axis], indices).long()
    picked = x.index_select(axis, wrapped.flatten())
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices).long())


@operator("GatherND")
def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    if node.get("batch_dims", 0):
        raise NotImplementedError("GatherND: batch_dims")
    return x[tuple(indices.movedim(-1, 0))]


@operator("ScatterND")
def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    accumulate = {"none": False, "add": True}[node.get("reduction", "none")]
    return x.index_put(tuple(indices.movedim(-1, 0)), updates, accumulate=accumulate)


@operator("OneHot")
def one_hot(node: Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    count = int(depth.item())
    hot = F.one_hot(indices.long() % count, count).bool()
    return torch.where(hot, values[1], values[0]).movedim(-1, node.get("axis", -1))


@operator("Expand")
def expand(node: Node, x: Tensor, shape_input: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(shape_input.tolist())))


@operator("Tile")
def tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


@operator("Trilu")
def triangle(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    offset = 0 if diagonal is None else int(diagonal.item())
    return x.triu(offset) if node.get("upper", 1) else x.tril(offset)


@operator("Pad")
def pad(
    node: Node,
    x: Tensor,
    pads_input: Tensor | None = None,
    value_input: Tensor | None = None,
    axes_input: Tensor | None = None,
) -> Tensor:
    pads = node.get_or_input("pads", pads_input)
    axes = list(range(x.ndim)) if axes_input is None else axes_input.tolist()
    value = node.get("value", 0.0) if value_input is None else value_input.item()
    mode = node.get("mode", "constant")
    for index, axis in enumerate(axes):
        begin, end = pads[index], pads[index + len(axes)]
        if mode == "constant":
            amounts = [0, 0] * (x.ndim - 1 - axis % x.ndim) + [begin, end]
            x = F.pad(x, amounts, value=value) if begin or end else x
            continue
        size = x.shape[axis]
        positions = torch.arange(-begin, size + end)
        if mode == "edge":
            positions = positions.clamp(0, size - 1)
        elif mode == "wrap":
            positions = positions % size
        else:  # reflect, without repeating the border
            positions = positions.abs()
            positions = (size - 1) - (size - 1 - positions).abs()
        x = x.index_select(axis, positions)
    return x
