"""A path that meets NaN ends at once, and says which other baseline works: one that was tried."""

import numpy as np
import pytest
from support.small import node, small, value

import onnxplain

W = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)
X = np.linspace(0.5, 1.5, 6, dtype=np.float32)[None]
MUCH = {"steps": 64, "quadrature": "trapezoid"}


def root_of(*nodes, **weights):
    """y = sqrt of what the nodes make of `h` = (x w)^2: its slope at 0 is infinite."""
    first = [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "p"], ["h"])]
    last = [node("Sqrt", ["g"], ["r"]), node("ReduceSum", ["r"], ["y"], keepdims=0)]
    nodes = [*first, *(nodes or [node("Identity", ["h"], ["g"])]), *last]
    return small(nodes, [value("x", ["N", 6])], [value("y", None)], {"w": W, **weights}, 13)


def passes_of(explainer, x) -> int:
    """How many passes were told of before the error."""
    told = []
    with pytest.raises(onnxplain.UnsupportedModelError, match="NaN"):
        explainer(x, progress=lambda done, of: told.append(done))
    return len(told)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("integrated-gradients", {}),
        ("integrated-gradients", MUCH),
        ("smoothgrad", {"samples": 64, "noise": 0.0}),
    ],
)
def test_it_ends_at_once(method, options):
    explainer = onnxplain.Explainer(root_of(), method, baseline=0.0, **options)
    assert passes_of(explainer, 0 * X if method == "smoothgrad" else X) <= 2


def test_what_helps_is_said():
    explainer = onnxplain.Explainer(root_of(), "integrated-gradients", baseline=0.0)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"the input's mean .* works"):
        explainer(X)
    assert np.isfinite(explainer(X, baseline=X.mean()).attribution).all()


def test_what_was_tried_in_vain_is_not_offered():
    """The mean of this input is 0 as well; then noise is offered, which is tried too."""
    explainer = onnxplain.Explainer(root_of(), "integrated-gradients", baseline=0.0)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"small noise added .* works"):
        explainer(np.array([[1, -1, 2, -2, 0.5, -0.5]], np.float32))
    zero = root_of(node("Mul", ["h", "nought"], ["g"]), nought=np.zeros(1, np.float32))
    explainer = onnxplain.Explainer(zero, "integrated-gradients", baseline=0.0)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"neither .* helps"):
        explainer(X)


def test_a_method_without_a_baseline_offers_none():
    explainer = onnxplain.Explainer(root_of(), "saliency")
    with pytest.raises(onnxplain.UnsupportedModelError, match="NaN") as error:
        explainer(np.zeros_like(X))
    assert "baseline" not in str(error.value)
