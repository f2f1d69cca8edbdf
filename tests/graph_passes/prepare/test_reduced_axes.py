"""Axes of reductions that are empty: all of them, or none; known, computed, or an input's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from support.differences import assert_vjp_fits
from support.small import INT64, node, run, small, value

import onnxplain
from onnxplain.graph_passes.graph.operators import Fact, operators
from onnxplain.graph_passes.prepare.pipeline import prepare

X = (np.random.default_rng(0).uniform(0.4, 1.6, (2, 3, 4)) * [1.0, 1.3, 0.7, 0.9]).astype(
    np.float32
)
REDUCTIONS = sorted(operators(Fact.REDUCES))
FORMS = ("omitted", "constant", "folded", "computed", "input")
SIGNED = X * np.where(np.arange(24).reshape(X.shape) % 3, 1, -1).astype(np.float32)


def _axes(form: str, axes: list[int]):
    """Nodes, inputs and weights that make the axes, and what is fed."""
    given = np.asarray(axes, np.int64)
    if form == "constant":
        return [], [], {"axes": given}, {}
    if form == "folded":
        return [node("Identity", ["a"], ["axes"])], [], {"a": given}, {}
    if form == "computed":  # by an amount that the file learns when it runs
        slice_ = node("Slice", ["every", "from", "count"], ["axes"])
        weights = {"every": np.concatenate([given, [0]]), "from": np.asarray([0])}
        return [slice_], [value("count", [1], INT64)], weights, {"count": np.asarray([len(axes)])}
    if form == "input":
        return [], [value("axes", ["k"], INT64)], {}, {"axes": given}
    return [], [], {}, {}


def _model(op: str, form: str, listed: list[int], opset: int = 18, **attributes):
    before, inputs, weights, feeds = _axes(form, listed)
    named = ["x"] if form == "omitted" else ["x", "axes"]
    reduced = node(op, named, ["r"], **attributes)
    fits = attributes.get("keepdims", 1) or not listed
    added = node("Add", ["r", "x"], ["s"]) if fits else node("Identity", ["r"], ["s"])
    nodes = [*before, reduced, added, node("Mul", ["s", "k"], ["t"]), node("Tanh", ["t"], ["u"])]
    nodes.append(node("Flatten", ["u"], ["y"]))
    weights["k"] = np.float32(0.1)
    model = small(nodes, [value("x", list(X.shape)), *inputs], [value("y", None)], weights, opset)
    return model, feeds


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_empty_axes(op: str, noop: int, form: str) -> None:
    x = X if op == "ReduceLogSum" else SIGNED
    for keepdims in (0, 1):
        model, feeds = _model(op, form, [], noop_with_empty_axes=noop, keepdims=keepdims)
        assert_vjp_fits(model, feeds | {"x": x})


@pytest.mark.parametrize("form", ["constant", "computed", "input"])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_axes_that_might_be_empty_and_are_not(op: str, form: str) -> None:
    x = X if op == "ReduceLogSum" else SIGNED
    for noop, keepdims, axes in ((0, 1, [1]), (1, 1, [-1, 0]), (0, 0, [-2]), (1, 0, [1])):
        model, feeds = _model(op, form, axes, noop_with_empty_axes=noop, keepdims=keepdims)
        assert_vjp_fits(model, feeds | {"x": x})


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceProd", "ReduceL2"])
def test_an_empty_attribute(op: str, opset: int) -> None:
    model, feeds = _model(op, "omitted", [], opset)
    model.graph.node[0].attribute.add(name="axes", type=onnx.AttributeProto.INTS)
    assert_vjp_fits(model, feeds | {"x": SIGNED})


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_deeplift_and_integrated_gradients_sum(op: str, noop: int) -> None:
    for form in ("constant", "folded"):
        model, feeds = _model(op, form, [], noop_with_empty_axes=noop)
        x = X[:1]
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        scores = [float(run(model, feeds | {"x": v})["y"][0, 5]) for v in (x, 0.5 * x)]
        for method in ("deeplift", "integrated-gradients"):
            options = {"tolerance": 0.002} if method == "integrated-gradients" else {}
            explainer = onnxplain.Explainer(
                model, method, input="x", baseline=0.5 * x, score="output", **options
            )
            e = explainer(feeds | {"x": x}, target=5)
            assert abs(float(e.attribution[0].sum()) - (scores[0] - scores[1])) < 1e-3


def test_a_mean_over_everything_as_torch_exports_it() -> None:
    """`f.mean(dim=())` writes an empty list of axes."""
    model, feeds = _model("ReduceMean", "constant", [])
    x = torch.tensor(SIGNED, requires_grad=True)
    y = (0.1 * (x.mean(dim=()) + x)).tanh()
    y.sum().backward()
    found = run(
        onnxplain.vjp(model), feeds | {"x": SIGNED, "cotangent_y": np.ones((2, 12), np.float32)}
    )
    np.testing.assert_allclose(found["grad_x"], x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_known_axes_become_plain_reductions() -> None:
    """Where the list is known to be empty, nothing is left to be asked when the graph runs."""
    for op in REDUCTIONS:
        for noop in (0, 1):
            graph = prepare(_model(op, "constant", [], noop_with_empty_axes=noop)[0], checked=True)
            left = [n for n in graph.nodes if n.op in REDUCTIONS]
            assert len(left) == 1 - noop
            assert all(len(n.inputs) == 1 and n.attrs.keys() <= {"keepdims"} for n in left)
