"""Axioms on models at hand: of which it is known whether they hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.faithful import CLASSES, SIDE, convolutional, pictures
from support.small import ask, node, small, value

import onnxplain
from onnxplain.engine.comparing.axioms import (
    BORDER,
    WITH_BORDER,
    WRITTEN_OTHERWISE,
    alike,
    dummy,
    framed,
    sensitivity,
)
from onnxplain.graph_passes.select.features import with_channels

X = pictures(1)
PICTURE = with_channels(4, 1)
BLACK = np.zeros((1, 1, SIDE, SIDE), np.float32)


def explainer(model: onnx.ModelProto, method: str, **options) -> onnxplain.Explainer:
    if onnxplain.methods()[method].takes("baseline"):
        options.setdefault("baseline", BLACK)
    return onnxplain.Explainer(model, method, providers="cpu", threads=1, **options)


def saturated() -> onnx.ModelProto:
    """y = 1 - relu(1 - sum x): flat at x, and not at the baseline: a gradient there is zero."""
    nodes = [
        node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
        node("Sub", ["one", "s"], ["d"]),
        node("Relu", ["d"], ["r"]),
        node("Sub", ["one", "r"], ["y0"]),
        node("Unsqueeze", ["y0", "last"], ["y"]),
    ]
    weights = {"axes": np.array([1, 2, 3]), "one": np.float32(1), "last": np.array([1])}
    inputs = [value("x", ["N", 1, SIDE, SIDE])]
    return small(nodes, inputs, [value("y", ["N", 1])], weights)


def test_sensitivity_holds_for_integrated_gradients() -> None:
    e = explainer(convolutional(), "integrated-gradients", steps=4)
    held, tried = sensitivity(e, X, 1, BLACK, PICTURE)
    assert held == tried and tried > 10


def test_sensitivity_is_broken_by_a_gradient_that_saturates() -> None:
    """One pixel of 5 takes the sum past 1; without it the score is 0: it counts, its slope is 0."""
    x = np.zeros((1, 1, SIDE, SIDE), np.float32)
    x[0, 0, 1, 1] = 5
    model = saturated()
    assert sensitivity(explainer(model, "saliency"), x, 0, BLACK, PICTURE).held == 0
    assert sensitivity(explainer(model, "saliency"), x, 0, BLACK, PICTURE).tried == 1
    assert sensitivity(explainer(model, "deeplift"), x, 0, BLACK, PICTURE) == (1, 1)
    assert sensitivity(explainer(model, "integrated-gradients"), x, 0, BLACK, PICTURE) == (1, 1)


def test_pixels_that_move_nothing_are_not_tried() -> None:
    x = np.full((1, 1, SIDE, SIDE), 5, np.float32)
    assert sensitivity(explainer(saturated(), "saliency"), x, 0, BLACK, PICTURE) == (0, 0)


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_a_frame_is_cropped_away(opset: int, last: bool) -> None:
    model = convolutional(last=last)
    model.opset_import[0].version = opset
    axis = 3 if last else 1
    x = X.transpose(0, 2, 3, 1).copy() if last else X
    wide = [(0, 0) if a in (0, axis) else (BORDER, BORDER) for a in range(4)]
    around = np.pad(x, wide, constant_values=7.0)
    found = ask(framed(model, "x", with_channels(4, axis)), **{f"x{WITH_BORDER}": around})["y"]
    np.testing.assert_array_equal(found, ask(model, x=x)["y"])
    assert found.shape == (1, CLASSES)


@pytest.mark.parametrize(
    ("method", "holds"),
    [
        ("saliency", True),
        ("deeplift", True),
        ("integrated-gradients", True),
        ("lrp", True),
        ("grad-cam", False),
        ("rise", False),
    ],
)
def test_dummy(method: str, holds: bool) -> None:
    """Maps that are resized to the input reach into the border, which the model never sees."""
    model = framed(convolutional(), "x", PICTURE)
    around = np.pad(X, [(0, 0), (0, 0), (BORDER, BORDER), (BORDER, BORDER)])
    options = {"samples": 30} if method == "rise" else {}
    if onnxplain.methods()[method].takes("baseline"):
        options["baseline"] = np.zeros_like(around)
    part = dummy(explainer(model, method, **options), around, 1, PICTURE)
    assert part == 0 if holds else part > 0.1


@pytest.mark.parametrize("name", WRITTEN_OTHERWISE)
@pytest.mark.parametrize("method", ["saliency", "deeplift", "grad-cam"])
def test_the_same_function_written_otherwise(name: str, method: str) -> None:
    model = convolutional()
    own = explainer(model, method)(X, 1).attribution
    other = explainer(WRITTEN_OTHERWISE[name](model), method)(X, 1).attribution
    found = alike(own, other)
    assert found.difference < 1e-5 and found.rank > 0.999
