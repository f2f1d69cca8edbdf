"""Grad-CAM's feature map where patches became tokens: found, and its map a hook's in PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from support import networks
from support import token_modules as modules
from support.often import by_day
from support.token_modules import Attention, ConvPatches, CutPatches, Transformer, blocks
from torch import nn
from torch.nn import functional as F

import onnxplain

SIZE = (16, 24)
GRID = (4, 6)
BOTH = [("torchscript", 17, True), ("dynamo", None, False)]


class Case(NamedTuple):
    """A network, its layer by hand, its first token of a place (None: a map), and the grid."""

    make: Callable[[], nn.Module]
    layer: str
    first: int | None = 0
    grid: tuple[int, int] = GRID
    last_axis: bool = True
    nhwc: bool = False


def _tokens(**options) -> Callable[[], nn.Module]:
    kind = options.pop("kind", "matmul")
    patches = options.pop("patches", ConvPatches)
    return lambda: Transformer(patches(), blocks(kind), **options)


NORM1, LAST = "blocks.1.norm1", "norm"
CASES = {
    "class token": Case(_tokens(), NORM1, 1),
    "fused attention": Case(_tokens(kind="fused"), NORM1, 1),
    "einsum": Case(_tokens(kind="einsum"), NORM1, 1),
    "scores transposed": Case(_tokens(kind="transposed"), NORM1, 1),
    "registers, two pooled": Case(_tokens(before=4, pool="two tokens"), NORM1, 4),
    "tokens behind": Case(_tokens(before=1, behind=2), NORM1, 1),
    "mean of patches": Case(_tokens(before=2, behind=1, pool="mean"), LAST, 2),
    "mean, no other token": Case(_tokens(before=0, pool="mean"), LAST, 0),
    "attention over channels": Case(_tokens(kind="channels", before=0, pool="mean"), LAST, 0),
    "a query reads": Case(_tokens(before=0, pool="query"), LAST, 0),
    "permute, reshape": Case(_tokens(patches=lambda: ConvPatches("permute")), NORM1, 1),
    "cut by reshape": Case(_tokens(patches=CutPatches), NORM1, 1),
    "cut, channels last": Case(_tokens(patches=lambda: CutPatches(True)), NORM1, 1, nhwc=True),
    "overlapping patches": Case(_tokens(patches=modules.Unfolded), NORM1, 1),
    "windows, merging": Case(modules.Swin, LAST, None),
    "merging by reshape": Case(lambda: modules.Swin("reshape"), LAST, None),
    "fewer queries": Case(lambda: modules.Subsampled(*GRID), "last", 0, (2, 3)),
    "unfold and fold": Case(modules.MobileViT, "fuse", None, (8, 12), last_axis=False),
    "channels last": Case(modules.ChannelsLast, "head", None),
}


def by_hooks(module: nn.Module, case: Case, x: torch.Tensor, target: int) -> torch.Tensor:
    """ReLU(sum_k alpha_k A^k) at the layer's output, its other tokens dropped; [N, h, w]."""
    kept: list[torch.Tensor] = []
    layer = module.get_submodule(case.layer)
    hook = layer.register_forward_hook(lambda *given: kept.append(given[-1].requires_grad_()))
    score = module(x)[:, target].sum()
    hook.remove()
    (slope,) = torch.autograd.grad(score, kept[:1])

    def turned(y: torch.Tensor) -> torch.Tensor:
        if case.first is not None:
            y = y[:, case.first : case.first + case.grid[0] * case.grid[1]]
            y = y.unflatten(1, case.grid)
        return y.movedim(-1, 1) if case.last_axis else y

    values, slopes = turned(kept[0]), turned(slope)
    return (slopes.mean((2, 3), keepdim=True) * values).sum(1).clamp(min=0).detach()


def exported(case: Case, exporter: str, opset: int | None, dynamic: bool):
    """The network, its file, and images for it."""
    module = modules.built(case.make)
    x = networks.images([2, 3, *SIZE])
    x = x.permute(0, 2, 3, 1).contiguous() if case.nhwc else x
    axes = {0: "batch"} if dynamic else None
    return module, networks.export(module, x, exporter, opset, axes), x


