"""Where the rows of a batch lie: on whatever axis they end, apart or taken together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.small import FLOAT, ask, f32, node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.rows.follow import follow_rows
from onnxplain.graph_passes.select.rows.places import Lost, Place, join_rows

RANDOM = np.random.default_rng(11)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
BEGIN = RANDOM.bit_generator.state
METHODS = ["integrated-gradients", "deeplift"]


@pytest.fixture(autouse=True)
def same_draws_in_any_order():
    RANDOM.bit_generator.state = BEGIN


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def place_of(nodes, x_shape, weights=None, opset=17):
    model = small(nodes, [value("x", x_shape)], [value("y", None)], weights, opset)
    return follow_rows(prepare(model), {"x": Place(0)}).get("y")


CASES = {
    "transpose": ([node("Transpose", ["x"], ["y"], perm=[1, 2, 0])], {}, Place(2)),
    "time first": ([node("Transpose", ["x"], ["y"], perm=[1, 0, 2])], {}, Place(1)),
    "flatten": ([node("Flatten", ["x"], ["y"])], {}, Place(0)),
    "windows": ([node("Reshape", ["x", "s"], ["y"])], {"s": np.array([-1, 2, 3])}, Place(0, 1, 3)),
    "steps of all rows": (
        [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Reshape", ["t", "s"], ["y"])],
        {"s": np.array([-1, 3])},
        Place(0, 6, 1),
    ),
    "a row of one written in": (
        [node("Reshape", ["x", "s"], ["y"])],
        {"s": np.array([1, -1, 3])},
        Place(1, 1, 6),
    ),
    "there and back": (
        [node("Reshape", ["x", "s"], ["w"]), node("Reshape", ["w", "b"], ["y"])],
        {"s": np.array([-1, 2, 3]), "b": np.array([-1, 6, 3])},
        Place(0),
    ),
    "reduced": ([node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)], {}, Place(0)),
    "a product": ([node("MatMul", ["x", "w"], ["y"])], {"w": W}, Place(0)),
    "attention": (
        [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["y"])],
        {},
        Place(0),
    ),
    "a constant": ([node("Shape", ["x"], ["y"])], {}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_are_followed(name):
    nodes, weights, expected = CASES[name]
    assert place_of(nodes, ["N", 6, 3], weights) == expected


MIXED = {
    "mean": ([node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"], ["y"])], {}),
    "softmax": ([node("Softmax", ["x"], ["y"], axis=0)], {}),
    "cumulative": ([node("CumSum", ["x", "zero"], ["y"])], {"zero": np.array(0)}),
    "gram": ([node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["y"])], {}),
    "layer": (
        [node("LayerNormalization", ["x", "s"], ["y"], axis=0)],
        {"s": np.ones((4, 3), np.float32)},
    ),
    "one number": (
        [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Sub", ["x", "m"], ["y"])],
        {},
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_rows_that_are_taken_together_are_found(name):
    nodes, weights = MIXED[name]
    found = place_of(nodes, ["N", 3] if name != "layer" else [4, 3], weights)
    assert isinstance(found, Lost) and found.kind == "mixed"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [name for name in MIXED if name not in ("layer", "gram")])
def test_mixed_rows_are_refused_together_and_explained_alone(name, method):
    nodes, weights = MIXED[name]
    nodes = [*nodes, node("Tanh", ["y"], ["t"]), node("MatMul", ["t", "w"], ["z"])]
    model = small(nodes, [value("x", ["N", 3])], [value("z", ["N", 4])], {**weights, "w": W})
    explainer = onnxplain.Explainer(model, method, steps=600)
    with pytest.raises(onnxplain.UnsupportedModelError, match="are not explained apart"):
        explainer(normal(4, 3), 0)
    x = normal(1, 3)
    e = explainer(x, 0, baseline=f32([0.3, -0.2, 0.1]))
    # Integrated Gradients' fixed points miss some where another element becomes the largest.
    assert e.attribution.shape == (1, 3) and e.relative_delta[0] < 0.02
    np.testing.assert_allclose(e.outputs["z"], ask(model, x=x)["z"], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_input_never_gives_two_rows(method):
    nodes = [
        node("Reshape", ["x", "s"], ["r"]),
        node("Tanh", ["r"], ["t"]),
        node("ReduceMean", ["t"], ["p"], axes=[1], keepdims=0),
        node("MatMul", ["p", "w"], ["y"]),
    ]
    weights = {"s": np.array([1, -1, 3]), "w": W}
    model = small(nodes, [value("x", ["N", 6, 3])], [value("y", ["N", 4])], weights)
    explainer = onnxplain.Explainer(model, method, steps=40)
    e = explainer(normal(1, 6, 3), 0)
    assert e.attribution.shape == (1, 6, 3) and abs(e.delta[0]) < 1e-4
    with pytest.raises(onnxplain.UnsupportedModelError, match="ReduceMean"):
        explainer(normal(2, 6, 3), 0)


def quantised_dynamically():
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w8", "z"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["f", "s"], ["y"]),
    ]
    weights = {"w8": RANDOM.integers(-127, 127, (3, 4)).astype(np.int8)}
    return small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights)


@pytest.mark.parametrize("method", METHODS)
def test_a_quantisers_range_is_that_of_one_row(method):
    model, x = quantised_dynamically(), normal(3, 3) * f32([1], [5], [20])
    explainer = onnxplain.Explainer(model, method)
    together, alone = explainer(x, 1), [explainer(x[k : k + 1], 1) for k in range(3)]
    for k, one in enumerate(alone):
        np.testing.assert_allclose(together.attribution[k], one.attribution[0], rtol=1e-5)
        np.testing.assert_allclose(one.score, ask(model, x=x[k : k + 1])["y"][:, 1], rtol=1e-6)
    assert np.isfinite(together.attribution).all() and together.baseline_score[0] == 0


def test_a_quantisers_range_of_zeros_is_no_nan():
    model = quantised_dynamically()
    zeros = np.zeros((1, 3), np.float32)
    e = onnxplain.Explainer(model, "deeplift")(zeros, 0)
    np.testing.assert_array_equal(e.outputs["y"], ask(model, x=zeros)["y"])


def recurrent(outputs=("y",), batch="N"):
    torch.manual_seed(0)
    return (
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("GRU", ["t", "W", "R"], ["all", "last"], hidden_size=4),
            node("Squeeze", ["all", "one"], ["y"]),
        ],
        {"W": normal(1, 12, 3), "R": normal(1, 12, 4), "one": np.array([1])},
    )


@pytest.mark.parametrize("batch", ["N", 5, 1])
@pytest.mark.parametrize("method", METHODS)
def test_time_first_scores(method, batch):
    """[T, N, C] as every CRNN has it, also where T equals N by declaration."""
    nodes, weights = recurrent()
    outputs = [value("y", [5, batch, 4]), value("last", [1, batch, 4])]
    model = small(nodes, [value("x", [batch, 5, 3])], outputs, weights)
    x = normal(1 if batch == 1 else 5, 5, 3)
    e = onnxplain.Explainer(model, method, steps=60)(x, (3, 2))
    file = ask(model, x=x)
    np.testing.assert_allclose(e.score, file["y"][3, :, 2], atol=1e-6)
    np.testing.assert_allclose(e.outputs["y"], file["y"], atol=1e-6)
    np.testing.assert_allclose(e.outputs["last"], file["last"], atol=1e-6)
    assert np.abs(e.delta).max() < 1e-4 and e.attribution.shape == x.shape


def test_time_first_scores_of_more_rows_than_go_at_once():
    nodes, weights = recurrent()
    model = small(
        nodes, [value("x", ["N", 5, 3])], [value("y", None), value("last", None)], weights
    )
    x = normal(7, 5, 3)
    explainer = onnxplain.Explainer(model, "deeplift")
    e, file = explainer(x, (0, 1)), ask(model, x=x)
    for name in ("y", "last"):
        np.testing.assert_allclose(e.outputs[name], file[name], atol=1e-6)
    for k in range(7):
        alone = explainer(x[k : k + 1], (0, 1))
        np.testing.assert_allclose(e.attribution[k], alone.attribution[0], atol=1e-6)


def test_all_steps_of_all_rows_in_one_axis():
    """[N T, C], as a dense layer behind a reshape leaves it: (step, class) names a score."""
    nodes = [node("Reshape", ["x", "s"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    weights = {"s": np.array([-1, 3]), "w": W}
    model = small(nodes, [value("x", ["N", 6, 3])], [value("y", None)], weights)
    x = normal(4, 6, 3)
    e = onnxplain.Explainer(model, "deeplift")(x, (2, 1))
    np.testing.assert_allclose(e.score, ask(model, x=x)["y"].reshape(4, 6, 4)[:, 2, 1], atol=1e-6)
    np.testing.assert_allclose(e.outputs["y"], ask(model, x=x)["y"], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, "N"])
def test_scores_without_an_axis_for_rows(method, batch):
    total = small(
        [node("Tanh", ["x"], ["t"]), node("ReduceSum", ["t"], ["y"], keepdims=0)],
        [value("x", [batch, 3])],
        [value("y", [])],
        opset=13,
    )
    x = normal(1, 3)
    e = onnxplain.Explainer(total, method, steps=60)(x)
    np.testing.assert_allclose(e.score, [np.tanh(x).sum()], atol=1e-5)
    assert e.outputs["y"].shape == () and abs(e.delta[0]) < 1e-4
    classes = small(
        [node("Squeeze", ["x", "zero"], ["s"]), node("MatMul", ["s", "w"], ["y"])],
        [value("x", [1, 3])],
        [value("y", [4])],
        {"zero": np.array([0]), "w": W},
    )
    e = onnxplain.Explainer(classes, method)(x, 2)
    np.testing.assert_allclose(e.score, (x @ W)[:, 2], atol=1e-6)
    np.testing.assert_allclose(e.attribution, x * W[:, 2], atol=1e-6)


def test_unknown_to_structure_is_asked_of_the_file():
    """Rows that are sorted out by position: the file's answer decides."""
    pick = [node("Gather", ["x", "order"], ["g"], axis=0), node("MatMul", ["g", "w"], ["y"])]
    weights = {"order": np.array([1, 0]), "w": W}
    model = small(pick, [value("x", ["N", 3])], [value("y", ["N", 4])], weights)
    with pytest.raises(onnxplain.OnnxplainError):
        onnxplain.Explainer(model, "deeplift")(normal(2, 3), 0)


def test_join_rows_is_the_inverse_of_taking_them_apart():
    whole = normal(2 * 3 * 2, 5)  # index (b * 3 + n) * 2 + a
    parts = [whole.reshape(2, 3, 2, 5)[:, n].reshape(4, 5) for n in range(3)]
    np.testing.assert_array_equal(join_rows(Place(0, 2, 2), parts), whole)
    assert FLOAT == 1
