"""No name of a file collides with what is added to it, or means anything."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.small import BOOL, FLOAT, INT64, ask, f32, node, small, value

import onnxplain

RANDOM = np.random.default_rng(3)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
X = RANDOM.standard_normal((2, 3)).astype(np.float32)
METHODS = ["integrated-gradients", "deeplift"]
NAMES = [
    *("grad_x", "cotangent_y", "target", "delta", "attribution", "baseline", "baseline_x"),
    *("onnxplain/score", "onnxplain/seed", "onnxplain/explain/Mul_0", "onnxplain/step/attribution"),
    *("step/attribution", "i", "go_on", "onnxplain/loop/number", "onnxplain/body0/c", "after"),
    *("onnxplain/straight_through/x", "x/float32", "zero", "of_the_model/score"),
]


def explained_and_exported(model, method, folder, feeds, target):
    """The library's attribution, and the exported file's."""
    explainer = onnxplain.Explainer(model, method, input="x", steps=8)
    e = explainer(feeds, target)
    file = explainer.export(folder / "explained.onnx")
    stock = ask(file, **feeds, target=np.full(len(feeds["x"]), target))
    np.testing.assert_allclose(stock["attribution"], e.attribution, rtol=1e-5, atol=1e-6)
    return e


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_tensors_inside(name, method, tmp_path):
    """As an initializer, as a node's output and as a node's name."""
    nodes = [
        node("MatMul", ["x", "w"], [name], name=name),
        node("Tanh", [name], ["t"], name="attribution"),
        node("Mul", ["t", "other"], ["y"], name="onnxplain/path"),
    ]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], {"w": W, "other": f32(2)})
    gradient = ask(onnxplain.vjp(model), x=X, cotangent_y=np.ones((2, 4), np.float32))["grad_x"]
    np.testing.assert_allclose(gradient, 2 * (1 - np.tanh(X @ W) ** 2) @ W.T, rtol=1e-4, atol=1e-5)
    explained_and_exported(model, method, tmp_path, {"x": X}, 1)
    held = small(
        [node("MatMul", ["x", name], ["h"]), node("Tanh", ["h"], ["y"])],
        [value("x", ["N", 3])],
        [value("y", ["N", 4])],
        {name: W},
    )
    explained_and_exported(held, method, tmp_path, {"x": X}, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["i", "go_on", "step/total", "alphas", "points", "seed"])
def test_further_inputs(name, method, tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Sigmoid", ["h"], ["s"]),
        node("Gather", ["table", name], ["k"]),
        node("Mul", ["s", "k"], ["y"]),
    ]
    weights = {"w": W, "table": np.arange(1, 60, dtype=np.float32)}
    inputs = [value("x", ["N", 3]), value(name, [], INT64)]
    model = small(nodes, inputs, [value("y", ["N", 4])], weights)
    feeds = {"x": X[:1], name: np.array(2)}
    e = explained_and_exported(model, method, tmp_path, feeds, 1)
    assert e.relative_delta[0] < 1e-3


@pytest.mark.parametrize("name", ["target", "delta", "attribution", "onnxplain/score"])
def test_inputs_and_outputs_of_the_contract_are_refused_by_name(name):
    model = small(
        [node("MatMul", ["x", "w"], [name])],
        [value("x", ["N", 3])],
        [value(name, ["N", 4])],
        {"w": W},
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match=f"named '{name}'"):
        onnxplain.Explainer(model, "deeplift")


def test_an_output_named_as_a_gradient_is_refused_by_name():
    model = small(
        [node("MatMul", ["x", "w"], ["grad_x"])],
        [value("x", ["N", 3])],
        [value("grad_x", None)],
        {"w": W},
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match="named 'grad_x'"):
        onnxplain.vjp(model)


@pytest.mark.parametrize("dim", ["points", "onnxplain/points", "path_batch", "seed_dim0"])
def test_dimensions(dim, tmp_path):
    """A cloud of points, say: its axis is not the path's."""
    nodes = [
        node("Tanh", ["x"], ["t"]),
        node("ReduceMean", ["t"], ["m"], axes=[1], keepdims=0),
        node("MatMul", ["m", "w"], ["y"]),
    ]
    model = small(nodes, [value("x", ["N", dim, 3])], [value("y", ["N", 4])], {"w": W})
    x = RANDOM.standard_normal((2, 7, 3)).astype(np.float32)
    e = explained_and_exported(model, "integrated-gradients", tmp_path, {"x": x}, 2)
    assert e.relative_delta.max() < 1e-3


