"""DeepLIFT where a baseline is degenerate: masks of infinity, norms of next to nothing."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import f32, node, small, value

import onnxplain

RANDOM = np.random.default_rng(21)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
METHODS = ["integrated-gradients", "deeplift"]


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


CAUSAL = np.triu(np.full((4, 4), -np.inf), 1).astype(np.float32)


@pytest.mark.parametrize("rule", ["rescale", "reveal-cancel"])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("how", ["Add", "Where", "Where not", "Max"])
def test_causal_attention(how, log, rule):
    masks = {
        "Add": [node("Add", ["a", "mask"], ["am"])],
        "Where": [node("Where", ["hidden", "inf", "a"], ["am"])],
        "Where not": [
            node("Not", ["hidden"], ["seen"]),
            node("Where", ["seen", "a", "inf"], ["am"]),
        ],
        "Max": [node("Add", ["a", "mask"], ["b"]), node("Max", ["b", "least"], ["am"])],
    }
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
        node("MatMul", ["x", "xt"], ["a"]),
        *masks[how],
        node("LogSoftmax" if log else "Softmax", ["am"], ["l"], axis=-1),
        *([node("Exp", ["l"], ["s"])] if log else [node("Identity", ["l"], ["s"])]),
        node("MatMul", ["s", "x"], ["o"]),
        node("ReduceMean", ["o"], ["y"], axes=[1], keepdims=0),
    ]
    weights = {"mask": CAUSAL, "hidden": CAUSAL < 0, "inf": f32(-np.inf)[0], "least": f32(-3e38)[0]}
    model = small(nodes, [value("x", ["N", 4, 3])], [value("y", ["N", 3])], weights)
    for baseline in (0.0, normal(1, 4, 3)):
        e = onnxplain.Explainer(model, "deeplift", rule=rule, baseline=baseline)(normal(2, 4, 3), 1)
        assert np.isfinite(e.attribution).all() and e.relative_delta.max() < 1e-3


def norm_of(kind, epsilon):
    """Nodes from t to n, the normalised t; each with its way to stay off 0."""
    small_number = {
        "eps": f32(epsilon)[0],
        "half": f32(0.5)[0],
        "axis": np.array([1]),
        "two": f32(2)[0],
    }
    ways = {
        "ReduceL2, Max": [
            node("ReduceL2", ["t"], ["l"], axes=[1]),
            node("Max", ["l", "eps"], ["m"]),
            node("Div", ["t", "m"], ["n"]),
        ],
        "ReduceL2, Clip": [
            node("ReduceL2", ["t"], ["l"], axes=[1]),
            node("Clip", ["l", "eps"], ["m"]),
            node("Div", ["t", "m"], ["n"]),
        ],
        "sum of squares, Pow": [
            node("Pow", ["t", "two"], ["q"]),
            node("ReduceSum", ["q", "axis"], ["s"]),
            node("Pow", ["s", "half"], ["l"]),
            node("Add", ["l", "eps"], ["m"]),
            node("Div", ["t", "m"], ["n"]),
        ],
        "reciprocal root": [
            node("Mul", ["t", "t"], ["q"]),
            node("ReduceMean", ["q"], ["s"], axes=[1]),
            node("Add", ["s", "eps"], ["m"]),
            node("Sqrt", ["m"], ["r"]),
            node("Reciprocal", ["r"], ["i"]),
            node("Mul", ["t", "i"], ["n"]),
        ],
        "L1": [
            node("ReduceL1", ["t"], ["l"], axes=[1]),
            node("Max", ["l", "eps"], ["m"]),
            node("Div", ["t", "m"], ["n"]),
        ],
        "standardised": [
            node("ReduceMean", ["t"], ["mean"], axes=[1]),
            node("Sub", ["t", "mean"], ["c"]),
            node("Mul", ["c", "c"], ["q"]),
            node("ReduceMean", ["q"], ["variance"], axes=[1]),
            node("Add", ["variance", "eps"], ["m"]),
            node("Sqrt", ["m"], ["r"]),
            node("Div", ["c", "r"], ["n"]),
        ],
        "LayerNormalization": [node("LayerNormalization", ["t", "scale"], ["n"], epsilon=epsilon)],
        "LpNormalization": [node("LpNormalization", ["t"], ["n"], axis=1, p=2)],
    }
    return ways[kind], small_number


KINDS = ["ReduceL2, Max", "ReduceL2, Clip", "sum of squares, Pow", "reciprocal root", "L1"]
KINDS += ["standardised", "LayerNormalization", "LpNormalization"]


@pytest.mark.parametrize("rule", ["rescale", "reveal-cancel"])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5])
@pytest.mark.parametrize("kind", KINDS)
def test_normalisations_at_a_degenerate_baseline(kind, epsilon, rule):
    nodes, weights = norm_of(kind, epsilon)
    used = {name for n in nodes for name in n.input}
    weights = {k: v for k, v in {**weights, "scale": np.ones(4, np.float32)}.items() if k in used}
    weights |= {"u": normal(4, 4), "v": normal(4, 3)}
    nodes = [node("MatMul", ["x", "u"], ["t"]), *nodes, node("MatMul", ["n", "v"], ["y"])]
    model = small(nodes, [value("x", ["N", 4])], [value("y", ["N", 3])], weights)
    x = f32([0.5, -1, 2, 0.3], [3, 0, 0, -2])
    explainer = onnxplain.Explainer(model, "deeplift", rule=rule)
    for baseline in (0.0, 1e-10, 1.0, x[1:]):
        e = explainer(x, 1, baseline=baseline)
        gap = e.score - e.baseline_score
        assert np.abs(e.delta).max() <= 1e-3 * max(np.abs(gap).max(), 1)
        assert np.abs(e.attribution).max() < 1e4


def test_a_dead_row_in_both():
    nodes, weights = norm_of("ReduceL2, Max", 1e-12)
    weights = {"eps": weights["eps"], "five": f32(5)[0], "v": normal(4, 3)}
    nodes = [
        node("Sub", ["x", "five"], ["d"]),
        node("Relu", ["d"], ["t"]),
        *nodes,
        node("MatMul", ["n", "v"], ["y"]),
    ]
    model = small(nodes, [value("x", ["N", 4])], [value("y", ["N", 3])], weights)
    e = onnxplain.Explainer(model, "deeplift")(f32([0.5, -1, 2, 0.3]), 0)
    assert not e.attribution.any() and e.delta[0] == 0


def test_a_divisor_that_changes_its_sign():
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["x", "u"], ["b"]),
        node("Div", ["a", "b"], ["y"]),
    ]
    model = small(
        nodes,
        [value("x", ["N", 3])],
        [value("y", ["N", 1])],
        {"w": normal(3, 1), "u": f32([1], [0], [0])},
    )
    e = onnxplain.Explainer(model, "deeplift", baseline=f32([-1, 0.2, 0.4]))(f32([1, 2, 3]), 0)
    assert e.relative_delta[0] < 1e-4
