"""The oracles' own tests: the interpreter against ONNX Runtime and against the torch modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)
from support import keras_like, light, networks, torch_runner
from support.folders import TESTS
from support.saturation import skip_where_saturated

DEMO = TESTS.parent / "models" / "demo" / "efficientnet-lite0-w16.onnx"
PADDLE = TESTS / "data" / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
JAX = TESTS / "data" / "jax_digits.onnx"
EXPORTS = [("dynamo", None), ("torchscript", 13), ("torchscript", 17)]

Feeds = dict[str, torch.Tensor]


def onnxruntime_outputs(model: onnx.ModelProto, feeds: Feeds) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: value.numpy() for name, value in feeds.items()})
    return dict(zip(names, map(np.asarray, found), strict=True))


def check_against_onnxruntime(
    model: onnx.ModelProto, feeds: Feeds, dtype: torch.dtype = torch.float64
) -> None:
    with torch.no_grad():
        found = torch_runner.run(model, feeds, dtype)
    for name, expected in onnxruntime_outputs(model, feeds).items():
        assert found[name].shape == expected.shape
        assert relative_error(found[name].numpy(), expected) < 1e-4, name


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize(("exporter", "opset"), EXPORTS)
def test_exported_networks(name: str, exporter: networks.Exporter, opset: int | None):
    """The export has torch's outputs, so has the interpreter, and its gradient is autograd's."""
    model = networks.exported(name, exporter, opset, dynamic=True)
    onnx.checker.check_model(model, full_check=True)
    x = networks.example(name, batch=3, seed=5)
    check_against_onnxruntime(model, {"input": x})

    module = networks.network64(name)
    leaf = x.double().requires_grad_()
    y = module(leaf)
    found = torch_runner.run(model, {"input": x})["output"]
    assert relative_error(found.numpy(), y.detach().numpy()) < 1e-4
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).double()
    (expected,) = torch.autograd.grad(y, leaf, cotangent)
    gradients = torch_runner.gradients(model, {"input": x}, {"output": cotangent}, ["input"])
    assert relative_error(gradients["input"].numpy(), expected.numpy()) < 1e-4


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_networks_are_alive(name: str):
    """Outputs of order one that depend on the input; gradients, but for what strides leave out."""
    x = networks.example(name, batch=4).requires_grad_()
    y = networks.network(name)(x)
    assert 0.3 < y.std() < 10
    assert (y - y.mean(0)).std() > 0.1 * y.std()
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert (gradient != 0).float().mean() > 0.75


@pytest.mark.parametrize("name", light.LIGHT)
def test_light_models(name: str):
    """Right outputs at a reduced size, a symbolic batch included, and different for each image."""
    feeds = light.light_example(name, batch=2)
    model = light.light_model(name, batch="N")
    onnx.checker.check_model(model)
    check_against_onnxruntime(model, feeds, torch.float32)
    (scores,) = (value.reshape(2, 1000) for value in onnxruntime_outputs(model, feeds).values())
    assert np.isfinite(scores).all() and relative_error(scores[0], scores[1]) > 0.2
    assert scores.max() < (1e3 if name == "densenet121" else 0.9)  # no saturated softmax


def test_light_model_at_full_size_keeps_the_graph():
    original = onnx.load(light.FOLDER / "light_shufflenet.onnx")
    model = light.light_model("shufflenet", size=light.FULL_SIZE)
    kept = [node for node in original.graph.node if node.op_type != "ConstantOfShape"]
    assert list(model.graph.node) == kept
    check_against_onnxruntime(model, light.light_example("shufflenet", size=light.FULL_SIZE))


NHWC = {
    "pnet": (keras_like.pnet, (2, 29, 34, 3)),
    "rnet": (keras_like.rnet, (2, 24, 24, 3)),
    "nhwc_transposes": (keras_like.nhwc_transposes, (2, 33, 40, 3)),
}


@pytest.mark.parametrize("name", NHWC)
def test_keras_like_models(name: str):
    factory, (batch, height, width, channels) = NHWC[name]
    model = factory()
    x = 2 * networks.images([batch, channels, height, width]).permute(0, 2, 3, 1) - 1
    check_against_onnxruntime(model, {model.graph.input[0].name: x.contiguous()})


@pytest.mark.parametrize(
    ("path", "shape"),
    [(DEMO, (1, 3, 224, 224)), (PADDLE, (2, 3, 48, 192)), (JAX, (3, 8, 8, 1))],
    ids=["demo", "paddle", "jax"],
)
def test_shipped_models(path: Path, shape: tuple[int, ...]):
    model = onnx.load(path)
    name = model.graph.input[0].name
    check_against_onnxruntime(model, {name: networks.images(shape)})


def test_jax_digits_reads_digits():
    digits = np.load(TESTS / "data" / "digits_test.npz")
    logits = torch_runner.run(onnx.load(JAX), {"in_0": torch.from_numpy(digits["x"])})["add_out_2"]
    assert (logits.argmax(1).numpy() == digits["y"]).mean() > 0.95


def test_keep_returns_intermediate_tensors_with_their_graph():
    model = networks.exported("captum_dense", "torchscript", 17)
    inner = model.graph.node[0].output[0]
    x = networks.example("captum_dense").double().requires_grad_()
    values = torch_runner.run(model, {"input": x}, keep=[inner])
    assert torch.autograd.grad(values["output"].sum(), values[inner])[0].shape == (2, 16)


def single_node(kind: str, inputs: int, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """A model of one node whose float inputs are called a, b, c ..., and whose output is y."""
    names = list("abcdef"[:inputs])
    describe = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(kind, names, ["y"], **attributes)
    graph = helper.make_graph([node], kind, describe, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SINGLE_NODES: dict[str, tuple[str, list[tuple[int, ...]], int, dict[str, Any]]] = {
    "max_pool_ceil": (
        "MaxPool",
        [(1, 2, 7, 8)],
        17,
        dict(kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1, pads=[1, 0, 0, 1]),
    ),
    "max_pool_dilated": (
        "MaxPool",
        [(1, 2, 9, 8)],
        17,
        dict(kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2]),
    ),
    "max_pool_same_lower": (
        "MaxPool",
        [(1, 2, 7, 8)],
        12,
        dict(kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    ),
    "average_pool_ceil": (
        "AveragePool",
        [(1, 2, 7, 8)],
        19,
        dict(
            kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 1], count_include_pad=1
        ),
    ),
    "average_pool_same": (
        "AveragePool",
        [(1, 2, 7, 8)],
        17,
        dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    ),
    "conv_same_lower": (
        "Conv",
        [(1, 2, 7, 8), (3, 2, 2, 4)],
        17,
        dict(strides=[2, 1], auto_pad="SAME_LOWER"),
    ),
    "conv_asymmetric": (
        "Conv",
        [(1, 4, 7, 8), (6, 2, 3, 3), (6,)],
        17,
        dict(strides=[2, 3], pads=[0, 2, 1, 0], group=2, dilations=[1, 2]),
    ),
    "conv_1d": ("Conv", [(2, 3, 9), (4, 3, 3)], 17, dict(pads=[2, 0])),
    "conv_transpose": (
        "ConvTranspose",
        [(1, 4, 5, 4), (4, 3, 3, 3), (6,)],
        17,
        dict(strides=[2, 3], pads=[0, 1, 2, 0], output_padding=[1, 2], group=2),
    ),
    "conv_transpose_same": (
        "ConvTranspose",
        [(1, 2, 5, 4), (2, 3, 3, 3)],
        17,
        dict(strides=[2, 2], auto_pad="SAME_UPPER"),
    ),
    "lrn": ("LRN", [(2, 7, 3, 3)], 17, dict(size=5, alpha=0.5, beta=0.6, bias=1.5)),
    "softmax_flattened": ("Softmax", [(2, 3, 4)], 11, dict(axis=1)),
    "log_softmax": ("LogSoftmax", [(2, 3, 4)], 17, dict(axis=1)),
    "prelu": ("PRelu", [(2, 3, 4, 4), (3, 1, 1)], 17, {}),
    "gemm": ("Gemm", [(3, 2), (4, 3), (4,)], 17, dict(transA=1, transB=1, alpha=0.5, beta=2.0)),
    "hard_sigmoid": ("HardSigmoid", [(2, 9)], 17, dict(alpha=0.3)),
    "instance_norm": ("InstanceNormalization", [(2, 3, 4, 4), (3,), (3,)], 17, {}),
    "depth_to_space": ("DepthToSpace", [(1, 8, 2, 3)], 17, dict(blocksize=2, mode="CRD")),
}


@pytest.mark.parametrize("case", SINGLE_NODES)
def test_single_nodes(case: str):
    kind, shapes, opset, attributes = SINGLE_NODES[case]
    generator = torch.Generator().manual_seed(0)
    feeds = {
        name: torch.randn(shape, generator=generator)
        for name, shape in zip("abcdef", shapes, strict=False)
    }
    check_against_onnxruntime(single_node(kind, len(shapes), opset, **attributes), feeds)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_resize(mode: str, coordinates: str, by: str):
    scales = helper.make_tensor("s", TensorProto.FLOAT, [4], [1, 1, 1.5, 0.625])
    sizes = helper.make_tensor("s", TensorProto.INT64, [4], [1, 2, 9, 5])
    model = single_node("Resize", 1)
    node = model.graph.node[0]
    node.attribute.append(helper.make_attribute("mode", mode))
    node.attribute.append(helper.make_attribute("coordinate_transformation_mode", coordinates))
    node.input.extend(["", "s"] if by == "scales" else ["", "", "s"])
    model.graph.initializer.append(scales if by == "scales" else sizes)
    x = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    check_against_onnxruntime(model, {"a": x})


QUANTISED = {
    "static_qdq": QuantFormat.QDQ,
    "static_operators": QuantFormat.QOperator,
    "dynamic": None,
}


@pytest.mark.parametrize("form", QUANTISED)
def test_quantised_models(form: str, tmp_path: Path):
    """Up to a few of the quantiser's steps: ONNX Runtime's rounding may fall to the other side."""
    skip_where_saturated()
    onnx.save(networks.exported("captum_relu", "torchscript", 13), tmp_path / "float.onnx")
    source, target = str(tmp_path / "float.onnx"), str(tmp_path / "quantised.onnx")
    x = networks.example("captum_relu")
    if QUANTISED[form] is None:
        quantize_dynamic(source, target)
    else:
        kinds = ["Conv", "MatMul", "MaxPool"]  # others become com.microsoft operators
        samples = Samples([x, 1 - x])
        quantize_static(source, target, samples, QUANTISED[form], kinds, per_channel=True)
    model = onnx.load(target)
    found = torch_runner.run(model, {"input": x})["output"].numpy()
    assert relative_error(found, onnxruntime_outputs(model, {"input": x})["output"]) < 0.03
    exact = networks.network("captum_relu")(x).numpy()
    assert relative_error(found, exact) < 0.2
    cotangent = {"output": torch.ones(2, 10)}
    gradient = torch_runner.gradients(model, {"input": x}, cotangent, ["input"])["input"]
    original = networks.exported("captum_relu", "torchscript", 13)
    expected = torch_runner.gradients(original, {"input": x}, cotangent, ["input"])["input"]
    assert torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.9


class Samples(CalibrationDataReader):
    def __init__(self, batches: list[torch.Tensor]):
        self.rest = iter(batches)

    def get_next(self) -> dict[str, np.ndarray]:
        batch = next(self.rest, None)
        return {} if batch is None else {"input": batch.numpy()}


KINKS = [
    ("Relu", {}, [0.0, 1.0], [0.0, 1.0]),
    ("HardSwish", {}, [-4.0, 4.0], [0.0, 1.0]),
    ("Abs", {}, [0.0, -1.0], [0.0, -1.0]),
    ("LeakyRelu", {"alpha": 0.25}, [0.0, 1.0], [0.25, 1.0]),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.5}, [-1.0, 0.5, 1.0], [0.0, 0.5, 0.0]),
    ("MaxPool", {"kernel_shape": [3]}, [2.0, 2.0, 2.0], [1.0, 0.0, 0.0]),
    ("GlobalMaxPool", {}, [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    ("ReduceMax", {}, [1.0, 2.0, 2.0], [0.0, 0.5, 0.5]),
]


@pytest.mark.parametrize(("kind", "attributes", "x", "expected"), KINKS)
def test_kinks(kind: str, attributes: dict[str, Any], x: list[float], expected: list[float]):
    model = single_node(kind, 1, **attributes)
    feeds = {"a": torch.tensor(x).reshape(1, 1, -1)}
    y = torch_runner.run(model, feeds)["y"]
    gradient = torch_runner.gradients(model, feeds, {"y": torch.ones_like(y)}, ["a"])["a"]
    assert gradient.flatten().tolist() == expected


def test_kinks_of_clip_and_ties_of_max():
    clip = single_node("Clip", 3)
    feeds = {
        "a": torch.tensor([0.0, 1.0, 6.0, 7.0]),
        "b": torch.tensor(0.0),
        "c": torch.tensor(6.0),
    }
    gradient = torch_runner.gradients(clip, feeds, {"y": torch.ones(4)}, ["a"])["a"]
    assert gradient.tolist() == [0.0, 1.0, 0.0, 0.0]
    feeds = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, 0.0])}
    found = torch_runner.gradients(single_node("Max", 2), feeds, {"y": torch.ones(2)}, ["a", "b"])
    assert found["a"].tolist() == [0.5, 1.0] and found["b"].tolist() == [0.5, 0.0]
