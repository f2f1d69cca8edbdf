"""A small picture classifier as a file and as a torch module of the same weights; a linear one."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from support.small import FLOAT, node, small, value

SIDE, CLASSES = 12, 4


def _weights(channels: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)

    def drawn(*shape: int) -> np.ndarray:
        spread = 1.5 / np.sqrt(np.prod(shape[1:]) or 1)
        return random.normal(0, spread, shape).astype(np.float32)

    return {
        "w1": drawn(6, channels, 3, 3),
        "b1": drawn(6) * 0.1,
        "w2": drawn(8, 6, 3, 3),
        "b2": drawn(8) * 0.1,
        "w3": drawn(CLASSES, 8 * 36) * 3,
        "b3": drawn(CLASSES) * 0.1,
    }


def convolutional(softmax: bool = False, last: bool = False) -> onnx.ModelProto:
    """Two convolutions and a linear layer, [N, 1, 12, 12] or channels last -> [N, 4]."""
    nodes = [
        node("Conv", ["picture", "w1", "b1"], ["c1"], pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["c2"], ["r2"]),
        node("Flatten", ["r2"], ["f"], axis=1),
        node("Gemm", ["f", "w3", "b3"], ["logits" if softmax else "y"], transB=1),
    ]
    if softmax:
        nodes.append(node("Softmax", ["logits"], ["y"], axis=1))
    shape = ["N", SIDE, SIDE, 1] if last else ["N", 1, SIDE, SIDE]
    first = node("Transpose", ["x"], ["picture"], perm=[0, 3, 1, 2])
    nodes.insert(0, first if last else node("Identity", ["x"], ["picture"]))
    return small(nodes, [value("x", shape)], [value("y", ["N", CLASSES])], _weights())


class Convolutional(nn.Module):
    """The same in torch, of the weights that a file holds."""

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.c1 = nn.Conv2d(1, 6, 3, padding=1)
        self.c2 = nn.Conv2d(6, 8, 3, padding=1, stride=2)
        self.last = nn.Linear(8 * 36, CLASSES)
        for number, layer in enumerate((self.c1, self.c2, self.last), 1):
            layer.weight = nn.Parameter(torch.tensor(held[f"w{number}"]))
            layer.bias = nn.Parameter(torch.tensor(held[f"b{number}"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r2 = self.c2(self.c1(x).relu()).relu()
        return self.last(r2.flatten(1))


def gradient(module: nn.Module, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """d logit of the target / d x."""
    given = torch.tensor(np.asarray(x), requires_grad=True)
    scores = module(given)[torch.arange(len(x)), torch.tensor(np.asarray(target))]
    return torch.autograd.grad(scores.sum(), given)[0].numpy()


def pictures(count: int = 3) -> np.ndarray:
    """Inputs with some shape in them."""
    random = np.random.default_rng(7)
    rough = random.normal(size=(count, 1, 4, 4)).repeat(3, axis=2).repeat(3, axis=3)
    return (rough + 0.3 * random.normal(size=(count, 1, SIDE, SIDE))).astype(np.float32)


def linear(features: tuple[int, ...], seed: int = 3) -> tuple[onnx.ModelProto, np.ndarray]:
    """y = W x, two scores, and W[0] in the input's shape."""
    size = int(np.prod(features))
    w = np.random.default_rng(seed).normal(size=(2, size)).astype(np.float32)
    nodes = [node("Flatten", ["x"], ["f"], axis=1), node("Gemm", ["f", "w"], ["y"], transB=1)]
    model = small(nodes, [value("x", ["N", *features], FLOAT)], [value("y", ["N", 2])], {"w": w})
    return model, w[0].reshape(features)


FEATURES = SIDE * SIDE
X = pictures()
TARGET = np.array([1, 0, 3])
MODEL = convolutional()
MODULE = Convolutional(MODEL).eval()


def maps(seed=1):
    return np.random.default_rng(seed).normal(size=X.shape)


def softmax(x):
    with torch.no_grad():
        return MODULE(torch.tensor(np.asarray(x, np.float32))).softmax(1).numpy()


def logits(x):
    with torch.no_grad():
        return MODULE(torch.tensor(np.asarray(x, np.float32))).double().numpy()


def regions():
    found = np.zeros((len(X), SIDE, SIDE), bool)
    found[:, 2:9, 3:10] = True
    return found
