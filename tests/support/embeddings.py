"""Small networks that return an embedding, as files and as torch modules of the same weights."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from support.small import node, small, value

SIDE, LENGTH = 12, 5
# Nodes from "raw", [N, 5], to the output: none, and each way to bring it to length 1.
ENDINGS = {
    "as it is": [node("Identity", ["raw"], ["embedding"])],
    "LpNormalization": [node("LpNormalization", ["raw"], ["embedding"], axis=1)],
    "torch": [
        node("ReduceL2", ["raw"], ["length"], axes=[1], keepdims=1),
        node("Clip", ["length", "tiny"], ["safe"]),
        node("Shape", ["raw"], ["shape"]),
        node("Expand", ["safe", "shape"], ["wide"]),
        node("Div", ["raw", "wide"], ["embedding"]),
    ],
    "root": [
        node("Mul", ["raw", "raw"], ["squares"]),
        node("ReduceSum", ["squares", "one"], ["sum"], keepdims=1),
        node("Sqrt", ["sum"], ["length"]),
        node("Div", ["raw", "length"], ["embedding"]),
    ],
    "reciprocal": [
        node("Pow", ["raw", "two"], ["squares"]),
        node("ReduceSum", ["squares", "one"], ["sum"], keepdims=1),
        node("Add", ["sum", "tiny"], ["more"]),
        node("Sqrt", ["more"], ["length"]),
        node("Reciprocal", ["length"], ["turned"]),
        node("Mul", ["turned", "raw"], ["embedding"]),
    ],
    "norm of numbers": [
        node("Abs", ["raw"], ["size"]),
        node("Pow", ["size", "two"], ["squares"]),
        node("ReduceSum", ["squares", "one"], ["sum"], keepdims=1),
        node("Pow", ["sum", "half"], ["length"]),
        node("Div", ["raw", "length"], ["embedding"]),
    ],
}
# What looks like one of them, and is none.
OTHERS = {
    "logits": [node("Identity", ["raw"], ["embedding"])],
    "softmax": [node("Softmax", ["raw"], ["embedding"], axis=1)],
    "sum to one": [
        node("Abs", ["raw"], ["size"]),
        node("ReduceSum", ["size", "one"], ["sum"], keepdims=1),
        node("Div", ["raw", "sum"], ["embedding"]),
    ],
    "standard deviation": [
        node("ReduceMean", ["raw"], ["mean"], axes=[1], keepdims=1),
        node("Sub", ["raw", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squares"]),
        node("ReduceMean", ["squares"], ["variance"], axes=[1], keepdims=1),
        node("Sqrt", ["variance"], ["deviation"]),
        node("Div", ["centred", "deviation"], ["embedding"]),
    ],
    "another's length": [
        node("ReduceL2", ["f"], ["length"], axes=[1], keepdims=1),
        node("Div", ["raw", "length"], ["embedding"]),
    ],
}


def _weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {
        "w1": random.normal(0, 0.6, (4, 3, 3, 3)).astype(np.float32),
        "b1": random.normal(0, 0.2, 4).astype(np.float32),
        "w2": random.normal(0, 0.3, (LENGTH, 4 * 36)).astype(np.float32),
        "tiny": np.array(1e-12, np.float32),
        "two": np.array(2, np.float32),
        "half": np.array(0.5, np.float32),
        "one": np.array([1], np.int64),
    }


def network(
    ending: str = "as it is", output: str = "embedding", bias: bool = True
) -> onnx.ModelProto:
    """[N, 3, 12, 12] -> [N, 5]: a convolution, a rectifier, a linear layer and an ending."""
    layers = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4, strides=[2, 2]),
        node("Softplus" if bias else "Relu", ["c1"], ["r1"]),
        node("Flatten", ["r1"], ["f"], axis=1),
        node("Gemm", ["f", "w2"], ["raw"], transB=1),
    ]
    nodes = [*layers, *(ENDINGS | OTHERS)[ending]]
    nodes = [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes]
    nodes[-1].output[0] = output
    held = _weights()
    held["b1"] = held["b1"] * bias
    used = {name for one in nodes for name in one.input}
    weights = {name: array for name, array in held.items() if name in used}
    shape = ["N", 3, SIDE, SIDE]
    return small(nodes, [value("x", shape)], [value(output, ["N", LENGTH])], weights)


class Network(nn.Module):
    """The same without its ending, in float64."""

    def __init__(self):
        super().__init__()
        held = {t.name: numpy_helper.to_array(t) for t in network().graph.initializer}
        self.w1, self.b1, self.w2 = (
            torch.tensor(held[name], dtype=torch.float64) for name in ("w1", "b1", "w2")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The embedding."""
        hidden = nn.functional.conv2d(x, self.w1, self.b1, stride=2, padding=1)
        return nn.functional.softplus(hidden).flatten(1) @ self.w2.T


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Inputs of the networks."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of the angle between rows, float64 [N]."""
    a, b = (np.asarray(one, np.float64) for one in (a, b))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / lengths