def check(case: Case, exporter: str, opset: int | None, dynamic: bool) -> str:
    module, model, x = exported(case, exporter, opset, dynamic)
    explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu", threads=1)
    errors = []
    for target in range(modules.CLASSES):
        if case.layer == "head":  # what the head's mean is taken of has no module of its own
            small = _before_mean(module, x.double(), target)
        else:
            small = by_hooks(module.double(), case, x.double(), target)
        expected = F.interpolate(small[:, None], SIZE, mode="bilinear")[:, 0].numpy()
        found = explainer(x.numpy(), target).attribution
        assert found.shape == expected.shape
        if expected.max() > 0:
            errors.append(np.abs(found - expected).max() / expected.max())
    assert errors and max(errors) < 1e-4
    return onnxplain.inspect(model).feature_map_reason


def _before_mean(module: Any, x: torch.Tensor, target: int) -> torch.Tensor:
    module = module.double()
    y = module.stem(x)
    y = y.permute(0, 2, 3, 1) + module.mlp(module.norm(module.wide(y).permute(0, 2, 3, 1))).relu()
    return (y * module.head.weight[target] / y[0, ..., 0].numel()).sum(-1).clamp(min=0)


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_found_and_a_hooks(name: str):
    case = CASES[name]
    reason = check(case, "torchscript", 17, dynamic=True)
    assert "most of the network" not in reason
    if case.first is not None:
        assert f"patch tokens {case.grid[0]} x {case.grid[1]}" in reason


MORE = ["mean of patches", "windows, merging"]


@pytest.mark.parametrize("name", ["class token", *by_day(MORE, MORE)])
@pytest.mark.parametrize(("exporter", "opset", "dynamic"), [
    ("dynamo", None, False), ("dynamo", None, True), ("torchscript", 13, False),
])  # fmt: skip
def test_of_other_exports(name: str, exporter: str, opset: int | None, dynamic: bool):
    assert "most of the network" not in check(CASES[name], exporter, opset, dynamic)


def test_inspect_says_the_grid_and_what_is_left_out():
    _, model, _ = exported(CASES["registers, two pooled"], *BOTH[0])
    reason = onnxplain.inspect(model).feature_map_reason
    assert "patch tokens 4 x 6, 4 other tokens left out" in reason
    _, model, _ = exported(CASES["class token"], *BOTH[0])
    assert "1 other token left out" in onnxplain.inspect(model).feature_map_reason


def test_tokens_of_a_size_known_at_run_time():
    """Rows and columns are read off the map that became tokens."""
    module = modules.built(CASES["mean of patches"].make)
    x = networks.images([1, 3, 16, 24])
    model = networks.export(module, x, "torchscript", 17, {0: "batch", 2: "height", 3: "width"})
    explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu", threads=1)
    for size in [(16, 24), (28, 12), (20, 20)]:
        grid = (size[0] // 4, size[1] // 4)
        case = CASES["mean of patches"]._replace(grid=grid)
        x = networks.images([2, 3, *size])
        small = by_hooks(module.double(), case, x.double(), 2)
        expected = F.interpolate(small[:, None], size, mode="bilinear")[:, 0].numpy()
        found = explainer(x.numpy(), 2).attribution
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(expected.max(), 1e-3))


# By name.


def _made_by(model: onnx.ModelProto, operator: str) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type == operator]


def test_layer_takes_tokens():
    case = CASES["class token"]
    module, model, x = exported(case, *BOTH[0])
    earlier = _made_by(model, "LayerNormalization")[0]
    explainer = onnxplain.Explainer(model, "grad-cam", layer=earlier, providers="cpu")
    module = module.double()
    for target in range(modules.CLASSES):
        small = by_hooks(module, case._replace(layer="blocks.0.norm1"), x.double(), target)
        expected = F.interpolate(small[:, None], SIZE, mode="bilinear")[:, 0].numpy()
        found = explainer(x.numpy(), target).attribution
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    assert "asked for by name" in onnxplain.inspect(model, layer=earlier).feature_map_reason


