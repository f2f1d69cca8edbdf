"""Chefer's relevance of a decoder's queries beside plain PyTorch, with whole matrices."""

from __future__ import annotations

import io
import warnings
from functools import partial

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from support import networks
from support import token_modules as modules
from support.caught_attention import SIZE, Caught, at_the_input
from support.often import by_day
from support.token_modules import EncoderDecoder
from torch import nn

import onnxplain


class MergedAttention(modules.Attention):
    """Heads and rows in one axis, [N x heads, queries, keys], as older attention has it."""

    def forward(self, x: torch.Tensor, queries: torch.Tensor | None = None) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q = q if queries is None else self.qkv(queries)[..., : q.shape[-1]]
        n, t, c = q.shape
        q, k, v = (
            one.unflatten(-1, (modules.HEADS, -1)).transpose(1, 2).flatten(0, 1)
            for one in (q, k, v)
        )
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        mixed = torch.bmm(weights, v).unflatten(0, (-1, modules.HEADS)).transpose(1, 2)
        return self.project(mixed.reshape(n, t, c))


# A network; whether queries read the picture before they read one another.
CASES = {
    "two layers": (EncoderDecoder, False),
    "three layers": (partial(EncoderDecoder, decoder=3, encoder=1), False),
    "one layer": (partial(EncoderDecoder, decoder=1), False),
    "as many queries as tokens": (partial(EncoderDecoder, queries=24), False),
    "one query": (partial(EncoderDecoder, queries=1), False),
    "cross first": (partial(EncoderDecoder, cross_first=True), True),
    "fused": (partial(EncoderDecoder, partial(modules.Attention, "fused")), False),
    "heads in the axis of rows": (partial(EncoderDecoder, MergedAttention), False),
}


def normal(whole: torch.Tensor) -> torch.Tensor:
    """Equations 8 and 9; a row that nothing was added to stays."""
    own = torch.eye(whole.shape[-1], dtype=whole.dtype)
    sums = (whole - own).sum(-1, keepdim=True)
    return (whole - own) / torch.where(sums == 0, 1, sums) + own


def by_torch(module: EncoderDecoder, x: torch.Tensor, place: tuple[int, int], cross_first: bool):
    """R_qi's row of the query, [N, tokens]: equations 5 to 10 in the order of the layers."""
    # The first attention among queries depends on parameters alone.
    module, x = module.double().requires_grad_(), x.double()
    with Caught() as caught:
        scores = module(x)
    slopes = torch.autograd.grad(scores[:, place[0], place[1]].sum(), caught.weights)
    passed = []
    for weights, slope in zip(caught.weights, slopes, strict=True):
        one = (weights * slope).clamp(min=0)
        one = one if one.ndim == 4 else one.unflatten(0, (len(x), -1))
        passed.append(one.mean(1))
    count = len(module.encoder)
    tokens, queries = passed[0].shape[-1], len(module.places)
    r_ii = torch.eye(tokens, dtype=torch.double).expand(len(x), tokens, tokens)
    r_qq = torch.eye(queries, dtype=torch.double).expand(len(x), queries, queries)
    r_qi = torch.zeros(len(x), queries, tokens, dtype=torch.double)
    for one in passed[:count]:
        r_ii = r_ii + one @ r_ii
    for k, one in enumerate(passed[count:]):
        if (k % 2 == 0) == cross_first:
            r_qi = r_qi + normal(r_qq).transpose(1, 2) @ one @ normal(r_ii)
        else:
            r_qq, r_qi = r_qq + one @ r_qq, r_qi + one @ r_qi
    return r_qi[:, place[0]].detach()


def check(name: str, exporter: str, opset: int | None, rows: int = 2, dynamic: bool = True):
    make, cross_first = CASES[name]
    module, x = modules.built(make), networks.images([rows, 3, *SIZE])
    model = networks.export(module, x, exporter, opset, {0: "batch"} if dynamic else None)
    explainer = onnxplain.Explainer(model, "chefer", providers="cpu", threads=1)
    for place in dict.fromkeys([(0, 1), (len(module.places) - 1, 3)]):
        expected = at_the_input(by_torch(module, x, place, cross_first), 0)
        found = explainer(x.numpy(), place).attribution
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", CASES)
def test_cross_attention(name):
    check(name, "torchscript", 17, rows=1, dynamic=False)


@pytest.mark.parametrize("name", ["two layers", "one layer", "cross first", "fused"])
def test_rows(name):
    check(name, "torchscript", 17)


@pytest.mark.parametrize(
    ("name", "rows", "dynamic"),
    by_day(
        [
            ("two layers", 1, False),
            ("heads in the axis of rows", 3, True),
            ("as many queries as tokens", 2, True),
            ("cross first", 2, True),
        ],
        [("as many queries as tokens", 2, True), ("cross first", 2, True)],
    ),
)
def test_other_exporter(name, rows, dynamic):
    check(name, "dynamo", None, rows, dynamic)


