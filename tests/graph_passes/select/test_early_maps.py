"""A map that a branch leaves by layers with weights is said to be early, with how many they are."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from support.small import node, small, value

import onnxplain

RANDOM = np.random.default_rng(3)


def normal(*shape):
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


def two_branches(before, behind, late_alone=False):
    """`before` layers, then an early branch and one of `behind` layers, joined as numbers."""
    weights = {"k0": normal(4, 3, 3, 3), "w": normal(4 if late_alone else 8, 3)}
    nodes, x = [], "x"
    for k in range(before + behind):
        weights[f"k{k}"] = normal(4, 3 if k == 0 else 4, 3, 3)
        nodes += [
            node("Conv", [x, f"k{k}"], [f"c{k}"], pads=[1] * 4),
            node("Relu", [f"c{k}"], [f"r{k}"]),
        ]
        x = f"r{k}"
    early, joined = f"r{before - 1}", "late"
    nodes += [
        node("GlobalAveragePool", [x], ["p"]),
        node("Flatten", ["p"], ["late"]),
    ]
    if not late_alone:
        joined = "both"
        nodes += [
            node("GlobalAveragePool", [early], ["q"]),
            node("Flatten", ["q"], ["early"]),
            node("Concat", ["early", "late"], ["both"], axis=1),
        ]
    nodes.append(node("MatMul", [joined, "w"], ["y"]))
    return small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 3])], weights)


@pytest.mark.parametrize(("before", "behind"), [(1, 1), (3, 1), (5, 1), (3, 2), (2, 4)])
def test_from_the_first_weight_on(before, behind, caplog):
    with caplog.at_level(logging.WARNING, "onnxplain"):
        explainer = onnxplain.Explainer(two_branches(before, behind))
    assert explainer.feature_map == f"r{before - 1}"
    assert f"({behind} of {before + behind} convolutions and products" in caplog.text
    if behind <= before:
        assert f"layer='r{before + behind - 1}'" in caplog.text
        named = onnxplain.Explainer(two_branches(before, behind), layer=f"r{before + behind - 1}")
        assert named.feature_map == f"r{before + behind - 1}"
    assert "of" in onnxplain.inspect(two_branches(before, behind)).feature_map_reason


@pytest.mark.parametrize("before", [1, 3])
def test_one_branch_is_no_reason(before, caplog):
    with caplog.at_level(logging.WARNING, "onnxplain"):
        explainer = onnxplain.Explainer(two_branches(before, 2, late_alone=True))
        onnxplain.Explainer(two_branches(3, 1, late_alone=True), layer="r2")
    assert explainer.feature_map == f"r{before + 1}" and not caplog.text
