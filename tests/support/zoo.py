"""Every model that the library promises to explain, with an input for each: one registry.

`MODELS[name]` builds a model and its feeds; `model`, `feeds`, `explainer` and `vjp` keep what they
made, so that the tests of all methods share exports, sessions and prepared graphs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

import onnxplain
from onnxplain.models.shipped import demo_model, demo_photos
from support import keras_like, light, networks
from support.away_from_kinks import away_from_kinks
from support.folders import DATA

Feeds = dict[str, np.ndarray]


class Model(NamedTuple):
    """How to get a model file's content, and what to feed it."""

    build: Callable[[], onnx.ModelProto]
    example: Callable[[], Feeds]


EXPORTS: dict[str, dict[str, Any]] = {
    "dynamo": dict(exporter="dynamo"),
    "dynamo-dynamic": dict(exporter="dynamo", dynamic=True),
    "torchscript13": dict(exporter="torchscript", opset=13),
    "torchscript17-dynamic": dict(exporter="torchscript", opset=17, dynamic=True),
}
"""Both of PyTorch's exporters, several opsets, fixed and symbolic shapes."""


def _exported(name: str, export: dict[str, Any]) -> Model:
    return Model(
        lambda: networks.exported(name, **export),
        lambda: {"input": networks.example(name).numpy()},
    )


# Exports by the slowest exporter with fixed shapes, of the networks whose operators differ most.
_STATIC_DYNAMO = ("resnet", "mobilenet_v3", "convnext", "unet", "vit", "captum_smooth")
EXPORTED: dict[str, str] = {
    f"{name}-{form}": name
    for name in networks.NETWORKS
    for form in EXPORTS
    if form != "dynamo" or name in _STATIC_DYNAMO
}
"""model name -> its network's name in `networks.NETWORKS`."""

_LARGE = ("vgg19", "resnet50", "densenet121")


def _light(name: str, batch: int | str) -> Model:
    count = 1 if batch == 1 or name in _LARGE else 2
    return Model(
        lambda: light.light_model(name, batch=batch),
        lambda: {k: v.numpy() for k, v in light.light_example(name, batch=count).items()},
    )


def _random_images(name: str, *shape: int, nhwc: bool = False) -> Callable[[], Feeds]:
    """Images in [-1, 1], of shape [N, C, H, W], handed over channels last if asked."""

    def make() -> Feeds:
        x = 2 * networks.images(shape).numpy() - 1
        return {name: np.ascontiguousarray(x.transpose(0, 2, 3, 1) if nhwc else x)}

    return make


def photo(index: int, size: int = 224) -> np.ndarray:
    """A shipped photo as the demo model takes it: [1, 3, size, size], (value - 127) / 128."""
    image = Image.open(demo_photos()[index]).convert("RGB")
    side = round(min(image.size) * 0.875)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[None].copy()


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, float32 [397, 8, 8, 1] in 0..1, and what they are, int64 [397]."""
    with np.load(DATA / "digits_test.npz") as file:
        return file["x"], file["y"]


MODELS: dict[str, Model] = {
    "demo": Model(lambda: onnx.load(demo_model()), lambda: {_only_input("demo"): photo(0)}),
    "paddle": Model(
        lambda: onnx.load(DATA / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
        _random_images("x", 2, 3, 48, 192),
    ),
    "jax_digits": Model(
        lambda: onnx.load(DATA / "jax_digits.onnx"), lambda: {"in_0": digits()[0][:3]}
    ),
    "pnet": Model(keras_like.pnet, _random_images("input_1", 2, 3, 29, 34, nhwc=True)),
    "rnet": Model(keras_like.rnet, _random_images("input_2", 2, 3, 24, 24, nhwc=True)),
    "nhwc_transposes": Model(
        keras_like.nhwc_transposes, _random_images("images", 2, 3, 33, 40, nhwc=True)
    ),
    **{f"light_{name}": _light(name, "N") for name in light.LIGHT},
    **{f"light_{name}-batch1": _light(name, 1) for name in ("alexnet", "shufflenet")},
    **{
        model: _exported(name, EXPORTS[model.removeprefix(f"{name}-")])
        for model, name in EXPORTED.items()
    },
}
"""name -> model; exported networks are called <network>-<exporter and opset>[-dynamic]."""

LONG = {
    *("light_vgg19", "light_densenet121", "light_inception_v2", "light_zfnet512"),
    "light_resnet50",
}
"""What takes long and is built as others are."""

WITHOUT_MAPS = [name for name in MODELS if name.startswith("captum_dense")]
"""Models without any convolution: Grad-CAM must refuse them."""


@functools.lru_cache(12)
def _content(name: str) -> bytes:
    return MODELS[name].build().SerializeToString()


@functools.lru_cache(6)
def smooth_content(name: str) -> bytes:
    """The model; the deep ones with biases that keep their units away from kinks at `feeds`."""
    if not name.startswith(("demo", "light_")):
        return _content(name)
    return away_from_kinks(model(name), torch_feeds(feeds(name))).SerializeToString()


def model(name: str) -> onnx.ModelProto:
    """A fresh copy of the model."""
    return onnx.load_from_string(_content(name))


def _only_input(name: str) -> str:
    graph = model(name).graph
    (source,) = {value.name for value in graph.input} - {value.name for value in graph.initializer}
    return source


@functools.cache
def feeds(name: str) -> Feeds:
    """The model's input array by its name. Shared: do not change it."""
    return MODELS[name].example()


def example(name: str) -> np.ndarray:
    """The model's one input array. Shared: do not change it."""
    (array,) = feeds(name).values()
    return array


# A worker that kept them all would hold 5 GB.
@functools.lru_cache(6)
def explainer(name: str, method: str, **options: Any) -> onnxplain.Explainer:
    """An Explainer of the model, on two threads of the CPU."""
    # The demo model's card lies beside its file.
    source = demo_model() if name == "demo" else _content(name)
    return onnxplain.Explainer(source, method, providers="cpu", threads=2, **options)


def session(content: bytes) -> onnxruntime.InferenceSession:
    """The model in stock ONNX Runtime, on two threads of the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def torch_feeds(arrays: Feeds) -> dict[str, torch.Tensor]:
    """The same arrays for `torch_runner`."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def relative_error(found: Any, expected: Any) -> float:
    """Largest difference over the largest magnitude of what is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert np.isfinite(found).all()
    return float(np.abs(found - expected).max() / np.abs(expected).max())
