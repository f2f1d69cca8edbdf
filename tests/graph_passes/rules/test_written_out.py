"""AttnLRP does not depend on how an exporter wrote a normalisation or an activation."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import onnxplain

WEIGHTS = """<float[4, 4] w = {1, 2, 3, 4, -1, 1, 0, 2, 1, -1, 2, 3, 0.5, 1, 0, -2},
    float[4, 3] c = {1, 2, 3, -1, 1, 0, 1, -1, 2, 1, 1, 1}, float one = {1}, float half = {0.5},
    float[4] gain = {1, 2, 0.5, 1}, float[4] shift = {0.1, 0.2, 0.3, 0.4},
    float tiny = {0.000001}, float power = {-0.5}, int64[1] last = {-1}>"""
X = np.array([[0.3, -0.2, 0.7, 0.4]], np.float32)

NORMALISED = {
    "one operator": "v = LayerNormalization <axis = -1, epsilon = 1e-6> (u, gain, shift)",
    "as TensorFlow": """mu = ReduceMean <keepdims = 1> (u, last)  d = Sub (u, mu)
        s = Mul (d, d)  q = ReduceMean <keepdims = 1> (s, last)  e = Add (q, tiny)
        r = Sqrt (e)  i = Reciprocal (r)  k = Mul (i, gain)  a = Mul (u, k)
        mk = Mul (mu, k)  rest = Sub (shift, mk)  v = Add (a, rest)""",
    "as JAX": """mu = ReduceMean <keepdims = 1> (u, last)  s = Mul (u, u)
        q = ReduceMean <keepdims = 1> (s, last)  m2 = Mul (mu, mu)  var = Sub (q, m2)
        z = Max (var, tiny)  e = Add (z, tiny)  i = Pow (e, power)  d = Sub (u, mu)
        k = Mul (i, gain)  a = Mul (d, k)  v = Add (a, shift)""",
}
SILU = {
    "gate first": "s = Sigmoid (u)  v = Mul (s, u)",
    "as JAX": "n = Neg (u)  e = Exp (n)  p = Add (one, e)  s = Div (one, p)  v = Mul (u, s)",
    "copies": "i = Identity (u)  s = Sigmoid (i)  h = Identity (u)  v = Mul (h, s)",
    "scaled": "s = Sigmoid (u)  t = Mul (half, s)  o = Mul (u, t)  v = Add (o, o)",
    "moved": """s = Sigmoid (u)  h = Unsqueeze (u, last)  t = Unsqueeze (s, last)
        o = Mul (h, t)  v = Squeeze (o, last)""",
}


def attributed(body: str) -> np.ndarray:
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]> g (float[N, 4] x) => (float[N, 3] y) {WEIGHTS}
        {{ u = MatMul (x, w)  {body}  y = MatMul (v, c) }}"""
    )
    return onnxplain.Explainer(model, "attn-lrp", providers="cpu")(X, 1).attribution


@pytest.mark.parametrize("forms", [NORMALISED, SILU])
def test_the_same_however_it_is_written(forms):
    first, *others = map(attributed, forms.values())
    for name, other in zip(list(forms)[1:], others, strict=True):
        np.testing.assert_allclose(other, first, rtol=1e-4, err_msg=name)


def test_what_was_arranged_between_is_refused():
    """x (1 + erf x) whose sides were reshaped apart: none can tell that their places agree."""
    body = """q = Mul (u, half)  e = Erf (q)  p = Add (one, e)  h = Unsqueeze (u, last)
        t = Unsqueeze (p, last)  o = Mul (h, t)  v = Squeeze (o, last)"""
    with pytest.raises(onnxplain.UnsupportedModelError, match="activation that is written out"):
        attributed(body)
