"""Sensitivity-n: whether the map's sum over a set says what taking the set away does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from ... import InvalidInputError
from ..explaining.explainer import Explainer
from .metric import Metric
from .trial import Trial, over_rows, whole_number

# Parts of the features: the paper's sizes go from one feature to 80 % of them, evenly in logarithm.
SIZES = (0.01, 0.03, 0.1, 0.3, 0.8)
SAMPLES = 32


def sensitivity_n(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    sizes: Sequence[float] = SIZES,
    samples: int = SAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Mean correlation over set sizes n; higher is better, 1 for a linear model's own shares.

    For each n: Pearson's correlation, over random sets S of n features, of sum_{i in S} R_i with
    score(x) - score(x with S at the baseline). Ancona, Ceolini, Öztireli, Gross, "Towards better
    understanding of gradient-based attribution methods for deep neural networks", ICLR 2018,
    section 3.2. It asks about the score itself, never a probability. A map of which all sets of a
    size have one sum gets 0 there; a size at which the score never moves is left out.

    Args:
        explainer: whose score it is about.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: an Explanation of it, or an array: [N, ...] of x's shape, or [N, H, W].
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        baseline: what replaces a feature; broadcasts to x. None: the card's black, else zeros.
        sizes: n, as parts of the features; each is one feature at least.
        samples: sets of each size (the paper: 100).
        seed: of the sets.

    Returns:
        float64 [N]; NaN where the score never moves.

    Raises:
        InvalidInputError: a map of another shape, or a wrong setting.
    """
    settings = {"sizes": sizes, "samples": samples}
    more = {"target": target, "baseline": baseline, "seed": seed}
    return over_rows(_measure, explainer, x, explanation, settings, **more)


def drops(trial: Trial, sets: np.ndarray) -> np.ndarray:
    """score(x) - score(x with S at the baseline) for sets [K, features], float64 [K]."""
    here = trial.once_of_input("score", lambda: trial.scores(trial.x).score[0])
    return here - trial.scores(trial.replaced(sets, trial.x, trial.baseline)).score


def sets_of(trial: Trial, size: int, samples: int) -> np.ndarray:
    """Random sets of a size, bool [samples, features]."""
    random = np.random.default_rng([trial.seed, size])
    chosen = np.zeros((samples, trial.count), bool)
    for row in chosen:
        row[random.choice(trial.count, size, replace=False)] = True
    return chosen


def correlation(sums: np.ndarray, falls: np.ndarray) -> float:
    """Pearson's correlation; 0 where the sums are all one, NaN where the falls are."""
    if _flat(falls):
        return np.nan
    return 0.0 if _flat(sums) else float(np.asarray(stats.pearsonr(sums, falls))[0])


def _flat(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-12 * max(np.abs(values).max(), 1e-300))


def _measure(trial: Trial, sizes: Sequence[float], samples: int) -> float:
    whole_number("samples", samples, 3)
    if not len(sizes) or not all(0 < size < 1 for size in sizes):
        raise InvalidInputError(f"sizes: expected parts above 0 and below 1, got {sizes!r}")
    counts = sorted({max(1, min(round(size * trial.count), trial.count - 1)) for size in sizes})
    found = []
    for count in counts:

        def make(count: int = count) -> tuple[np.ndarray, np.ndarray]:
            sets = sets_of(trial, count, samples)
            return sets, drops(trial, sets)

        key = "sensitivity-n", trial.seed, count, samples
        sets, falls = trial.once_of_input(key, make)
        found.append(correlation(sets @ trial.relevance, falls))
    known = [one for one in found if not np.isnan(one)]
    return float(np.mean(known)) if known else np.nan


METRIC = Metric(
    name="sensitivity-n",
    title="Sensitivity-n",
    cite="Ancona, Ceolini, Öztireli, Gross 2018",
    summary="Correlation of sums over random sets with what removing the sets does to the score.",
    measure=_measure,
    function=sensitivity_n,
    settings={"sizes": SIZES, "samples": SAMPLES},
    higher_is_better=True,
    cost="middle",
)