def test_a_layer_whose_patches_tell_nothing_is_refused():
    """Behind the last attention the score reads the class token alone: all slopes would be 0."""
    _, model, _ = exported(CASES["class token"], *BOTH[0])
    late = _made_by(model, "LayerNormalization")[-1]
    with pytest.raises(onnxplain.InvalidInputError, match="do not reach the score"):
        onnxplain.Explainer(model, "grad-cam", layer=late)


def test_a_layer_cut_into_windows_is_refused():
    _, model, _ = exported(CASES["windows, merging"], *BOTH[0])
    inside = _made_by(model, "Softmax")[0]
    with pytest.raises(onnxplain.InvalidInputError, match="patch tokens"):
        onnxplain.Explainer(model, "grad-cam", layer=inside)


# What is too early, and what is not there.


class Towers(nn.Module):
    """Several towers that meet behind their means: the stem is all that they share."""

    def __init__(self):
        super().__init__()
        self.stem = ConvPatches()
        self.towers = nn.ModuleList([nn.Sequential(*blocks()) for _ in range(2)])
        self.head = nn.Linear(modules.WIDTH, modules.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        return self.head(sum(tower(stem).mean(1) for tower in self.towers))


def test_a_map_before_most_of_the_network_is_a_warning(caplog):
    module, x = modules.built(Towers), networks.images([1, 3, *SIZE])
    model = networks.export(module, x, "torchscript", 17, {0: "batch"})
    with caplog.at_level(logging.WARNING, "onnxplain"):
        explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu")
        explainer(x.numpy())
    (record,) = [r for r in caplog.records if "empty" not in r.getMessage()]
    assert record.name == "onnxplain" and "\n" not in record.getMessage()
    assert "most of the network lies behind this map (16 of 17" in record.getMessage()
    assert "most of the network" in onnxplain.inspect(model).feature_map_reason


class TwoImages(nn.Module):
    """Two towers from the image on: nothing is crossed by both."""

    def __init__(self):
        super().__init__()
        self.towers = nn.ModuleList([nn.Sequential(ConvPatches(), *blocks()) for _ in range(2)])
        self.head = nn.Linear(modules.WIDTH, modules.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(sum(tower(x).mean(1) for tower in self.towers))


def test_without_a_shared_map_the_refusal_says_why_and_a_layer_helps():
    module, x = modules.built(TwoImages), networks.images([1, 3, *SIZE])
    model = networks.export(module, x, "torchscript", 17, {0: "batch"})
    with pytest.raises(onnxplain.UnsupportedModelError, match="several ways") as caught:
        onnxplain.Explainer(model, "grad-cam")
    assert "layer" in str(caught.value)
    layer = _made_by(model, "Conv")[0]
    assert onnxplain.Explainer(model, "grad-cam", layer=layer)(x.numpy()).attribution.any()


class Sorted(nn.Module):
    """The tokens are put in an order that only their values tell."""

    def __init__(self):
        super().__init__()
        self.patches, self.blocks = ConvPatches(), nn.Sequential(*blocks(count=3))
        self.head = nn.Linear(modules.WIDTH, modules.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        order = x[..., 0].argsort(1)[..., None].expand(-1, -1, modules.WIDTH)
        return self.head(self.blocks(torch.gather(x, 1, order)).mean(1))


def test_places_that_are_lost_are_named():
    """Never the tokens in the wrong order: the map before they are moved, and a warning."""
    module, x = modules.built(Sorted), networks.images([1, 3, *SIZE])
    model = networks.export(module, x, "torchscript", 17, {0: "batch"})
    reason = onnxplain.inspect(model).feature_map_reason
    assert "most of the network" in reason and "GatherElements" in reason


def test_one_attention_alone_has_no_map_behind_it():
    """Of a single block the normalisation is chosen, too, and most of it is not behind."""
    case = Case(lambda: Transformer(ConvPatches(), blocks(count=1)), "blocks.0.norm1", 1)
    assert "most of the network" not in check(case, *BOTH[0])


def test_static_batch_of_several():
    """Rows of the batch are no places, though windows put them on one axis."""
    assert Attention is not None
    assert "most of the network" not in check(CASES["windows, merging"], "torchscript", 17, False)
