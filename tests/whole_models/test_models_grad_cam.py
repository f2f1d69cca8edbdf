"""Grad-CAM of whole models: against Captum's LayerGradCam, before and after upsampling."""

from __future__ import annotations

import captum.attr
import numpy as np
import onnx
import pytest
import torch
from support import networks, torch_runner, zoo
from support.often import by_day
from torch import nn
from torch.nn import functional as F

import onnxplain

# The module whose output is the feature map: what every path crosses last, before the positions
# are averaged or flattened. Of patch tokens: test_feature_map_tokens.py.
LAYERS = {
    "resnet": "5",
    "mobilenet_v2": "6",
    "mobilenet_v3": "6",
    "efficientnet": "6",
    "convnext": "5",
    "unet": "merge_top",
    "conv_head": "3",
    "densenet": "9",
    "odd_shapes": "11",
    "captum_relu": "5",
    "captum_smooth": "4",
}
WITH_MAPS = [name for name, network in zoo.EXPORTED.items() if network in LAYERS]
WITH_TOKENS = [name for name, network in zoo.EXPORTED.items() if network == "vit"]


class MapScore(nn.Module):
    """[N, C, H, W] logits to [N, C]: each class's, summed over the pixels that it wins."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(x)
        won = F.one_hot(logits.argmax(1), logits.shape[1]).permute(0, 3, 1, 2)
        return (logits * won).sum((2, 3))


def captums(network: str, x: torch.Tensor, targets: list[int]) -> torch.Tensor:
    """ReLU(sum alpha_k A^k), [N, 1, h, w], float64."""
    module = networks.network64(network)
    layer = module.get_submodule(LAYERS[network])
    whole = MapScore(module) if network == "unet" else module
    oracle = captum.attr.LayerGradCam(whole, layer)
    found = oracle.attribute(x, target=torch.tensor(targets), relu_attributions=True)
    assert isinstance(found, torch.Tensor)
    return found.detach()


def before_upsampling(explainer: onnxplain.Explainer, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What the explaining graph resizes to the input's size."""
    model = onnx.ModelProto()
    model.CopyFrom(explainer.model)
    small = [node for node in model.graph.node if node.op_type == "Relu"][-1].output[0]
    value = onnx.helper.make_tensor_value_info(small, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    return np.asarray(zoo.session(model.SerializeToString()).run([small], feeds)[0])


@pytest.mark.parametrize(
    "name", by_day(WITH_MAPS, [n for n in WITH_MAPS if "dynamo" in n and "vit" not in n][1:])
)
def test_grad_cam_is_captums(name: str):
    network = zoo.EXPORTED[name]
    x = torch.from_numpy(zoo.example(name)).double()
    best = MapScore(networks.network64(network))(x) if network == "unet" else None
    targets = [3, 8] if best is None else best.argmax(1).tolist()
    expected = captums(network, x, targets)
    assert expected.max() > 0  # a map of nothing would agree with anything
    explainer = zoo.explainer(name, "grad-cam")
    feeds = zoo.feeds(name) | {"target": np.array(targets)}
    assert zoo.relative_error(before_upsampling(explainer, feeds), expected) < 1e-4
    upsampled = F.interpolate(expected, x.shape[2:], mode="bilinear", align_corners=False)
    found = explainer(zoo.example(name), targets)
    assert found.attribution.shape == (2, *x.shape[2:]) and found.attribution.dtype == np.float32
    if name != "odd_shapes-torchscript13":  # whose Pad moves the picture, and so the map
        assert zoo.relative_error(found.attribution, upsampled[:, 0]) < 1e-4
    assert found.delta is None and found.baseline_score is None
    assert found.feature_map == explainer.feature_map


# File, its score tensor, and the feature map's operator, shape (for `zoo.feeds`) and channel axis.
FILES = {
    "demo": ("Clip", (1, 1280, 7, 7), 1),
    "paddle": ("MaxPool", (2, 200, 1, 48), 1),
    "jax_digits": ("Mul", (3, 4, 4, 32), 3),
    "pnet": ("PRelu", (2, 32, 10, 12), 1),
    "rnet": ("Transpose", (2, 3, 3, 64), 3),
    "nhwc_transposes": ("Clip", (2, 8, 10, 16), 3),
    "light_alexnet": ("MaxPool", (2, 256, 2, 2), 1),
    "light_alexnet-batch1": ("MaxPool", (1, 256, 2, 2), 1),
    "light_densenet121": ("Relu", (1, 1024, 3, 3), 1),
    "light_inception_v1": ("Concat", (2, 1024, 2, 2), 1),
    "light_inception_v2": ("Concat", (2, 1024, 3, 3), 1),
    "light_resnet50": ("Relu", (1, 2048, 3, 3), 1),
    "light_shufflenet": ("Relu", (2, 544, 3, 3), 1),
    "light_shufflenet-batch1": ("Relu", (1, 544, 3, 3), 1),
    "light_squeezenet": ("Relu", (2, 1000, 5, 5), 1),
    "light_vgg19": ("MaxPool", (1, 512, 3, 3), 1),
    "light_zfnet512": ("MaxPool", (2, 512, 2, 2), 1),
}


def test_every_model_is_here():
    assert {*FILES, *WITH_MAPS, *WITH_TOKENS, *zoo.WITHOUT_MAPS} == {*zoo.MODELS}


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_grad_cam_of_a_class_token_is_of_the_last_attention(name: str):
    """What its normalisation returns for the 4 x 3 patches; the class token's row is left out."""
    x = torch.from_numpy(zoo.example(name)).double()
    module = networks.network64("vit")
    kept: list[torch.Tensor] = []
    norms = [layer for layer in module.modules() if isinstance(layer, nn.LayerNorm)]
    hook = norms[2].register_forward_hook(lambda *given: kept.append(given[-1].requires_grad_()))
    score = module(x)[[0, 1], [3, 8]].sum()
    hook.remove()
    (slope,) = torch.autograd.grad(score, kept)
    values, slope = (tokens[:, 1:].unflatten(1, (4, 3)) for tokens in (kept[0].detach(), slope))
    small = (values * slope.mean((1, 2), keepdim=True)).sum(-1).clamp(min=0)
    assert small.max() > 0
    expected = F.interpolate(small[:, None], x.shape[2:], mode="bilinear")[:, 0]
    found = zoo.explainer(name, "grad-cam")(zoo.example(name), [3, 8])
    assert zoo.relative_error(found.attribution, expected) < 1e-4


def score_tensor(model: onnx.ModelProto) -> str:
    """What stands before the Softmax that an output ends in, or else the first output."""
    producers = {node.output[0]: node for node in model.graph.node}
    outputs = [producers[value.name] for value in model.graph.output]
    outputs = [producers[n.input[0]] if n.op_type == "Identity" else n for n in outputs]
    behind = [node.input[0] for node in outputs if node.op_type == "Softmax"]
    return [*behind, model.graph.output[0].name][0]


@pytest.mark.parametrize("name", by_day(FILES, zoo.LONG))
def test_feature_map_and_grad_cam_of_files(name: str):
    """The map is the expected tensor, and equations 1 and 2 hold on the interpreter."""
    model = onnx.load_from_string(zoo.smooth_content(name))
    explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu", threads=2)
    found = explainer(zoo.example(name))
    operator, shape, channel = FILES[name]
    producers = {tensor: node for node in model.graph.node for tensor in node.output}
    assert explainer.feature_map in producers
    assert producers[explainer.feature_map].op_type == operator

    score = score_tensor(model)
    feeds = zoo.torch_feeds(zoo.feeds(name))
    with torch.no_grad():
        values = torch_runner.run(model, feeds, keep=[score, explainer.feature_map])
    features, scores = values[explainer.feature_map], values[score]
    assert features.shape == shape
    seed = torch.zeros_like(scores)
    if name == "pnet":  # [N, h, w, 2]: the class that wins most positions, where it wins
        won = F.one_hot(scores.argmax(3), 2)
        seed = won * F.one_hot(won.sum((1, 2)).argmax(1), 2)[:, None, None]
        targets = won.sum((1, 2)).argmax(1)
    else:
        targets = scores.flatten(1).argmax(1)
        seed.flatten(1)[range(len(targets)), targets] = 1
    assert found.target.tolist() == targets.tolist()
    cotangent = {score: seed.double()}
    slope = torch_runner.gradients(model, feeds, cotangent, [explainer.feature_map])
    spatial = [axis for axis in (1, 2, 3) if axis != channel]
    alpha = slope[explainer.feature_map].mean(spatial, keepdim=True)
    small = (alpha * features).sum(channel).clamp(min=0)
    assert small.max() > 0
    size = found.attribution.shape[1:]
    expected = F.interpolate(small[:, None], size, mode="bilinear", align_corners=False)
    assert zoo.relative_error(found.attribution, expected[:, 0]) < 1e-4
    x = zoo.example(name)
    assert size == (x.shape[1:3] if x.shape[-1] in (1, 3) else x.shape[2:])


@pytest.mark.parametrize("photo", [0, 1])
def test_demo_maps_peak_on_the_subject(photo: int):
    """The cup of espresso, and the cat's face, fill the middle of their photos."""
    found = zoo.explainer("demo", "grad-cam")(zoo.photo(photo))
    heat = found.attribution[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 40 < row < 184 and 40 < column < 184
    border = np.concatenate([heat[:16].ravel(), heat[-16:].ravel()])
    assert heat[row, column] > 2 * border.mean()
