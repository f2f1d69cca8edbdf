"""Inputs that are no float image: integers with a Cast in the graph, token ids, several inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.small import model_of

import onnxplain

METHODS = ("integrated-gradients", "deeplift")


def uint8_model() -> onnx.ModelProto:
    """Pixels in, normalised inside the graph, NHWC."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "mean"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["logits"]),
    ]
    weights = {
        "scale": np.float32(1 / 255),
        "mean": np.float32([0.4, 0.5, 0.6]),
        "w": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "v": random.standard_normal((8, 5)).astype(np.float32),
    }
    pixels = ("pixels", TensorProto.UINT8, ["n", "h", "w_", 3])
    return model_of(nodes, [pixels], [("logits", TensorProto.FLOAT, ["n", 5])], weights)


def token_model() -> onnx.ModelProto:
    """Token ids, an embedding, a tanh layer and a mean over tokens."""
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["squashed"]),
        helper.make_node("ReduceMean", ["squashed"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "v"], ["logits"]),
    ]
    weights = {
        "table": random.standard_normal((11, 6)).astype(np.float32),
        "w": random.standard_normal((6, 8)).astype(np.float32),
        "v": random.standard_normal((8, 3)).astype(np.float32),
    }
    tokens = ("tokens", TensorProto.INT64, ["n", "t"])
    return model_of(nodes, [tokens], [("logits", TensorProto.FLOAT, ["n", 3])], weights)


def two_branch_model() -> onnx.ModelProto:
    """Two images, a product in the middle."""
    random = np.random.default_rng(2)
    nodes = []
    for side in ("left", "right"):
        nodes.append(helper.make_node("Conv", [side, "w"], [f"{side}_conv"]))
        nodes.append(helper.make_node("Sigmoid", [f"{side}_conv"], [f"{side}_map"]))
    nodes += [
        helper.make_node("Mul", ["left_map", "right_map"], ["both"]),
        helper.make_node("GlobalAveragePool", ["both"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["logits"]),
    ]
    weights = {
        "w": random.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "v": random.standard_normal((4, 3)).astype(np.float32),
    }
    images = [(side, TensorProto.FLOAT, ["n", 3, 8, 9]) for side in ("left", "right")]
    return model_of(nodes, images, [("logits", TensorProto.FLOAT, ["n", 3])], weights)


@pytest.mark.parametrize("method", METHODS)
def test_uint8_pixels(method: str) -> None:
    """Attributions have the pixels' shape and sum to the difference from a black image."""
    x = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    e = onnxplain.Explainer(uint8_model(), method, steps=200, providers="cpu")(x)
    assert e.attribution.shape == x.shape
    assert e.relative_delta is not None and e.relative_delta.max() < 2e-2


def test_uint8_grad_cam() -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 9, 7, 3), dtype=np.uint8)
    e = onnxplain.Explainer(uint8_model(), "grad-cam", providers="cpu")(x)
    assert e.attribution.shape == (1, 9, 7)
    assert e.feature_map == "map"


def test_pixels_as_floats_are_refused() -> None:
    explainer = onnxplain.Explainer(uint8_model(), "grad-cam", providers="cpu")
    with pytest.raises(onnxplain.InvalidInputError, match="uint8"):
        explainer(np.zeros((1, 9, 7, 3), np.float32))


@pytest.mark.parametrize("method", METHODS)
def test_token_ids(method: str) -> None:
    """One number for each token; together they are the difference from zero embeddings."""
    tokens = np.asarray([[1, 2, 3, 4], [10, 0, 5, 5]])
    e = onnxplain.Explainer(token_model(), method, steps=100, providers="cpu")(tokens)
    assert e.attribution.shape == tokens.shape
    assert e.relative_delta is not None and e.relative_delta.max() < 1e-3


def test_token_gradient_matches_torch() -> None:
    """IG over the embedding, against PyTorch's autograd with the same quadrature."""
    model = token_model()
    table, w, v = (
        torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer
    )
    tokens = np.asarray([[1, 2, 3, 4]])
    rows = table[torch.from_numpy(tokens)]
    points, weights = np.polynomial.legendre.leggauss(20)
    total = torch.zeros_like(rows)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = (rows * point).clone().requires_grad_()
        (torch.tanh(at @ w).mean(1) @ v)[0, 2].backward()
        assert at.grad is not None
        total += weight * at.grad
    expected = (total * rows).sum(-1).numpy()
    explainer = onnxplain.Explainer(model, "integrated-gradients", steps=20, providers="cpu")
    found = explainer(tokens, 2).attribution
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_one_of_two_images(method: str, side: str) -> None:
    """The other image is given and stands still."""
    random = np.random.default_rng(3)
    feeds = {s: random.standard_normal((2, 3, 8, 9)).astype(np.float32) for s in ("left", "right")}
    explainer = onnxplain.Explainer(
        two_branch_model(), method, input=side, steps=60, providers="cpu"
    )
    e = explainer(feeds, 1)
    assert e.attribution.shape == feeds[side].shape
    assert e.relative_delta is not None and e.relative_delta.max() < 1e-3


def test_missing_second_input_is_named() -> None:
    explainer = onnxplain.Explainer(two_branch_model(), "deeplift", providers="cpu")
    with pytest.raises(onnxplain.InvalidInputError, match="right"):
        explainer(np.zeros((1, 3, 8, 9), np.float32))


@pytest.mark.parametrize("make", [uint8_model, token_model])
@pytest.mark.parametrize("method", METHODS)
def test_export_of_integer_inputs(make, method: str, tmp_path) -> None:
    """The exported file takes the model's own integers."""
    model = make()
    x = np.arange(2 * 4).reshape(2, 4) % 11
    if make is uint8_model:
        x = np.random.default_rng(1).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    explainer = onnxplain.Explainer(model, method, steps=8, providers="cpu")
    explainer.export(tmp_path / "explained.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "explained.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {session.get_inputs()[0].name: x, "target": np.asarray([-1, -1])}
    (found,) = session.run(["attribution"], feeds)
    expected = explainer(x).attribution
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
