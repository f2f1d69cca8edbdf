"""How often what is drawn at random is tried: a little on every run, much by night."""

import os
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
NIGHTLY = os.environ.get("ONNXPLAIN_TESTS") == "nightly"


def often(usual: T, nightly: T) -> T:
    """How many cases a test takes, or which; `ONNXPLAIN_TESTS=nightly pytest` takes all."""
    return nightly if NIGHTLY else usual


def by_day(cases: Iterable[Any], by_night_only: Collection[Any]) -> list[Any]:
    """Cases to parametrise with; some of them are left to the night, as others are alike."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=by_night)
        if case in by_night_only
        else case
        for case in cases
    ]


# What takes long and has a smaller case beside it.
by_night = pytest.mark.skipif(not NIGHTLY, reason="long: ONNXPLAIN_TESTS=nightly runs it")


def thinned(cases: Iterable[Any], step: int) -> list[Any]:
    """Every `step`-th case by day, all by night; prime to a table's sizes, it meets each row."""
    every = list(cases)
    return by_day(every, [case for number, case in enumerate(every) if number % step])
