"""Adaptive Integrated Gradients: points where the path bends, up to a tolerance."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
from support import zoo
from support.often import by_day, by_night, often

import onnxplain
from onnxplain.engine.running.adaptive import AdaptivePath
from onnxplain.graph_passes.heads.quadrature import (
    coarse_points,
    gauss_legendre,
    residuals,
    trapezoid,
    urgency,
)

METHOD = "integrated-gradients"


def test_gauss_legendre_is_exact():
    """For all polynomials up to degree 2 n - 1, and numpy's to what rounding leaves of numpy's."""
    for steps in range(1, 201, often(7, 1)):
        points, weights = gauss_legendre(steps)
        expected_points, expected_weights = np.polynomial.legendre.leggauss(steps)
        np.testing.assert_allclose(points, (expected_points + 1) / 2, rtol=0, atol=1e-15)
        np.testing.assert_allclose(weights, expected_weights / 2, rtol=0, atol=1e-14)
        for degree in {0, steps, 2 * steps - 2}:
            centred = (2 * points - 1) ** degree @ weights
            even = degree % 2 == 0
            assert centred == pytest.approx(even / (degree + 1), abs=2e-15)


def test_gauss_legendre_of_many_steps():
    points, weights = gauss_legendre(4000)
    assert (np.diff(points) > 0).all() and points[0] > 0 and points[-1] < 1
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert np.exp(points) @ weights == pytest.approx(np.e - 1, abs=1e-14)


def test_residuals_sum_to_delta():
    random = np.random.default_rng(1)
    points = np.sort(np.r_[0, random.random(7), 1])
    slopes, scores = random.normal(size=(2, 9))
    whole = np.diff(points) @ (slopes[1:] + slopes[:-1]) / 2
    delta = whole - (scores[-1] - scores[0])
    assert residuals(points, slopes, scores).sum() == pytest.approx(delta)


def test_urgency_is_two_equal_shares():
    points = np.array([0, 0.5, 0.75, 1])
    found = urgency(points, np.array([-3.0, 1, 0]), np.array([1.0, 2, 0]))
    np.testing.assert_allclose(found, [3 / 4 + 1 / 2, 1 / 4 + 1 / 2, 0])
    assert not urgency(points, np.zeros(3), np.zeros(3)).any()


def relu_network(batch: int | str = "N") -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """y = relu(x w + b) v, float [N, 1], with its weights; kinks all along the way from zero."""
    random = np.random.default_rng(7)
    arrays = {
        "w": random.normal(size=(6, 40)),
        "b": random.normal(size=40),
        "v": random.normal(size=(40, 1)),
    }
    describe, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["xw"]),
            node("Add", ["xw", "b"], ["before"]),
            node("Relu", ["before"], ["hidden"]),
            node("MatMul", ["hidden", "v"], ["y"]),
        ],
        "relu_network",
        [describe("x", onnx.TensorProto.FLOAT, [batch, 6])],
        [describe("y", onnx.TensorProto.FLOAT, [batch, 1])],
        [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    x = random.normal(size=(3, 6)).astype(np.float32)
    before = x @ arrays["w"]
    # Unit j is on for this part of the path from 0 to x: its bias and its slope say where.
    with np.errstate(divide="ignore"):
        kink = np.clip(-arrays["b"] / before, 0, 1)
    starts_on = arrays["b"] > 0
    ends_on = before + arrays["b"] > 0
    part = np.where(starts_on & ends_on, 1, np.where(starts_on, kink, 1 - kink))
    part = np.where(starts_on | ends_on, part, 0)
    exact = x * ((part * arrays["v"][:, 0]) @ arrays["w"].T)
    return model, x, exact


@pytest.mark.parametrize("tolerance", [0.03, 0.001])
@pytest.mark.parametrize("batch", ["N", 3])
def test_a_relu_network_to_its_tolerance(batch: int | str, tolerance: float, caplog):
    """Against the closed form; three inputs at once, also where the file demands three."""
    model, x, exact = relu_network(batch)
    explainer = onnxplain.Explainer(
        model, METHOD, baseline=0, tolerance=tolerance, steps=2000, providers="cpu", threads=1
    )
    found = explainer(x, 0)
    assert (found.relative_delta <= tolerance).all()
    assert found.steps < 2000 and not caplog.records
    error = np.linalg.norm(found.attribution - exact, axis=1) / np.linalg.norm(exact, axis=1)
    print(f"tolerance {tolerance}: {found.steps} passes, delta {found.relative_delta}, map {error}")
    assert (error < 5 * tolerance).all()
    assert (np.abs(found.delta) <= found.residual + 1e-5).all()


@pytest.mark.parametrize("steps", [2, 3, 9, 30])
def test_steps_are_the_cap(steps: int, caplog):
    model, x, _ = relu_network()
    explainer = onnxplain.Explainer(
        model, METHOD, baseline=0, tolerance=1e-7, steps=steps, providers="cpu"
    )
    with caplog.at_level(logging.WARNING, "onnxplain"):
        found = explainer(x[:1], 0)
    assert found.steps == steps
    (line,) = [record.getMessage() for record in caplog.records]
    assert (
        "\n" not in line
        and f" {steps} gradient passes leave " in line
        and "take more steps" in line
    )


def test_without_a_tolerance_all_steps_are_used(caplog):
    model, x, _ = relu_network()
    explainer = onnxplain.Explainer(
        model, METHOD, baseline=0, quadrature="adaptive", steps=40, providers="cpu"
    )
    assert explainer(x, 0).steps == 40
    assert not caplog.records


def measured(path: AdaptivePath, most: int = 4) -> AdaptivePath:
    """Follow a path whose gradient jumps twice, [1000] wide."""
    random = np.random.default_rng(3)
    values = random.normal(size=(3, 1000))
    sums = values.sum(1)
    while len(points := path.next_points(most)):
        pieces = np.searchsorted([0.3, 0.31], points)
        scores = sums[0] * np.minimum(points, 0.3)
        scores += sums[1] * np.clip(points - 0.3, 0, 0.01) + sums[2] * np.clip(points - 0.31, 0, 1)
        path.add(points, values[pieces], scores)
    return path


def test_a_full_store_loses_nothing_of_the_sum():
    """The least urgent intervals are settled: the sum stays a trapezoid sum over all points."""
    whole = measured(AdaptivePath(120, None))
    small = measured(AdaptivePath(120, None, store=20 * 4000))
    for path in (whole, small):
        weights = np.zeros(120)
        widths = np.diff(path._points) / 2
        weights[:-1] += widths
        weights[1:] += widths
        assert path.passes == 120
        assert path.attribution().sum() == pytest.approx(weights @ path._slopes, abs=1e-4)
    kept = [gradient for gradient in small._gradients if gradient is not None]
    assert len(kept) <= 20 < len([g for g in whole._gradients if g is not None])


def test_points_gather_where_the_gradient_jumps():
    path = measured(AdaptivePath(60, None))
    near = np.abs(path._points - 0.305) < 0.02
    assert near.sum() > 15
    assert path.relative_delta < 1e-3


@pytest.mark.parametrize("steps", [2, 5, 9, 100])
def test_the_coarse_grid_has_both_ends(steps: int):
    points = coarse_points(steps)
    assert len(points) == min(steps, 9)
    np.testing.assert_array_equal(points, trapezoid(len(points))[0])


@pytest.mark.parametrize("index", by_day([0, 1], [0]))
@pytest.mark.parametrize("tolerance", [0.05, 0.01])
def test_the_demo_model_to_its_tolerance(index: int, tolerance: float):
    explainer = zoo.explainer("demo", METHOD, tolerance=tolerance, steps=150)
    found = explainer(zoo.photo(index))
    assert found.relative_delta <= tolerance
    assert found.steps <= 150
    print(f"tolerance {tolerance}: {found.steps} passes, delta {found.relative_delta}")


@by_night
def test_nearer_to_the_map_than_gauss_legendre():
    """With as many passes, on the demo model; the reference has 256 steps."""
    x = zoo.photo(1)
    reference = zoo.explainer("demo", METHOD, steps=256)(x)
    size = np.linalg.norm(reference.attribution)
    for steps in (32, 64):
        errors, deltas = {}, {}
        for quadrature in ("adaptive", "gauss-legendre"):
            found = zoo.explainer("demo", METHOD, steps=steps, quadrature=quadrature)(x)
            errors[quadrature] = np.linalg.norm(found.attribution - reference.attribution) / size
            deltas[quadrature] = found.relative_delta.item()
        print(f"{steps} passes: map {errors}, delta {deltas}")
        assert errors["adaptive"] < 1.1 * errors["gauss-legendre"]
        assert deltas["adaptive"] < 0.06


@pytest.mark.parametrize(
    "name",
    by_day(
        ["captum_smooth-torchscript17-dynamic", "light_shufflenet-batch1"],
        ["light_shufflenet-batch1"],
    ),
)
def test_a_batch_is_its_images_one_by_one(name: str):
    explainer = zoo.explainer(name, METHOD, tolerance=0.01, steps=100)
    x = np.concatenate([zoo.example(name)[:1], zoo.example(name)[:1] * 0.5])
    found = explainer(x, 1)
    passes = []
    for row in range(2):
        alone = explainer(x[row : row + 1], 1)
        passes.append(alone.steps)
        np.testing.assert_array_equal(found.attribution[row], alone.attribution[0])
        assert found.residual[row] == alone.residual[0]
    assert found.steps == max(passes)


def test_a_file_chooses_the_same_points(tmp_path):
    """And says in its metadata where it stops."""
    model, x, _ = relu_network()
    explainer = onnxplain.Explainer(model, METHOD, tolerance=0.01, steps=20, providers="cpu")
    exported = explainer.export(tmp_path / "explained.onnx")
    facts = json.loads({entry.key: entry.value for entry in exported.metadata_props}["onnxplain"])
    assert (facts["quadrature"], facts["steps"], facts["tolerance"]) == ("adaptive", 20, 0.01)
    session = zoo.session((tmp_path / "explained.onnx").read_bytes())
    names = ["attribution", "delta", "map_error"]
    found = session.run(names, {"x": x, "target": np.zeros(3, np.int64)})
    expected = explainer(x, 0)
    np.testing.assert_allclose(found[0], expected.attribution, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], expected.delta, atol=1e-5)
    np.testing.assert_allclose(found[2], expected.map_error, rtol=1e-4)


@pytest.mark.parametrize("tolerance", [0, -0.1, np.nan, np.inf, "1%", True])
def test_bad_tolerances(tolerance):
    with pytest.raises(onnxplain.InvalidInputError, match="tolerance must be a positive number"):
        onnxplain.Explainer(relu_network()[0], METHOD, tolerance=tolerance)


def test_a_tolerance_needs_adaptive_integrated_gradients():
    model = relu_network()[0]
    with pytest.raises(onnxplain.InvalidInputError, match="at least 2 steps"):
        onnxplain.Explainer(model, METHOD, tolerance=0.01, steps=1)
    with pytest.raises(onnxplain.InvalidInputError, match="needs quadrature 'adaptive'"):
        onnxplain.Explainer(model, METHOD, tolerance=0.01, quadrature="middle")
    with pytest.raises(onnxplain.InvalidInputError, match="is for integrated-gradients"):
        onnxplain.Explainer(model, "deeplift", tolerance=0.01)


def test_progress_ends_at_the_cap():
    seen = []
    model, x, _ = relu_network()
    explainer = onnxplain.Explainer(model, METHOD, tolerance=0.01, steps=100, providers="cpu")
    explainer(x[:2], 0, progress=lambda done, of: seen.append((done, of)))
    assert {of for _, of in seen} == {200}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (200, 200)


def test_a_jump_beside_the_baseline_asks_for_another_one(caplog):
    """x / |x| is the same all the way but at 0: no number of steps finds what it changed by."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        direction (float[N, 3] x) => (float[N, 2] y)
        <float[3, 2] w = {1.0, 2.0, 3.0, -1.0, 0.5, 0.25}, float little = {1e-8}> {
            length = ReduceL2 <axes = [1]> (x)
            more = Add (length, little)
            unit = Div (x, more)
            y = MatMul (unit, w)
        }
    """)
    x = np.array([[1, 2, 3]], np.float32)
    onnxplain.Explainer(model, "integrated-gradients", baseline=0.0)(x)
    assert "take another baseline" in caplog.text and "take more steps" not in caplog.text
