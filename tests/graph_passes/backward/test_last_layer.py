"""Where backward passes begin, for one target and for several: behind a last linear layer."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import zoo

import onnxplain
from onnxplain.engine.running import plan

RANDOM = np.random.default_rng(0)
W1, W2 = (RANDOM.standard_normal(s).astype(np.float32) for s in ((5, 7), (7, 4)))
BIAS = RANDOM.standard_normal(4).astype(np.float32)
X = RANDOM.standard_normal((3, 5)).astype(np.float32)

HEADS = {
    "MatMul": [helper.make_node("MatMul", ["h", "w2"], ["y"])],
    "MatMul, Add": [
        helper.make_node("MatMul", ["h", "w2"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["y"]),
    ],
    "Gemm": [helper.make_node("Gemm", ["h", "w2", "bias"], ["y"])],
    "Gemm, transposed": [helper.make_node("Gemm", ["h", "w2_transposed"], ["y"], transB=1)],
    "Gemm, scaled": [helper.make_node("Gemm", ["h", "w2", "bias"], ["y"], alpha=0.5)],
    "another operator": [
        helper.make_node("MatMul", ["h", "w2"], ["product"]),
        helper.make_node("Tanh", ["product"], ["y"]),
    ],
}


def network(head: str, first: bool = True) -> ModelProto:
    """y = head(tanh(x w1)), or head(x) alone."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["xw"]), helper.make_node("Tanh", ["xw"], "h")]
    arrays = {"w1": W1, "w2": W2, "w2_transposed": W2.T.copy(), "bias": BIAS}
    graph = helper.make_graph(
        [*nodes, *HEADS[head]] if first else HEADS[head],
        "network",
        [helper.make_tensor_value_info("x" if first else "h", TensorProto.FLOAT, ["n", len(W1)])]
        if first
        else [helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", len(W2)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def scores(head: str, x: np.ndarray) -> np.ndarray:
    """[n, 4], float64."""
    h = np.tanh(x.astype(np.float64) @ W1)
    y = h @ W2
    if head == "Gemm, scaled":
        y = y / 2
    if head in ("MatMul, Add", "Gemm", "Gemm, scaled"):
        y = y + BIAS
    return np.tanh(y) if head == "another operator" else y


def gradients(head: str, x: np.ndarray, targets: list[int]) -> np.ndarray:
    """Central differences."""
    found = np.zeros(x.shape)
    rows, step = np.arange(len(x)), 1e-6
    for column in range(x.shape[1]):
        nudge = step * np.eye(x.shape[1])[column]
        rise = scores(head, x + nudge) - scores(head, x - nudge)
        found[:, column] = rise[rows, targets] / (2 * step)
    return found


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["classes", "index tuple"])
def test_integrated_gradients(head: str, kind: str):
    targets = [2, 0, 3] if kind == "classes" else [1, 1, 1]
    steps, total = 40, np.zeros(X.shape)
    points, weights = np.polynomial.legendre.leggauss(steps)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += weight * gradients(head, np.float64(point) * X, targets)
    explainer = onnxplain.Explainer(network(head), "integrated-gradients", steps=steps)
    found = explainer(X, targets if kind == "classes" else (1,))
    np.testing.assert_allclose(found.attribution, total * X, atol=1e-5)
    expected = scores(head, X)[np.arange(3), targets]
    np.testing.assert_allclose(found.score, expected, rtol=1e-5)
    adaptive = onnxplain.Explainer(
        network(head), "integrated-gradients", steps=400, tolerance=1e-3
    )(X, targets if kind == "classes" else (1,))
    np.testing.assert_allclose(adaptive.score, expected, rtol=1e-5)
    np.testing.assert_allclose(adaptive.attribution, total * X, atol=2e-2)
    assert (adaptive.relative_delta < 2e-3).all()


@pytest.mark.parametrize("head", HEADS)
def test_deeplift(head: str):
    """Of tanh(x w1): multipliers are quotients of differences."""
    explainer = onnxplain.Explainer(network(head), "deeplift")
    found = explainer(X)
    top = scores(head, X).argmax(1)
    assert found.target.tolist() == top.tolist()
    dx = X.astype(np.float64) @ W1
    outer = gradient = W2[:, top].T.astype(np.float64)
    if head == "Gemm, scaled":
        outer = gradient / 2
    if head == "another operator":
        y = np.tanh(dx) @ W2
        outer = gradient * (np.tanh(y) / y)[np.arange(3), top][:, None]
    expected = (outer * np.tanh(dx) / dx) @ W1.T * X
    np.testing.assert_allclose(found.attribution, expected, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_model_that_is_only_its_last_layer(head: str):
    h = RANDOM.standard_normal((2, 7)).astype(np.float32)
    explainer = onnxplain.Explainer(network(head, first=False), "integrated-gradients", steps=30)
    found = explainer(h, [3, 1])
    assert (np.abs(found.delta) < 1e-4).all()
    if head != "another operator":
        scale = 0.5 if head == "Gemm, scaled" else 1
        expected = scale * W2[:, [3, 1]].T * h
        np.testing.assert_allclose(found.attribution, expected, rtol=1e-5)


def small(nodes, inputs, outputs, arrays: dict[str, np.ndarray]) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, read, made, **attributes) for op, read, made, attributes in nodes],
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("target", [2, (2,), -1])
def test_an_addition_that_widens_is_no_bias(target):
    """Ordinal regression: one product, a threshold for each class."""
    nodes = [
        ("MatMul", ["x", "w1"], ["xw"], {}),
        ("Tanh", ["xw"], ["h"], {}),
        ("MatMul", ["h", "column"], ["one"], {}),
        ("Add", ["one", "bias"], ["y"], {}),
    ]
    arrays = {"w1": W1, "column": W2[:, :1].copy(), "bias": BIAS}
    model = small(nodes, {"x": ["n", 5]}, {"y": (TensorProto.FLOAT, ["n", 4])}, arrays)
    found = onnxplain.Explainer(model, "deeplift")(X, target)
    dx = X.astype(np.float64) @ W1
    expected = (W2[:, 0] * np.tanh(dx) / dx) @ W1.T * X
    np.testing.assert_allclose(found.attribution, expected, atol=1e-5)


