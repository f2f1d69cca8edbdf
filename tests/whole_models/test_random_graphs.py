"""Random small graphs: scores, gradients, sums, batches, targets and files agree.

The same at every run; `python tests/fuzz.py --minutes 30` tries new ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.often import often
from support.random_checks import check
from support.random_graphs import random_model
from support.random_variants import check_variants

import onnxplain


@settings(
    max_examples=often(15, 40),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data(), st.integers(0, 2**16))
def test_random_graphs(data, seed):
    built = random_model(lambda options: data.draw(st.sampled_from(list(options))), seed)
    with tempfile.TemporaryDirectory() as folder:
        check(built, Path(folder))


@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data(), st.integers(0, 2**16))
def test_more_outputs_and_open_lengths(data, seed):

    def draw(options):
        return data.draw(st.sampled_from(list(options)))

    built = random_model(draw, seed)
    try:
        onnxplain.Explainer(built.model, "input-x-gradient")(built.x[:1], None)
    except onnxplain.OnnxplainError:
        return
    check_variants(built, draw)
