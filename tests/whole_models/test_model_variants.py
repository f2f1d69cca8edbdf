"""The same networks otherwise dressed: half precision, a fixed batch, a final Softmax."""

from __future__ import annotations

import io

import captum.attr
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from support import networks, torch_runner, zoo
from support.often import by_day

import onnxplain

METHODS = ["grad-cam", "integrated-gradients", "deeplift"]


def explain(model: onnx.ModelProto, method: str, **options) -> onnxplain.Explainer:
    options = {"steps": 50, **options} if method == "integrated-gradients" else options
    return onnxplain.Explainer(model, method, providers="cpu", threads=2, **options)


def half(name: str, keep_io_types: bool) -> onnx.ModelProto:
    """The network's export with every float16: weights, activations and maybe input and output."""
    model = networks.exported(name, "torchscript", 17, dynamic=True)
    return convert_float_to_float16(model, keep_io_types=keep_io_types)


@pytest.mark.parametrize("keep_io_types", [True, False])
@pytest.mark.parametrize("name", ["efficientnet", "captum_smooth"])
def test_half_precision_files_are_explained_in_single(name: str, keep_io_types: bool):
    """Captum on the interpreter, which computes the rounded weights' network in float64."""
    model = half(name, keep_io_types)
    x = networks.example(name).half()  # what float16 can hold, so that all see the same input
    fed = x.numpy() if not keep_io_types else x.float().numpy()
    targets = [2, 7]
    found = explain(model, "integrated-gradients")(fed, targets)
    # That converter appends its Casts at the end; the interpreter takes nodes in order.
    model = gs.export_onnx(gs.import_onnx(model).toposort())
    oracle = captum.attr.IntegratedGradients(
        lambda x: torch_runner.run(model, {"input": x})["output"]
    )
    expected = oracle.attribute(x.double(), target=torch.tensor(targets), n_steps=50)
    assert zoo.relative_error(found.attribution, expected) < 1e-4
    assert found.attribution.dtype == np.float32
    assert found.outputs["output"].dtype == (np.float32 if keep_io_types else np.float16)
    summed = explain(model, "deeplift")(fed, targets)
    assert summed.attribution.dtype == np.float32 and summed.relative_delta.max() < 1e-3
    full = explain(networks.exported(name, "torchscript", 17, dynamic=True), "grad-cam")
    mapped = explain(model, "grad-cam")(fed, targets)
    expected = full(x.float().numpy(), targets).attribution
    assert zoo.relative_error(mapped.attribution, expected) < 2e-2  # the weights' rounding


def test_the_demo_file_stores_half_precision_weights():
    """And computes in single: its outputs are what stock ONNX Runtime makes of the file."""
    model = zoo.model("demo")
    halves = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert len(halves) > 50
    expected = zoo.session(model.SerializeToString()).run(None, zoo.feeds("demo"))[0]
    (found,) = zoo.explainer("demo", "deeplift")(zoo.example("demo")).outputs.values()
    assert found.dtype == expected.dtype == np.float32
    assert zoo.relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exporter", by_day(["torchscript", "dynamo"], ["dynamo"]))
def test_a_batch_of_one_in_the_file(method: str, exporter: networks.Exporter):
    """Several images are run one by one, each with its own target and baseline."""
    module = networks.network("mobilenet_v3")
    model = networks.export(module, networks.example("mobilenet_v3", batch=1), exporter)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    x = networks.example("mobilenet_v3", batch=3, seed=4).numpy()
    start = 0.1 * networks.example("mobilenet_v3", batch=3, seed=5).numpy()
    start = None if method == "grad-cam" else start
    options = {"steps": 9} if method == "integrated-gradients" else {}
    symbolic = explain(
        networks.exported("mobilenet_v3", "torchscript", 17, True), method, **options
    )
    targets = [0, 4, 2]
    expected = symbolic(x, targets, baseline=start)
    found = explain(model, method, **options)(x, targets, baseline=start)
    assert zoo.relative_error(found.attribution, expected.attribution) < 1e-4
    assert found.target.tolist() == targets
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)
    assert found.outputs["output"].shape == (3, 10)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_two_in_the_file(method: str):
    """Images come in pairs, or are refused with both numbers."""
    explainer = zoo.explainer("resnet-torchscript13", method)
    x = networks.example("resnet", batch=4, seed=4).numpy()
    targets = [3, 1, 0, 2]
    found = explainer(x, targets)
    for pair in (slice(0, 2), slice(2, 4)):
        alone = explainer(x[pair], targets[pair]).attribution
        np.testing.assert_array_equal(found.attribution[pair], alone)
    with pytest.raises(onnxplain.InvalidInputError, match="exactly 2 inputs at a time, got 3"):
        explainer(x[:3], targets[:3])


