"""Options that several methods share, and how values are checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import InvalidInputError
from .method import Option

# What is drawn, or shifted, by a number of its own for each.
MOST_SAMPLES = 100_000


def whole_number(name: str, least: int = 1, most: int | None = None) -> Callable[[Any], int]:
    """A check for whole numbers from `least` on, to `most`."""

    def check(value: Any) -> int:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise InvalidInputError(f"{name} must be a whole number {bounds}, got {value!r}")
        return int(value)

    return check


def real_number(name: str, positive: bool = False) -> Callable[[Any], float]:
    """A check for finite numbers that are not negative, or are above 0."""

    def check(value: Any) -> float:
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 <= float(value) < np.inf or (positive and not value > 0):
            kind = "a positive number" if positive else "a number of at least 0"
            raise InvalidInputError(f"{name} must be {kind}, got {value!r}")
        return float(value)

    return check


def one_of(name: str, choices: tuple[str, ...]) -> Callable[[Any], str]:
    """A check for one of some names."""

    def check(value: Any) -> str:
        if value not in choices:
            raise InvalidInputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        return value

    return check


def yes_or_no(name: str) -> Callable[[Any], bool]:
    """A check for True and False."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise InvalidInputError(f"{name} must be True or False, got {value!r}")
        return bool(value)

    return check


def as_given(value: Any) -> Any:
    """No check: what it must be depends on the model."""
    return value


def choice(name: str, help: str, choices: tuple[str, ...], default: str) -> Option:
    """An option that is one of some names."""
    return Option(name, help, one_of(name, choices), default, choices)


BASELINE = Option(
    "baseline",
    "black, white, mean, blur, or a file (an image or .npy); for arrays zeros, a number or a .npy "
    "file; repeatable for methods that take a set.  [default: black; without a model card, zeros]",
    as_given,
    metavar="BASELINE",
    several=True,
)
LAYER = Option(
    "layer",
    "Grad-CAM's feature map, by tensor or node name; repeatable: the sum of several maps. Default: "
    "found.",
    as_given,
    metavar="NAME",
    several=True,
)
SEED = Option(
    "seed", "Seed of the random numbers.", whole_number("seed", 0, 2**31 - 1), 0, kind=int
)


def samples(default: int, help: str) -> Option:
    """How many samples are averaged."""
    check = whole_number("samples", 1, MOST_SAMPLES)
    return Option("samples", help, check, default, kind=int, metavar="N")
