"""The gate: every DeepLIFT rule sums to delta; and slow replicas of the published rules."""

from __future__ import annotations

import numpy as np
import pytest
from support import (
    rule_cases_elementwise,  # noqa: F401  (importing registers the cases)
    rule_cases_structure,  # noqa: F401
)
from support.multipliers import check_summation_to_delta, multiplier_model
from support.often import by_day
from support.rule_cases import CASES, Case, Fixed, normal
from support.small import run

import onnxplain.graph_passes.rules  # noqa: F401
from onnxplain.graph_passes.methods.deeplift import RULES


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
# Reveal-cancel by day: in parts and pairs, in test_reveal_cancel.py.
@pytest.mark.parametrize("rule", by_day(RULES, {"reveal-cancel"}))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_summation_to_delta(case: Case, rule: str, symbolic: bool) -> None:
    """sum over inputs of m dx = sum over outputs of seed dy, whatever the seed."""
    check_summation_to_delta(case, symbolic, rule)


def multipliers(case: Case, x, baseline, seed) -> dict[str, np.ndarray]:
    """The multipliers of a one-input case at given values."""
    model = multiplier_model(case, symbolic=False)
    assert model is not None
    x, baseline, seed = (np.asarray(v, np.float32) for v in (x, baseline, seed))
    return run(model, {"x0": x, "baseline_x0": baseline, "cotangent_y0": seed})


def test_rescale_replica() -> None:
    """m = m_y (f(x) - f(x')) / (x - x'), element by element; the derivative where x = x'."""
    x, baseline, seed = normal(40), normal(40, seed=1), normal(40, seed=2)
    baseline[:4] = x[:4]
    expected = []
    for a, b, m in zip(x, baseline, seed, strict=True):
        rise, run_ = max(a, 0) - max(b, 0), a - b
        expected.append(m * (float(a > 0) if run_ == 0 else rise / run_))
    found = multipliers(Case("Relu", (x,)), x, baseline, seed)["multiplier_x0"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0, np.inf), (0, 6), (-1, 1), (-0.3, 0.7), (1e-3, 1e3)])
def test_rescale_of_bounds(low: float, high: float) -> None:
    """Every pair of numbers on, right beside, inside and far off a Relu's or a Clip's bounds."""
    near = [np.float32(bound) for bound in (low, high) if np.isfinite(bound)]
    values = [0.5, 0.1, -1e-20, 1e-20, 1e-6, -1e30, 1e30, 2.5, -2.5, 0.0]
    for bound in near:
        values += [bound, np.nextafter(bound, np.float32(9e9)), np.nextafter(bound, -np.float32(1))]
    # Subnormal numbers, which hardware may flush to 0, have no neighbours that are told apart.
    grid = np.unique(np.float32([v for v in values if v == 0 or abs(v) > 1e-37]))
    x, start = (side.ravel() for side in np.meshgrid(grid, grid))
    case = (
        Case("Relu", (x,))
        if np.isinf(high)
        else Case("Clip", (x, Fixed(np.array(low, float)), Fixed(np.array(high, float))))
    )
    found = multipliers(case, x, start, np.ones(len(x)))["multiplier_x0"]
    bounds = np.float32(low), np.float32(high)
    a, b = x.astype(np.float64), start.astype(np.float64)
    rise = np.clip(a, *bounds) - np.clip(b, *bounds)
    inside = (x > bounds[0]) & (x < bounds[1])
    expected = np.divide(rise, a - b, out=inside.astype(np.float64), where=a != b)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_product_replica() -> None:
    """d(ab) = da (b + b')/2 + db (a + a')/2, element by element."""
    case = Case("Mul", (normal(3, 4), normal(4, seed=1)))
    model = multiplier_model(case, symbolic=False)
    assert model is not None
    a, a0, b, b0, m = (
        normal(3, 4),
        normal(3, 4, seed=5),
        normal(4),
        normal(4, seed=6),
        normal(3, 4, seed=7),
    )
    named = {"x0": a, "baseline_x0": a0, "x1": b, "baseline_x1": b0, "cotangent_y0": m}
    found = run(model, {name: np.float32(value) for name, value in named.items()})
    left, right = np.zeros((3, 4)), np.zeros(4)
    for i in range(3):
        for j in range(4):
            left[i, j] = m[i, j] * (b[j] + b0[j]) / 2
            right[j] += m[i, j] * (a[i, j] + a0[i, j]) / 2
    np.testing.assert_allclose(found["multiplier_x0"], left, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["multiplier_x1"], right, rtol=1e-5, atol=1e-6)


def test_max_pool_replica() -> None:
    """Overlapping windows, one after the other: each gives its two shares to its two argmaxes."""
    x, baseline, seed = normal(9), normal(9, seed=1), normal(4, seed=2)
    owed = np.zeros(9)
    for window in range(4):
        part = slice(2 * window, 2 * window + 3)
        y, y0 = x[part].max(), baseline[part].max()
        top = max(y, y0)
        owed[2 * window + x[part].argmax()] += seed[window] * (top - y0)
        owed[2 * window + baseline[part].argmax()] += seed[window] * (y - top)
    shape = (1, 1, 9)
    case = Case("MaxPool", (x.reshape(shape),), {"kernel_shape": [3], "strides": [2]})
    found = multipliers(case, x.reshape(shape), baseline.reshape(shape), seed.reshape(1, 1, 4))
    expected = owed / (x - baseline)
    np.testing.assert_allclose(found["multiplier_x0"].ravel(), expected, rtol=1e-4, atol=1e-5)


def test_tiny_differences_take_the_derivative() -> None:
    """Where x and x' differ by rounding only, a quotient would be noise."""
    x = np.asarray([1.0, 2.0, 3.0])
    found = multipliers(Case("Sigmoid", (x,)), x, x * (1 + 1e-7), np.ones(3))["multiplier_x0"]
    y = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(found, y * (1 - y), rtol=1e-5)
