"""LRP through attention: rounding must not decide, so library and exported file agree."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from support.small import node, small, value

import onnxplain

TOKENS, WIDTH = 12, 6


def drawn(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def attention():
    """Two layers of one head each; of 25 draws the one whose relevances rounding changed most."""
    nodes, weights, h = [], {}, "x"
    for layer in "01":
        for name in "QKV":
            weights[name + layer] = drawn(WIDTH, WIDTH)
            nodes.append(node("MatMul", [h, name + layer], [name.lower() + layer]))
        nodes += [
            node("Transpose", ["k" + layer], ["t" + layer], perm=[0, 2, 1]),
            node("MatMul", ["q" + layer, "t" + layer], ["s" + layer]),
            node("Softmax", ["s" + layer], ["a" + layer], axis=-1),
            node("MatMul", ["a" + layer, "v" + layer], ["o" + layer]),
            node("Add", ["o" + layer, h], ["r" + layer]),
        ]
        h = "r" + layer
    weights["C"] = drawn(WIDTH, 3)
    nodes += [
        node("ReduceMean", [h], ["m"], axes=[1], keepdims=0),
        node("MatMul", ["m", "C"], ["y"]),
    ]
    return small(nodes, [value("x", ["N", TOKENS, WIDTH])], [value("y", ["N", 3])], weights)


RANDOM = np.random.default_rng(2)
MODEL, X = attention(), drawn(1, TOKENS, WIDTH)
NUDGED = X * (1 + 2e-7 * RANDOM.choice([-1, 1], X.shape)).astype(np.float32)


@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_rounding_does_not_decide(rule, tmp_path):
    explainer = onnxplain.Explainer(MODEL, "lrp", rule=rule, providers="cpu")
    e = explainer(X, 1)
    size = np.linalg.norm(e.attribution)
    assert np.linalg.norm(explainer(NUDGED, 1).attribution - e.attribution) < 3e-5 * size
    explainer.export(tmp_path / "lrp.onnx")
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(
            str(tmp_path / "lrp.onnx"), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(["attribution"], {"x": X, "target": np.array([1])})
        assert np.linalg.norm(found - e.attribution) < 3e-5 * size
