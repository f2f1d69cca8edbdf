"""Finding Grad-CAM's feature map: by dominance, not "the last Conv".

It is the last tensor with spatial extent that every path from the image to the score crosses. Axes
are followed by their roles (N, C and the spatial letters), through Transposes too, so that NHWC
exports are served alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxplain import InvalidInputError, UnsupportedModelError
from onnxplain.graph_passes.backward import Path, find_path
from onnxplain.graph_passes.dims import describe
from onnxplain.graph_passes.emit import is_constant
from onnxplain.graph_passes.subject import Subject

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"}
_CHANNELS_FIRST = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
    "GlobalMaxPool", "GlobalLpPool", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "LRN",
    "DepthToSpace", "SpaceToDepth", "PRelu",
}  # fmt: skip
_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}
# What a symbolic input size stands for while the extent of inner tensors is worked out.
_TYPICAL_SIZE = 224


class FeatureMap(NamedTuple):
    """The chosen tensor, the order of its axes, and why it was chosen."""

    tensor: gs.Variable
    channel_axis: int
    spatial_axes: tuple[int, ...]
    reason: str


def find_feature_map(subject: Subject, layer: str | None = None) -> FeatureMap:
    """Choose the feature map, or take the tensor (or node) named by `layer`.

    Raises:
        InvalidInputError: `layer` names nothing on the path, or something without channel and
            spatial axes.
        UnsupportedModelError: the model has no tensor with channels and spatial extent on every
            path.
    """
    path = find_path(subject.graph, [subject.start], [subject.logits])
    roles = axis_roles(subject, path)
    if layer is not None:
        return _named(subject, path, roles, layer)
    extents = _typical_extents(subject)
    crossed = dominators(path, subject)
    # Where the score is a place of a map, the map itself is no feature of it.
    dense = subject.needs_index or _has_extent(subject.logits, roles, extents)
    learnt = _behind_weighted_operators(path)
    chosen = None
    for tensor in crossed:
        if tensor.name in learnt and _has_extent(tensor, roles, extents):
            if dense and not _feeds_a_weighted_operator(tensor, path):
                continue
            chosen = tensor
    if chosen is None:
        raise UnsupportedModelError(
            "Grad-CAM needs a tensor with channels and height x width over 1 that every path "
            f"from the image to the score crosses, and {subject.output.name!r} has none "
            "(no convolution before it?); "
            "integrated-gradients and deeplift work on any input"
        )
    reason = (
        f"the last tensor with spatial extent that every path from "
        f"{subject.input.name!r} to the score crosses "
        f"(made by {chosen.inputs[0].op}, {describe(chosen.shape)})"
    )
    return _feature_map(chosen, roles, reason)


def _feature_map(tensor: gs.Variable, roles: dict[str, str], reason: str) -> FeatureMap:
    role = roles[tensor.name]
    spatial = tuple(axis for axis, letter in enumerate(role) if letter in "DHW")
    order = sorted(spatial, key=lambda axis: "DHW".index(role[axis]))
    return FeatureMap(tensor, role.index("C"), tuple(order), reason)


def _named(subject: Subject, path: Path, roles: dict[str, str], layer: str) -> FeatureMap:
    """The path's tensor of that name, or the first output of the node of that name."""
    on_path = {t.name: t for node in path.nodes for t in node.outputs if t.name in path.varying}
    by_node = {node.name: node.outputs[0] for node in path.nodes}
    tensor = on_path.get(layer) or by_node.get(layer)
    usable = [name for name in on_path if _is_spatial(roles.get(name))]
    if tensor is None:
        import difflib

        near = difflib.get_close_matches(layer, usable, 3, 0.3) or usable[-3:]
        raise InvalidInputError(
            f"no tensor or node {layer!r} lies between the input and the score; for example: "
            + ", ".join(repr(name) for name in near)
        )
    if not _is_spatial(roles.get(tensor.name)):
        raise InvalidInputError(
            f"layer {layer!r} has shape {describe(tensor.shape)}: "
            "expected channels and spatial axes"
        )
    return _feature_map(tensor, roles, f"asked for by name (made by {tensor.inputs[0].op})")


def _is_spatial(role: str | None) -> bool:
    """True where the batch comes first and channels and positions follow."""
    spatial = role is not None and any(letter in role for letter in "DHW")
    return spatial and "C" in (role or "") and (role or "").startswith("N")


