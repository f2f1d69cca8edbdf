"""Dense outputs with channels last: the class axis is followed through any head, or asked for."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import ask, node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.subject import select

RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(1, 8, 6, 3)).astype(np.float32)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


WEIGHTS = {
    **{"W": normal(5, 3, 3, 3), "M": normal(5, 5), "p": normal(5), "hwc": normal(1, 1, 1, 5)},
    **{"one": [1], "seven": [7], "minus": [-1], "low": [-99], "three": [3], "twelve": [1, 1, 1, 2]},
    **{"parts": [4, 1], "some": [0, 1, 2, 3], "k": 1.0, "pads": [0, 1, 1, 0, 0, 1, 1, 0]},
    **{"sizes": [1, 16, 12, 5], "flat": [0, 48, 5], "back": [0, 8, 6, 5], "two": 2.0, "last": 3},
    **{"low_": np.float32(-1), "high": np.float32(1), "yes": np.ones((1, 8, 6, 1), bool)},
}
# What stands between the last layer, channels last, and the output.
HEADS = {
    "nothing": [node("Identity", ["t"], ["y"])],
    "cropped": [node("Slice", ["t", "one", "seven", "one"], ["y"])],
    "flipped": [node("Slice", ["t", "minus", "low", "three", "minus"], ["y"])],
    "split": [node("Split", ["t", "parts"], ["y", "other"], axis=3)],
    "einsum": [node("Einsum", ["t", "M"], ["y"], equation="nhwc,co->nhwo")],
    "einsum without new": [node("Einsum", ["t", "p"], ["y"], equation="nhwc,c->nhwc")],
    "prelu": [node("PRelu", ["t", "p"], ["y"])],
    "gathered": [node("Gather", ["t", "some"], ["y"], axis=3)],
    "mean of two": [node("Tanh", ["t"], ["u"]), node("Mean", ["t", "u"], ["y"])],
    "sum of two": [node("Tanh", ["t"], ["u"]), node("Sum", ["t", "u"], ["y"])],
    "layer norm": [node("LayerNormalization", ["t", "p"], ["y"])],
    "negative": [node("Neg", ["t"], ["y"])],
    "sine": [node("Sin", ["t"], ["y"])],
    "padded": [node("Pad", ["t", "pads"], ["y"])],
    "resized": [node("Resize", ["t", "", "", "sizes"], ["y"], mode="nearest")],
    "flattened and back": [
        node("Reshape", ["t", "flat"], ["f"]),
        node("Neg", ["f"], ["g"]),
        node("Reshape", ["g", "back"], ["y"]),
    ],
    "scaled": [node("Mul", ["t", "hwc"], ["u"]), node("Add", ["u", "p"], ["y"])],
    "product": [node("MatMul", ["t", "M"], ["y"])],
    "power": [node("Pow", ["t", "two"], ["y"])],
    "clipped": [node("Clip", ["t", "low_", "high"], ["y"])],
    "joined": [node("Tanh", ["t"], ["u"]), node("Concat", ["t", "u"], ["y"], axis=3)],
    "joined in width": [node("Tanh", ["t"], ["u"]), node("Concat", ["t", "u"], ["y"], axis=2)],
    "chosen": [node("Neg", ["t"], ["u"]), node("Where", ["yes", "t", "u"], ["y"])],
    "unsqueezed": [node("Unsqueeze", ["t", "one"], ["u"]), node("Squeeze", ["u", "one"], ["y"])],
    "hard sigmoid": [node("HardSigmoid", ["t"], ["y"])],
    "softmax times": [node("Softmax", ["t"], ["u"], axis=3), node("Mul", ["t", "u"], ["y"])],
    "summed up": [node("CumSum", ["t", "last"], ["y"])],
    "tiled": [node("Tile", ["t", "twelve"], ["y"])],
    "celu": [node("Celu", ["t"], ["y"])],
    "l2": [node("LpNormalization", ["t"], ["y"], axis=3)],
}


def dense(head):
    """Transpose, Conv, Transpose, as tf2onnx writes a Keras Conv2D, and a head."""
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[0, 3, 1, 2]),
        node("Conv", ["xt", "W"], ["c"], pads=[1] * 4),
        node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        *head,
    ]
    used = {i for n in nodes for i in n.input}
    weights = {k: np.asarray(v) for k, v in WEIGHTS.items() if k in used}
    return small(nodes, [value("x", ["N", 8, 6, 3])], [value("y", None)], weights, 17)


@pytest.mark.parametrize("name", HEADS)
def test_the_class_axis_is_followed(name):
    model = dense(HEADS[name])
    subject = select(prepare(model))
    assert subject.axis_known and subject.class_axis == 3
    y = ask(model, x=X)["y"][0]
    best = y.argmax(-1)
    top = np.bincount(best.ravel()).argmax()
    e = onnxplain.Explainer(model, "saliency", score="output")(X)
    assert e.target[0] == top
    np.testing.assert_allclose(e.score[0], y[..., top][best == top].sum(), rtol=1e-3)


UNKNOWN = {
    "no layer with weights": [node("Sin", ["x"], ["y"])],
    "an operator that nobody follows": [
        node("Transpose", ["x"], ["t"], perm=[3, 0, 1, 2]),
        node("Einsum", ["t", "t"], ["y"], equation="cnhw,cnhv->nhwv"),
    ],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_asked_for(name):
    model = small(UNKNOWN[name], [value("x", ["N", 8, 6, 3])], [value("y", None)], {}, 17)
    explainer = onnxplain.Explainer(model, "saliency")
    for target in (None, 1):
        with pytest.raises(onnxplain.UnsupportedModelError, match=r"8 classes .* or .* classes"):
            explainer(X, target)
    e = explainer(X, (1, 2, 0))
    np.testing.assert_allclose(e.score, ask(model, x=X)["y"][:, 1, 2, 0], rtol=1e-5)
    assert "may hold" in str(onnxplain.inspect(model))


def test_channels_second_stay_so():
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Neg", ["c"], ["y"])]
    model = small(
        nodes, [value("x", ["N", 3, 8, 6])], [value("y", None)], {"w": normal(5, 3, 1, 1)}
    )
    subject = select(prepare(model))
    assert subject.class_axis == 1 and subject.readings is None
