"""What is written for a GPU gives what is written for a CPU."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import zoo

import onnxplain
from onnxplain.engine.running import plan
from onnxplain.graph_passes.backward import polyphase
from onnxplain.graph_passes.graph.lowering import for_gpu, lowered_for
from onnxplain.models.shipped import demo_model

CONVOLUTIONS = [
    {"strides": [2, 2]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"strides": [3, 2], "pads": [1, 2, 0, 1]},
    {"strides": [2, 2], "group": 3},
    {"strides": [4, 4]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
]


def results(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
@pytest.mark.parametrize("sizes", [[2, 3, 11, 8], ["n", 3, "h", "w"]])
def test_strided_convolutions(attributes, sizes):
    random = np.random.default_rng(0)
    weight = random.standard_normal((6, 3 // attributes.get("group", 1), 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = random.standard_normal((2, 3, 11, 8)).astype(np.float32)
    (y,) = results(model, {"x": x})
    feeds = {"x": x, "cotangent_y": random.standard_normal(y.shape).astype(np.float32)}
    usual = onnxplain.vjp(model)
    with lowered_for(gpu=True):
        assert for_gpu()
        other = onnxplain.vjp(model)
    assert not for_gpu()
    operators = [{node.op_type for node in m.graph.node} for m in (usual, other)]
    assert "ConvTranspose" not in operators[0] and "ConvTranspose" in operators[1]
    for a, b in zip(results(usual, feeds), results(other, feeds), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "deeplift"])
def test_explainers_for_a_gpu(method, monkeypatch):
    """With a GPU's provider in front, the engine's graphs differ and their results do not.

    Without phases, which a GPU's graphs do not have: they add up in another order, and a gradient
    jumps where rounding moves an activation across its kink.
    """
    monkeypatch.setattr(polyphase, "_WORTH", np.inf)
    x = zoo.photo(0)
    usual = onnxplain.Explainer(demo_model(), method, steps=3, providers="cpu")
    expected = usual(x)
    monkeypatch.setattr(plan, "resolve_providers", lambda providers: ["CUDAExecutionProvider"])
    other = onnxplain.Explainer(demo_model(), method, steps=3, providers="cpu")
    found = other(x)
    scale = np.abs(expected.attribution).max()
    np.testing.assert_allclose(found.attribution / scale, expected.attribution / scale, atol=1e-5)
    # A file may run anywhere: it is written the usual way.
    assert "ConvTranspose" not in {node.op_type for node in other.model.graph.node}
