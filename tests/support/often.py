"""How often what is drawn at random is tried: a little on every run, much by night."""

import os

import pytest

NIGHTLY = os.environ.get("ONNXPLAIN_TESTS") == "nightly"


def often(usual: int, nightly: int) -> int:
    """The number of cases of a test that draws them; `ONNXPLAIN_TESTS=nightly pytest` takes all."""
    return nightly if NIGHTLY else usual


# What takes long and has a smaller case beside it.
by_night = pytest.mark.skipif(not NIGHTLY, reason="long: ONNXPLAIN_TESTS=nightly runs it")
