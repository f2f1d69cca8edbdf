"""Points of Integrated Gradients' path, from baseline (0) to input (1), and their weights."""

from __future__ import annotations

import numpy as np

from onnxplain import InvalidInputError


def gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact for polynomials up to degree 2 steps - 1; no point at the ends."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


def trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Equally spaced from 0 to 1, both ends at half weight; one step is the midpoint."""
    if steps == 1:
        return middle(1)
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def left(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Left Riemann sum: k / steps, k = 0 .. steps - 1."""
    return np.arange(steps) / steps, np.full(steps, 1 / steps)


def right(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Right Riemann sum: k / steps, k = 1 .. steps."""
    return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)


def middle(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Midpoint rule: (k + 1/2) / steps."""
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


QUADRATURES = {
    "gauss-legendre": gauss_legendre,
    "trapezoid": trapezoid,
    "left": left,
    "right": right,
    "middle": middle,
}


def quadrature_rule(name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and weights that sum to one; float64 [steps] each.

    Raises:
        InvalidInputError: an unknown name, or fewer than one step.
    """
    if name not in QUADRATURES:
        raise InvalidInputError(f"quadrature must be one of {', '.join(QUADRATURES)}; got {name!r}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise InvalidInputError(f"steps must be a whole number of at least 1, got {steps!r}")
    return QUADRATURES[name](int(steps))
