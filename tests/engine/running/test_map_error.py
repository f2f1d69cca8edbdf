"""The estimated error of an adaptive path's map, beside the true one."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import parser
from support import zoo
from support.digits import write_model, write_photo
from support.often import often

import onnxplain
from onnxplain.engine.explanation.attributions import each
from onnxplain.engine.explanation.explanation import Explanation
from onnxplain.engine.records.captions import delta_text
from onnxplain.engine.records.record import outcome_of_json
from onnxplain.engine.running.adaptive import AdaptivePath
from onnxplain.engine.running.map_error import estimated_error, sample_of, share_of_jumps
from onnxplain.graph_passes.heads.halves import error_by_halves, in_turns, of_samples

METHOD = "integrated-gradients"
# ReLU and max pooling, SiLU, Sigmoid, attention; ReLU6 and GELU, too.
NAMES = ("captum_relu", "efficientnet", "captum_smooth", "vit")
NAMES = often(NAMES, (*NAMES, "mobilenet_v2", "convnext"))


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    """Relative L2."""
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def test_the_estimate_is_calibrated():
    """Within a factor of 2 of the error nine times in ten, never below a third of it."""
    ratios = {}
    for name in NAMES:
        model = f"{name}-torchscript17-dynamic"
        x = zoo.example(model)
        exact = zoo.explainer(model, METHOD, steps=300)(x)
        for tolerance in (0.01, 0.003):
            e = zoo.explainer(model, METHOD, tolerance=tolerance)(x)
            assert e.map_error is not None and e.map_error.dtype == np.float64
            for row, estimate in enumerate(e.map_error):
                error = distance(e.attribution[row], exact.attribution[row])
                ratios[name, tolerance, row] = estimate / error
    found = np.array(list(ratios.values()))
    assert len(found) == 4 * len(NAMES)
    assert np.mean((found >= 0.5) & (found <= 2)) >= 0.9, ratios
    assert found.min() > 1 / 3 and found.max() < 4, ratios


def walked(kind: str, path: AdaptivePath, width: int = 600) -> tuple[AdaptivePath, np.ndarray]:
    """A path followed to its end, and its integral: a smooth gradient or one of many jumps."""
    random = np.random.default_rng(5)
    if kind == "smooth":
        turns, begin = random.uniform(1, 6, width), random.uniform(0, 6, width)

        def gradient(at: np.ndarray) -> np.ndarray:
            return np.sin(at[:, None] * turns + begin)

        integral = (np.cos(begin) - np.cos(turns + begin)) / turns
    else:
        kinks = np.sort(random.random(3000))
        values = np.concatenate([[random.normal(size=width)], random.normal(size=(3000, width))])
        values[1:] *= 0.05
        sums = values.cumsum(axis=0)
        integral = np.diff(np.r_[0, kinks, 1]) @ sums

        def gradient(at: np.ndarray) -> np.ndarray:
            return sums[np.searchsorted(kinks, at)]

    fine = np.linspace(0, 1, 20001)
    slopes = np.array([gradient(fine[k : k + 1]).sum() for k in range(len(fine))])
    scores = np.concatenate([[0], np.cumsum((slopes[1:] + slopes[:-1]) / 2 * np.diff(fine))])
    while len(points := path.next_points(4)):
        path.add(points, gradient(points), np.interp(points, fine, scores))
    return path, integral


@pytest.mark.parametrize("store", [2**27, 16 * 2400])
@pytest.mark.parametrize("kind", ["smooth", "jumps"])
def test_against_a_known_integral(kind: str, store: int):
    """Also where most gradients were let go."""
    path, integral = walked(kind, AdaptivePath(60, None, store))
    error = distance(path.attribution(), integral)
    assert error / 1.5 < path.map_error() < 1.5 * error


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_few_points(steps: int):
    path, integral = walked("smooth", AdaptivePath(steps, None))
    error = distance(path.attribution(), integral)
    assert error / 3 < path.map_error() < 10 * error


def test_exact_attributions():
    points = np.array([0, 0.5, 0.625, 0.75, 1])
    assert estimated_error(points, np.ones((5, 3), np.float32)) == 0
    assert estimated_error(points, np.zeros((5, 3), np.float32)) == 0
    linear = points[:, None].astype(np.float32) * np.ones(3, np.float32)
    assert estimated_error(points, linear) < 1e-6
    assert estimated_error(points[[0, -1]], np.float32([[1, 1], [-1, -1]])) == np.inf


def test_one_jump_counts_by_its_variance():
    """J (h / 2 - u), u alike in its interval: h |J| / sqrt(12)."""
    points = np.linspace(0, 1, 11)
    gradients = np.where(points[:, None] < 0.45, 1, 3).astype(np.float32) * np.ones(4, np.float32)
    size = np.linalg.norm(np.trapezoid(gradients, points, axis=0))
    expected = 0.1 * 4 / np.sqrt(12) / size
    assert estimated_error(points, gradients) == pytest.approx(expected, rel=0.35)


def test_share_of_jumps_of_both_kinds():
    random = np.random.default_rng(0)
    points = np.sort(np.r_[0, random.random(40), 1])
    h = np.diff(points)
    walk = np.cumsum(random.normal(size=(41, 5000)) * np.sqrt(h)[:, None], axis=0)
    smooth = np.exp(points[:, None] * random.uniform(0, 2, 5000))
    for rows, expected in ((np.r_[np.zeros((1, 5000)), walk], 1), (smooth, 0)):
        steps = np.diff(rows, axis=0)
        second = (h[:-1, None] * steps[1:] - h[1:, None] * steps[:-1]) / 2
        found = share_of_jumps(h, second, (second**2).sum(axis=1), np.ones(len(h)))
        np.testing.assert_allclose(found, expected, atol=0.15)


@pytest.mark.parametrize("kept", [1.0, 0.01, 0.0001])
def test_a_sample_has_the_length_of_all(kept: float):
    """Also of what is 0 nearly everywhere."""
    random = np.random.default_rng(2)
    values = random.normal(size=150_000).astype(np.float32)
    values[int(kept * len(values)) :] = 0
    found = sample_of(values.astype(np.float64)).of(values)
    assert len(found) < 5000
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(values), rel=0.05)
    few = values[:100]
    np.testing.assert_array_equal(sample_of(few).of(few), few)


def small(**options) -> onnxplain.Explainer:
    """Twelve inputs, SiLU: a smooth one."""
    random = np.random.default_rng(1)
    weights = random.normal(size=(12, 8)).astype(np.float32)
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        small (float[N, 12] x) => (float[N, 8] y) { z = MatMul(x, w) s = Sigmoid(z) y = Mul(z, s) }
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    options = {"baseline": 0, "providers": "cpu", "threads": 1, **options}
    return onnxplain.Explainer(model, options.pop("method", METHOD), **options)


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, 12)).astype(np.float32)


def test_rows_and_targets_carry_it():
    e = small()(inputs(3), 1)
    assert e.map_error is not None and e.map_error.shape == (3,)
    assert [one.map_error.item() for one in each(e)] == e.map_error.tolist()
    alone = small()(inputs(3)[1:2], 1)
    np.testing.assert_array_equal(alone.map_error, e.map_error[1:2])
    targets = small()(inputs(1), [0, 5])
    assert [one.map_error.item() for one in each(targets)] == targets.map_error.tolist()
    assert pickle.loads(pickle.dumps(e)) == e
    other = Explanation(**{**vars(e), "map_error": e.map_error * 2})
    assert other != e and "map_error" in repr(e)


@pytest.mark.parametrize("tolerance", [0.02, 0.002, 0.0005])
def test_a_map_tolerance_is_kept(tolerance: float, caplog):
    """By the estimate, and by the path's integral; the sum's own tolerance, too."""
    x = inputs(2)
    e = small(map_tolerance=tolerance, steps=400)(x, 2)
    exact = small(steps=400)(x, 2).attribution
    assert e.map_error.max() <= tolerance and e.relative_delta.max() <= 0.01
    for row in range(2):
        assert distance(e.attribution[row], exact[row]) < 1.5 * tolerance
    assert e.steps < 400 and not caplog.records
    usual = small()(x, 2).steps
    assert e.steps is not None and usual is not None
    if tolerance < 0.001:
        assert e.steps > usual


def test_a_map_tolerance_out_of_reach_is_said(caplog):
    with caplog.at_level(logging.WARNING, "onnxplain"):
        e = small(map_tolerance=1e-5, steps=20)(inputs(1), 2)
    (line,) = [record.getMessage() for record in caplog.records]
    assert e.steps == 20 and "20 gradient passes leave the map an estimated error of" in line
    assert "0.00%" in line and "take more steps" in line


@pytest.mark.parametrize("value", [0, -1, np.nan, "5%"])
def test_bad_map_tolerances(value):
    with pytest.raises(onnxplain.InvalidInputError, match="map_tolerance must be a positive"):
        small(map_tolerance=value)


def test_a_map_tolerance_is_adaptive_integrated_gradients():
    with pytest.raises(onnxplain.InvalidInputError, match="needs quadrature 'adaptive'"):
        small(map_tolerance=0.05, quadrature="middle")
    with pytest.raises(onnxplain.InvalidInputError, match="no option 'map_tolerance'"):
        small(map_tolerance=0.05, method="deeplift")


def test_captions():
    said = {"delta": 0.031, "relative_delta": 0.009, "map_error": 0.08}
    record = outcome_of_json({"method": METHOD, "target": {"index": 0}, **said})
    assert delta_text(record) == "complete to 0.9 %, map good to 8 %"
    much = delta_text(replace(record, relative_delta=0.2))
    assert much == "delta 0.031 (20 %), much is missing, map good to 8 %"
    assert delta_text(replace(record, map_error=None)) == "complete to 0.9 %"


def exact_ratio(name: str, **options) -> np.ndarray:
    """Estimate / error of a fixed rule for each row; infinite where nothing is left to be wrong."""
    model = f"{name}-torchscript17-dynamic"
    x = zoo.example(model)
    exact = zoo.explainer(model, METHOD, steps=300)(x).attribution
    e = zoo.explainer(model, METHOD, **options)(x)
    rows = zip(e.map_error, e.attribution, exact, strict=True)
    return np.array([m / distance(a, b) for m, a, b in rows])


@pytest.mark.parametrize("quadrature", ["gauss-legendre", "trapezoid", "middle"])
def test_fixed_points_tell_it_by_their_halves(quadrature: str):
    """Of kinks; of a smooth gradient it is an upper bound."""
    ratio = exact_ratio("captum_relu", steps=40, quadrature=quadrature)
    assert (ratio > 0.5).all() and (ratio < 2).all(), ratio
    assert (exact_ratio("captum_smooth", steps=40, quadrature=quadrature) > 0.5).all()


@pytest.mark.parametrize(
    "options", [{"steps": 7}, {"steps": 40, "quadrature": "left"}, {"quadrature": "right"}]
)
def test_points_that_do_not_tell_it(options):
    model = "captum_relu-torchscript17-dynamic"
    assert zoo.explainer(model, METHOD, **options)(zoo.example(model)).map_error is None


def test_few_elements_do_not_tell_it():
    assert small(steps=40)(inputs(2), 0).map_error is None
    assert small(method="smoothgrad")(inputs(1), 0).map_error is None


SAMPLED = {"smoothgrad": (24, 400), "vargrad": (40, 600), "expected-gradients": (40, 600)}


@pytest.mark.parametrize("method", SAMPLED)
def test_samples_have_a_standard_error(method: str):
    """Beside the distance from many more samples with numbers of their own."""
    model, (few, many) = "captum_relu-torchscript17-dynamic", SAMPLED[method]
    x = zoo.example(model)
    more = {"baseline": [np.float32(0), np.float32(1)]} if method == "expected-gradients" else {}
    exact = zoo.explainer(model, method, samples=many, seed=9)(x, **more).attribution
    e = zoo.explainer(model, method, samples=few)(x, **more)
    for row, estimate in enumerate(e.map_error):
        error = distance(e.attribution[row], exact[row])
        assert error / 2 < estimate < 2 * error


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("runs", [2, 5, 12])
def test_halves_of_independent_samples(runs: int, mean: bool):
    """v / n, also where the halves are not equal and the last run is not full."""
    random = np.random.default_rng(6)
    weights = np.ones((runs, 3))
    weights[-1, 1:] = 0
    count = int(weights.sum())
    values = 1 + random.normal(size=(count, 1, 40_000))
    halves = of_samples(weights, mean)
    assert halves is not None and halves.both == runs
    first = int(weights[: halves.first].sum())
    totals = [values[:first].sum(0), values.sum(0), values.sum(0)]
    if mean:
        totals = [t / n for t, n in zip(totals, (first, count, count), strict=True)]
    (found,) = error_by_halves(halves, *totals)
    expected = np.linalg.norm(values.mean(0) - 1) / np.linalg.norm(values.mean(0))
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("count", [8, 40, 50, 51])
def test_turns_cancel_what_is_smooth_and_keep_a_walk(count: int):
    random = np.random.default_rng(7)
    points = (np.arange(count) + 0.5) / count
    order, halves = in_turns(count, 2)
    assert sorted(order) == list(range(count))

    def estimate(gradients: np.ndarray) -> float:
        sums = gradients[order].cumsum(0)[:, None] / count
        ends = sums[2 * halves.first - 1], sums[2 * halves.both - 1], sums[-1]
        return float(error_by_halves(halves, *ends)[0] * np.linalg.norm(ends[2]))

    powers = points[:, None] ** np.array([0, 1, 2])
    assert estimate(powers) < 1e-12
    fine = 50
    walk = random.normal(size=(fine * count, 3000)).cumsum(0)
    middles = walk[fine // 2 :: fine]
    error = np.linalg.norm(middles.mean(0) - walk.mean(0))
    assert estimate(middles) == pytest.approx(error, rel=0.15)
    assert in_turns(7, 1) is None and in_turns(count, 3) is None


@pytest.mark.parametrize("tolerance", ["0.004", "0.0000001"])
def test_the_command_line(command, tmp_path, tolerance: str):
    model, photo = write_model(tmp_path), write_photo(tmp_path / "seven.png", 7)
    asked = ("explain", model, photo, "-m", METHOD, "--map-tolerance", tolerance, "--steps", "60")
    status, out, err = command(*asked, "-o", tmp_path / "out", "--json")
    (record,) = json.loads(out)
    assert status == 0 and record["options"]["map_tolerance"] == float(tolerance)
    assert record == json.loads((tmp_path / "out/results.json").read_text())[0]
    reached = record["map_error"] <= float(tolerance)
    assert reached == (tolerance == "0.004")
    assert ("more than the map tolerance of" in err) != reached
    status, out, err = command(*asked, "-o", tmp_path / "other")
    assert "complete to " in out and ", map good to " in out


def test_the_command_line_refuses(command, tmp_path):
    model, photo = write_model(tmp_path), write_photo(tmp_path / "seven.png", 7)
    status, _, err = command("explain", model, photo, "--map-tolerance", "-1", "-o", tmp_path)
    assert status == 2 and "map_tolerance must be a positive number" in err
    asked = ("explain", model, photo, "-m", "deeplift", "--map-tolerance", "0.1", "-o", tmp_path)
    status, _, err = command(*asked)
    assert status == 2 and "--map-tolerance is for integrated-gradients" in err
