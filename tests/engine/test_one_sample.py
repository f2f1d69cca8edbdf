"""Inputs whose rows are no samples: the nodes of a graph."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import INT64, node, run, small, value

import onnxplain

RANDOM = np.random.default_rng(3)
NODES, F = 6, 5
EDGES = RANDOM.integers(0, NODES, (2, 10))
X = RANDOM.normal(size=(NODES, F)).astype(np.float32)
SUMS = ["deeplift", "integrated-gradients", "expected-gradients", "lrp"]


def graph_network(rows="nodes"):
    """h = tanh(x W); each node gets its neighbours' h; all are summed: [1, 3]."""
    weights = {
        "w": RANDOM.normal(size=(F, 4)).astype(np.float32),
        "v": RANDOM.normal(size=(4, 3)).astype(np.float32),
        "zero": np.asarray(0),
        "one": np.asarray(1),
        "axis": np.asarray([1]),
        "rows": np.asarray([0]),
    }
    nodes = [
        node("MatMul", ["x", "w"], ["u"]),
        node("Tanh", ["u"], ["h"]),
        node("Gather", ["edges", "zero"], ["from"], axis=0),
        node("Gather", ["edges", "one"], ["to"], axis=0),
        node("Gather", ["h", "from"], ["sent"], axis=0),
        node("Sub", ["h", "h"], ["none"]),
        node("Unsqueeze", ["to", "axis"], ["to1"]),
        node("Shape", ["sent"], ["size"]),
        node("Expand", ["to1", "size"], ["places"]),
        node("ScatterElements", ["none", "places", "sent"], ["got"], axis=0, reduction="add"),
        node("Add", ["got", "h"], ["all"]),
        node("ReduceSum", ["all", "rows"], ["g"], keepdims=1),
        node("MatMul", ["g", "v"], ["y"]),
    ]
    inputs = [value("x", [rows, F]), value("edges", [2, "e"], INT64)]
    return small(nodes, inputs, [value("y", ["graphs", 3])], weights), {"x": X, "edges": EDGES}


def bag(rows="members"):
    """The mean over the members of a bag, [1, 2]."""
    weights = {"w": RANDOM.normal(size=(F, 2)).astype(np.float32), "rows": np.asarray([0])}
    nodes = [
        node("MatMul", ["x", "w"], ["u"]),
        node("Tanh", ["u"], ["h"]),
        node("ReduceMean", ["h", "rows"], ["y"], keepdims=1),
    ]
    return small(nodes, [value("x", [rows, F])], [value("y", [1, 2])], weights, 18), {"x": X}


MODELS = {"graph": graph_network}


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_the_files(name):
    model, feeds = MODELS[name]()
    e = onnxplain.Explainer(model, "saliency", input="x", signed=True)(feeds, 1)
    assert len(e) == 1 and e.score == pytest.approx(run(model, feeds)["y"][0, 1], rel=1e-5)
    expected = np.zeros_like(X)
    for index in np.ndindex(X.shape):
        step = np.zeros_like(X)
        step[index] = 5e-3
        ahead, behind = (run(model, feeds | {"x": X + s})["y"][0, 1] for s in (step, -step))
        expected[index] = (ahead - behind) / 1e-2
    np.testing.assert_allclose(e.attribution, expected, atol=2e-3 * np.abs(expected).max())
    assert e[0].attribution.shape == X.shape


@pytest.mark.parametrize("method", SUMS)
@pytest.mark.parametrize("name", MODELS)
def test_sums_are_of_all_rows(name, method):
    model, feeds = MODELS[name]()
    how = {} if method == "lrp" else {"baseline": 0}
    explainer = onnxplain.Explainer(model, method, input="x", **how)
    e = explainer(feeds)
    assert e.attribution.shape == X.shape and e.delta is not None and e.delta.shape == (1,)
    # LRP's biases (none here) and points' errors aside.
    assert abs(e.delta[0]) < 0.011 * max(abs(e.score[0]), 1)
    assert explainer.verify(feeds).outputs < 1e-5
    given = {"target": np.asarray([-1]), "baseline": np.zeros((1, F), np.float32)}
    inputs = [tensor.name for tensor in explainer.model.graph.input]
    found = run(explainer.model, {k: v for k, v in (feeds | given).items() if k in inputs})
    assert found["attribution"].shape == X.shape and found["delta"].shape == (1,)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_that_fixes_the_rows_is_refused(name):
    model, _ = MODELS[name](NODES)
    with pytest.raises(onnxplain.UnsupportedModelError, match="does not have the batch"):
        onnxplain.Explainer(model, "saliency", input="x")


def test_what_mixes_rows_for_certain_is_refused_as_ever():
    model, feeds = bag()
    with pytest.raises(onnxplain.UnsupportedModelError, match="ReduceMean"):
        onnxplain.Explainer(model, "saliency")(feeds, 1)


def test_scores_and_targets():
    model, feeds = graph_network()
    explainer = onnxplain.Explainer(model, "saliency", input="x")
    own = run(model, feeds)["y"][0]
    assert explainer.scores(feeds).score == pytest.approx([own.max()], rel=1e-5)
    assert explainer(feeds, [2]).score == pytest.approx([own[2]], rel=1e-5)
    with pytest.raises(onnxplain.InvalidInputError, match="one target at a time, got 2"):
        explainer(feeds, [0, 1])


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_what_hides_parts_of_rows_is_refused(method):
    model, feeds = graph_network()
    explainer = onnxplain.Explainer(model, method, input="x", baseline=0)
    with pytest.raises(onnxplain.UnsupportedModelError, match="needs a batch axis"):
        explainer(feeds, 1)
