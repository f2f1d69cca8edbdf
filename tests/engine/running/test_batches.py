"""What belongs to a row of the batch and what does not: tables, constants, single numbers."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.small import model_of

import onnxplain

METHODS = ("integrated-gradients", "deeplift")

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
RANDOM = np.random.default_rng(5)
QUERIES, KEYS = RANDOM.standard_normal((2, 4, 5)).astype(np.float32)


def matching(rows: int | str):
    """Queries [N, 5] against a table of keys [rows, 5]."""
    node = helper.make_node("Gemm", ["query", "keys"], ["scores"], transB=1)
    inputs = [("query", FLOAT, ["n", 5]), ("keys", FLOAT, [rows, 5])]
    return model_of([node], inputs, [("scores", FLOAT, ["n", rows])], {})


@pytest.mark.parametrize("rows", [4, "m"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("targets", [0, [0, 1, 2, 3]])
def test_a_table_of_as_many_rows_as_the_batch_stays_whole(method, rows, targets):
    e = onnxplain.Explainer(matching(rows), method, input="query", steps=4, providers="cpu")
    found = e({"query": QUERIES, "keys": KEYS}, targets)
    np.testing.assert_allclose(found.outputs["scores"], QUERIES @ KEYS.T, atol=1e-5)
    np.testing.assert_allclose(found.attribution, QUERIES * KEYS[targets], atol=1e-5)


def test_a_table_is_not_explained():
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"'keys' .* first axis"):
        onnxplain.Explainer(matching("m"), "deeplift", input="keys")


@pytest.mark.parametrize("method", METHODS)
def test_explained_inputs_have_one_batch(method):
    node = helper.make_node("Mul", ["left", "right"], ["scores"])
    inputs = [("left", FLOAT, ["n", 5]), ("right", FLOAT, ["m", 5])]
    model = model_of([node], inputs, [("scores", FLOAT, None)], {})
    explainer = onnxplain.Explainer(model, method, input=["left", "right"], providers="cpu")
    with pytest.raises(onnxplain.InvalidInputError, match="'right': expected 4 rows"):
        explainer({"left": QUERIES, "right": KEYS[:1]}, 0)


def with_constants():
    """Scores, their sum over the batch, and two outputs that depend on no input."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ReduceSum", ["scores"], ["sum"], keepdims=0),
        helper.make_node("Neg", ["w"], ["negative"]),
    ]
    outputs = [("scores", FLOAT, ["n", 3]), ("w", FLOAT, [5, 3]), ("negative", FLOAT, [5, 3])]
    weights = {"w": RANDOM.standard_normal((5, 3)).astype(np.float32)}
    return model_of(nodes, [("x", FLOAT, ["n", 5])], [*outputs, ("sum", FLOAT, [])], weights)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["one", "several targets", "the same twice"])
def test_outputs_without_a_batch(method, case):
    model = with_constants()
    x = QUERIES[[0, 0]] if case == "the same twice" else QUERIES[:1]
    target = 1 if case == "one" else [1, 2]
    e = onnxplain.Explainer(model, method, steps=4, providers="cpu")(x, target)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {"x": x}), strict=True))
    if method == "deeplift" and case == "the same twice":
        del expected["sum"]  # its rows go through the graph one by one
    for name, value in expected.items():
        np.testing.assert_allclose(e.outputs[name], value, atol=1e-5)


@pytest.mark.parametrize("options", [{"steps": 50}, {"quadrature": "adaptive", "steps": 50}])
def test_integrated_gradients_of_doubles(options, tmp_path):
    """Points and weights come in the model's own type, in the exported file too."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["scores"]),
    ]
    weights = {"w": RANDOM.standard_normal((5, 3))}
    inputs, outputs = [("x", DOUBLE, ["n", 5])], [("scores", DOUBLE, ["n", 3])]
    model, x = model_of(nodes, inputs, outputs, weights), QUERIES.astype(np.float64)
    explainer = onnxplain.Explainer(model, "integrated-gradients", providers="cpu", **options)
    e = explainer(x, 1)
    assert e.relative_delta is not None and e.relative_delta.max() < 0.01
    explainer.export(tmp_path / "doubles.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "doubles.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["attribution"], {"x": x, "target": np.array([1] * 4)})
    np.testing.assert_allclose(found, e.attribution, atol=0.02 if options else 1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [["n", 8, 6, 3], ["n", "h", "w_", 3]])
def test_bytes_transposed_before_their_cast(method, sizes):
    """Attribution and baseline keep the input's own axes."""
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=FLOAT),
        helper.make_node("Conv", ["float", "w"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    weights = {"w": RANDOM.standard_normal((4, 3, 1, 1)).astype(np.float32)}
    pixels = ("pixels", TensorProto.UINT8, sizes)
    model = model_of(nodes, [pixels], [("scores", FLOAT, ["n", 4])], weights)
    x = RANDOM.integers(0, 256, (2, 8, 6, 3)).astype(np.uint8)
    start = RANDOM.integers(0, 256, (2, 8, 6, 3)).astype(np.float32)
    e = onnxplain.Explainer(model, method, steps=4, baseline=start, providers="cpu")(x, 2)
    expected = (x - start) * weights["w"][2, :, 0, 0] / 48
    np.testing.assert_allclose(e.attribution, expected, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["numbers", "reshaped"])
def test_tokens_looked_up_in_other_ways(method, form):
    """A table of numbers has no rows to sum over; ids may be reshaped before."""
    table = RANDOM.standard_normal(11 if form == "numbers" else (11, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["tokens", "axis"], ["ids"]),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Tanh", ["rows"], ["squashed"]),
        helper.make_node("Reshape", ["squashed", "flat"], ["wide"]),
        helper.make_node("MatMul", ["wide", "v"], ["scores"]),
    ]
    if form == "numbers":
        nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"]), *nodes[2:]]
    width = 5 * (1 if form == "numbers" else 6)
    weights = {"table": table, "axis": np.array([1]), "flat": np.array([-1, width])}
    weights["v"] = RANDOM.standard_normal((width, 3)).astype(np.float32)
    inputs = [("tokens", TensorProto.INT64, ["n", 5])]
    model = model_of(nodes, inputs, [("scores", FLOAT, ["n", 3])], weights)
    tokens = RANDOM.integers(0, 11, (3, 5))
    e = onnxplain.Explainer(model, method, steps=50, providers="cpu")(tokens, 1)
    rows = np.tanh(table[tokens]).reshape(3, -1) * weights["v"][:, 1]
    expected = rows if form == "numbers" else rows.reshape(3, 5, 6).sum(2)
    np.testing.assert_allclose(e.attribution.reshape(3, 5), expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_state_with_the_batch_on_another_axis(method):
    """Its rows cannot be taken apart, so all inputs go through the graph at once."""
    nodes = [
        helper.make_node("Transpose", ["state"], ["turned"], perm=[1, 0]),
        helper.make_node("Mul", ["x", "turned"], ["scores"]),
    ]
    inputs = [("x", FLOAT, ["n", 5]), ("state", FLOAT, [5, "n"])]
    model = model_of(nodes, inputs, [("scores", FLOAT, ["n", 5])], {})
    explainer = onnxplain.Explainer(model, method, input="x", steps=4, providers="cpu")
    x, state = (np.concatenate([a, a[::-1], a[:1]])[:5] for a in (QUERIES, KEYS))
    for rows in (4, 5):
        e = explainer({"x": x[:rows], "state": state[:rows].T.copy()}, 2)
        expected = np.where(np.arange(5) == 2, x[:rows] * state[:rows], 0)
        np.testing.assert_allclose(e.attribution, expected, atol=1e-5)
