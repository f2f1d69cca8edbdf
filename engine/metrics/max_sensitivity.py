"""Max-sensitivity: how much a map changes where the input hardly does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import InvalidInputError
from ..explaining.explainer import Explainer
from .metric import Metric
from .trial import Trial, over_rows, quiet, whole_number

RADIUS = 0.02
SAMPLES = 4


def max_sensitivity(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    explain: Callable[[Any], Any] | None = None,
    radius: float = RADIUS,
    samples: int = SAMPLES,
    noise: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The largest relative change of a map under small noise; lower is better.

    max_k ||map(x + e_k) - map(x)|| / ||map(x)||, e_k uniform in [-r, r] for each element: SENS_MAX
    of Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of
    Explanations", NeurIPS 2019, section 4, estimated by Monte Carlo and made relative.

    Args:
        explainer: explains the noisy inputs, for the same target.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        explain: (x [1, ...]) -> map; needed for plain arrays.
        radius: r, as a part of the input's range (its largest less its smallest number).
        samples: noisy inputs.
        noise: [K, ...] to add instead of drawn noise, in the input's own units.
        seed: of the noise.

    Returns:
        float64 [N]; NaN where the map is 0 everywhere.

    Raises:
        InvalidInputError: token ids, a map of another shape, or a wrong setting.
    """
    settings = {"radius": radius, "samples": samples, "noise": noise}
    more = {"target": target, "seed": seed, "explain": explain}
    return over_rows(_measure, explainer, x, explanation, settings, **more)


def _noisy(trial: Trial, radius: float, samples: int) -> np.ndarray:
    """Inputs with noise, float64 [samples, ...]; each sample has numbers of its own."""
    random = np.random.default_rng([trial.seed, 2])
    reach = radius * float(np.ptp(trial.x.astype(np.float64)))
    return random.uniform(-reach, reach, (samples, *trial.x.shape[1:]))


def _measure(trial: Trial, radius: float, samples: int, noise: np.ndarray | None) -> float:
    whole_number("samples", samples)
    reason = METRIC.unfit(trial)
    if reason is not None:
        raise InvalidInputError(reason)
    added = _noisy(trial, radius, samples) if noise is None else np.asarray(noise)
    size = float(np.linalg.norm(trial.attribution))
    if size == 0:
        return np.nan
    worst, wide = 0.0, trial.x.astype(np.float64)
    for one in added:
        near = wide + one
        if trial.x.dtype.kind in "iu":
            limits = np.iinfo(trial.x.dtype)
            near = np.clip(np.rint(near), limits.min, limits.max)
        with quiet():
            found = trial.explained(near.astype(trial.x.dtype))
        worst = max(worst, float(np.linalg.norm(found - trial.attribution)) / size)
    return worst


METRIC = Metric(
    name="max-sensitivity",
    title="Max-sensitivity",
    cite="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019",
    summary="Largest relative change of the map under noise of 2 % of the input's range.",
    measure=_measure,
    function=max_sensitivity,
    settings={"radius": RADIUS, "samples": SAMPLES, "noise": None},
    higher_is_better=False,
    faithful=False,
    needs_numbers=True,
    cost="highest",
)
