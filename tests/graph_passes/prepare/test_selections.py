"""DeepLIFT through conditions on activations: guards against NaN, masks that are multiplied."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.small import BOOL, FLOAT, ask, f32, node, small, value

import onnxplain

RANDOM = np.random.default_rng(4)
WEIGHTS = RANDOM.standard_normal((6, 3)).astype(np.float32)
X, START = RANDOM.standard_normal((2, 4, 6)).astype(np.float32)


def explained(nodes: list[onnx.NodeProto], weights=None) -> onnxplain.Explanation:
    """DeepLIFT of a network of x that ends in `h`, read by a linear layer."""
    model = small(
        [*nodes, node("MatMul", ["h", "w"], ["y"])],
        [value("x", ["n", 6])],
        [value("y", ["n", 3])],
        {"w": WEIGHTS, "zero": np.float32(0)} | (weights or {}),
    )
    explainer = onnxplain.Explainer(model, "deeplift", baseline=START[:1], providers="cpu")
    e = explainer(X, 1)
    np.testing.assert_allclose(e.score, ask(model, x=X)["y"][:, 1], rtol=1e-5)
    return e


GUARD = [node("Softmax", ["x"], ["s"], axis=-1), node("IsNaN", ["s"], ["bad"])]


@pytest.mark.parametrize(
    "guard",
    [
        [node("Where", ["bad", "zero", "s"], ["h"])],
        [node("Not", ["bad"], ["good"]), node("Where", ["good", "s", "zero"], ["h"])],
    ],
)
def test_a_guard_against_nan_passes_what_is_a_number(guard):
    """As PyTorch exports scaled_dot_product_attention: the sum, and what there is without it."""
    found = explained([*GUARD, *guard])
    plain = explained([node("Softmax", ["x"], ["h"], axis=-1)])
    assert (found.relative_delta < 1e-4).all()
    np.testing.assert_allclose(found.attribution, plain.attribution, rtol=1e-4, atol=1e-6)


def test_a_guard_that_replaces_a_row_still_has_its_gradient():
    """A row that is masked whole is 0 whatever the input: its share is 0, not NaN."""
    mask = f32([0] * 6, [-np.inf] * 6, [0] * 3 + [-np.inf] * 3, [0] * 6)
    model = small(
        [
            node("Add", ["x", "mask"], ["masked"]),
            node("Softmax", ["masked"], ["s"], axis=-1),
            *GUARD[1:],
            node("Where", ["bad", "zero", "s"], ["h"]),
            node("MatMul", ["h", "w"], ["y"]),
        ],
        [value("x", [4, 6])],
        [value("y", [4, 3])],
        {"w": WEIGHTS, "zero": np.float32(0), "mask": mask},
    )
    found = ask(onnxplain.vjp(model), x=X, cotangent_y=np.ones((4, 3), np.float32))["grad_x"]
    assert np.isfinite(found).all() and not found[1].any() and found[0].any()


POSITIVE = node("Greater", ["x", "zero"], ["positive"])
AS_FLOAT = node("Cast", ["positive"], ["mask"], to=FLOAT)


TURNED = [
    node("LessOrEqual", ["x", "zero"], ["negative"]),
    node("Not", ["negative"], ["positive"]),
]


@pytest.mark.parametrize(
    "nodes",
    [
        [POSITIVE, AS_FLOAT, node("Mul", ["x", "mask"], ["h"])],
        [POSITIVE, AS_FLOAT, node("Mul", ["mask", "x"], ["h"])],
        [POSITIVE, AS_FLOAT, node("Tanh", ["x"], ["t"]), node("Sub", ["t", "mask"], ["h"])],
        [*TURNED, AS_FLOAT, node("Add", ["mask", "x"], ["h"])],
    ],
    ids=["behind", "before", "subtracted", "turned"],
)
def test_a_mask_that_varies_sums_to_delta(nodes):
    e = explained(nodes)
    assert (e.relative_delta < 1e-4).all()
    assert e.attribution.any()


def test_a_mask_that_stands_still_is_left_alone():
    model = small(
        [
            node("Cast", ["given"], ["mask"], to=FLOAT),
            node("Mul", ["x", "mask"], ["h"]),
            node("MatMul", ["h", "w"], ["y"]),
        ],
        [value("x", ["n", 6]), value("given", ["n", 6], BOOL)],
        [value("y", ["n", 3])],
        {"w": WEIGHTS},
    )
    given = X > 0
    explainer = onnxplain.Explainer(model, "deeplift", input="x", baseline=0.0, providers="cpu")
    e = explainer({"x": X, "given": given}, 1)
    np.testing.assert_allclose(e.attribution, X * given * WEIGHTS[:, 1], rtol=1e-5, atol=1e-6)