@pytest.mark.parametrize("name", ["straight_through", "onnxplain/straight_through/Round_0"])
def test_a_rounding_is_no_quantiser_by_its_name(name):
    nodes = [node("Round", ["x"], ["r"], name=name), node("MatMul", ["r", "w"], ["y"])]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], {"w": W})
    found = ask(onnxplain.vjp(model), x=X, cotangent_y=np.ones((2, 4), np.float32))
    assert not found["grad_x"].any()


def body(op, held, constant_node):
    """A Loop's body: state op c, with c an initializer or a Constant node of the same name."""
    tensor = numpy_helper.from_array(np.float32(held), "c")
    nodes = [node("Identity", ["cond"], ["cond2"]), node(op, ["s", "c"], ["s2"])]
    if constant_node:
        nodes.insert(0, node("Constant", [], ["c"], value=tensor))
    return helper.make_graph(
        nodes,
        "body",
        [value("it", [], INT64), value("cond", [], BOOL), value("s", ["N", 3])],
        [value("cond2", [], BOOL), value("s2", ["N", 3])],
        [] if constant_node else [tensor],
    )


@pytest.mark.parametrize("constant_node", [False, True])
@pytest.mark.parametrize("ops", [("Mul", "Mul"), ("Add", "Mul"), ("Mul", "Sub")])
def test_sibling_bodies_share_names(ops, constant_node):
    nodes = [
        node("Loop", ["n", "", "x"], ["u"], body=body(ops[0], 2, constant_node)),
        node("Loop", ["n", "", "u"], ["v"], body=body(ops[1], 5, constant_node)),
        node("MatMul", ["v", "w"], ["y"]),
    ]
    weights = {"n": np.array(2), "w": W}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights)
    onnx.checker.check_model(model)
    found = ask(onnxplain.vjp(model), x=X, cotangent_y=np.ones((2, 4), np.float32))
    np.testing.assert_allclose(found["y"], ask(model, x=X)["y"], rtol=1e-5)
    factor = np.prod([{"Mul": c**2}.get(op, 1) for op, c in zip(ops, (2, 5), strict=True)])
    expected = np.tile(factor * W.sum(axis=1), (2, 1))
    np.testing.assert_allclose(found["grad_x"], expected, rtol=1e-5)
    assert FLOAT == 1


def test_a_scan_and_a_loop_share_names():
    step = helper.make_graph(
        [node("Add", ["s", "e"], ["a"]), node("Mul", ["a", "c"], ["s2"])],
        "scan",
        [value("s", ["N"]), value("e", ["N"])],
        [value("s2", ["N"])],
        [numpy_helper.from_array(np.float32(0.5), "c")],
    )
    nodes = [
        node("Loop", ["n", "", "x"], ["u"], body=body("Mul", 3, False)),
        node("Transpose", ["u"], ["t"], perm=[1, 0]),
        node("ReduceSum", ["t", "axis"], ["start"], keepdims=0),
        node("Mul", ["start", "none"], ["zeros"]),
        node("Scan", ["zeros", "t"], ["last"], body=step, num_scan_inputs=1),
        node("Unsqueeze", ["last", "one"], ["y"]),
    ]
    weights = {"n": np.array(1), "axis": np.array([0]), "none": np.float32(0), "one": np.array([1])}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 1])], weights)
    found = ask(onnxplain.vjp(model), x=X, cotangent_y=np.ones((2, 1), np.float32))
    np.testing.assert_allclose(found["y"], ask(model, x=X)["y"], rtol=1e-5)
    np.testing.assert_allclose(found["grad_x"], np.tile([0.375, 0.75, 1.5], (2, 1)), rtol=1e-5)
