"""The guide for contributors and the tour: their code runs, and shows what the house has."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.digits import digit, write_model
from support.folders import ROOT
from support.small import node, small, value

import onnxplain
from onnxplain.engine import inputs
from onnxplain.engine.targets import asking
from onnxplain.graph_passes import methods
from onnxplain.graph_passes.prepare.decompositions.registry import ALWAYS
from onnxplain.graph_passes.rules import elementwise

GUIDE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_an_operator_as_simpler_ones(monkeypatch) -> None:
    before = dict(ALWAYS)
    exec(BLOCKS[0], {})
    try:
        nodes = [node("Cube", ["x"], ["c"], domain="com.example"), node("Identity", ["c"], ["y"])]
        inputs, outputs = [value("x", ["N", 3])], [value("y", ["N", 3])]
        model = small(nodes, inputs, outputs, domains=["com.example"])
        explainer = onnxplain.Explainer(model, "saliency", signed=True)
        x = np.array([[0.5, -2, 3]], np.float32)
        np.testing.assert_allclose(explainer(x, 1).attribution, [[0, 3 * 4, 0]], rtol=1e-6)
    finally:
        for name in set(ALWAYS) - set(before):
            del ALWAYS[name]


def test_a_rule_is_shown_as_it_stands() -> None:
    assert BLOCKS[1].strip() == inspect.getsource(elementwise.softplus).strip()


def test_a_method(tmp_path: Path, monkeypatch) -> None:
    scope: dict = {"__name__": "squared"}
    exec(BLOCKS[2], scope)
    (method,) = scope["METHODS"]
    monkeypatch.setitem(methods._registry(), method.name, method)
    model = write_model(tmp_path)
    slope = onnxplain.Explainer(model, "saliency", signed=True)(digit(7), 7).attribution
    e = onnxplain.Explainer(model, "squared-gradient")(digit(7), 7)
    np.testing.assert_allclose(e.attribution, slope**2, rtol=1e-5, atol=1e-12)
    assert e.picture() is not None


def test_a_kind_of_input(tmp_path: Path, monkeypatch, command) -> None:
    scope: dict = {"__name__": "series"}
    exec(BLOCKS[3], scope)
    monkeypatch.setitem(inputs._registry(), "series", scope["KIND"])
    numbers = np.array([0, 1.5, -2, 0.25], np.float32)
    (tmp_path / "series.dat").write_text("\n".join(map(str, numbers)))
    w = np.arange(8, dtype=np.float32).reshape(4, 2)
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Squeeze", ["m", "one"], ["y"])]
    weights = {"w": w, "one": np.array([1])}
    model = small(nodes, [value("x", ["N", 1, 4])], [value("y", ["N", 2])], weights)
    explainer = onnxplain.Explainer(model, "deeplift", baseline="nothing")
    e = explainer.explain(tmp_path / "series.dat")
    np.testing.assert_allclose(e.attribution[0, 0], numbers * w[:, e.target[0]], rtol=1e-6)
    onnx.save(model, tmp_path / "model.onnx")
    asked = "-m", "deeplift", "--baseline", "nothing", "-o", tmp_path / "out"
    status, out, err = command("explain", tmp_path / "model.onnx", tmp_path / "series.dat", *asked)
    assert status == 0 and "series.deeplift." in out, err
    (tmp_path / "bad.dat").write_bytes(b"no numbers")
    with pytest.raises(onnxplain.InvalidInputError, match=r"bad\.dat: expected a series"):
        explainer.explain(tmp_path / "bad.dat")


def test_a_kind_of_target(tmp_path: Path, monkeypatch, command) -> None:
    scope: dict = {"__name__": "mean"}
    exec(BLOCKS[4], scope)
    # Before those that take any text for a label.
    known = {"mean": scope["KIND"], **asking.kinds()}
    monkeypatch.setattr(asking, "kinds", lambda: known)
    model = write_model(tmp_path)
    explainer = onnxplain.Explainer(model, "input-x-gradient")
    e = explainer(digit(7), "mean:1,2,5")
    parts = explainer(digit(7), [1, 2, 5])
    assert e.score[0] == pytest.approx(parts.score.mean(), rel=1e-5)
    right = parts.attribution.mean(axis=0)
    np.testing.assert_allclose(e.attribution[0], right, rtol=1e-4, atol=1e-6)
    assert e.targets[0].key == "mean-1-2-5"


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == 5


def test_the_tour(tmp_path: Path, monkeypatch) -> None:
    """Every cell of the notebook, in order; what a cell ends in is shown, as notebooks do."""
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    scope: dict = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"]
        *body, last = "".join(cell["source"]).split("\n")
        exec("\n".join(body), scope)
        try:
            shown.append(eval(last, scope))
        except SyntaxError:
            exec(last, scope)
    pictures = [one for one in shown if isinstance(one, onnxplain.Explanation)]
    assert len(pictures) == 2
    assert all((one._repr_png_() or b"").startswith(b"\x89PNG") for one in pictures)


@pytest.mark.parametrize(
    "name", ["Dockerfile", "SECURITY.md", "workflows/ci.yml", "workflows/release.yml"]
)
def test_what_a_project_needs_is_there(name: str) -> None:
    assert (ROOT / ".github" / name).is_file()


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(onnxplain.__version__)}\b", text, re.MULTILINE)
