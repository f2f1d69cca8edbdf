"""If: decided by sizes that are known, or a selection that activations decide."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from support.small import BOOL, INT64, ask, node, small, value

import onnxplain

RANDOM = np.random.default_rng(8)
MATRIX = RANDOM.standard_normal((5, 3)).astype(np.float32)
X, START = RANDOM.standard_normal((2, 6, 5)).astype(np.float32)
WEIGHTS = {"w": MATRIX, "one": np.int64(1), "zero": np.float32(0), "two": np.float32(2)}
METHODS = ("integrated-gradients", "deeplift")


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [value(nodes[-1].output[0], None)])


def chosen(condition: list[onnx.NodeProto], shape: list, *branches: onnx.GraphProto):
    """tanh(x), one of two branches of it, a matrix."""
    named = dict(zip(("then_branch", "else_branch"), branches, strict=True))
    return small(
        [
            node("Tanh", ["x"], ["t"]),
            *condition,
            node("If", ["c"], ["h"], name="choice", **named),
            node("MatMul", ["h", "w"], ["y"]),
        ],
        [value("x", shape)],
        [value("y", None)],
        WEIGHTS | {"axis": np.asarray([1])},
    )


SQUEEZED = branch("squeezed", node("Squeeze", ["t", "axis"], ["a"]))
AS_IT_IS = branch("as_it_is", node("Identity", ["t"], ["b"]))
IS_ONE = [
    node("Shape", ["t"], ["shape"]),
    node("Gather", ["shape", "one"], ["size"]),
    node("Equal", ["size", "one"], ["c"]),
]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_branch_that_known_sizes_choose(size: int, method: str):
    """As TorchScript exports squeeze(x, 1) with a symbolic batch."""
    model = chosen(IS_ONE, ["n", size, 5], SQUEEZED, AS_IT_IS)
    x = X.reshape(-1, size, 5)
    target = 1 if size == 1 else (1, 1)
    e = onnxplain.Explainer(model, method, baseline=0.0, steps=64, providers="cpu")(x, target)
    expected = np.tanh(x) * MATRIX[:, 1]
    if size == 2:
        expected[:, 0] = 0
    np.testing.assert_allclose(e.attribution, expected, rtol=1e-3, atol=1e-4)


def test_a_branch_that_unknown_sizes_choose_is_refused():
    model = chosen(IS_ONE, ["n", "c", 5], SQUEEZED, AS_IT_IS)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"If .*'choice'.* reads 't'"):
        onnxplain.vjp(model)


def test_one_decision_makes_the_next_known():
    """The first branch's result has a size that only its being taken tells."""
    inner = [
        node("If", ["c"], ["r"], then_branch=SQUEEZED, else_branch=AS_IT_IS),
        node("Shape", ["r"], ["inner_shape"]),
        node("Size", ["inner_shape"], ["rank"]),
        node("Equal", ["rank", "rank_wanted"], ["c2"]),
    ]
    flat = branch("flat", node("Mul", ["r", "two"], ["p"]))
    deep = branch("deep", node("ReduceSum", ["r", "axis"], ["q"]))
    model = small(
        [
            node("Tanh", ["x"], ["t"]),
            *IS_ONE,
            *inner,
            node("If", ["c2"], ["h"], then_branch=flat, else_branch=deep),
            node("MatMul", ["h", "w"], ["y"]),
        ],
        [value("x", ["n", 1, 5])],
        [value("y", None)],
        WEIGHTS | {"axis": np.asarray([1]), "rank_wanted": np.int64(2)},
    )
    x = X[:, None]
    cotangent = RANDOM.standard_normal((6, 3)).astype(np.float32)
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=cotangent)["grad_x"]
    expected = 2 * (1 - np.tanh(x) ** 2) * (cotangent @ MATRIX.T)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


POSITIVE = [node("ReduceSum", ["t"], ["sum"], keepdims=0), node("Greater", ["sum", "zero"], ["c"])]
DOUBLED = branch("doubled", node("Exp", ["t"], ["e"]), node("Mul", ["e", "two"], ["p"]))
CUT = branch("cut", node("Relu", ["t"], ["q"]))


def by_torch(x: torch.Tensor) -> torch.Tensor:
    t = torch.tanh(x)
    return (2 * torch.exp(t) if t.sum() > 0 else torch.relu(t)) @ torch.from_numpy(MATRIX).double()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_branch_that_activations_choose_has_its_gradient(sign: int):
    model = chosen(POSITIVE, ["n", 5], DOUBLED, CUT)
    x = (X + 0.3 * sign).astype(np.float32)
    cotangent = RANDOM.standard_normal((6, 3)).astype(np.float32)
    given = onnxplain.vjp(model)
    onnx.checker.check_model(given, full_check=True)
    found = ask(given, x=x, cotangent_y=cotangent)
    start = torch.from_numpy(x).double().requires_grad_()
    result = by_torch(start)
    (expected,) = torch.autograd.grad(result, start, torch.from_numpy(cotangent).double())
    np.testing.assert_allclose(found["y"], result.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["grad_x"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_deeplift_sums_whichever_branch_either_takes(shift: float):
    """One row at a time: the sum runs over the batch."""
    model = chosen(POSITIVE, [1, 5], DOUBLED, CUT)
    explainer = onnxplain.Explainer(model, "deeplift", baseline=START[:1] + shift, providers="cpu")
    for row in X:
        e = explainer(row[None] - shift, 1)
        assert np.isfinite(e.attribution).all()
        assert np.abs(e.delta) <= 1e-4 * np.maximum(1, np.abs(e.score - e.baseline_score))


def test_a_branch_that_may_fail_is_not_computed():
    """Another size of what is looked up would end the run: refused, not tried."""
    looked_up = branch("looked_up", node("Gather", ["t", "index"], ["p"], axis=1))
    model = small(
        [
            node("Tanh", ["x"], ["t"]),
            node("If", ["c"], ["h"], name="choice", then_branch=looked_up, else_branch=CUT),
        ],
        [value("x", ["n", 5]), value("c", [], BOOL), value("index", [5], INT64)],
        [value("h", ["n", 5])],
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"If .*'choice'"):
        onnxplain.vjp(model)
    assert ask(model, x=X, c=np.bool_(False), index=np.full(5, 9))["h"].shape == X.shape
