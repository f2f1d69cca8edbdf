"""Inputs and outputs of no axis or of one: explained, or refused in words, by every method."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

import onnxplain

ROWS = "(float[N] x) => (float[N] y) { y = Mul (x, x) }"
NUMBER = "(float x) => (float y) { y = Mul (x, x) }"
SCALED = """(float s, float[1, 4] x) => (float y)
    { z = Mul (x, x) q = Mul (z, s) y = ReduceSum <keepdims = 0> (q) }"""
TAKEN = "(float[3] x, float low, float high) => (float[3] y) { y = Clip (x, low, high) }"
GRADIENTS = [
    *("integrated-gradients", "deeplift", "saliency", "input-x-gradient", "guided-backprop"),
    *("deconvnet", "smoothgrad", "vargrad", "expected-gradients", "lrp", "attn-lrp"),
]
OTHERS = [name for name in onnxplain.methods() if name not in GRADIENTS]


def model_of(text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> net {text}')


@pytest.mark.parametrize("method", GRADIENTS)
def test_rows_of_one_number_are_explained(method):
    x = np.array([2, 3], np.float32)
    e = onnxplain.Explainer(model_of(ROWS), method)(x)
    assert e.attribution.shape == (2,)
    np.testing.assert_allclose(e.score, x * x, rtol=1e-6)
    if method == "integrated-gradients":
        np.testing.assert_allclose(e.attribution, x * x, rtol=1e-5)


@pytest.mark.parametrize("method", OTHERS)
def test_a_row_of_one_number_has_no_parts(method):
    with pytest.raises(onnxplain.UnsupportedModelError):
        onnxplain.Explainer(model_of(ROWS), method)(np.ones(2, np.float32))
    assert onnxplain.inspect(model_of(ROWS)).unsupported[method]


@pytest.mark.parametrize("method", onnxplain.methods())
def test_one_number_is_no_batch(method):
    with pytest.raises(onnxplain.UnsupportedModelError, match="is one number: expected a batch"):
        onnxplain.Explainer(model_of(NUMBER), method)(np.float32(2))


@pytest.mark.parametrize("method", [*GRADIENTS, "occlusion", "rise"])
def test_a_scale_is_not_what_is_explained(method):
    x = np.arange(4, dtype=np.float32)[None]
    e = onnxplain.Explainer(model_of(SCALED), method)({"s": np.float32(2), "x": x})
    assert e.attribution.shape == (1, 4)
    np.testing.assert_allclose(e.score, 2 * (x * x).sum(), rtol=1e-6)


def test_a_vector_beside_bounds_is_explained_by_rows():
    x = np.array([-1, 0.5, 3], np.float32)
    feeds = {"x": x, "low": np.float32(0), "high": np.float32(1)}
    e = onnxplain.Explainer(model_of(TAKEN), "input-x-gradient")(feeds)
    np.testing.assert_array_equal(e.attribution, [0, 0.5, 0])
