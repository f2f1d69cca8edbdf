"""scikit-learn's MLP, exported by skl2onnx.

With test_exporters_*.py an optional group, which skips where the exporters are missing:

    pip install -e '.[test,exporters]' && pytest tests/whole_models/test_exporters*.py
"""

# The exporters are an optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

import numpy as np
import pytest
from support.exported import REASON
from support.small import run

import onnxplain

sklearn = pytest.importorskip("sklearn", reason=REASON)
skl2onnx = pytest.importorskip("skl2onnx", reason=REASON)


@pytest.fixture(scope="module")
def pipeline():
    """A scaled multi-layer perceptron on the digits, its ONNX file, and the digits."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits, labels = load_digits(return_X_y=True)
    digits = digits.astype(np.float32)
    perceptron = MLPClassifier((32,), activation="tanh", max_iter=60, random_state=0)
    fitted = make_pipeline(StandardScaler(), perceptron).fit(digits, labels)
    model = skl2onnx.to_onnx(fitted, digits[:1], options={"zipmap": False})
    return fitted, model, digits


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
def test_scikit_learn_mlp_sums_to_the_score(pipeline, method: str) -> None:
    """The logits behind the probabilities, although the file writes its Softmax out."""
    _, model, digits = pipeline
    e = onnxplain.Explainer(model, method, steps=100, providers="cpu")(digits[:3])
    assert e.target.tolist() == [0, 1, 2]
    assert e.relative_delta is not None and e.relative_delta.max() < 1e-3


def test_scikit_learn_mlp_gradient(pipeline) -> None:
    """<g, J v> against differences of scikit-learn's own float64 probabilities."""
    fitted, model, digits = pipeline
    random = np.random.default_rng(0)
    x, v = digits[:1].astype(np.float64), random.standard_normal((1, 64))
    g = random.standard_normal((1, 10)).astype(np.float32)
    ahead, behind = (fitted.predict_proba(x + s * v) for s in (1e-3, -1e-3))
    expected = float((g * (ahead - behind)).sum() / 2e-3)
    vjp = onnxplain.vjp(model, outputs=["probabilities"])
    feeds = {"X": digits[:1], "cotangent_probabilities": g}
    found = run(vjp, feeds)["grad_X"].astype(np.float64) * v
    assert abs(found.sum() - expected) < 1e-3 * np.abs(found).sum()
