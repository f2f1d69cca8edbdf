"""Rows that read others by moving them, and numbers that depend on how many rows there are."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from support.small import FLOAT, ask, node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.rows.follow import follow_rows
from onnxplain.graph_passes.select.rows.places import Place

RANDOM = np.random.default_rng(11)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
BEGIN = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def same_draws_in_any_order():
    RANDOM.bit_generator.state = BEGIN


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


NUMBERS = {
    "zero": [0],
    "one": [1],
    "big": [99],
    "last": [-1],
    "low": [-99],
    "two": [2],
    "three": [3],
}
MOVED = {
    "first row subtracted": [
        node("Slice", ["x", "zero", "one", "zero"], ["r"]),
        node("Sub", ["x", "r"], ["q"]),
    ],
    "first row subtracted, by Gather": [
        node("Gather", ["x", "zero"], ["r"], axis=0),
        node("Sub", ["x", "r"], ["q"]),
    ],
    "last row subtracted": [
        node("Gather", ["x", "last"], ["r"], axis=0),
        node("Sub", ["x", "r"], ["q"]),
    ],
    "flipped": [node("Slice", ["x", "last", "low", "zero", "last"], ["q"])],
    "rolled": [
        node("Slice", ["x", "one", "big", "zero"], ["a"]),
        node("Slice", ["x", "zero", "one", "zero"], ["b"]),
        node("Concat", ["a", "b"], ["q"], axis=0),
    ],
    "the row before": [
        node("Slice", ["x", "zero", "one", "zero"], ["a"]),
        node("Slice", ["x", "zero", "last", "zero"], ["b"]),
        node("Concat", ["a", "b"], ["p"], axis=0),
        node("Sub", ["x", "p"], ["q"]),
    ],
    "columns through rows": [
        node("Transpose", ["x"], ["t"]),
        node("Reshape", ["t", "as"], ["q"]),
    ],
    "in halves": [
        node("Split", ["x"], ["a", "b"], axis=0, num_outputs=2),
        node("Concat", ["b", "a"], ["q"], axis=0),
    ],
}


def moved_rows(name, batch, rows):
    weights = {k: np.asarray(v) for k, v in NUMBERS.items()} | {"w": W, "as": np.array([-1, 3])}
    nodes = [*MOVED[name], node("MatMul", ["q", "w"], ["h"]), node("Tanh", ["h"], ["y"])]
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in weights.items() if k in used}
    return small(nodes, [value("x", [batch, 3])], [value("y", [batch, 4])], weights, 18)


@pytest.mark.parametrize("fixed", [False, True], ids=["any batch", "fixed batch"])
@pytest.mark.parametrize("rows", [2, 4, 5])
@pytest.mark.parametrize("name", MOVED)
def test_rows_that_read_others_by_moving_them_are_refused(name, rows, fixed):
    if rows == 5 and name == "in halves":
        pytest.skip("no halves")
    model = moved_rows(name, rows if fixed else "N", rows)
    for method in ("saliency", "integrated-gradients", "occlusion"):
        explainer = onnxplain.Explainer(model, method)
        with pytest.raises(onnxplain.UnsupportedModelError, match="depend on each other"):
            explainer(normal(rows, 3), 1)
        # Equal rows hide it from a comparison of results, not from one with replaced rows.
        with pytest.raises(onnxplain.UnsupportedModelError, match="depend on each other"):
            explainer(np.repeat(normal(1, 3), rows, axis=0), 1)


@pytest.mark.parametrize("name", [name for name in MOVED if name != "in halves"])
def test_one_row_of_them_is_what_the_file_makes_of_one(name):
    """Points of Integrated Gradients and windows of occlusion are not put beside each other."""
    model, x = moved_rows(name, "N", 1), normal(1, 3)
    score = ask(model, x=x)["y"][:, 1]
    start = ask(model, x=0 * x)["y"][:, 1]
    for method in ("integrated-gradients", "deeplift", "occlusion"):
        e = onnxplain.Explainer(model, method)(x, 1)
        np.testing.assert_allclose(e.score, score, atol=1e-6)
        if e.delta is not None:
            assert abs(e.attribution.sum() - (score - start)[0]) < 0.02 * max(abs(score[0]), 0.01)


@pytest.mark.parametrize(
    "x",
    [
        # Turned round, the last row is nearly itself.
        [[-0.45, 1.036, -1.083], [0.7207, -0.895, 0.7211]],
        # And here the product with it hardly changes: by 5e-4 of the largest score.
        [[-1.3716, -0.27125, -0.17956], [1.38355, 0.88349, -0.63243], [-1.9087, 0.79071, -1.23553]],
    ],
    ids=["palindrome", "small"],
)
def test_the_last_row_is_replaced_in_more_than_one_way(x):
    """Each row's sines less the last one's, where the file fixes how many rows there are."""
    x = np.asarray(x, np.float32)
    nodes = [
        node("Sin", ["x"], ["s"]),
        node("Gather", ["s", "last"], ["a"], axis=0),
        node("Sub", ["s", "a"], ["h"]),
        node("MatMul", ["h", "w"], ["u"]),
        node("Tanh", ["u"], ["y"]),
    ]
    w = [[-1.70703, 0.49805], [-1.20634, -0.1828], [-0.52973, -0.22303]]
    weights = {"last": np.asarray([-1]), "w": np.asarray(w, np.float32)}
    model = small(nodes, [value("x", list(x.shape))], [value("y", None)], weights)
    with pytest.raises(onnxplain.UnsupportedModelError, match="depend on each other"):
        onnxplain.Explainer(model, "saliency")(x, 1)


@pytest.mark.parametrize("fixed", [False, True], ids=["any batch", "fixed batch"])
def test_rows_that_come_back_where_they_were_are_explained(fixed):
    """Unknown to the structure, and apart: the file says so."""
    there = node("Slice", ["x", "last", "low", "zero", "last"], ["r"])
    back = node("Slice", ["t", "last", "low", "zero", "last"], ["q"])
    nodes = [there, node("Tanh", ["r"], ["t"]), back, node("MatMul", ["q", "w"], ["y"])]
    weights = {k: np.asarray(NUMBERS[k]) for k in ("last", "low", "zero")} | {"w": W}
    x = normal(4, 3)
    model = small(nodes, [value("x", [4 if fixed else "N", 3])], [value("y", None)], weights)
    e = onnxplain.Explainer(model, "saliency", signed=True)(x, 2)
    np.testing.assert_allclose(e.score, ask(model, x=x)["y"][:, 2], atol=1e-6)
    np.testing.assert_allclose(e.attribution, (1 - np.tanh(x) ** 2) * W[:, 2], atol=1e-5)


COUNTED = {
    "divided by Size": [
        node("Size", ["x"], ["n"]),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Div", ["x", "f"], ["q"]),
    ],
    "times the batch of Shape": [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Mul", ["x", "f"], ["q"]),
    ],
    "chosen by the batch": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Greater", ["n", "one"], ["c"]),
        node("Neg", ["x"], ["m"]),
        node("Where", ["c", "x", "m"], ["q"]),
    ],
    "ones added up": [
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["z"]),
        node("Cos", ["z"], ["o"]),
        node("ReduceSum", ["o"], ["f"], keepdims=0),
        node("Mul", ["x", "f"], ["q"]),
    ],
    "the row's number": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Squeeze", ["n"], ["k"]),
        node("Range", ["origin", "k", "step"], ["r"]),
        node("Cast", ["r"], ["f"], to=FLOAT),
        node("Unsqueeze", ["f", "one"], ["column"]),
        node("Add", ["x", "column"], ["q"]),
    ],
    "so many of a table": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Slice", ["table", "zero", "n", "zero"], ["t"]),
        node("Add", ["x", "t"], ["q"]),
    ],
    "a branch": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Greater", ["n", "one"], ["c"]),
        node("Squeeze", ["c"], ["cc"]),
        node(
            "If",
            ["cc"],
            ["q"],
            then_branch=helper.make_graph(
                [node("Neg", ["x"], ["a"])], "then", [], [value("a", None)]
            ),
            else_branch=helper.make_graph(
                [node("Identity", ["x"], ["b"])], "else", [], [value("b", None)]
            ),
        ),
    ],
}


def counting_rows(name):
    nodes = [*COUNTED[name], node("MatMul", ["q", "w"], ["h"]), node("Tanh", ["h"], ["y"])]
    weights = {k: np.asarray(NUMBERS[k]) for k in ("zero", "one")}
    weights |= {"w": W, "origin": np.array(0), "step": np.array(1), "table": TABLE}
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in weights.items() if k in used}
    return small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights, 18)


TABLE = np.arange(24, dtype=np.float32).reshape(8, 3) / 9


@pytest.mark.parametrize("name", COUNTED)
def test_numbers_that_depend_on_how_many_rows_there_are(name):
    model, x = counting_rows(name), normal(1, 3)
    score = ask(model, x=x)["y"][:, 1]
    methods = ["saliency", "integrated-gradients", "deeplift", "occlusion", "smoothgrad"]
    for method in methods if name != "a branch" else ["occlusion"]:
        explainer = onnxplain.Explainer(model, method)
        e = explainer(x, 1)
        np.testing.assert_allclose(e.score, score, atol=1e-6)
        if method == "occlusion":
            zeroed = [ask(model, x=x * (np.arange(3) != k))["y"][:, 1] for k in range(3)]
            one = onnxplain.Explainer(model, method, window=1)(x, 1)
            np.testing.assert_allclose(one.attribution[0], score - np.ravel(zeroed), atol=1e-5)
        if method == "integrated-gradients":
            gap = score - ask(model, x=0 * x)["y"][:, 1]
            np.testing.assert_allclose(e.attribution.sum(), gap[0], rtol=0.02, atol=1e-4)
        with pytest.raises(onnxplain.UnsupportedModelError, match="depend on each other"):
            explainer(normal(3, 3), 1)


SIZES_ONLY = {
    "reshaped": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["n", "last"], ["s"], axis=0),
        node("Reshape", ["x", "s"], ["q"]),
    ],
    "zeros of its own": [
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["z"]),
        node("Cos", ["z"], ["o"]),
        node("Mul", ["x", "o"], ["q"]),
    ],
    "divided by the features' number": [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Div", ["x", "f"], ["q"]),
    ],
    "a token for each row": [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["n", "three"], ["s"], axis=0),
        node("Expand", ["token", "s"], ["t"]),
        node("Add", ["x", "t"], ["q"]),
    ],
}


@pytest.mark.parametrize("name", SIZES_ONLY)
def test_sizes_alone_change_no_numbers(name):
    """What exporters write everywhere must not make anything slower."""
    nodes = [*SIZES_ONLY[name], node("MatMul", ["q", "w"], ["h"]), node("Tanh", ["h"], ["y"])]
    weights = {k: np.asarray(v) for k, v in NUMBERS.items()} | {"w": W, "token": normal(1, 3)}
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in weights.items() if k in used}
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], weights, 18)
    found = follow_rows(prepare(model), {"x": Place(0)})["y"]
    assert found == Place(0)
