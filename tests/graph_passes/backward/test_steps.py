"""A score that depends on its input in steps only: an error where a gradient is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import f32, node, run, small, value

import onnxplain

RANDOM = np.random.default_rng(3)
W = {"W": f32(*RANDOM.normal(size=(6, 5)) * 3), "V": f32(*RANDOM.normal(size=(5, 4)) * 3)}
X = RANDOM.normal(size=(1, 6)).astype(np.float32)
STEPS = ["Round", "Floor", "Ceil", "Sign", "Hardmax"]
BY_GRADIENT = ["saliency", "input-x-gradient", "smoothgrad", "vargrad", "integrated-gradients"]
BY_GRADIENT += ["expected-gradients", "guided-backprop"]


def stepped(op: str, beside: bool = False):
    nodes = [
        node("MatMul", ["x", "W"], ["h"]),
        node(op, ["h"], ["r"]),
        node("Add", ["r", "h"], ["s"]) if beside else node("Identity", ["r"], ["s"]),
        node("MatMul", ["s", "V"], ["y"]),
    ]
    return small(nodes, [value("x", ["N", 6])], [value("y", ["N", 4])], W)


@pytest.mark.parametrize("method", [*BY_GRADIENT, "lrp"])
@pytest.mark.parametrize("op", STEPS)
def test_a_score_in_steps_has_no_gradient(op, method):
    if (op, method) == ("Round", "lrp"):
        pytest.skip("relevance passes a rounding as it came")
    with pytest.raises(onnxplain.UnsupportedModelError, match=rf"in steps only.*{op}"):
        onnxplain.Explainer(stepped(op), method)(X, 1)


@pytest.mark.parametrize("op", STEPS)
def test_inspect_says_so(op):
    reasons = onnxplain.inspect(stepped(op)).unsupported
    for method in BY_GRADIENT:
        assert any(op in reason and "steps" in reason for reason in reasons[method]), method
    assert not reasons["occlusion"]


@pytest.mark.parametrize("op", ["Round", "Floor", "Ceil", "Sign"])
def test_what_needs_no_gradient_explains_it(op):
    model = stepped(op)
    gap = float(run(model, {"x": X})["y"][0, 1] - run(model, {"x": 0 * X})["y"][0, 1])
    e = onnxplain.Explainer(model, "deeplift")(X, 1)
    np.testing.assert_allclose(e.attribution.sum(), gap, rtol=1e-3, atol=1e-4)
    assert np.abs(onnxplain.Explainer(model, "occlusion")(X, 1).attribution).max() > 0


@pytest.mark.parametrize("op", STEPS)
def test_another_way_round_the_steps_is_enough(op):
    model = stepped(op, beside=True)
    e = onnxplain.Explainer(model, "saliency", signed=True)(X, 1)
    np.testing.assert_allclose(e.attribution[0], (W["W"] @ W["V"])[:, 1], rtol=1e-4)
    assert not onnxplain.inspect(model).unsupported["saliency"]


@pytest.mark.parametrize("op", STEPS)
def test_the_derivative_itself_is_zero(op):
    """`vjp` is the derivative, and that is 0."""
    seed = np.ones((1, 4), np.float32)
    found = run(onnxplain.vjp(stepped(op)), {"x": X, "cotangent_y": seed})
    assert not found["grad_x"].any()
