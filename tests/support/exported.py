"""A model as its own framework sees it, and its ONNX file: what both must agree on.

Every check returns the error that it found, relative to the largest reference value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch

import onnxplain
from support.small import run

Function = Callable[[Any], Any]

STEPS = 12
TOLERANCE = 1e-4
# Why the exporters' tests skip.
REASON = "needs pip install -e '.[exporters]'"


@dataclass(frozen=True)
class Exported:
    """An exported classifier of NHWC images, and its framework's own arithmetic.

    The framework's model is final(head(trunk(x))): the trunk ends in the last feature map
    [N, h, w, K], the head in the logits [N, classes]; `final` is a softmax, say.

    model: the exporter's file. x: images [N, H, W, C], in the type that the model takes.
    call: (function, array) -> the function's value.
    pull: (function, array, cotangent) -> the gradient by the array, by the framework's autodiff.
    """

    model: onnx.ModelProto
    x: np.ndarray
    trunk: Function
    head: Function
    final: Function
    call: Callable[[Function, np.ndarray], np.ndarray]
    pull: Callable[[Function, np.ndarray, np.ndarray], np.ndarray]
    target: int = 1

    @property
    def baseline(self) -> np.ndarray:
        """An image that is neither black nor even."""
        ramp = np.linspace(0.1, 0.4, self.x.shape[2]).reshape(1, 1, -1, 1) * self.x.max()
        return (ramp * np.ones(self.x.shape)).astype(self.x.dtype)

    def logits(self, x: Any) -> Any:
        return self.head(self.trunk(x))

    def outputs(self, x: Any) -> Any:
        return self.final(self.logits(x))

    def pull_score(self, function: Function, x: np.ndarray) -> np.ndarray:
        """The gradient of the target's score."""
        scores = self.call(function, x)
        chosen = np.arange(scores.shape[1]) == self.target
        return self.pull(function, x, np.tile(chosen, (len(scores), 1)).astype(np.float32))


def error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    size = np.abs(expected).max()
    assert size > 0
    return float(np.abs(found.astype(np.float64) - expected).max() / size)


def scores_error(case: Exported) -> float:
    """The file's own outputs, as the explainer hands them on."""
    e = onnxplain.Explainer(case.model, "grad-cam", providers="cpu")(case.x, case.target)
    (name,) = [value.name for value in case.model.graph.output]
    return error(e.outputs[name], case.call(case.outputs, case.x))


def gradient_error(case: Exported) -> float:
    """`onnxplain.vjp` of the file, with a random cotangent."""
    (x,), (y,) = case.model.graph.input, case.model.graph.output
    shape = case.call(case.outputs, case.x).shape
    cotangent = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    feeds = {x.name: case.x, f"cotangent_{y.name}": cotangent}
    found = run(onnxplain.vjp(case.model), feeds)[f"grad_{x.name}"]
    return error(found, case.pull(case.outputs, case.x, cotangent))


def integrated_gradients_error(case: Exported) -> float:
    """(x - x') times the mean gradient at Gauss-Legendre's points, in a plain loop."""
    x, baseline = case.x.astype(np.float64), case.baseline.astype(np.float64)
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    total = np.zeros(x.shape)
    for alpha, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = (baseline + alpha * (x - baseline)).astype(np.float32)
        total += weight * case.pull_score(case.logits, at)
    e = onnxplain.Explainer(
        case.model, "integrated-gradients", steps=STEPS, baseline=case.baseline, providers="cpu"
    )(case.x, case.target)
    return error(e.attribution, total * (x - baseline))


def deeplift_delta(case: Exported) -> float:
    """What the sum of the multipliers' contributions misses of the score's difference."""
    explainer = onnxplain.Explainer(case.model, "deeplift", baseline=case.baseline, providers="cpu")
    found = explainer(case.x, case.target).relative_delta
    assert found is not None
    return float(found.max())


def grad_cam_error(case: Exported) -> float:
    """ReLU(sum over k of A^k mean(d score / d A^k)), brought to the image's size."""
    values = case.call(case.trunk, case.x)
    gradient = case.pull_score(case.head, values)
    weights = gradient.mean((1, 2), keepdims=True)
    coarse = np.maximum((values * weights).sum(-1), 0)[:, None].astype(np.float64)
    size = case.x.shape[1:3]
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=size, mode="bilinear")
    e = onnxplain.Explainer(case.model, "grad-cam", providers="cpu")(case.x, case.target)
    return error(e.attribution, fine[:, 0].numpy())


CHECKS = (
    scores_error,
    gradient_error,
    integrated_gradients_error,
    deeplift_delta,
    grad_cam_error,
)
