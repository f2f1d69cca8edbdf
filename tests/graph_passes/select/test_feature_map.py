"""Which tensor Grad-CAM weighs: found by dominance, named by the user, or refused; and targets.

That it is right on every model is checked in test_models_grad_cam.py.
"""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
import torch
from support import networks, torch_runner, zoo
from support.served import OF_ALL
from torch import nn

import onnxplain

DENSE = "captum_dense-torchscript17-dynamic"


def explain(model: onnx.ModelProto, **options) -> onnxplain.Explainer:
    return onnxplain.Explainer(model, "grad-cam", providers="cpu", threads=2, **options)


@pytest.mark.parametrize("name", [n for n in zoo.EXPORTED if n.startswith("conv_head")])
def test_convolutions_behind_global_pooling_are_no_maps(name: str):
    """The last two Convs see one position; the map is what is pooled, made by a Relu."""
    model = zoo.model(name)
    found = zoo.explainer(name, "grad-cam").feature_map
    nodes = list(model.graph.node)
    made = next(i for i, node in enumerate(nodes) if found in node.output)
    assert nodes[made].op_type == "Relu"
    behind = [node.op_type for node in nodes[made + 1 :]]
    assert behind.count("Conv") == 2
    pooled = behind[0]
    assert pooled in ("GlobalAveragePool", "ReduceMean")


@pytest.mark.parametrize("name", ["nhwc_transposes", "rnet", "jax_digits"])
def test_the_channel_axis_is_followed_through_transposes(name: str):
    """Channels last: the map of the wrong axis would have another shape or other numbers."""
    explainer = zoo.explainer(name, "grad-cam")
    found = explainer(zoo.example(name))
    batch, height, width, _ = zoo.example(name).shape
    assert found.attribution.shape == (batch, height, width)
    assert found.attribution.max() > 0


@pytest.mark.parametrize("name", ["resnet-torchscript17-dynamic", "nhwc_transposes"])
def test_layer_names_a_tensor_or_a_node(name: str):
    """An earlier map than the one that is found; its Grad-CAM by the interpreter."""
    model = zoo.model(name)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in model.graph.node:
        node.name = node.name or f"node_of_{node.output[0]}"
    pools = [node for node in model.graph.node if node.op_type == "MaxPool"]
    (chosen,) = pools
    assert chosen.output[0] != zoo.explainer(name, "grad-cam").feature_map and convolutions
    by_tensor = explain(model, layer=chosen.output[0])
    by_node = explain(model, layer=chosen.name)
    assert by_tensor.feature_map == by_node.feature_map == chosen.output[0]
    x = zoo.example(name)
    found = by_tensor(x, [1, 2])
    np.testing.assert_array_equal(found.attribution, by_node(x, [1, 2]).attribution)

    score = {"nhwc_transposes": "logits/BiasAdd"}.get(name, "output")
    feeds = zoo.torch_feeds(zoo.feeds(name))
    seed = torch.zeros(2, 10, dtype=torch.float64)
    seed[[0, 1], [1, 2]] = 1
    features = torch_runner.run(model, feeds, keep=[chosen.output[0]])[chosen.output[0]]
    slopes = torch_runner.gradients(model, feeds, {score: seed}, [chosen.output[0]])
    alpha = slopes[chosen.output[0]].mean((2, 3), keepdim=True)
    small = (alpha * features).sum(1, keepdim=True).clamp(min=0)
    expected = nn.functional.interpolate(small, found.attribution.shape[1:], mode="bilinear")
    assert zoo.relative_error(found.attribution, expected[:, 0]) < 1e-4


def test_an_unknown_layer_is_refused_with_names_that_exist():
    model = zoo.model("resnet-torchscript17-dynamic")
    with pytest.raises(onnxplain.InvalidInputError) as caught:
        explain(model, layer="/5/activation/Relu_output")
    message = str(caught.value)
    assert "'/5/activation/Relu_output'" in message and "\n" not in message
    assert "'/5/activation/Relu_output_0'" in message


@pytest.mark.parametrize("layer", ["output", "input", "6.2.weight"])
def test_a_layer_that_is_no_map_is_refused(layer: str):
    with pytest.raises(onnxplain.InvalidInputError, match=f"'{layer}'"):
        explain(zoo.model("resnet-torchscript17-dynamic"), layer=layer)


@pytest.mark.parametrize("name", zoo.WITHOUT_MAPS)
def test_without_a_convolution_grad_cam_refuses_and_says_what_works(name: str):
    with pytest.raises(onnxplain.UnsupportedModelError) as caught:
        zoo.explainer(name, "grad-cam")
    message = str(caught.value)
    assert "\n" not in message and "convolution" in message
    assert "integrated-gradients and deeplift work" in message
    for method in ("integrated-gradients", "deeplift"):
        assert zoo.explainer(name, method)(zoo.example(name)).attribution.any()


def test_inspect_reports_the_same_map_and_why():
    for name in ("resnet-torchscript17-dynamic", "jax_digits", "pnet"):
        found = onnxplain.inspect(zoo.model(name))
        assert found.feature_map == zoo.explainer(name, "grad-cam").feature_map
        assert "every path" in found.feature_map_reason
        assert not any(found.unsupported[name] for name in OF_ALL)
    dense = onnxplain.inspect(zoo.model(DENSE))
    assert dense.feature_map is None and "convolution" in dense.feature_map_reason
    assert dense.unsupported["grad-cam"] and not dense.unsupported["deeplift"]


