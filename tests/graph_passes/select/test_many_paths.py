"""Branches that meet again and again have more paths than can be walked: nothing walks paths.

Each graph here has 2 to the 48 of them: what walks them does not come back.
"""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from support.often import often
from support.small import f32, node, small, value

import onnxplain

LEVELS = 48
# One level: from `{a}` to `{b}`, both the same shape, by two paths.
LEVEL = {
    "Add": lambda a, b: [node("Add", [a, a], [f"{b}s"]), node("Mul", [f"{b}s", "half"], [b])],
    "Max": lambda a, b: [node("Relu", [a], [f"{b}r"]), node("Max", [a, f"{b}r"], [b])],
    "Mul": lambda a, b: [node("Sigmoid", [a], [f"{b}g"]), node("Mul", [a, f"{b}g"], [b])],
    "Concat": lambda a, b: [
        node("Concat", [a, a], [f"{b}c"], axis=1),
        node("Slice", [f"{b}c", "from", "to", "axes"], [b]),
    ],
    "Sum": lambda a, b: [node("Sum", [a, a], [f"{b}s"]), node("Mul", [f"{b}s", "half"], [b])],
    "Where": lambda a, b: [
        node("Less", [a, "half"], [f"{b}l"]),
        node("Relu", [a], [f"{b}r"]),
        node("Where", [f"{b}l", f"{b}r", a], [b]),
    ],
}


def levels(kind: str, first: str, last: str) -> list[onnx.NodeProto]:
    names = [first, *(f"{last}{k}" for k in range(LEVELS - 1)), last]
    return [n for a, b in pairwise(names) for n in LEVEL[kind](a, b)]


def network(kind: str) -> onnx.ModelProto:
    """Convolution, levels, pooling, product, levels."""
    random = np.random.RandomState(0)
    weights = {
        "w": random.randn(4, 3, 3, 3).astype(np.float32) / 3,
        "v": random.randn(4, 4).astype(np.float32),
        "half": f32(0.5),
        "from": np.int64([0]),
        "to": np.int64([4]),
        "axes": np.int64([1]),
    }
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        *levels(kind, "c", "m"),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "v"], ["h"]),
        *levels(kind, "h", "y"),
    ]
    return small(nodes, [value("x", ["N", 3, 6, 6])], [value("y", ["N", 4])], weights)


@pytest.mark.parametrize("kind", LEVEL)
def test_nothing_walks_paths(kind):
    model = network(kind)
    assert not onnxplain.inspect(model).unsupported["grad-cam"]
    x = np.random.RandomState(1).rand(2, 3, 6, 6).astype(np.float32)
    for method in often(["grad-cam", "deeplift"], ["grad-cam", "saliency", "deeplift"]):
        e = onnxplain.Explainer(model, method)(x)
        assert np.isfinite(np.asarray(e.attribution)).all()


def test_conditions_are_made_once():
    """And(a, a) of And(b, b) ..., which DeepLIFT makes numbers of."""
    nodes = [node("Less", ["x", "half"], ["a"])]
    nodes += [node("And", [f"a{k or ''}", f"a{k or ''}"], [f"a{k + 1}"]) for k in range(LEVELS)]
    nodes += [
        node("Relu", ["x"], ["r"]),
        node("Where", [f"a{LEVELS}", "r", "x"], ["w"]),
        node("ReduceSum", ["w", "axes"], ["y"], keepdims=1),
    ]
    weights = {"half": f32(0.5), "axes": np.int64([1])}
    model = small(nodes, [value("x", ["N", 8])], [value("y", ["N", 1])], weights)
    e = onnxplain.Explainer(model, "deeplift")(np.linspace(-1, 1, 8, dtype=np.float32)[None])
    np.testing.assert_allclose(e.delta, 0, atol=1e-6)
