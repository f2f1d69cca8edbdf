"""Rounding is no mistake, and a mistake is no rounding: outputs of tiny numbers, kinks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.small import node, small, value

import onnxplain
from onnxplain.engine.explaining import soundness
from onnxplain.graph_passes.heads import path
from onnxplain.graph_passes.prepare.pipeline import prepare

RANDOM = np.random.default_rng(5)
SHAPE = (1, 3, 16, 16)


def normal(*shape, scale=0.3):
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


TAILS = {
    "sigmoid": [node("Sigmoid", ["z"], ["p"])],
    "sigmoid, moved": [
        node("Sigmoid", ["z"], ["s"]),
        node("Transpose", ["s"], ["p"], perm=[0, 2, 3, 1]),
    ],
    "two factors": [
        node("Sigmoid", ["z"], ["s"]),
        node("Sigmoid", ["g2"], ["t"]),
        node("Mul", ["s", "t"], ["p"]),
    ],
}


def detector(bias, tail="sigmoid"):
    """A map of probabilities, all of them tiny; folding BatchNormalization moves its rounding."""
    weights = {
        "w": normal(8, 3, 3, 3),
        "w1": normal(8, 8, 3, 3),
        "scale": np.ones(8, np.float32),
        "shift": np.zeros(8, np.float32),
        "mean": np.full(8, 0.1, np.float32),
        "variance": np.full(8, 0.9, np.float32),
        "w2": normal(1, 8, 1, 1, scale=0.05),
        "w3": normal(1, 8, 1, 1, scale=0.05),
        "bias": np.float32(bias).reshape(1, 1, 1, 1),
    }
    nodes = [
        node("Conv", ["x", "w"], ["f"], pads=[1] * 4),
        node("HardSwish", ["f"], ["s0"]),
        node("Conv", ["s0", "w1"], ["g"], pads=[1] * 4),
        node("BatchNormalization", ["g", "scale", "shift", "mean", "variance"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w2"], ["z0"]),
        node("Conv", ["r", "w3"], ["g2"]),
        node("Add", ["z0", "bias"], ["z"]),
        *TAILS[tail],
    ]
    shape = [1, 16, 16, 1] if tail == "sigmoid, moved" else [1, 1, 16, 16]
    return small(nodes, [value("x", [*SHAPE])], [value("p", shape)], weights)


def target(tail):
    return (8, 8, 0) if tail == "sigmoid, moved" else (0, 8, 8)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("bias", [0, -11, -12, -13, -14, -15])
def test_rounding_is_no_mistake(bias, tail):
    model = detector(bias, tail)
    for _ in range(3):
        x = RANDOM.random(SHAPE).astype(np.float32)
        found = onnxplain.Explainer(model, "saliency").verify(x, target(tail))
        assert found.outputs <= 1e-3


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bias", [-13, -15, -16])
def test_rounding_of_two_factors_is_no_mistake(bias, seed):
    """Drawn anew: one in 200 met answers of ONNX Runtime that agreed by chance."""
    RANDOM.bit_generator.state = np.random.default_rng(30 + seed).bit_generator.state
    model, x = detector(bias, "two factors"), RANDOM.random(SHAPE).astype(np.float32)
    onnxplain.Explainer(model, "saliency").verify(x, target("two factors"))


@pytest.mark.parametrize("tail", ["sigmoid", "two factors"])
@pytest.mark.parametrize("weight", ["w", "w1", "mean", "w2", "bias"])
@pytest.mark.parametrize("bias", [0, -12, -15])
def test_a_damaged_graph_is_caught(bias, weight, tail, monkeypatch):
    """One weight a tenth off, in the graph that explains: however tiny the outputs."""
    model = detector(bias, tail)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in other.graph.initializer:
        if tensor.name == weight:
            changed = onnx.numpy_helper.to_array(tensor) * np.float32(1.1)
            changed = changed + np.float32(0.03 * (weight in ("mean", "bias")))
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, weight))
    monkeypatch.setattr("onnxplain.engine.model.prepared", lambda *_: prepare(other))
    x = RANDOM.random(SHAPE).astype(np.float32)
    with pytest.raises(onnxplain.UnsupportedModelError, match="differs from the file's own"):
        onnxplain.Explainer(model, "saliency").verify(x, (0, 8, 8))


def test_another_activation_is_caught(monkeypatch):
    """Logits that agree are no excuse for outputs that do not."""
    model = detector(-12)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    other.graph.node[-1].CopyFrom(node("Softmax", ["z"], ["p"], axis=3))
    monkeypatch.setattr("onnxplain.engine.model.prepared", lambda *_: prepare(other))
    x = RANDOM.random(SHAPE).astype(np.float32)
    with pytest.raises(onnxplain.UnsupportedModelError, match="differs from the file's own"):
        onnxplain.Explainer(model, "saliency").verify(x, (0, 8, 8))


ACTIVATIONS = ["Relu", "LeakyRelu", "Abs", "Elu", "Selu", "Tanh", "HardSwish"]


def bias_free(activation, pooled, seed):
    random = np.random.default_rng(seed)
    last = "p" if pooled else "a"
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node(activation, ["c"], ["a"]),
        *([node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2])] if pooled else []),
        node("Conv", [last, "v"], ["d"]),
        node(activation, ["d"], ["b"]),
        node("GlobalAveragePool", ["b"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "u"], ["y"]),
    ]
    shapes = {"w": (6, 3, 3, 3), "v": (5, 6, 2, 2), "u": (5, 4)}
    weights = {k: random.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    return small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 4])], weights)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kinks_on_black_are_no_mistake(activation, pooled):
    for seed in range(3):
        explainer = onnxplain.Explainer(bias_free(activation, pooled, seed), "saliency")
        found = explainer.verify(np.zeros((1, 3, 8, 8), np.float32), 1)
        assert found.gradient is None or found.gradient < 0.05


@pytest.mark.parametrize("black", [False, True])
@pytest.mark.parametrize("activation", ["LeakyRelu", "Tanh", "Selu"])
def test_a_wrong_gradient_is_caught_on_black_too(activation, black, monkeypatch):
    """The slopes along the path half as large as they are."""
    from onnxplain.engine.explaining import verification

    right = path.path_gradients

    def wrong(subject):
        model = right(subject)
        for output in model.graph.output:
            if output.name == "attribution":
                made = next(n for n in model.graph.node if output.name in n.output)
                made.output[[*made.output].index(output.name)] = "whole"
                model.graph.node.append(node("Add", ["whole", "whole"], [output.name]))
        return model

    monkeypatch.setattr(verification, "path_gradients", wrong)
    x = np.zeros((1, 3, 8, 8)) if black else RANDOM.random((1, 3, 8, 8))
    explainer = onnxplain.Explainer(bias_free(activation, True, 0), "saliency")
    with pytest.raises(onnxplain.UnsupportedModelError, match="the gradient of the score differs"):
        explainer.verify(x.astype(np.float32), 1)


def test_what_is_not_finite_is_never_rounding():
    exact = {"y": np.float32([1e-9, np.inf])}
    found = {"y": np.float32([1e-9, 1])}
    with pytest.raises(onnxplain.UnsupportedModelError):
        soundness.outputs_error(found, exact, "float", lambda *_: float("inf"))
