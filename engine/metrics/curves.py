"""Curves: the score while features are taken away, or put in, in the order of a map."""

from __future__ import annotations

import numpy as np
from scipy import integrate

from ... import InvalidInputError
from .trial import Trial, whole_number

STEPS = 16


def fractions(steps: int) -> np.ndarray:
    """Which part of the features has gone at each point: 0 to 1, [steps + 1]."""
    return np.linspace(0.0, 1.0, whole_number("steps", steps) + 1)


def area(values: np.ndarray, places: np.ndarray) -> float:
    """The area under a curve by the trapezoidal rule, as a mean height."""
    return float(integrate.trapezoid(values, places) / (places[-1] - places[0]))


def curve(
    trial: Trial, order: np.ndarray, source: np.ndarray, into: np.ndarray, steps: int, value: str
) -> np.ndarray:
    """The value at x_k = source with its first round(k F / steps) features in order from `into`.

    Args:
        trial: what is tried.
        order: the F features.
        source: an array that broadcasts to the input.
        into: another one.
        steps: how many.
        value: "probability" or "score".

    Returns:
        float64 [steps + 1].
    """
    rank = np.empty(trial.count, int)
    rank[order] = np.arange(trial.count)
    gone = np.rint(fractions(steps)[1:-1] * trial.count)
    between = trial.replaced(rank < gone[:, None], source, into)
    ends = [_end(trial, one, value) for one in (source, into)]
    values = trial.values(between, value) if len(between) else np.empty(0)
    return np.concatenate([ends[0], values, ends[1]])


def _end(trial: Trial, source: np.ndarray, value: str) -> np.ndarray:
    """The value at an end of curves, [1], once for all maps of an input."""

    def make() -> np.ndarray:
        whole = np.broadcast_to(source, trial.x.shape).astype(trial.x.dtype)
        return trial.values(whole, value)

    return trial.once_of_input(("end", source.tobytes(), value), make)


def removed(trial: Trial, most_first: bool, steps: int, value: str) -> np.ndarray:
    """The curve from the input to the baseline, once for all metrics of a map."""

    def make() -> np.ndarray:
        order = trial.order() if most_first else trial.order()[::-1]
        return curve(trial, order, trial.x, trial.baseline, steps, value)

    return trial.once(("removed", most_first, steps, value), make)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is none of some names."""
    if value not in choices:
        raise InvalidInputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
