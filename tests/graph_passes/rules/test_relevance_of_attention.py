"""LRP through attention: rounding must not decide, so library and exported file agree."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from support.small import node, small, value

import onnxplain

RANDOM = np.random.default_rng(9)
TOKENS, WIDTH = 6, 8


def attention():
    """One head over tokens, queries and keys that nearly stand at right angles."""
    nodes = [
        *(node("MatMul", ["x", w], [w.lower()]) for w in ("Q", "K", "V")),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Softmax", ["scores"], ["a"], axis=-1),
        node("MatMul", ["a", "v"], ["o"]),
        node("Add", ["o", "x"], ["r"]),
        node("ReduceMean", ["r"], ["m"], axes=[1], keepdims=0),
        node("MatMul", ["m", "C"], ["y"]),
    ]
    weights = {n: RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32) for n in "QKV"}
    q, _ = np.linalg.qr(weights["Q"])
    # q k' = x Q K' x': of a skew matrix, and so 0 but for rounding where a token meets itself.
    skew = RANDOM.normal(size=(WIDTH, WIDTH))
    weights["Q"] = q.astype(np.float32)
    weights["K"] = (q.T @ (skew - skew.T)).T.astype(np.float32)
    weights["C"] = RANDOM.normal(size=(WIDTH, 3)).astype(np.float32)
    return small(nodes, [value("x", ["N", TOKENS, WIDTH])], [value("y", ["N", 3])], weights)


@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_rounding_does_not_decide(rule, tmp_path):
    x = RANDOM.normal(size=(1, TOKENS, WIDTH)).astype(np.float32)
    explainer = onnxplain.Explainer(attention(), "lrp", rule=rule)
    e = explainer(x, 1)
    size = np.linalg.norm(e.attribution)
    assert size < 100 * abs(e.score[0]) + 100
    nudged = x * (1 + 2e-7 * RANDOM.choice([-1, 1], x.shape)).astype(np.float32)
    assert np.linalg.norm(explainer(nudged, 1).attribution - e.attribution) < 1e-3 * size
    explainer.export(tmp_path / "lrp.onnx")
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(
            str(tmp_path / "lrp.onnx"), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(["attribution"], {"x": x, "target": np.array([1])})
        assert np.linalg.norm(found - e.attribution) < 1e-3 * size