def with_boxes(images: torch.Tensor) -> onnx.ModelProto:
    """A detector, in which other queries are the best in other images."""
    module = modules.built(modules.Boxes)
    assert isinstance(module, modules.Boxes)
    module.offset.copy_(module(images)[0].mean(0))
    buffer, names = io.BytesIO(), ["logits", "pred_boxes"]
    axes = {name: {0: "batch"} for name in ("input", *names)}
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            module,
            (images,),
            buffer,
            input_names=["input"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def test_each_row_has_its_own_box():
    """The query is that of the box, in each row another one."""
    images = networks.images([6, 3, *SIZE])
    explainer = onnxplain.Explainer(with_boxes(images), "chefer", providers="cpu", threads=1)
    x = images.numpy()
    together = explainer(x, "box1")
    assert len({int(target.places[0, 0]) for target in together.targets}) > 1
    for row, target in enumerate(together.targets):
        alone = explainer(x[row : row + 1], target.index).attribution[0]
        found = together.attribution[row]
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5 * alone.max())


def test_other_queries_are_other_maps():
    model = networks.export(
        modules.built(EncoderDecoder), networks.images([1, 3, *SIZE]), "torchscript", 17, {0: "b"}
    )
    explainer = onnxplain.Explainer(model, "chefer", providers="cpu", threads=1)
    x = networks.images([1, 3, *SIZE]).numpy()
    first, second = (explainer(x, (query, 1)).attribution for query in (0, 3))
    assert first.min() >= 0 and first.shape == (1, *SIZE)
    assert np.abs(first / first.max() - second / second.max()).max() > 0.05


REFUSED = {
    "back": "lets the input's tokens read a decoder's queries",
    "middle": "reads tokens from the middle of the encoder",
    "beside": "the score does, too",
    "one for all rows": "the same weights .* for all rows of the batch",
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused(how):
    module = modules.built(partial(EncoderDecoder, how=how))
    model = networks.export(module, networks.images([2, 3, *SIZE]), "torchscript", 17, {0: "batch"})
    with pytest.raises(onnxplain.UnsupportedModelError, match=REFUSED[how]):
        onnxplain.Explainer(model, "chefer")


def test_queries_made_a_constant():
    """A tool that shortens files computes the first attention among queries, which is lost then."""
    x = networks.images([1, 3, *SIZE])
    model = networks.export(modules.built(EncoderDecoder), x, "torchscript", 17)
    graph = gs.import_onnx(model).fold_constants().cleanup()
    message = "no self attention of the queries before it"
    with pytest.raises(onnxplain.UnsupportedModelError, match=message):
        onnxplain.Explainer(gs.export_onnx(graph), "chefer")


def test_rollout_is_for_tokens_that_read_one_another():
    x = networks.images([2, 3, *SIZE])
    model = networks.export(modules.built(EncoderDecoder), x, "torchscript", 17, {0: "batch"})
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"is cross attention.*chefer"):
        onnxplain.Explainer(model, "attention-rollout")
    reasons = onnxplain.inspect(model).unsupported
    assert "cross attention" in reasons["attention-rollout"][0] and not reasons["chefer"]


def test_inspect_lists_the_layers():
    x = networks.images([2, 3, *SIZE])
    model = networks.export(modules.built(EncoderDecoder), x, "torchscript", 17, {0: "batch"})
    found = onnxplain.inspect(model)
    own, cross = "self attention, queries x keys 24 x 24", "cross attention, queries x keys 5 x 24"
    among = "self attention of a decoder's queries, queries x keys 5 x 5"
    assert [line.split(": ")[1] for line in found.attention] == [own, own, *[among, cross] * 2]
    assert cross in str(found._repr_html_())


class Text(nn.Module):
    """A decoder's queries read the tokens of a text."""

    def __init__(self):
        super().__init__()
        self.rows, self.net = nn.Embedding(20, modules.WIDTH), EncoderDecoder()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        memory = self.rows(ids)
        for block in self.net.encoder:
            memory = block(memory)
        places = self.net.places.expand(ids.shape[0], -1, -1)
        y = torch.zeros_like(places)
        for layer in self.net.decoder:
            y = layer(y, places, memory)
        return self.net.head(y[:, 0])


def test_texts_are_refused():
    ids = torch.tensor([[3, 5, 9, 1, 0], [7, 2, 2, 4, 11]])
    model = networks.export(modules.built(Text), ids, "torchscript", 17, {0: "batch"})
    with pytest.raises(onnxplain.UnsupportedModelError, match="from pictures only"):
        onnxplain.Explainer(model, "chefer")