def dominators(path: Path, subject: Subject) -> list[gs.Variable]:
    """Tensors before the score that every path from the start to it crosses, in order.

    One sweep over the nodes in order keeps the number of tensors that are made but not used up: a
    tensor is crossed by every path exactly if, once it is made, nothing else made before it is used
    later.
    """
    last_use: dict[str, int] = {}
    for index, node in enumerate(path.nodes):
        for operand in path.operands(node):
            last_use[node.inputs[operand].name] = index
    open_until = last_use.get(subject.start.name, -1)
    crossed = []
    for index, node in enumerate(path.nodes):
        made = [t for t in node.outputs if t.name in path.varying and t.name in last_use]
        if open_until <= index and len(made) == 1:
            crossed.append(made[0])
        open_until = max([open_until, *(last_use[t.name] for t in made)])
    return crossed


def axis_roles(subject: Subject, path: Path) -> dict[str, str]:
    """For each tensor of the path whose axes are known, their roles: "NCHW", "NHWC", "NCW" ..."""
    roles: dict[str, str] = {}
    start = subject.start
    shape = start.shape or []
    if len(shape) - 2 in _SPATIAL:
        letters = _SPATIAL[len(shape) - 2]
        last, first = shape[-1], shape[1]
        channels_last = last in (1, 3, 4) and first not in (1, 3, 4)
        roles[start.name] = f"N{letters}C" if channels_last else f"NC{letters}"
    for node in path.nodes:
        role = _node_roles(node, roles)
        if role is not None:
            for output in node.outputs:
                if output.shape is None or len(output.shape) == len(role):
                    roles[output.name] = role
    return roles


def _node_roles(node: gs.Node, roles: dict[str, str]) -> str | None:
    """The roles of a node's output axes, from those of its operands."""
    known = [(t, roles[t.name]) for t in node.inputs if t.name in roles]
    x = node.inputs[0]
    if node.op in _CHANNELS_FIRST and x.shape is not None and len(x.shape) - 2 in _SPATIAL:
        return "NC" + _SPATIAL[len(x.shape) - 2]
    if not known:
        return None
    role = known[0][1]
    if node.op == "Transpose":
        perm = node.attrs.get("perm") or list(range(len(role)))[::-1]
        return "".join(role[axis] for axis in perm)
    if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather", "Einsum", "Attention"):
        return None
    if node.op.startswith("Reduce") and not node.attrs.get("keepdims", 1):
        axes = (
            node.inputs[1].values.tolist()
            if len(node.inputs) > 1 and is_constant(node.inputs[1])
            else []
        )
        dropped = {int(axis) % len(role) for axis in axes}
        return "".join(letter for axis, letter in enumerate(role) if axis not in dropped)
    if node.op == "MatMul":
        return (
            role if x.name in roles and role.endswith("C") and is_constant(node.inputs[1]) else None
        )
    return max((r for _, r in known), key=len)


def _typical_extents(subject: Subject) -> dict[str, list[int | None]]:
    """Every tensor's shape if the input had a typical size.

    Tells a map from what a pooling left of it.
    """
    graph = subject.graph.copy()
    source = next(t for t in graph.inputs if t.name == subject.input.name)
    if source.shape is not None:
        source.shape = [
            dim if isinstance(dim, int) else (1 if axis == 0 else _TYPICAL_SIZE)
            for axis, dim in enumerate(source.shape)
        ]
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.inputs:
            tensor.shape = None
    for output in graph.outputs:
        output.shape = None
    model = gs.export_onnx(graph, do_type_check=False)
    inferred = gs.import_onnx(onnx.shape_inference.infer_shapes(model, data_prop=True))
    return {
        name: [dim if isinstance(dim, int) else None for dim in tensor.shape]
        for name, tensor in inferred.tensors().items()
        if tensor.shape is not None
    }


def _has_extent(tensor: gs.Variable, roles: dict[str, str], extents) -> bool:
    """True for a tensor with a channel axis and more than one position.

    Unknown sizes count as more than one.
    """
    role, shape = roles.get(tensor.name), extents.get(tensor.name, tensor.shape)
    if not _is_spatial(role) or shape is None or len(shape) != len(role or ""):
        return False
    spatial = [dim for letter, dim in zip(role or "", shape, strict=True) if letter in "DHW"]
    if any(dim is None for dim in spatial):
        return True
    return int(np.prod([dim or 0 for dim in spatial])) > 1


def _behind_weighted_operators(path: Path) -> set[str]:
    """Names of the tensors that a Conv, Gemm or the like stands before: the rest is the image."""
    learnt: set[str] = set()
    for node in path.nodes:
        if node.op in _WEIGHTED or any(t.name in learnt for t in node.inputs):
            learnt.update(t.name for t in node.outputs)
    return learnt


def _feeds_a_weighted_operator(tensor: gs.Variable, path: Path) -> bool:
    """True when a Conv, Gemm or the like stands between this tensor and the score."""
    reached = {tensor.name}
    for node in path.nodes:
        if any(t.name in reached for t in node.inputs):
            if node.op in _WEIGHTED:
                return True
            reached.update(t.name for t in node.outputs)
    return False
