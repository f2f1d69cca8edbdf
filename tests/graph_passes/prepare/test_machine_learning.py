"""Operators of ai.onnx.ml, as scikit-learn's exporter writes them: the file's own numbers."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper
from support.small import FLOAT, INT64, node, value

import onnxplain

RANDOM = np.random.default_rng(6)
ML = "ai.onnx.ml"
DOUBLE, STRING = 11, 8


def model_of(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "ml", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid(ML, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def classifier(rows, labels, transform, texts, kind):
    names = {"classlabels_strings": [f"c{k}" for k in range(labels)]}
    names = names if texts else {"classlabels_ints": list(range(labels))}
    one = node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain=ML,
        coefficients=RANDOM.standard_normal(rows * 4).tolist(),
        intercepts=RANDOM.standard_normal(rows).tolist(),
        post_transform=transform,
        **names,
    )
    outputs = [value("label", [None], STRING if texts else INT64), value("scores", [None, labels])]
    return model_of([one], [value("x", [None, 4], kind)], outputs)


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize(("rows", "labels"), [(3, 3), (2, 2), (1, 2)])
@pytest.mark.parametrize(("kind", "dtype"), [(FLOAT, "f4"), (DOUBLE, "f8"), (INT64, "i8")])
def test_linear_classifier(rows, labels, transform, texts, kind, dtype):
    if (rows, transform) == (1, "SOFTMAX"):
        pytest.skip("nobody writes it")
    model = classifier(rows, labels, transform, texts, kind)
    x = (RANDOM.standard_normal((1, 4)) * 3).astype(dtype)
    explainer = onnxplain.Explainer(model, "integrated-gradients", steps=4)
    assert explainer.verify(x, 1).outputs < 1e-3
    e = explainer(x, 1)
    # A linear score: each column's weight times the column.
    assert np.abs(e.delta).max() < 1e-4
    assert len(explainer(np.repeat(x, 3, 0)).score) == 3


@pytest.mark.parametrize("kind", ["integers", "texts"])
def test_zipmap_is_seen_through(kind):
    labels = {"classlabels_int64s": [0, 1, 2]}
    key = INT64
    if kind == "texts":
        labels, key = {"classlabels_strings": ["a", "b", "c"]}, STRING
    maps = helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, []))
    output = helper.make_value_info("chances", helper.make_sequence_type_proto(maps))
    weights = onnx.numpy_helper.from_array(RANDOM.standard_normal((4, 3)).astype("f4"), "w")
    nodes = [
        node("MatMul", ["x", "w"], ["z"]),
        node("Softmax", ["z"], ["p"], axis=1),
        node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
        node("ZipMap", ["p"], ["chances"], domain=ML, **labels),
    ]
    model = model_of(
        nodes, [value("x", [None, 4])], [value("label", [None], INT64), output], [weights]
    )
    x = RANDOM.random((2, 4)).astype("f4")
    explainer = onnxplain.Explainer(model, "saliency")
    e = explainer(x)
    assert explainer.subject.activation == "Softmax"
    assert e.outputs["chances"].shape == (2, 3) and explainer.verify(x[:1]).outputs < 1e-6
    assert np.array_equal(explainer(x, "rank2").target, np.argsort(-e.outputs["chances"])[:, 1])


def tree(kind, batch):
    shared = {
        "nodes_treeids": [0] * 5,
        "nodes_nodeids": [0, 1, 2, 3, 4],
        "nodes_featureids": [2, 5, 0, 0, 0],
        "nodes_values": [0.5, 0.3, 0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 3, 0, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0],
    }
    leaves = {"treeids": [0, 0, 0], "nodeids": [2, 3, 4], "weights": [1.0, 2.0, 5.0]}
    if kind == "regressor":
        own = {f"target_{k}": v for k, v in {**leaves, "ids": [0, 0, 0]}.items()}
        one = node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, n_targets=1, **own, **shared)
        return model_of([one], [value("x", [batch, 9])], [value("y", [batch, 1])])
    own = {f"class_{k}": v for k, v in {**leaves, "ids": [0, 1, 2]}.items()}
    one = node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "y"],
        domain=ML,
        classlabels_int64s=[0, 1, 2],
        **own,
        **shared,
    )
    outputs = [value("label", [batch], INT64), value("y", [batch, 3])]
    return model_of([one], [value("x", [batch, 9])], outputs)


def score(kind, row):
    leaf = 0 if row[2] > 0.5 else (1 if row[5] <= 0.3 else 2)
    value = [1.0, 2.0, 5.0][leaf]
    return value if kind == "regressor" else value * (leaf == 2)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.parametrize("batch", [None, 1])
def test_trees_by_occlusion_of_one_column(kind, batch):
    model, target = tree(kind, batch), 0 if kind == "regressor" else 2
    explainer = onnxplain.Explainer(model, "occlusion")
    x = np.array([[0.4] * 9, [0.9] * 9], "f4")
    e = explainer(x, target)
    for row, found in zip(x, e.attribution, strict=True):
        hidden = [np.where(np.arange(9) == k, 0, row) for k in range(9)]
        expected = [score(kind, row) - score(kind, other) for other in hidden]
        assert np.allclose(found, expected, atol=1e-6)
    assert e.attribution.any() and explainer.verify(x[:1], target).gradient is None


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "deeplift"])
def test_trees_have_no_gradient(method):
    for kind, batch in itertools.product(("regressor", "classifier"), (None, 1)):
        with pytest.raises(onnxplain.UnsupportedModelError, match="one column at a time"):
            onnxplain.Explainer(tree(kind, batch), method)
