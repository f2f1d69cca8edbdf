"""Multipliers of one node, and whether they sum to delta."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxplain import UnsupportedModelError
from onnxplain.graph_passes.backward.multipliers import multipliers
from onnxplain.graph_passes.methods.deeplift import RULES
from onnxplain.graph_passes.prepare.pipeline import prepare
from support import (
    rule_cases_elementwise,  # noqa: F401  (importing registers the cases)
    rule_cases_structure,  # noqa: F401
)
from support.rule_cases import Case
from support.small import run


def multiplier_model(case: Case, symbolic: bool, rule: str = "rescale") -> onnx.ModelProto | None:
    """The product's model of a case's multipliers; None where it refuses the case."""
    graph = prepare(case.model(symbolic=symbolic))
    try:
        return multipliers(graph, RULES[rule])
    except UnsupportedModelError:
        return None


def baselines_for(case: Case) -> dict[str, np.ndarray]:
    """Baselines in the case's own domain: its inputs, rolled and a little closer to their mean."""
    feeds = case.feeds()
    return {
        name: np.asarray(0.9 * np.roll(x.ravel(), 1).reshape(x.shape) + 0.1 * x.mean(), np.float32)
        for name, x in feeds.items()
        if x.dtype == np.float32
    }


def check_summation_to_delta(case: Case, symbolic: bool, rule: str) -> None:
    """What the test above says, or a refusal of what may be refused."""
    model = multiplier_model(case, symbolic, rule)
    if model is None:
        assert _may_be_refused(case, symbolic)
        pytest.skip("refused, as it should be")
    onnx.checker.check_model(model, full_check=True)
    feeds, baselines = case.feeds(), baselines_for(case)
    given = feeds | {f"baseline_{name}": value for name, value in baselines.items()}
    random = np.random.default_rng(3)
    outputs = [f"y{k}" for k in range(case.outputs) if k not in case.integers]
    own = run(case.model(), feeds)
    seeds = {
        f"cotangent_{y}": random.standard_normal(own[y].shape).astype(np.float32) for y in outputs
    }
    found = run(model, given | seeds)
    left = right = size = 0.0
    for name, baseline in baselines.items():
        terms = found[f"multiplier_{name}"].astype(np.float64) * (feeds[name] - baseline)
        left += terms.sum()
        size += np.abs(terms).sum()
    for y in outputs:
        terms = seeds[f"cotangent_{y}"].astype(np.float64) * (found[y] - found[f"baseline_{y}"])
        right += terms.sum()
        size += np.abs(terms).sum()
    assert abs(left - right) <= 1e-5 * size + 1e-6


def _may_be_refused(case: Case, symbolic: bool) -> bool:
    """True for what DeepLIFT has no exact rule for; a refusal of anything else fails the gate."""
    if case.static_only and symbolic:
        return True
    if case.op in ("Pow", "PRelu"):
        return len(case.varying()) > 1
    if case.op in ("ScatterElements", "ScatterND"):
        return case.attributes.get("reduction") in ("mul", "min", "max")
    if case.op == "ReduceProd":
        return symbolic
    return case.op == "TopK"
