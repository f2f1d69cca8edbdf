"""Every kind of stage has a driver, and a driver is all that the engine asks of one."""

from __future__ import annotations

import ast
import typing

import numpy as np
import pytest
from support.folders import ROOT
from support.small import node, small, value

import onnxplain
from onnxplain.engine.running.drivers import DRIVERS, driver_of
from onnxplain.graph_passes.methods import find_method, methods
from onnxplain.graph_passes.methods.method import Stages

KINDS = set(typing.get_args(typing.get_type_hints(Stages)["along"])) - {type(None)}


def model():
    w = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    nodes = [node("Softplus", ["x"], ["s"]), node("MatMul", ["s", "w"], ["y"])]
    return small(nodes, [value("x", ["N", 4])], [value("y", ["N", 3])], {"w": w})


def test_every_kind_of_stage_has_a_driver():
    assert DRIVERS.keys() == KINDS


@pytest.mark.parametrize("name", methods())
def test_stages_are_of_these_kinds(name):
    """Of each method that explains a vector; what a driver looks at is what its graph takes."""
    takes = {"baseline": 0.0} if find_method(name).takes("baseline") else {}
    try:
        explainer = onnxplain.Explainer(model(), name, **takes)
    except onnxplain.OnnxplainError:
        pytest.skip("not for a vector")
    plan = explainer._default_plan
    if plan.along is None:
        assert not plan.apart
        return
    assert type(plan.along) in KINDS and plan.apart == driver_of(plan.along).apart
    x = np.ones((1, 4), np.float32)
    e = explainer(x, 1)
    assert np.isfinite(e.attribution).all()


def test_nobody_else_asks_for_the_kind():
    """isinstance(stage, Repeated) and the like: only the table of drivers tells stages apart."""
    names = {kind.__name__ for kind in KINDS}
    asking = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "engine").rglob("*.py")
        for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(n, ast.Name) and n.id in names
    ]
    assert set(asking) == {"engine/running/drivers.py"}