class Branches(nn.Module):
    """Two towers that meet only after global pooling: no single map before they do but the stem."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU())
        self.towers = nn.ModuleList([nn.Conv2d(6, 4, 3, padding=d, dilation=d) for d in (1, 2)])
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        pooled = [tower(stem).relu().mean((2, 3)) for tower in self.towers]
        return self.head(torch.cat(pooled, 1))


def test_towers_that_meet_after_pooling_share_the_stem():
    torch.manual_seed(0)
    model = networks.export(
        Branches().eval(), torch.rand(1, 3, 21, 17), "torchscript", 17, {0: "batch"}
    )
    found = explain(model).feature_map
    maker = next(node for node in model.graph.node if found in node.output)
    assert maker.op_type == "Relu" and maker.output[0] == model.graph.node[1].output[0]


def map_score(logits: torch.Tensor, target: int) -> torch.Tensor:
    """The class's logits, summed over the pixels that it wins; [N]."""
    return (logits[:, target] * (logits.argmax(1) == target)).sum((1, 2))


@pytest.mark.parametrize("name", ["unet-dynamo", "unet-torchscript17-dynamic"])
def test_segmentation_by_class(name: str):
    """An int is a class's map; top1 is the class of most pixels."""
    x = torch.from_numpy(zoo.example(name)).double()
    module = networks.network64("unet")
    logits = module(x)
    winners = torch.nn.functional.one_hot(logits.argmax(1), 10).sum((1, 2)).argmax(1)
    found = zoo.explainer(name, "integrated-gradients", steps=6)(zoo.example(name))
    assert found.target.tolist() == winners.tolist()
    for row, target in enumerate(winners.tolist()):
        expected = map_score(logits, target)[row].item()
        np.testing.assert_allclose(found.score[row], expected, rtol=1e-4)
    assert found.outputs["output"].shape == (2, 10, 40, 48)
    absent = zoo.explainer(name, "integrated-gradients", steps=6)
    with pytest.raises(onnxplain.InvalidInputError, match=r"out of range.* 0\.\.9"):
        absent(zoo.example(name), 10)


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "deeplift"])
def test_segmentation_by_index(method: str):
    """An index tuple is one pixel's logit of one class."""
    name = "unet-torchscript17-dynamic"
    x, index = zoo.example(name), (4, 20, 30)
    options = {"steps": 4} if method == "integrated-gradients" else {}
    found = zoo.explainer(name, method, **options)(x, index)
    assert found.target == index
    leaf = torch.from_numpy(x).double()
    expected = networks.network64("unet")(leaf)[:, 4, 20, 30]
    np.testing.assert_allclose(found.score, expected, rtol=1e-4)
    assert found.attribution.any()
    if method == "integrated-gradients":
        far = found.attribution[:, :, :8, :8]  # outside of the pixel's receptive field
        assert not far.any()
    for bad in [(4, 20), (4, 20, 48), (10, 0, 0), (-1, 0, 0), (0.5, 0, 0)]:
        with pytest.raises(onnxplain.InvalidInputError, match=r"index tuple|out of range"):
            zoo.explainer("unet-torchscript13", method, **options)(x, bad)


def test_two_scores_in_one_volume_need_an_index():
    """An output of rank 3 that no class axis explains: an error that states the shape."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 6, 3)).eval()
    model = networks.export(module, torch.rand(1, 3, 12), "torchscript", 17, {0: "batch"})
    explainer = onnxplain.Explainer(model, "deeplift", providers="cpu")
    x = np.random.default_rng(0).random((2, 3, 12), np.float32)
    with pytest.raises(onnxplain.InvalidInputError, match=r"index tuple.*\[batch, 6, 8\]"):
        explainer(x, 1)
    found = explainer(x, (5, 7))
    assert found.relative_delta.max() < 1e-3
    expected = module(torch.from_numpy(x))[:, 5, 7].detach()
    np.testing.assert_allclose(found.score, expected, rtol=1e-4)


def test_an_image_moved_about_is_no_feature_map() -> None:
    """Transpose and normalisation before a plain MLP: there is no convolution to speak of."""
    torch.manual_seed(0)

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3 * 6 * 5, 4)

        def forward(self, x):
            return self.head((x.permute(0, 3, 1, 2) / 2 - 1).flatten(1))

    buffer = io.BytesIO()
    example = (torch.zeros(1, 6, 5, 3),)
    torch.onnx.export(Plain().eval(), example, buffer, dynamo=False, opset_version=17)
    with pytest.raises(onnxplain.UnsupportedModelError, match="deeplift work on any input"):
        onnxplain.Explainer(buffer.getvalue(), "grad-cam")


def test_detection_head_is_explained_by_the_features_before_it() -> None:
    """A score that is one place of a flattened map; the map itself would explain nothing."""
    torch.manual_seed(0)

    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.head = torch.nn.Conv2d(8, 6, 3, padding=1)

        def forward(self, x):
            return self.head(torch.relu(self.features(x))).sigmoid().flatten(2)

    buffer = io.BytesIO()
    image = torch.randn(1, 3, 16, 20)
    torch.onnx.export(Detector().eval(), (image,), buffer, dynamo=False, opset_version=17)
    explainer = onnxplain.Explainer(buffer.getvalue(), "grad-cam", providers="cpu")
    assert explainer.feature_map is not None and "Relu" in explainer.feature_map
    e = explainer(image.numpy(), (4, 17))
    assert e.attribution.shape == (1, 16, 20)
    with pytest.raises(onnxplain.InvalidInputError, match="index tuple"):
        explainer(image.numpy())
