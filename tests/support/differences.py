"""A file's gradient by central differences of what ONNX Runtime computes for the file itself."""

from __future__ import annotations

import numpy as np
import onnx

import onnxplain
from support.small import run


def assert_vjp_fits(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], name: str = "x", output: str = "y"
) -> None:
    """The vjp's outputs are the file's, its gradient the slope of those along a direction."""
    expected = run(model, feeds)[output]
    seed = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
    found = run(onnxplain.vjp(model, inputs=[name]), feeds | {f"cotangent_{output}": seed})
    np.testing.assert_allclose(found[output], expected, rtol=1e-4, atol=1e-5)
    direction = np.random.default_rng(2).standard_normal(feeds[name].shape)
    slopes = []
    for step in (1e-2, 5e-3):
        ahead, behind = (
            run(model, feeds | {name: (feeds[name] + s * direction).astype(np.float32)})[output]
            for s in (step, -step)
        )
        slopes.append(((ahead.astype(np.float64) - behind) * seed).sum() / (2 * step))
    numeric = (4 * slopes[1] - slopes[0]) / 3
    products = found[f"grad_{name}"].astype(np.float64) * direction
    assert abs(products.sum() - numeric) < 1e-2 * max(np.abs(products).sum(), 1e-3)
