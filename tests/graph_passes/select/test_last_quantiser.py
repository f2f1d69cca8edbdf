"""The last quantiser is left out of the score: its top value is one number for all beyond it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxplain

RNG = np.random.default_rng(5)
WEIGHTS = RNG.integers(-20, 20, (6, 4)).astype(np.int8)
WEIGHTS[:, 2] = 20  # The class that saturates.
STEP = np.float32(0.05)
W = WEIGHTS * STEP
X = np.abs(RNG.normal(size=(2, 6))).astype(np.float32).round(1)
QDQ = [("QuantizeLinear", "{} s z", "{}"), ("DequantizeLinear", "{} s z", "{}")]
ARRAYS = {
    "w": W,
    "wq": WEIGHTS,
    "s": np.float32(0.0117),
    "z": np.int8(-28),
    "axis_s": np.float32([0.01, 0.02, 0.005, 0.01]),
    "axis_z": np.int8([0, 3, -7, 1]),
    "xs": np.float32(0.1),
    "ws": STEP,
    "zero": np.int8(0),
    "one_256th": np.float32(1 / 256),
    "none": np.uint8(0),
    "bottom": np.int8(-128),
    "low": np.float32(-100),
    "high": np.float32(127),
    "least": np.float32(-1),
    "most": np.float32(1.27),
    "shape": np.int64([0, 2, 2]),
    "flat": np.int64([0, 4]),
    "half": np.float32(0.5),
    "ten_bits": np.float32(1023),
}
LAYER = ("MatMul", "x w", "y")
GEMM_Q = ("QLinearMatMul", "xq xs zero wq ws zero s z", "yq")
INPUT_Q = ("QuantizeLinear", "x xs zero", "xq")


def quantised(name: str, after: str, scale: str = "s", zero: str = "z", **attributes) -> list:
    """A quantiser and its opposite."""
    return [
        ("QuantizeLinear", f"{name} {scale} {zero}", f"{after}_q", attributes),
        ("DequantizeLinear", f"{after}_q {scale} {zero}", after, attributes),
    ]


FORMS: dict[str, list] = {
    "qdq": [LAYER, *quantised("y", "out")],
    "qdq per class": [LAYER, *quantised("y", "out", "axis_s", "axis_z", axis=1)],
    "qlinear": [INPUT_Q, GEMM_Q, ("DequantizeLinear", "yq s z", "out")],
    "qgemm": [
        INPUT_Q,
        ("com.microsoft.QGemm", "xq xs zero wq ws zero  s z", "yq"),
        ("DequantizeLinear", "yq s z", "out"),
    ],
    "qlinear add": [
        LAYER,
        ("QuantizeLinear", "y ws zero", "y8"),
        ("com.microsoft.QLinearAdd", "y8 ws zero y8 ws zero s z", "yq"),
        ("DequantizeLinear", "yq s z", "out"),
    ],
    "softmax behind": [LAYER, *quantised("y", "l"), ("Softmax", "l", "out")],
    "behind softmax": [
        LAYER,
        ("Softmax", "y", "p"),
        *quantised("p", "out", "one_256th", "none"),
    ],
    "around softmax": [
        LAYER,
        *quantised("y", "l"),
        ("Softmax", "l", "p"),
        *quantised("p", "out", "one_256th", "none"),
    ],
    "qlinear softmax": [
        INPUT_Q,
        GEMM_Q,
        ("com.microsoft.QLinearSoftmax", "yq s z one_256th bottom", "p8", {"opset": 13}),
        ("DequantizeLinear", "p8 one_256th bottom", "out"),
    ],
    "sigmoid": [LAYER, ("Sigmoid", "y", "p"), *quantised("p", "out", "one_256th", "none")],
    "moved": [
        LAYER,
        ("QuantizeLinear", "y s z", "yq"),
        ("Reshape", "yq shape", "m"),
        ("Reshape", "m flat", "f"),
        ("DequantizeLinear", "f s z", "out"),
    ],
    "narrow": [
        LAYER,
        ("QuantizeLinear", "y s z", "yq"),
        ("Clip", "yq z zero", "c"),
        ("DequantizeLinear", "c s z", "out"),
    ],
    "simple operators": [
        LAYER,
        ("Div", "y s", "d"),
        ("Round", "d", "r"),
        ("Clip", "r low high", "c"),
        ("Mul", "c s", "out"),
    ],
    "clip first": [
        LAYER,
        ("Clip", "y least most", "c"),
        ("Div", "c s", "d"),
        ("Round", "d", "r"),
        ("Mul", "r s", "out"),
    ],
    "two": [LAYER, *quantised("y", "l"), ("Add", "l half", "m"), *quantised("m", "out", "ws")],
    "arithmetic behind": [LAYER, *quantised("y", "l"), ("Add", "l half", "out")],
}
# What the score is beside the layer's own number.
MORE = {"two": (1, 0.5), "arithmetic behind": (1, 0.5), "qlinear add": (2, 0)}


def built(nodes: list) -> onnx.ModelProto:
    """A model of x [N, 6] with one output of 4 classes."""
    made = []
    for op, inputs, name, *attributes in nodes:
        domain, _, kind = op.rpartition(".")
        options = attributes[0] if attributes else {}
        made.append(helper.make_node(kind, inputs.split(" "), [name], domain=domain, **options))
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "ends",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in ARRAYS.items() if k in used],
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10)


def file_says(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["out"], {"x": x})[0]


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_before_it(form: str) -> None:
    """The layer's own number, and all of its gradient, where the file says its top value."""
    model = built(FORMS[form])
    own = file_says(model, X)
    assert (own.max(axis=1) == own[:, 2]).all()
    slope, offset = MORE.get(form, (1, 0))
    for method in ("deeplift", "integrated-gradients"):
        explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1)
        e = explainer(X)
        np.testing.assert_array_equal(e.outputs["out"], own)
        np.testing.assert_array_equal(e.target, own.argmax(axis=1))
        rows = np.arange(2), e.target
        np.testing.assert_allclose(e.score, slope * (X @ W)[rows] + offset, rtol=1e-5)
        np.testing.assert_allclose(e.attribution, slope * X * W[:, e.target].T, rtol=1e-4)
    explainer.verify(X[:1])
    assert "last quantiser" in onnxplain.inspect(model).score


