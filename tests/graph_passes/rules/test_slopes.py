"""Infinite slopes behind masks, tiny and infinite bounds: selections, as PyTorch has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.small import ask, f32, node, small, value

import onnxplain

X = f32([-1.5, 0.5, 2.0, -0.3, 0.0])
MASKS = {
    "relu": ([node("Relu", ["x"], ["r"])], {}, torch.relu),
    "clip": ([node("Clip", ["x", "zero"], ["r"])], {"zero": f32(0)[0]}, lambda t: t.clamp(min=0)),
    "max": ([node("Max", ["x", "zero"], ["r"])], {"zero": f32(0)[0]}, None),
    "min": (
        [node("Neg", ["x"], ["n"]), node("Min", ["n", "zero"], ["m"]), node("Neg", ["m"], ["r"])],
        {"zero": f32(0)[0]},
        None,
    ),
    "where": (
        [node("Greater", ["x", "zero"], ["c"]), node("Where", ["c", "x", "zero"], ["r"])],
        {"zero": f32(0)[0]},
        None,
    ),
    "hard sigmoid": (
        [node("HardSigmoid", ["x"], ["r"], alpha=1.0, beta=0.0)],
        {},
        lambda t: t.clamp(0, 1),
    ),
    "threshold": ([node("ThresholdedRelu", ["x"], ["r"], alpha=0.1)], {}, None),
    "leaky": ([node("LeakyRelu", ["x"], ["r"], alpha=0.0)], {}, torch.relu),
    "quotient": (
        [node("Relu", ["x"], ["q0"]), node("Mul", ["q0", "half"], ["r"])],
        {"half": f32(0.5)[0]},
        lambda t: torch.relu(t) / 2,
    ),
}
ROOTS = {
    "sqrt": (lambda r: [node("Sqrt", [r], ["z"])], {}, torch.sqrt),
    "pow": (
        lambda r: [node("Pow", [r, "p"], ["z"])],
        {"p": f32(0.3)[0]},
        lambda t: torch.pow(t, 0.3),
    ),
    "root of a sum": (
        lambda r: [node("ReduceSum", [r, "axis"], ["q"]), node("Sqrt", ["q"], ["z"])],
        {"axis": np.array([1])},
        lambda t: torch.sqrt(t.sum(1, keepdim=True)),
    ),
}


def model_of(mask, root):
    nodes, weights, _ = MASKS[mask]
    behind, more, _ = ROOTS[root]
    nodes = [*nodes, *behind("r"), node("ReduceSum", ["z", "one"], ["y"])]
    weights = {**weights, **more, "one": np.array([1])}
    return small(nodes, [value("x", ["N", 5])], [value("y", ["N", 1])], weights)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("mask", MASKS)
def test_a_branch_that_is_not_taken_passes_nothing(mask, root):
    model, x = model_of(mask, root), X[:, :4]
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    gradient = ask(onnxplain.vjp(model), x=x, cotangent_y=f32([1]))["grad_x"]
    assert np.isfinite(gradient).all() and gradient[0, 0] == 0
    reference = MASKS[mask][2]
    if reference is not None:
        t = torch.tensor(x).double().requires_grad_(True)
        ROOTS[root][2](reference(t)).sum().backward()
        np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-4, atol=1e-6)
    for baseline in (f32([-0.5, 0.1, 0.2, -0.4]), 0.0):
        e = onnxplain.Explainer(model, "deeplift", baseline=baseline)(x, 0)
        assert e.relative_delta[0] < 1e-5
        # Where the slope has no bound, fixed points leave much: finite it is.
        e = onnxplain.Explainer(model, "integrated-gradients", steps=50, baseline=baseline)(x, 0)
        assert np.isfinite(e.attribution).all()


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, np.array([0, 1, 2, 0, 3])])
def test_powers_at_zero(exponent):
    """b x^(b - 1) at x = 0, with b = 0: 0, as PyTorch has it; also where b is computed."""
    held = np.asarray(exponent, np.float32)
    direct = [node("Pow", ["x", "b"], ["z"])]
    computed = [
        *(node("Mul", ["x", "none"], ["n"]), node("Add", ["n", "b"], ["e"])),
        node("Pow", ["x", "e"], ["z"]),
    ]
    # The derivative by a computed exponent takes the logarithm of the base.
    for nodes, x in ((direct, f32([0, 0, 0, 2, -1])), (computed, f32([0, 0, 0, 2, 1]))):
        t = torch.tensor(x).requires_grad_(True)
        torch.pow(t, torch.tensor(held)).sum().backward()
        nodes = [*nodes, node("ReduceSum", ["z", "one"], ["y"])]
        weights = {"b": held, "none": f32(0)[0], "one": np.array([1])}
        model = small(nodes, [value("x", ["N", 5])], [value("y", ["N", 1])], weights)
        found = ask(onnxplain.vjp(model), x=x, cotangent_y=f32([1]))["grad_x"]
        np.testing.assert_allclose(found, t.grad.numpy(), rtol=1e-5)


BOUNDS = [0, 1e-45, 1e-38, 1.17549435e-38, 1e-36, 1e-31, 1e-30, 1e-20, 1e-3, 1, 3e38, np.inf]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("side", ["low", "high"])
def test_bounds_of_a_clip(side, bound, sign):
    limit = np.float32(sign * bound)
    w, x = f32([1], [2], [3]), f32([-1.5, 0.5, 2])
    names = ["x", "b"] if side == "low" else ["x", "", "b"]
    nodes = [node("Clip", names, ["c"]), node("MatMul", ["c", "w"], ["y"])]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 1])], {"b": limit, "w": w})
    inside = x > limit if side == "low" else x < limit
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=f32([1]))["grad_x"]
    np.testing.assert_array_equal(found, np.where(inside, w.T, 0))
    if np.isfinite(ask(model, x=x)["y"]).all() and np.isfinite(ask(model, x=0 * x)["y"]).all():
        e = onnxplain.Explainer(model, "deeplift")(x, 0)
        size = np.abs(e.attribution).sum(dtype=np.float64)
        assert abs(e.delta[0]) <= 1e-5 * max(size, 1e-30) + 1e-6 * abs(e.score[0])
        if size < 1e30:
            e = onnxplain.Explainer(model, "integrated-gradients", steps=100)(x, 0)
            assert np.isfinite(e.attribution).all()


def test_masks_of_doubles_and_arrays():
    """Bounds of Max and Min are arrays; other types than float32 compare."""
    nodes = [node("Clip", ["x", "b"], ["c"]), node("ReduceSum", ["c", "one"], ["y"])]
    inputs, outputs = [value("x", ["N", 3], 11)], [value("y", ["N", 1], 11)]
    model = small(nodes, inputs, outputs, {"b": np.float64(1e-200), "one": np.array([1])})
    x = np.array([[-1.0, 0.5, 1e-250]])
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=np.ones((1, 1)))["grad_x"]
    np.testing.assert_array_equal(found, [[0, 1, 0]])
