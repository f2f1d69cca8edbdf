"""One channel of pixels: the predicted foreground is explained, not the background with it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from support.small import ask, node, small, value

import onnxplain

RANDOM = np.random.default_rng(7)
KERNEL = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
LAST = RANDOM.standard_normal((1, 4, 1, 1)).astype(np.float32)
METHODS = ["saliency", "input-x-gradient", "deeplift", "grad-cam"]


def segmenter(sigmoid=True, last=False, bias=0.0):
    nodes = [
        node("Conv", ["x", "k"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w", "b"], ["z"]),
    ]
    name = "z"
    for op, more in ((("Sigmoid", {}),) if sigmoid else ()) + (
        (("Transpose", {"perm": [0, 2, 3, 1]}),) if last else ()
    ):
        nodes.append(node(op, [name], [f"{name}{op}"], **more))
        name = f"{name}{op}"
    weights = {"k": KERNEL, "w": LAST, "b": np.float32([bias])}
    shape = ["N", 6, 6, 1] if last else ["N", 1, 6, 6]
    return small(nodes, [value("x", ["N", 3, 6, 6])], [value(name, shape)], weights)


def logits_of(x, bias=0.0):
    return ask(segmenter(sigmoid=False, bias=bias), x=x)["z"]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_foreground_alone(method, sigmoid, last):
    x = RANDOM.standard_normal((2, 3, 6, 6)).astype(np.float32)
    z = logits_of(x)
    assert ((z > 0).any((1, 2, 3)) & (z < 0).any((1, 2, 3))).all()
    explainer = onnxplain.Explainer(segmenter(sigmoid, last), method)
    for target in (None, 0):
        e = explainer(x, target)
        assert np.allclose(e.score, np.where(z > 0, z, 0).sum((1, 2, 3)), rtol=1e-4)
        assert not e.target.any()
    assert explainer.verify(x[:1], 0).outputs < 1e-5


def test_probabilities_are_foreground_above_a_half():
    x = RANDOM.standard_normal((1, 3, 6, 6)).astype(np.float32)
    p = 1 / (1 + np.exp(-logits_of(x)))
    e = onnxplain.Explainer(segmenter(), "saliency", score="output")(x)
    assert np.allclose(e.score, np.where(p > 0.5, p, 0).sum(), rtol=1e-5)


def test_no_foreground_is_said(caplog):
    x = RANDOM.standard_normal((1, 3, 6, 6)).astype(np.float32)
    with caplog.at_level(logging.WARNING, "onnxplain"):
        e = onnxplain.Explainer(segmenter(bias=-100.0), "saliency")(x)
    assert not e.attribution.any() and "no pixel is predicted as foreground" in caplog.text


def test_inspect_says_what_is_summed():
    assert "summed over the predicted foreground" in onnxplain.inspect(segmenter()).score


def test_it_is_called_the_foreground(tmp_path):
    x = RANDOM.standard_normal((1, 3, 6, 6)).astype(np.float32)
    assert onnxplain.Explainer(segmenter(), "saliency")(x).label == "foreground"
    named = onnxplain.Explainer(segmenter(), "saliency", labels=["lesion"])(x)
    assert named.label == "lesion"
    several = np.concatenate([LAST, -LAST])
    nodes = [
        node("Conv", ["x", "k"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w"], ["z"]),
    ]
    model = small(
        nodes,
        [value("x", ["N", 3, 6, 6])],
        [value("z", ["N", 2, 6, 6])],
        {"k": KERNEL, "w": several},
    )
    assert onnxplain.Explainer(model, "saliency")(x).label is None
