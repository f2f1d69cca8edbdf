"""ROAD: deletion with pixels that are filled in from their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from ... import InvalidInputError
from ..explaining.explainer import Explainer
from .curves import area, check_choice
from .metric import Metric
from .trial import VALUES, Trial, over_rows

PARTS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
NOISE = 0.01
CHOICES = (*VALUES, "accuracy")
# A pixel is this part of each neighbour: straight ones twice as much as those at its corners.
_NEIGHBOURS = [(dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_NEIGHBOURS.remove((0, 0, 1 / 6))


def road(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    parts: Sequence[float] = PARTS,
    noise: float = NOISE,
    value: str = "probability",
    seed: int = 0,
) -> np.ndarray:
    """Mean value while the most relevant pixels are imputed; lower is better.

    Remove and debias: the parts of the pixels that are most relevant are filled in by the noisy
    linear imputation, each pixel being the weighted mean of its eight neighbours (1/6 straight,
    1/12 at corners), which is a sparse linear system, plus Gaussian noise. Rong, Leemann, Borisov,
    Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML
    2022, section 5 (most relevant first). The value is the area under the curve over `parts`.

    Args:
        explainer: whose score it is about.
        x: pictures [N, C, H, W] or [N, H, W, C], or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        parts: which parts of the pixels are imputed, ascending.
        noise: standard deviation of the noise, as a part of the input's range.
        value: "probability" (the score where the model gives none), "score", or "accuracy": 1 while
            the class stays the top one, as the paper has it.
        seed: of the noise, and of the order among equals.

    Returns:
        float64 [N].

    Raises:
        InvalidInputError: no pictures, a map of another shape, or a wrong setting.
    """
    settings = {"parts": parts, "noise": noise, "value": value}
    return over_rows(_measure, explainer, x, explanation, settings, target=target, seed=seed)


def imputed(pixels: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Fill pixels in from their neighbours, without noise.

    Solves sum_j w_ij (v_i - v_j) = 0 for each missing pixel i over its neighbours j inside the
    picture. One factorisation serves all channels: holes of 10 to 90 % of 224 x 224 pixels take
    0.03 to 0.4 s by SuperLU, in its order for symmetric matrices, and 0.04 to 6 s by conjugate
    gradients, which a wide hole needs hundreds of steps of (2 busy cores).

    Args:
        pixels: float64 [H, W, C].
        gone: bool [H, W], not all.
    """
    height, width = gone.shape
    count = int(gone.sum())
    places = np.full(gone.shape, -1)
    places[gone] = np.arange(count)
    weights = np.zeros(gone.shape)
    known = np.zeros(pixels.shape)
    rows, columns, values = [], [], []
    for dy, dx, weight in _NEIGHBOURS:
        here = _inside(height, -dy), _inside(width, -dx)
        there = _inside(height, dy), _inside(width, dx)
        weights[here] += weight
        known[here] += weight * pixels[there] * ~gone[there][..., None]
        both = gone[here] & gone[there]
        rows.append(places[here][both])
        columns.append(places[there][both])
        values.append(np.full(int(both.sum()), -weight))
    entries = np.concatenate([*values, weights[gone]])
    own = np.arange(count)
    at = np.concatenate([*rows, own]), np.concatenate([*columns, own])
    system = sparse.coo_matrix((entries, at), shape=(count, count)).tocsc()
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0}
    solver = linalg.splu(system, **symmetric, options={"SymmetricMode": True})
    filled = pixels.copy()
    filled[gone] = solver.solve(known[gone])
    return filled


def _inside(length: int, offset: int) -> slice:
    """Places of an axis that lie `offset` from a place of it."""
    return slice(max(0, offset), length + min(0, offset))


def _imputations(trial: Trial, parts: Sequence[float], noise: float) -> np.ndarray:
    """The input with its most relevant parts imputed, [parts, ...]."""
    axis = trial.channel_axis
    assert axis is not None
    wide = np.moveaxis(trial.x.astype(np.float64), axis, -1)[0]
    random = np.random.default_rng([trial.seed, 3])
    spread = noise * float(np.ptp(wide))
    order, found = trial.order(), []
    for part in parts:
        gone = np.zeros(trial.count, bool)
        gone[order[: int(part * trial.count)]] = True
        gone = gone.reshape(trial.lengths)
        filled = imputed(wide, gone) if gone.any() else wide.copy()
        filled[gone] += spread * random.standard_normal(filled[gone].shape)
        found.append(np.moveaxis(filled, -1, axis - 1))
    whole = np.stack(found)
    if trial.x.dtype.kind in "iu":
        limits = np.iinfo(trial.x.dtype)
        whole = np.clip(np.rint(whole), limits.min, limits.max)
    return whole.astype(trial.x.dtype)


def curve_of(trial: Trial, parts: Sequence[float], noise: float, value: str) -> np.ndarray:
    """The value at each part, [parts]."""
    check_choice("value", value, CHOICES)
    places = np.asarray(parts, np.float64)
    ascends = places.ndim == 1 and len(places) > 1 and bool((np.diff(places) > 0).all())
    if not ascends or places[0] < 0 or places[-1] >= 1:
        raise InvalidInputError(f"parts: expected ascending parts from 0 to under 1, got {parts!r}")
    if not trial.is_picture:
        raise InvalidInputError("road needs pictures, [N, C, H, W] or [N, H, W, C]")

    def make() -> np.ndarray:
        inputs = _imputations(trial, parts, noise)
        if value != "accuracy":
            return trial.values(inputs, value)
        if isinstance(trial.target, tuple) or trial.target.dtype.kind != "i":
            raise InvalidInputError("value 'accuracy' needs a class as target, no index tuple")
        return (trial.top_classes(inputs) == trial.target).astype(np.float64)

    return trial.once(("road", tuple(parts), noise, value), make)


def _measure(trial: Trial, parts: Sequence[float], noise: float, value: str) -> float:
    return area(curve_of(trial, parts, noise, value), np.asarray(parts, np.float64))


def _curves(
    trial: Trial, parts: Sequence[float], noise: float, value: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"ROAD": (np.asarray(parts, np.float64), curve_of(trial, parts, noise, value))}


METRIC = Metric(
    name="road",
    title="ROAD",
    cite="Rong, Leemann, Borisov, Kasneci, Kasneci 2022",
    summary="Mean score while the most relevant pixels are filled in from their neighbours.",
    measure=_measure,
    function=road,
    settings={"parts": PARTS, "noise": NOISE, "value": "probability"},
    higher_is_better=False,
    needs_picture=True,
    cost="high",
    curves=_curves,
)