@pytest.mark.parametrize("activation", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_a_final_activation_is_left_out(activation: str):
    """The logit is explained, unless the output itself is asked for."""
    plain = networks.exported("captum_smooth", "torchscript", 17, dynamic=True)
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    graph = model.graph
    graph.node.append(helper.make_node(activation, ["output"], ["probabilities"]))
    value = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 10])
    graph.output[0].CopyFrom(value)
    x, targets = networks.example("captum_smooth").numpy(), [1, 8]
    for method in METHODS:
        expected = explain(plain, method)(x, targets)
        found = explain(model, method)(x, targets)
        assert zoo.relative_error(found.attribution, expected.attribution) < 1e-5
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-5)

    function = {
        "Softmax": lambda y: y.softmax(-1),
        "LogSoftmax": lambda y: y.log_softmax(-1),
        "Sigmoid": torch.sigmoid,
    }[activation]
    module = networks.network64("captum_smooth")
    oracle = captum.attr.IntegratedGradients(lambda x: function(module(x)))
    inputs = torch.from_numpy(x).double()
    expected = oracle.attribute(inputs, target=torch.tensor(targets), n_steps=50)
    found = explain(model, "integrated-gradients", score="output")(x, targets)
    assert zoo.relative_error(found.attribution, expected) < 1e-4
    summed = explain(model, "deeplift", score="output")(x, targets)
    np.testing.assert_allclose(
        summed.score, function(module(inputs))[[0, 1], targets], rtol=1e-4, atol=1e-6
    )
    assert summed.relative_delta.max() < 1e-3


def test_the_output_is_chosen_by_name():
    """R-net's boxes, which no Softmax marks as scores."""
    x = zoo.example("rnet")
    found = explain(zoo.model("rnet"), "deeplift", output="dense_2")(x, 3)
    values = torch_runner.run(zoo.model("rnet"), {"input_2": torch.from_numpy(x)})
    np.testing.assert_allclose(found.score, values["dense_2"][:, 3], rtol=1e-4)
    assert found.relative_delta.max() < 1e-3
    with pytest.raises(onnxplain.InvalidInputError, match="'dense_2', 'softmax_1'"):
        explain(zoo.model("rnet"), "deeplift", output="dense_3")


@pytest.mark.parametrize("name", ["Hardshrink", "Softshrink", "LeakyWhere"])
def test_deeplift_through_selections(name: str) -> None:
    """Where whose condition compares activations, as PyTorch exports these, sums to delta."""

    class Selecting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 8, 3)
            self.head = torch.nn.Linear(8, 4)
            modules = {
                "Hardshrink": torch.nn.Hardshrink(0.2),
                "Softshrink": torch.nn.Softshrink(0.2),
            }
            self.activation = modules.get(name)

        def forward(self, x):
            z = self.conv(x)
            y = torch.where(z >= 0, z, 0.2 * z) if self.activation is None else self.activation(z)
            return self.head(y.mean((2, 3)))

    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    buffer = io.BytesIO()
    torch.onnx.export(Selecting().eval(), (x,), buffer, dynamo=False, opset_version=17)
    explainer = onnxplain.Explainer(buffer.getvalue(), "deeplift", providers="cpu")
    e = explainer(x.numpy())
    assert e.relative_delta is not None and e.relative_delta.max() < 1e-4
