"""The axioms that the methods were made for, on real networks.

Completeness is in test_models_ig.py and, as summation-to-delta, in test_models_deeplift.py.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, version_converter
from support import networks, zoo
from support.often import by_day, often
from torch import nn

import onnxplain

PATH_METHODS = ["integrated-gradients", "deeplift"]
FORMS = [
    dict(exporter="dynamo"),
    dict(exporter="dynamo", dynamic=True),
    dict(exporter="torchscript", opset=13),
    dict(exporter="torchscript", opset=17),
    dict(exporter="torchscript", opset=17, dynamic=True),
]


def explain(model: onnx.ModelProto, method: str, **options) -> onnxplain.Explainer:
    options = {"steps": 50, **options} if method == "integrated-gradients" else options
    return onnxplain.Explainer(model, method, providers="cpu", threads=2, **options)


@pytest.mark.parametrize(
    "name",
    by_day(
        ["mobilenet_v3", "convnext", "resnet", "vit", "odd_shapes"], ["mobilenet_v3", "convnext"]
    ),
)
def test_implementation_invariance_of_ig(name: str):
    """One function, written by two exporters at several opsets: one attribution."""
    x = networks.example(name).numpy()
    found = [
        explain(networks.exported(name, **form), "integrated-gradients")(x, [1, 6]).attribution
        for form in FORMS
    ]
    for other in found[1:]:
        assert zoo.relative_error(other, found[0]) < 1e-4


@pytest.mark.parametrize("opset", [18, 20, 21, 22])
def test_ig_is_the_same_at_every_opset(opset: int):
    model = networks.exported("unet", "torchscript", 17)
    newer = version_converter.convert_version(model, opset)
    x = networks.example("unet").numpy()
    steps = {"steps": 6}
    expected = explain(model, "integrated-gradients", **steps)(x, (2, 9, 9))
    found = explain(newer, "integrated-gradients", **steps)(x, (2, 9, 9))
    assert zoo.relative_error(found.attribution, expected.attribution) < 1e-4


NETWORKS = ["convnext", "odd_shapes", *often([], ["mobilenet_v3", "unet"])]


def test_the_other_methods_do_not_see_the_exporter_either():
    """Where both exports are made of the same functions, though written differently."""
    for name in NETWORKS:
        x = networks.example(name).numpy()
        target = (1, 7, 9) if name == "unet" else [1, 6]
        for method in ("grad-cam", "deeplift"):
            # Its first Pad moves the picture, and so the map; one of the exporters makes it the
            # convolution's own padding, which does not, as symbolic sizes do not.
            moved = (name, method) == ("odd_shapes", "grad-cam")
            forms = [form for form in FORMS if not moved or ("opset" in form and len(form) == 2)]
            found = [explain(networks.exported(name, **form), method)(x, target) for form in forms]
            for other in found[1:]:
                error = zoo.relative_error(other.attribution, found[0].attribution)
                assert error < 1e-4, (name, method)


class Crop(nn.Module):
    """Sees only the middle of the image, and its first two channels."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x[:, :2, 8:-8, 8:-6])


def small_network(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        activation,
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(6, 8, 3, groups=2),
        activation,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


@pytest.mark.parametrize("method", PATH_METHODS)
@pytest.mark.parametrize("exporter", by_day(["torchscript", "dynamo"], ["dynamo"]))
def test_dummies_get_exactly_nothing(method: str, exporter: networks.Exporter):
    """Sensitivity (b): what the score does not depend on is attributed 0, not merely little."""
    x = networks.images([2, 3, 36, 40])
    model = networks.export(Crop(small_network(nn.SiLU())), x, exporter, dynamic_axes={0: "batch"})
    found = explain(model, method)(x.numpy(), [0, 3]).attribution
    seen = np.zeros(x.shape, bool)
    seen[:, :2, 8:-8, 8:-6] = True
    assert not found[~seen].any()
    assert (found[seen] != 0).mean() > 0.9


@pytest.mark.parametrize("method", PATH_METHODS)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU(), nn.Hardswish(), nn.GELU()])
def test_what_alone_changes_the_score_gets_something(method: str, activation: nn.Module):
    """Sensitivity (a): one pixel differs from the baseline, and all of the difference is its."""
    model = networks.export(
        small_network(activation), torch.rand(1, 2, 20, 22), "torchscript", 17, {0: "batch"}
    )
    start = 0.4 * networks.images([1, 2, 20, 22], seed=3).numpy()
    x = start.copy()
    x[0, 1, 10, 11] += 2.0
    explainer = explain(model, method, steps=200)
    found = explainer(x, 2, baseline=start)
    gap = (found.score - found.baseline_score)[0]
    assert abs(gap) > 1e-3
    assert np.count_nonzero(found.attribution) == 1
    share = 1e-3 if method == "deeplift" else 2e-2  # what 200 steps across kinks leave over
    assert abs(found.attribution[0, 1, 10, 11] - gap) < share * abs(gap)


def relu_difference() -> onnx.ModelProto:
    """y = 1 - relu(1 - x), flat from x = 1 on: where the gradient alone sees nothing."""
    one = onnx.numpy_helper.from_array(np.float32([[1]]), "one")
    nodes = [
        helper.make_node("Sub", ["one", "x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Sub", ["one", "b"], ["y"]),
    ]
    describe = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 1]) for n in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "saturation", describe[:1], describe[1:], [one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("method", PATH_METHODS)
def test_saturation_does_not_hide_the_input(method: str):
    """The papers' own example: from 0 to 2 the score rises by 1, at 2 its gradient is 0."""
    found = explain(relu_difference(), method, steps=200)(np.float32([[2]]), 0)
    np.testing.assert_allclose(found.attribution, [[1]], atol=5e-3)
    slope = zoo.session(onnxplain.vjp(relu_difference()).SerializeToString())
    feeds = {"x": np.float32([[2]]), "cotangent_y": np.float32([[1]])}
    assert slope.run(["grad_x"], feeds)[0] == 0


def test_ig_is_linear_in_the_score():
    """IG of 2 f - 3 g is 2 IG(f) - 3 IG(g)."""
    f, g = small_network(nn.SiLU()), small_network(nn.Tanh())

    class Combined(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.g = f, g

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.f(x) - 3 * self.g(x)

    x = networks.images([2, 2, 24, 20])
    found = {}
    for key, module in {"f": f, "g": g, "both": Combined().eval()}.items():
        model = networks.export(module, x, "torchscript", 17, {0: "batch"})
        found[key] = explain(model, "integrated-gradients")(x.numpy(), [0, 1]).attribution
    assert zoo.relative_error(2 * found["f"] - 3 * found["g"], found["both"]) < 1e-4


@pytest.mark.parametrize("method", PATH_METHODS)
def test_symmetric_inputs_share_alike(method: str):
    """y = tanh(a + b) from equal baselines: equal attributions to equal inputs."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=1),
        helper.make_node("Tanh", ["s"], ["y"]),
    ]
    axes = onnx.numpy_helper.from_array(np.int64([1]), "axes")
    graph = helper.make_graph(
        nodes,
        "symmetric",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 1])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found = explain(model, method)(np.float32([[0.7, 0.7]])).attribution
    assert found[0, 0] == found[0, 1]
    np.testing.assert_allclose(found.sum(), np.tanh(1.4), rtol=1e-5)