@pytest.mark.parametrize("score", ["logit", "output"])
def test_half_precision_to_a_tolerance(score):
    nodes = [
        ("Cast", ["x"], ["half"], {"to": TensorProto.FLOAT16}),
        ("MatMul", ["half", "w1"], ["xw"], {}),
        ("Tanh", ["xw"], ["h"], {}),
        ("MatMul", ["h", "w2"], ["logits"], {}),
        ("Softmax", ["logits"], ["y"], {}),
    ]
    arrays = {"w1": W1.astype(np.float16), "w2": W2.astype(np.float16)}
    model = small(nodes, {"x": ["n", 5]}, {"y": (TensorProto.FLOAT16, ["n", 4])}, arrays)
    explainer = onnxplain.Explainer(
        model, "integrated-gradients", steps=200, tolerance=0.01, score=score
    )
    assert (explainer(X, 2).relative_delta < 0.02).all()


def test_a_mean_over_channels_too():
    """The slope is repeated along the channels, so it is not one number for each of them."""
    kernel = RANDOM.standard_normal((6, 3, 3, 3)).astype(np.float32)
    nodes = [
        ("Conv", ["x", "kernel"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c"], ["map"], {}),
        ("ReduceMean", ["map", "axes"], ["y"], {"keepdims": 1}),
    ]
    model = small(
        nodes,
        {"x": ["n", 3, 8, 8]},
        {"y": (TensorProto.FLOAT, ["n", 1, 1, 1])},
        {"kernel": kernel, "axes": np.array([1, 2, 3])},
    )
    x = RANDOM.standard_normal((2, 3, 8, 8)).astype(np.float32)
    model.graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, None))
    found = onnxplain.Explainer(model, "grad-cam", output="y", layer="map")(x, 0)
    np.testing.assert_allclose(
        found.attribution, found.outputs["map"].sum(1) / (6 * 64), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("length", [3, 9])
def test_targets_at_once_where_the_first_axis_is_time(length):
    kernel, mixer = (RANDOM.standard_normal(s).astype(np.float32) for s in ((6, 1, 3), (6, 1)))
    nodes = [
        ("Unsqueeze", ["x", "one"], ["channel"], {}),
        ("Conv", ["channel", "kernel"], ["c"], {}),
        ("Relu", ["c"], ["map"], {}),
        ("Transpose", ["map"], ["rows"], {"perm": [0, 2, 1]}),
        ("Transpose", ["rows"], ["time_first"], {"perm": [1, 0, 2]}),
        ("MatMul", ["time_first", "mixer"], ["s"], {}),
        ("Softmax", ["s"], ["attention"], {"axis": 0}),
        ("Transpose", ["attention"], ["weights"], {"perm": [1, 2, 0]}),
        ("MatMul", ["weights", "rows"], ["mixed"], {}),
        ("Squeeze", ["mixed", "one"], ["h"], {}),
        ("MatMul", ["h", "head"], ["y"], {}),
    ]
    head = RANDOM.standard_normal((6, 12)).astype(np.float32)
    arrays = {"one": np.array([1]), "kernel": kernel, "mixer": mixer, "head": head}
    model = small(nodes, {"x": ["n", "length"]}, {"y": (TensorProto.FLOAT, ["n", 12])}, arrays)
    explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu")
    x, targets = RANDOM.standard_normal((1, length)).astype(np.float32), list(range(12))
    alone = [explainer(x, target).attribution for target in targets]
    np.testing.assert_allclose(
        explainer(x, targets).attribution, np.concatenate(alone), rtol=1e-5, atol=1e-6
    )


def test_targets_at_once(monkeypatch):
    """More of them than go through at once."""
    sizes = []

    def noted(held, count, rows_of=plan._rows_of):
        sizes.append(count)
        return rows_of(held, count)

    monkeypatch.setattr(plan, "_rows_of", noted)
    explainer = onnxplain.Explainer(zoo.model("demo"), "grad-cam", providers="cpu", threads=1)
    (x,) = zoo.feeds("demo").values()
    alone = [explainer(x[:1], target) for target in range(10)]
    together = explainer(x[:1], list(range(10)))
    assert sizes == [8, 2]
    expected = np.concatenate([one.attribution for one in alone])
    np.testing.assert_allclose(together.attribution, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together.score, [one.score[0] for one in alone], rtol=1e-5)
