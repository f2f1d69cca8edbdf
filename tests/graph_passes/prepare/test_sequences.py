"""Sequences of tensors of a known length; a product is shared out by DeepLIFT."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import ask, node, small, value

import onnxplain

RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((2, 6, 3)).astype(np.float32)
WEIGHTS = {"first": np.int64(0), "last": np.int64(-1), "lengths": np.asarray([1, 3, 2])}
WEIGHTS |= {"two": np.int64(2), "axes": np.asarray([1])}
SPLIT = {"parts": ["t", "lengths"], "pairs": ["t", "two"], "singles": ["t"]}
TAKEN = {"parts": slice(4, 6), "pairs": slice(4, 6), "singles": slice(5, 6)}


def gradient(nodes, batch=2) -> np.ndarray:
    """Of sum(y^2) / 2 by x, where y is made of t = tanh(x)."""
    model = small([node("Tanh", ["x"], ["t"]), *nodes], [value("x", [batch, 6, 3])], [_Y], WEIGHTS)
    y = ask(model, x=X)["y"]
    return ask(onnxplain.vjp(model), x=X, cotangent_y=y)["grad_x"]


_Y = value("y", None)
SLOPE = np.tanh(X) * (1 - np.tanh(X) ** 2)


@pytest.mark.parametrize("batch", [2, "n"])
@pytest.mark.parametrize("how", SPLIT)
def test_an_element_of_a_split(how: str, batch):
    split = node("SplitToSequence", SPLIT[how], ["s"], axis=1)
    found = gradient([split, node("SequenceAt", ["s", "last"], ["y"])], batch)
    expected = np.zeros_like(X)
    expected[:, TAKEN[how]] = SLOPE[:, TAKEN[how]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_axis_that_is_dropped():
    split = node("SplitToSequence", ["t"], ["s"], axis=1, keepdims=0)
    found = gradient([split, node("SequenceAt", ["s", "first"], ["y"])])
    expected = np.zeros_like(X)
    expected[:, 0] = SLOPE[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("new_axis", [0, 1])
def test_what_is_gathered_and_joined(new_axis: int):
    nodes = [
        node("Neg", ["t"], ["minus"]),
        node("SequenceConstruct", ["t", "minus"], ["s"]),
        node("SequenceInsert", ["s", "t", "first"], ["more"]),
        node("ConcatFromSequence", ["more"], ["y"], axis=1, new_axis=new_axis),
    ]
    np.testing.assert_allclose(gradient(nodes), 3 * SLOPE, rtol=1e-5, atol=1e-6)


def test_a_sequence_of_unknown_length_is_refused():
    nodes = [
        node("SplitToSequence", ["x"], ["s"], axis=1),
        node("SequenceAt", ["s", "last"], ["y"]),
    ]
    model = small(nodes, [value("x", [2, "steps", 3])], [_Y], WEIGHTS)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"SequenceAt|SplitToSequence"):
        onnxplain.vjp(model)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_deeplift_shares_a_product_out(keepdims: int):
    """Halves times halves: the sum, and nothing lost at a baseline of zeros."""
    nodes = [
        node("ReduceProd", ["x", "axes"], ["p"], keepdims=keepdims),
        node("Flatten", ["p"], ["y"]),
    ]
    model = small(nodes, [value("x", ["n", 6, 3])], [_Y], WEIGHTS, opset=18)
    for baseline in (0.0, X[:1, ::-1]):
        explainer = onnxplain.Explainer(model, "deeplift", baseline=baseline, providers="cpu")
        e = explainer(X, 1)
        np.testing.assert_allclose(e.score, X.prod(axis=1)[:, 1], rtol=1e-5)
        assert (e.relative_delta < 1e-4).all()
        assert e.attribution.any()