@pytest.mark.parametrize("form", ["qdq", "behind softmax", "simple operators"])
def test_the_output_itself_is_still_explained_when_asked(form: str) -> None:
    """Its own number, whose gradient is 0 where it saturates."""
    model = built(FORMS[form])
    explainer = onnxplain.Explainer(model, "deeplift", score="output", providers="cpu")
    e = explainer(X)
    np.testing.assert_array_equal(e.score, file_says(model, X).max(axis=1))
    subject = explainer.subject
    assert not subject.quantised and subject.decided is subject.logits


def test_the_top_class_is_the_files() -> None:
    """Of classes that share the top value the first, though another was beyond it by more."""
    x = np.float32([[3, 3, 3, 3, 3, 3]])
    weights = np.float32([[0.5, 0.2, 0.9, 0.7]] * 6)
    model = built(FORMS["qdq"])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    own = file_says(model, x)[0]
    assert (own == own.max()).tolist() == [True, True, True, True]
    e = onnxplain.Explainer(model, "deeplift", providers="cpu")(x)
    assert e.target.tolist() == [0] == [own.argmax()]
    np.testing.assert_allclose(e.score, [9.0], rtol=1e-6)
    third = onnxplain.Explainer(model, "deeplift", providers="cpu")(x, 2)
    np.testing.assert_allclose(third.score, [16.2], rtol=1e-6)


def test_a_quantiser_before_the_last_layer_stays() -> None:
    """What comes between two layers is a part of the model."""
    nodes = [*quantised("x", "xd"), ("MatMul", "xd w", "out")]
    found = onnxplain.inspect(built(nodes))
    assert "quantiser" not in found.score
    e = onnxplain.Explainer(built(nodes), "deeplift", providers="cpu")(X)
    np.testing.assert_allclose(e.score, file_says(built(nodes), X).max(axis=1), rtol=1e-5)


def test_a_rounding_of_the_files_own_is_no_quantiser() -> None:
    """Nothing multiplies its step back."""
    nodes = [LAYER, ("Mul", "y half", "d"), ("Round", "d", "r"), ("Add", "r half", "out")]
    explainer = onnxplain.inspect(built(nodes))
    assert "quantiser" not in explainer.score


def test_the_exported_file_says_the_same(tmp_path) -> None:
    model = built(FORMS["around softmax"])
    explainer = onnxplain.Explainer(model, "deeplift", providers="cpu")
    explainer.export(tmp_path / "e.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    feeds = {"x": X, "target": np.full(2, -1)}
    out, attribution = session.run(["out", "attribution"], feeds)
    e = explainer(X)
    np.testing.assert_array_equal(out, e.outputs["out"])
    np.testing.assert_allclose(attribution, e.attribution, rtol=1e-6)
