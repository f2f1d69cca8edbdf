"""The properties that every random model must have; see `random_graphs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import onnxplain
from support.random_graphs import Built
from support.small import run

METHODS = ("grad-cam", "integrated-gradients", "deeplift")


def check(built: Built, folder: Path) -> str:
    """All properties of one model.

    Returns:
        "explained", or what was refused.

    Raises:
        AssertionError: a property that does not hold.
    """
    (name,) = [value.name for value in built.model.graph.output]
    try:
        expected = run(built.model, {"x": built.x})[name]
        plain = _without_optimisation(built.model, {"x": built.x})[name]
        x = built.x + np.spacing(np.abs(built.x) + np.float32(0.5))
        moved = run(built.model, {"x": x})[name]
    except Exception:  # ONNX Runtime's own errors share no class
        return "no model"
    if plain.shape != expected.shape or not np.allclose(plain, expected, rtol=1e-3, atol=1e-3):
        return "no model"  # ONNX Runtime contradicts itself
    if not np.allclose(moved, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
        return "no model"  # rounding is all there is
    if not np.isfinite(expected).all():
        return "not finite"
    refused = []
    _check_gradient(built, name)
    for method in METHODS:
        try:
            _check_method(built, method, expected, name, folder)
        except onnxplain.UnsupportedModelError as error:
            words = str(error)
            assert "please report" not in words and "ONNX Runtime" not in words, words
            if method == "grad-cam" and words.startswith("Grad-CAM needs"):
                continue  # most of these graphs have no map
            refused.append(f"{method}: {error}")
    return "; ".join(refused) or "explained"


def _without_optimisation(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of a model when it fuses and moves nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    taken = {value.name: feeds[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(None, taken), strict=True))


def _run_ours(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As a user would; not optimised where the optimiser makes what ONNX Runtime refuses."""
    try:
        return run(model, feeds)
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
        return _without_optimisation(model, feeds)


def _check_gradient(built: Built, name: str) -> None:
    """J^T g along itself against central differences, at one of three points.

    At some points a kink or a slope without bound is nearer than any step that float32 allows.
    """
    gradient = onnxplain.vjp(built.model)
    random = np.random.default_rng(0)
    g = random.standard_normal((3, 4)).astype(np.float32)
    others = [random.standard_normal(built.x.shape).astype(np.float32) for _ in range(2)]
    errors = []
    for x in (built.x, *others):
        errors.append(_gradient_error(gradient, built._replace(x=x), name, g))
        if errors[-1] < 0.03:
            return
    raise AssertionError(f"gradient off by {', '.join(f'{e:.2%}' for e in errors)}")


def _gradient_error(gradient: onnx.ModelProto, built: Built, name: str, g: np.ndarray) -> float:
    """The relative error at the best of a few steps; 0 where there is none to be had."""
    found = _run_ours(gradient, {"x": built.x, f"cotangent_{name}": g})
    np.testing.assert_allclose(
        found[name], run(built.model, {"x": built.x})[name], rtol=1e-4, atol=1e-5
    )
    slope = found["grad_x"].astype(np.float64)
    if not np.isfinite(slope).all():
        return 0.0  # an infinite slope at this very point, as PyTorch has it too
    length = np.sqrt((slope**2).sum())
    if length <= 1e-6 * np.abs(g).max():
        return 0.0  # rounding is all there is
    errors = []
    for step in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3):
        ahead, behind = (
            run(built.model, {"x": (built.x + s * slope / length).astype(np.float32)})[name]
            for s in (step, -step)
        )
        rise = (g * (ahead.astype(np.float64) - behind)).sum() / (2 * step)
        noise = 1e-6 * np.abs(g * ahead).sum() / step
        errors.append(max(abs(rise - length) - noise, 0) / length)
    return float(min(errors))


def _check_method(built: Built, method: str, expected: np.ndarray, name: str, folder: Path) -> None:
    options: dict[str, Any] = {"providers": "cpu", "threads": 1}
    if method != "grad-cam":
        options["baseline"] = built.baseline
    if method == "integrated-gradients":
        options["steps"] = 6
    explainer = onnxplain.Explainer(built.model, method, **options)
    e = explainer(built.x, 1)
    np.testing.assert_allclose(e.outputs[name], expected, rtol=1e-4, atol=1e-5)
    size = np.abs(e.attribution).reshape(3, -1).sum(axis=1, dtype=np.float64)
    close = {"rtol": 1e-3, "atol": 1e-4 * float(size.max()) + 1e-6}
    if method != "grad-cam":
        close["atol"] += 4 * _moved_by_rounding(built, method, options, e.attribution)
    if method == "deeplift":
        assert np.all(np.abs(e.delta) <= 1e-4 * (size + np.abs(e.score)) + 1e-4), e.delta
    if not isinstance(explainer.subject.batch, int):
        _check_alone(explainer, built, e, close)
    explainer.export(folder / "exported.onnx")
    feeds = {"x": built.x, "target": np.array([1, 1, 1])}
    file = _run_ours(onnx.load(folder / "exported.onnx"), feeds)
    np.testing.assert_allclose(file["attribution"], e.attribution, **close)
    np.testing.assert_allclose(file[name], expected, rtol=1e-4, atol=1e-5)


def _moved_by_rounding(
    built: Built, method: str, options: dict[str, Any], attribution: np.ndarray
) -> float:
    """How far an attribution moves where inputs and baseline move by one unit in the last place.

    A maximum over ties, or a quotient of two differences near zero, has no more digits than that.
    """
    random = np.random.default_rng(0)
    moved = 0.0
    for _ in range(3):
        baseline, x = (
            (v + np.spacing(np.abs(v) + np.float32(0.5)) * random.choice([-1, 0, 1], v.shape))
            for v in (np.asarray(built.baseline, np.float32), built.x)
        )
        explainer = onnxplain.Explainer(
            built.model, method, **{**options, "baseline": baseline.astype(np.float32)}
        )
        found = explainer(x.astype(np.float32), 1).attribution
        moved = max(moved, float(np.abs(found - attribution).max()))
    return moved


def _check_alone(explainer, built: Built, e, close) -> None:
    """One by one as in a batch, and several targets as one by one."""
    for k in range(3):
        alone = explainer(built.x[k : k + 1], 1)
        np.testing.assert_allclose(alone.attribution[0], e.attribution[k], **close)
    several = explainer(built.x[:1], [1, 3])
    np.testing.assert_allclose(several.attribution[0], e.attribution[0], **close)
    third = explainer(built.x[:1], 3)
    np.testing.assert_allclose(several.attribution[1], third.attribution[0], **close)
