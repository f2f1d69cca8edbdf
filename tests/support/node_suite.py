"""ONNX's own node tests as a measure: is the gradient of each right, refused or wrong?"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

import onnxplain

POINTS = 4
TOLERANCE = 2e-2


class Verdict(NamedTuple):
    """What came of one node test: "right", "refused", "wrong" or "skipped", and why."""

    kind: str
    reason: str = ""


@cache
def node_tests() -> list[Any]:
    """Every node test of the installed onnx package."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted(collect_testcases(None), key=lambda test: test.name)


def _float_names(values) -> list[str]:
    return [v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _first_feeds(test: Any) -> dict[str, np.ndarray]:
    inputs = test.data_sets[0][0]
    names = [value.name for value in test.model.graph.input]
    arrays = [numpy_helper.to_array(a) if isinstance(a, TensorProto) else a for a in inputs]
    return dict(zip(names, arrays, strict=False))


def judge(test: Any) -> Verdict:
    """Compare <g, J v> with <J'g, v> for the first float input of a node test."""
    model = test.model
    sources, results = _float_names(model.graph.input), _float_names(model.graph.output)
    if not sources or not results:
        return Verdict("skipped", "no float32 input and output")
    try:
        feeds = _first_feeds(test)
        forward = _session(model)
        forward.run(results, feeds)
    except Exception as error:
        return Verdict("skipped", f"ONNX Runtime cannot run it: {error}")
    source = sources[0]
    if not isinstance(feeds.get(source), np.ndarray) or feeds[source].size == 0:
        return Verdict("skipped", "an empty or sequence input")
    try:
        gradient = onnxplain.vjp(model, inputs=[source], outputs=results)
        backward = _session(gradient)
    except onnxplain.OnnxplainError as error:
        return Verdict("refused", str(error))
    except Exception as error:
        return Verdict("wrong", f"{type(error).__name__}: {error}")
    return _compare(forward, backward, feeds, source, results)


def _compare(forward, backward, feeds, source, results) -> Verdict:
    random = np.random.default_rng(0)
    verdict = Verdict("skipped", "finite differences do not settle")
    for attempt in range(POINTS):
        x = feeds[source]
        size = max(float(np.abs(x[np.isfinite(x)]).mean()) if np.isfinite(x).any() else 1.0, 0.1)
        # Off the kinks that round numbers sit on.
        away = size * 0.07 * random.uniform(0.3, 1, x.shape) * (-1) ** attempt
        moved = np.asarray(x + away, np.float32)
        point = feeds | {source: moved}
        v = random.standard_normal(x.shape).astype(np.float32)
        try:
            # Masks put in -inf or the lowest number; those outputs say nothing about a derivative.
            values = forward.run(results, point)
            g = [
                np.asarray(random.standard_normal(y.shape) * (np.abs(y) < 1e6), np.float32)
                for y in values
            ]
            slopes = [
                _central(forward, point, source, v, results, g, size * h)
                for h in (2e-2, 1e-2, 5e-3)
            ]
            named = {f"cotangent_{n}": c for n, c in zip(results, g, strict=True)}
            (dx,) = backward.run([f"grad_{source}"], point | named)
        except Exception as error:
            verdict = Verdict("wrong", f"{type(error).__name__}: {error}")
            continue
        expected = (4 * slopes[2] - slopes[1]) / 3
        coarse = (4 * slopes[1] - slopes[0]) / 3
        if dx.shape != x.shape:
            return Verdict("wrong", f"shape {dx.shape} for {x.shape}")
        product = float((dx.astype(np.float64) * v).sum())
        terms = np.abs(dx.astype(np.float64) * v).sum()
        scale = max(terms, abs(expected), 1e-3)
        if not np.isfinite(expected) or abs(expected - coarse) > TOLERANCE * scale / 4:
            continue
        if abs(product - expected) <= TOLERANCE * scale:
            return Verdict("right")
        verdict = Verdict("wrong", f"{product:.6g} instead of {expected:.6g}")
    return verdict


def _central(forward, point, source, v, results, g, step: float) -> float:
    """<g, f(x + h v) - f(x - h v)> / 2h, with the inner products in float64."""
    total = 0.0
    for sign in (1, -1):
        shifted = (point[source] + sign * step * v).astype(np.float32)
        values = forward.run(results, point | {source: shifted})
        pairs = zip(values, g, strict=True)
        total += sign * sum(float((y.astype(np.float64) * c)[c != 0].sum()) for y, c in pairs)
    return total / (2 * step)
