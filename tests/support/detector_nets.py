"""What small detectors are made of: maps of three scales, raw lists of them, and decoded boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

SIDE, STRIDES, CLASSES = 64, (8, 16, 32), 3
NAMES = ("person", "bus", "dog")
CELLS = [(SIDE // s) ** 2 for s in STRIDES]
A = sum(CELLS)


class Net:
    def __init__(self, seed: int):
        self.nodes, self.constants, self.outputs = [], [], []
        self.random = np.random.default_rng(seed)

    def __call__(self, op: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if count == 1 else names

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def weights(self, *shape: int, size: float = 1.0) -> str:
        return self.constant(self.random.normal(size=shape) * size / np.sqrt(np.prod(shape[1:])))

    def conv(self, x: str, ins: int, outs: int, kernel: int = 1, size: float = 1.0) -> str:
        k = [kernel, kernel]
        w = self.weights(outs, ins, kernel, kernel, size=size)
        return self("Conv", x, w, self.weights(outs), kernel_shape=k, strides=k)

    def named(
        self, tensor: str, name: str, kind: int = TensorProto.FLOAT, shape: Any = None
    ) -> None:
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, **metadata: str) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        graph = helper.make_graph(self.nodes, "net", [x], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, metadata)
        return onnx.shape_inference.infer_shapes(model)


def features(net: Net) -> list[str]:
    eight = net("Tanh", net.conv("images", 3, 6, 8, size=3.0))
    sixteen = net("Tanh", net.conv(eight, 6, 6, 2, size=2.0))
    return [eight, sixteen, net("Tanh", net.conv(sixteen, 6, 6, 2, size=2.0))]


def lists(net: Net, channels: int, first: bool, size: float = 2.0) -> str:
    """A 1x1 convolution on each scale, as one list: [N, channels, A], or [N, A, channels]."""
    parts = []
    shape = net.constant([0, channels, -1], np.int64)
    for map_ in features_of(net):
        parts.append(net("Reshape", net.conv(map_, 6, channels, size=size), shape))
    whole = net("Concat", *parts, axis=2)
    return whole if first else net("Transpose", whole, perm=[0, 2, 1])


def features_of(net: Net) -> list[str]:
    if not hasattr(net, "maps"):
        net.maps = features(net)  # pyright: ignore[reportAttributeAccessIssue]
    return net.maps  # pyright: ignore[reportAttributeAccessIssue]


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Cells [A, 2] and strides [A, 1], written once more than the product does."""
    cells, sizes = [], []
    for stride in STRIDES:
        for y in range(SIDE // stride):
            for x in range(SIDE // stride):
                cells.append((x, y))
                sizes.append(stride)
    return np.array(cells, float), np.array(sizes, float)[:, None]


def decoded(net: Net, boxes: str) -> str:
    """cx, cy, w, h in pixels of raw [N, A, 4]: (xy + cell) s, exp(wh) s."""
    cells, sizes = grid()
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", boxes, two, count=2, axis=2)
    scale = net.constant(sizes)
    middle = net("Mul", net("Add", xy, net.constant(cells)), scale)
    return net("Concat", middle, net("Mul", net("Exp", wh), scale), axis=2)


def raw_map(net: Net, channels: int, name: str) -> str:
    found = lists(net, channels, first=False)
    net.named(found, f"raw_{name}", shape=["N", A, channels])
    return found
