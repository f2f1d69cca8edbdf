"""What is refused by name, what is served, and which weights a model has."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.small import ask, f32, node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.subject import select
from onnxplain.models.load import sha256

RANDOM = np.random.default_rng(21)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
METHODS = ["integrated-gradients", "deeplift"]


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("training", [True, None])
def test_a_dropout_that_drops_is_refused(training):
    weights = {"r": f32(0.5)[0]} | ({} if training is None else {"t": np.array(training)})
    inputs = [value("x", ["N", 3])] + ([value("t", [], 9)] if training is None else [])
    nodes = [
        node("Dropout", ["x", "r", "t"], ["d"], name="drop"),
        node("MatMul", ["d", "w"], ["y"]),
    ]
    model = small(nodes, inputs, [value("y", ["N", 4])], {**weights, "w": W})
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"'drop'.*training"):
        onnxplain.vjp(model)


@pytest.mark.parametrize("ratio, training", [(0.0, True), (0.5, False)])
def test_a_dropout_that_does_not_drop_is_served(ratio, training):
    nodes = [node("Dropout", ["x", "r", "t"], ["d"]), node("MatMul", ["d", "w"], ["y"])]
    weights = {"r": f32(ratio)[0], "t": np.array(training), "w": W}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights)
    x = normal(1, 3)
    np.testing.assert_allclose(
        onnxplain.Explainer(model, "deeplift")(x, 1).attribution, x * W[:, 1], rtol=1e-5
    )


@pytest.mark.parametrize("count", [1, 4])
def test_batch_statistics_are_refused(count):
    nodes = [
        node("BatchNormalization", ["x", *"sbmv"], ["z", "m1", "v1"], training_mode=1, name="norm"),
        node("MatMul", ["z", "w"], ["y"]),
    ]
    weights = {k: np.ones(3, np.float32) for k in "sbmv"} | {"w": W}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights)
    for method in METHODS:
        with pytest.raises(onnxplain.UnsupportedModelError, match=r"'norm'.*training"):
            onnxplain.Explainer(model, method)(normal(count, 3))


def test_optionals():
    nodes = [
        node("Optional", ["x"], ["o"]),
        node("OptionalGetElement", ["o"], ["q"]),
        node("Tanh", ["q"], ["y"]),
    ]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 3])])
    x = normal(2, 3)
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=np.ones_like(x))["grad_x"]
    np.testing.assert_allclose(found, 1 - np.tanh(x) ** 2, rtol=1e-4)


def test_inputs_of_unknown_rank_are_refused():
    model = small([node("Tanh", ["x"], ["y"])], [value("x", None)], [value("y", None)])
    with pytest.raises(onnxplain.UnsupportedModelError, match="how many axes"):
        select(prepare(model))


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("how", ["mul", "where", "argmax"])
def test_symbolic_batches_off_the_path(how, rows):
    weights = {"k": normal(4, 3, 3, 3), "zero": f32(0)[0]}
    ways = {
        "mul": [
            node("Greater", ["x", "zero"], ["c"]),
            node("Cast", ["c"], ["f"], to=1),
            node("Mul", ["x", "f"], ["m"]),
        ],
        "where": [node("Less", ["x", "zero"], ["c"]), node("Where", ["c", "zero", "x"], ["m"])],
        "argmax": [
            node("ArgMax", ["x"], ["i"], axis=1),
            node("Cast", ["i"], ["f"], to=1),
            node("Mul", ["x", "f"], ["m"]),
        ],
    }
    nodes = [
        *ways[how],
        node("Conv", ["m", "k"], ["h"], pads=[1] * 4),
        node("ReduceMean", ["h"], ["y"], axes=[2, 3], keepdims=0),
    ]
    model = small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 4])], weights)
    x = normal(rows, 3, 8, 8)
    explainer = onnxplain.Explainer(model, "integrated-gradients", steps=16)
    together = explainer(x, 1).attribution
    for k in range(rows):
        np.testing.assert_allclose(
            explainer(x[k : k + 1], 1).attribution[0], together[k], atol=1e-5
        )


# --- weights in another file


def saved(folder, weights, name):
    folder.mkdir()
    model = small(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", ["N", 4])],
        [value("y", ["N", 300])],
        {"w": weights},
    )
    onnx.save(model, folder / name, save_as_external_data=True, location="m.data", size_threshold=0)
    return folder / name


@pytest.mark.parametrize("method", METHODS)
def test_a_second_checkpoint_is_another_model(method, tmp_path):
    """The same graph beside other weights, in two folders and in one that is written again."""
    first, second = normal(4, 300), normal(4, 300)
    x = normal(1, 4)
    paths = [saved(tmp_path / str(k), w, "m.onnx") for k, w in enumerate((first, second))]
    for path, w in zip(paths, (first, second), strict=True):
        e = onnxplain.Explainer(path, method)(x, 3)
        np.testing.assert_allclose(e.attribution, x * w[:, 3], rtol=1e-4, atol=1e-6)
    paths[0].with_name("m.data").write_bytes(paths[1].with_name("m.data").read_bytes())
    e = onnxplain.Explainer(paths[0], method)(x, 3)
    np.testing.assert_allclose(e.attribution, x * second[:, 3], rtol=1e-4, atol=1e-6)
    shas = [sha256(path) for path in paths]
    assert shas[0] == shas[1]


def test_random_numbers_that_steer_are_refused():
    """Drawn for an index: no derivative passes them, and yet no two runs answer alike."""
    nodes = [
        node("RandomUniformLike", ["x"], ["r"], name="dice"),
        node("TopK", ["r", "two"], ["v", "i"]),
        node("GatherElements", ["x", "i"], ["g"], axis=1),
        node("ReduceSum", ["g", "one"], ["y"]),
    ]
    weights = {"two": np.array([2]), "one": np.array([1])}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 1])], weights)
    for method in METHODS:
        with pytest.raises(onnxplain.UnsupportedModelError, match=r"'dice'.*random"):
            onnxplain.Explainer(model, method)
