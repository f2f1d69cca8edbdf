"""Points of a static file of Integrated Gradients, chosen by photos, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from support.digits import digit, write_model
from support.one_question import images, source
from support.small import run

import onnxplain
from onnxplain.cli import cli
from onnxplain.graph_passes.heads.common_points import common_points, trapezoid_weights

METHOD = "integrated-gradients"


def facts_of(model) -> dict:
    (said,) = [entry.value for entry in model.metadata_props if entry.key == "onnxplain"]
    return json.loads(said)


def answer(model, x, name="in_0"):
    return run(model, {name: x, "target": np.full(len(x), -1)})


def test_one_photo_has_the_librarys_own_points(tmp_path):
    """One set of points for one input: the file's answer is the library's."""
    for file in ("convolutions", "one at a time"):
        model = source(file, METHOD)
        x = images(model, file)[:1]
        explainer = onnxplain.Explainer(
            model, METHOD, baseline=0.2, tolerance=0.003, providers="cpu", threads=1
        )
        made = explainer.export(tmp_path / "file.onnx", static=True, calibrate=x)
        expected, found = explainer(x), answer(made, x, "x")
        size = np.abs(expected.attribution).max()
        np.testing.assert_allclose(found["attribution"], expected.attribution, atol=1e-4 * size)
        ends = np.abs(expected.score) + np.abs(expected.baseline_score)
        np.testing.assert_allclose(found["delta"], expected.delta, atol=1e-5 * ends.max())
        facts = facts_of(made)
        assert (facts["quadrature"], facts["steps"]) == ("calibrated", expected.steps)
        assert facts["calibration"]["map_error"]["largest"] < 1e-4


def test_the_sum_is_of_every_photos_points_and_the_error_is_true(tmp_path):
    model = source("digits", METHOD)
    x = np.concatenate([digit(k) for k in range(6)])
    explainer = onnxplain.Explainer(model, METHOD, baseline=0.0, providers="cpu", threads=1)
    made = explainer.export(tmp_path / "file.onnx", static=True, calibrate=x)
    each = [explainer(row[None]) for row in x]
    points = np.unique(np.concatenate([e.points[~np.isnan(e.points)] for e in each]))
    weights = trapezoid_weights(points)
    assert weights.sum() == pytest.approx(1.0)
    gradient = onnxplain.vjp(model)
    (output,) = [value.name for value in model.graph.output]
    apart, missed = [], []
    for row, e in zip(x, each, strict=True):
        seed = np.eye(10, dtype=np.float32)[e.target]
        total = np.zeros(row.shape)
        for point, weight in zip(points, weights, strict=True):
            feeds = {"in_0": (point * row[None]).astype(np.float32), f"cotangent_{output}": seed}
            total += weight * run(gradient, feeds)["grad_in_0"][0]
        found = answer(made, row[None])
        np.testing.assert_allclose(found["attribution"][0], total * row, atol=1e-5)
        off = found["attribution"] - e.attribution
        apart.append(np.linalg.norm(off) / np.linalg.norm(e.attribution))
        missed.append(abs(found["delta"][0]) / abs(e.score[0] - e.baseline_score[0]))
    said = facts_of(made)["calibration"]
    assert (said["photos"], said["points"]) == (6, len(points))
    for name, values in (("map_error", apart), ("relative_delta", missed)):
        assert said[name]["largest"] == pytest.approx(max(values), rel=1e-3, abs=1e-6)
        assert said[name]["median"] == pytest.approx(np.median(values), rel=1e-3, abs=1e-6)


def test_no_more_points_than_steps(tmp_path):
    model = source("digits", METHOD)
    x = np.concatenate([digit(k) for k in range(5)])
    explainer = onnxplain.Explainer(
        model, METHOD, baseline=0.0, tolerance=1e-7, steps=12, providers="cpu"
    )
    made = explainer.export(tmp_path / "file.onnx", static=True, calibrate=list(map(digit, (1, 2))))
    assert facts_of(made)["steps"] <= 12
    made = explainer.export(tmp_path / "file.onnx", static=True, calibrate=x)
    assert facts_of(made)["steps"] == 12


def test_most_wanted_points_come_first_and_their_ends_are_there():
    coarse = np.linspace(0, 1, 5)
    first = np.union1d(coarse, [0.125, 0.0625])
    second = np.union1d(coarse, [0.125, 0.625])
    points, _ = common_points([first, second], 100)
    assert points.tolist() == np.union1d(first, second).tolist()
    points, weights = common_points([first, second], 6)
    assert points.tolist() == [0, 0.125, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(weights, [0.0625, 0.125, 0.1875, 0.25, 0.25, 0.125])
    points, _ = common_points([first, second], 7)
    assert points.tolist() == [0, 0.125, 0.25, 0.5, 0.625, 0.75, 1]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"calibrate": [], "static": True}, "calibrate: expected at least one photo, got none"),
        ({"calibrate": [digit(1)]}, "calibrate: for static=True"),
        ({"calibrate": ["nowhere.png"], "static": True}, "nowhere.png"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(tmp_path, how, expected):
    explainer = onnxplain.Explainer(source("digits", METHOD), METHOD, providers="cpu")
    with pytest.raises(onnxplain.InvalidInputError) as caught:
        explainer.export(tmp_path / "file.onnx", **how)
    assert expected in str(caught.value) and not (tmp_path / "file.onnx").exists()


def test_methods_that_choose_no_points(tmp_path):
    for options in ({"method": "grad-cam"}, {"method": METHOD, "steps": 10}):
        explainer = onnxplain.Explainer(source("digits", METHOD), providers="cpu", **options)
        with pytest.raises(onnxplain.InvalidInputError, match="as asked has none such"):
            explainer.export(tmp_path / "file.onnx", static=True, calibrate=[digit(1)])


def test_on_the_command_line(tmp_path):
    """Beside another method; what it comes to is printed."""
    model = write_model(tmp_path)
    np.save(tmp_path / "one.npy", digit(1))
    np.save(tmp_path / "two.npy", digit(2))
    asked = ["export", str(model), "-m", "ig", "-m", "grad-cam", "-o", str(tmp_path / "file.onnx")]
    asked += ["--static", "--baseline", "black"]
    for name in ("one", "two"):
        asked += ["--calibrate", str(tmp_path / f"{name}.npy")]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    assert " points for 2 photos: the map is " in done.output
    assert "of the difference of the scores at most" in done.output
