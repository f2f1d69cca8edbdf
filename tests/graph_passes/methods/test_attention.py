"""Attention rollout and Chefer's relevance beside plain PyTorch, however attention is written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import parser
from support import networks
from support import token_modules as modules
from support.caught_attention import GRID, SIZE, Caught, at_the_input
from support.digits import DATA, digit
from support.often import by_day
from support.token_modules import Block, ConvPatches, CutPatches, Transformer, blocks
from torch import nn

import onnxplain

NAMES = ("attention-rollout", "chefer")


def tokens(kind: str = "matmul", patches=ConvPatches, count: int = 2, **how):
    return lambda: Transformer(patches(), blocks(kind, count), **how)


# A network, the tokens before the patches, and the rows that its score reads.
CASES = {
    "class token": (tokens(), 1, [0]),
    "three layers": (tokens(count=3), 1, [0]),
    "fused": (tokens("fused"), 1, [0]),
    "registers, two read": (tokens(before=4, pool="two tokens"), 4, [0, 1]),
    "tokens behind": (tokens(before=1, behind=2), 1, [0]),
    "mean of patches": (tokens(before=2, behind=1, pool="mean"), 2, range(2, 26)),
    "mean of all": (tokens(before=0, pool="mean"), 0, range(24)),
    "a query reads": (tokens(before=0, pool="query"), 0, [0]),
    "cut by reshape": (tokens(patches=CutPatches), 1, [0]),
    "convolutions behind": (tokens(before=2, pool="decoder"), 2, range(2, 26)),
}


def by_torch(module: nn.Module, x: torch.Tensor, target: int, read) -> dict[str, torch.Tensor]:
    """Whole matrices, as the papers have them: [N, T] of each method."""
    x = x.double().requires_grad_()
    with Caught() as caught:
        score = module.double()(x)[:, target].sum()
        slopes = torch.autograd.grad(score, caught.weights)
    found = {}
    for name in NAMES:
        keys = caught.weights[0].shape[-1]
        whole = torch.eye(keys, dtype=torch.double).expand(len(x), keys, keys)
        for weights, slope in zip(caught.weights, slopes, strict=True):
            if name == "chefer":
                layer = (slope * weights).clamp(min=0).mean(1)
                added = whole + layer @ whole
            else:
                layer = weights.mean(1)
                added = (layer + torch.eye(layer.shape[1], keys, dtype=torch.double)) / 2 @ whole
            whole = added if layer.shape[1] == keys else layer @ whole
        found[name] = whole[:, list(read)].mean(1).detach()
    return found


def check(name: str, exporter: str, opset: int | None, dynamic: bool):
    make, before, read = CASES[name]
    module, x = modules.built(make), networks.images([2, 3, *SIZE])
    axes = {0: "batch"} if dynamic else None
    model = networks.export(module, x, exporter, opset, axes)
    for target in (0, 3):
        expected = by_torch(module, x, target, read)
        for method in NAMES:
            e = onnxplain.Explainer(model, method, providers="cpu", threads=1)(x.numpy(), target)
            map_ = at_the_input(expected[method], before)
            np.testing.assert_allclose(e.attribution, map_, rtol=1e-4, atol=1e-5 * map_.max())


@pytest.mark.parametrize("name", CASES)
def test_attention(name):
    check(name, "torchscript", 17, dynamic=True)


@pytest.mark.parametrize(
    ("exporter", "opset", "dynamic"),
    by_day(
        [("dynamo", None, True), ("dynamo", None, False), ("torchscript", 13, False)],
        [("dynamo", None, False)],
    ),
)
@pytest.mark.parametrize("name", ["class token", "mean of patches", "a query reads"])
def test_other_exports(name, exporter, opset, dynamic):
    check(name, exporter, opset, dynamic)


class Merged(nn.Module):
    """Heads and rows in one axis, [N x heads, T, T], as older attention has it."""

    def __init__(self):
        super().__init__()
        self.qkv, self.project = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = (
            one.reshape(n, t, 2, c // 2).transpose(1, 2).reshape(n * 2, t, c // 2)
            for one in self.qkv(x).chunk(3, -1)
        )
        mixed = torch.bmm((q @ k.transpose(-2, -1)).softmax(-1), v)
        return self.project(mixed.reshape(n, 2, t, c // 2).transpose(1, 2).reshape(n, t, c))


@pytest.mark.parametrize(
    ("rows", "exporter", "dynamic"),
    [(1, "torchscript", False), (3, "torchscript", False), (3, "dynamo", True)],
)
def test_heads_in_the_axis_of_rows(rows, exporter, dynamic):
    module = modules.built(lambda: Transformer(ConvPatches(), [Block(Merged()), Block(Merged())]))
    x = networks.images([rows, 3, *SIZE])
    model = networks.export(module, x, exporter, None, {0: "batch"} if dynamic else None)
    e = onnxplain.Explainer(model, "attention-rollout", providers="cpu")(x.numpy(), 1)
    with Caught() as caught:
        module(x)
    whole = torch.eye(25).expand(rows, 25, 25)
    for weights in caught.weights:
        whole = (weights.unflatten(0, (rows, 2)).mean(1) + torch.eye(25)) / 2 @ whole
    expected = at_the_input(whole[:, 0], 1)
    np.testing.assert_allclose(e.attribution, expected, rtol=1e-4)


def test_token_ids():
    """[N, T] of ids: one number for each token."""

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.body = nn.Embedding(20, 12), nn.Sequential(*blocks())
            self.head = nn.Linear(12, 3)

        def forward(self, ids):
            return self.head(self.body(self.rows(ids))[:, 0])

    net = modules.built(Text)
    ids = torch.tensor([[3, 5, 9, 1, 0], [7, 2, 2, 4, 11]])
    model = networks.export(net, ids, "torchscript", 17, {0: "batch"})
    with Caught() as caught:
        net.get_submodule("rows").requires_grad_()
        score = net(ids)[:, 2].sum()
        slopes = torch.autograd.grad(score, caught.weights)
    whole = torch.eye(5).expand(2, 5, 5)
    for weights, slope in zip(caught.weights, slopes, strict=True):
        whole = whole + (weights * slope).clamp(min=0).mean(1) @ whole
    e = onnxplain.Explainer(model, "chefer", providers="cpu")(ids.numpy(), 2)
    assert e.attribution.shape == (2, 5)
    np.testing.assert_allclose(e.attribution, whole[:, 0].detach(), rtol=1e-4, atol=1e-6)


REFUSED = {
    "windows": (modules.Swin, "which of its axes holds the batch"),
    "fewer queries": (lambda: modules.Subsampled(*GRID), "tokens that stay the same"),
    "over channels": (tokens("channels", before=0, pool="mean"), r"number: 6"),
    "einsum": (tokens("einsum"), "no attention that can be followed"),
    "a convolution": (modules.ChannelsLast, "no attention between"),
}


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, method):
    make, message = REFUSED[name]
    model = networks.export(
        modules.built(make), networks.images([2, 3, *SIZE]), "torchscript", 17, {0: "batch"}
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match=message):
        onnxplain.Explainer(model, method)
    assert message in str(onnxplain.inspect(model).unsupported[method])


def test_a_softmax_that_is_no_attention():
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[N, 4, 6] x) => (float[N, 6] y) {
        s = Softmax <axis = -1> (x)  m = Mul (s, x)  y = ReduceMean <axes = [1], keepdims = 0> (m)
    }"""
    with pytest.raises(onnxplain.UnsupportedModelError, match="no attention that can be followed"):
        onnxplain.Explainer(parser.parse_model(text), "chefer")


def test_the_map_lies_on_the_digit():
    """Of a trained network: more on strokes than beside them, and another for another class."""
    model = onnx.load(DATA / "vit_digits.onnx")
    x = np.concatenate([digit(k) for k in range(10)])
    explainer = onnxplain.Explainer(model, "chefer", providers="cpu")
    own, other = explainer(x).attribution, explainer(x, 3).attribution
    assert np.abs(own[5] - other[5]).max() > 0.05 * own[5].max()
    rolled = onnxplain.Explainer(model, "attention-rollout", providers="cpu")
    np.testing.assert_allclose(rolled(x).attribution, rolled(x, 3).attribution, rtol=1e-6)
