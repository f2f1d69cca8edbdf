"""Exported files that take a photo, return a picture, or are in another opset."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from support.digits import CARD, digit, flat_model, write_model, write_photo
from support.small import node, small, value

import onnxplain
from onnxplain.engine.inputs import kind_of_arrays, read_array, read_input
from onnxplain.engine.pictures.heatmap import blend, fit
from onnxplain.graph_passes.finish.look import WITHIN
from onnxplain.graph_passes.methods import find_method

IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PLAIN = {"resize": "crop", "layout": "NCHW", "channels": "RGB", **IMAGENET}
# How photos become the input of a model of 48 x 64 pixels.
CARDS = {
    "crop": {"crop_fraction": 0.875, "interpolation": "bicubic"},
    "stretch": {"resize": "stretch"},
    "pad": {"resize": "pad", "pad_color": [114, 114, 114]},
    "pad at the right": {"resize": "pad", "pad_position": "top-left", "channels": "BGR"},
    "channels last": {"layout": "NHWC"},
    "gray": {"channels": "GRAY", "layout": "NHWC", "mean": 0.5, "std": 0.5},
    "half": {"dtype": "float16"},
}
FEW = {"samples": 3, "steps": 3, "window": 16, "stride": 16}
# No attention is in the models here.
METHODS = [
    name for name in onnxplain.methods() if name not in ("attention-rollout", "chefer")
]
FREE = ["N", "height", "width"]


@cache
def network(layout="NCHW", channels=3, dtype=TensorProto.FLOAT, free=False) -> onnx.ModelProto:
    """Two convolutions, the mean of each map, and a layer: [N, 3, 48, 64] -> [N, 5]."""
    random = np.random.default_rng(0)
    kinds = helper.tensor_dtype_to_np_dtype(dtype)
    weights = {
        "k1": random.normal(0, 0.3, (6, channels, 3, 3)).astype(kinds),
        "k2": random.normal(0, 0.3, (8, 6, 3, 3)).astype(kinds),
        "w": random.normal(0, 1, (8, 5)).astype(kinds),
    }
    sizes = ["height", "width"] if free else [48, 64]
    shape = ["N", channels, *sizes] if layout == "NCHW" else ["N", *sizes, channels]
    turned = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []
    nodes = [
        *turned,
        node("Conv", ["t" if turned else "x", "k1"], ["c"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "k2"], ["d"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["d"], ["s"]),
        node("ReduceMean", ["s"], ["m"], axes=[2, 3], keepdims=0),
        node("MatMul", ["m", "w"], ["y"]),
    ]
    inputs, outputs = [value("x", shape, dtype)], [value("y", ["N", 5], dtype)]
    return small(nodes, inputs, outputs, weights)


def explainer_of(method="grad-cam", free=False, **facts) -> onnxplain.Explainer:
    facts = {"size": [48, 64], **PLAIN, **facts}
    half = facts.get("dtype") == "float16"
    model = network(
        facts["layout"],
        1 if facts["channels"] == "GRAY" else 3,
        TensorProto.FLOAT16 if half else TensorProto.FLOAT,
        free,
    )
    few = {name: number for name, number in FEW.items() if find_method(method).takes(name)}
    return onnxplain.Explainer(model, method, card=facts, providers="cpu", threads=1, **few)


def photo_of(height, width, seed=0) -> np.ndarray:
    """Smooth colours with some noise, as photos have them."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def run(path, **feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    named = [output.name for output in session.get_outputs()]
    return dict(zip(named, session.run(None, feeds), strict=True))


def drawn(explainer, e, row, view) -> np.ndarray:
    """What the command line lays over the photo."""
    heatmap = kind_of_arrays(explainer.into).draw(e.attribution[row], explainer.into, e.method)
    return np.asarray(blend(view, heatmap, fit(view.size, *WITHIN)))


def check_picture(found, expected):
    assert found.dtype == np.uint8 and found.shape == expected.shape
    off = np.abs(found.astype(int) - expected)
    assert off.mean() < 0.5 and np.percentile(off, 99) <= 3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_photo(method, tmp_path):
    """What `explain` answers for the photo, and the picture that the command line draws."""
    explainer, photo = explainer_of(method), photo_of(90, 133)
    path = tmp_path / "photo.onnx"
    file = explainer.export(path, preprocess=True, picture=True)
    onnx.checker.check_model(file, full_check=True)
    e = explainer.explain(photo)
    found = run(path, x=photo, target=np.array([-1]))
    size = np.abs(e.attribution).max()
    np.testing.assert_allclose(found["attribution"], e.attribution, rtol=1e-3, atol=1e-5 * size)
    np.testing.assert_allclose(found["y"], e.outputs["y"], rtol=1e-5, atol=1e-6)
    view = read_input(photo, explainer.into).view()
    assert found["picture"].shape[0] == 1
    check_picture(found["picture"][0], drawn(explainer, e, 0, view))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_arrays(method, tmp_path):
    explainer = explainer_of(method)
    path = tmp_path / "arrays.onnx"
    explainer.export(path, picture=True)
    x = np.concatenate([explainer.preprocess(photo_of(60, 80, seed)) for seed in range(2)])
    e = explainer(x, [1, 3])
    found = run(path, x=x, target=np.array([1, 3]))
    for row in range(2):
        view = read_array(x[row : row + 1], explainer.into).view()
        check_picture(found["picture"][row], drawn(explainer, e, row, view))


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("method", ["grad-cam", "saliency", "input-x-gradient"])
def test_every_card(card, method, tmp_path):
    explainer = explainer_of(method, **CARDS[card])
    path = tmp_path / "photo.onnx"
    explainer.export(path, preprocess=True, picture=True, target="top1")
    for height, width in ((75, 100), (100, 75), (20, 30), (31, 260)):
        photo = photo_of(height, width)
        e, found = explainer.explain(photo), run(path, x=photo)
        np.testing.assert_allclose(found["y"], e.outputs["y"], rtol=1e-5, atol=1e-6)
        view = read_input(photo, explainer.into).view()
        check_picture(found["picture"][0], drawn(explainer, e, 0, view))
