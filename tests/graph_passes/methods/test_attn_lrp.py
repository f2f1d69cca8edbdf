"""AttnLRP and CP-LRP beside plain PyTorch, however normalisations and activations are written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import numpy_helper, parser
from support import networks
from support import token_modules as modules
from support.attn_lrp_by_torch import Ratio, by_torch
from support.token_modules import Block, ConvPatches, CutPatches, Swin, Transformer, blocks
from torch import nn
from torch.nn import functional as F

import onnxplain

SIZE = (8, 12)
RULES = ("attn", "cp")
BOTH = [("torchscript", 17), ("dynamo", None)]


def check(make, x: torch.Tensor, exporter="torchscript", opset: int | None = 17, rules=RULES):
    module = modules.built(make)
    model = networks.export(module, x, exporter, opset, {0: "batch"})
    for rule in rules:
        e = onnxplain.Explainer(model, "attn-lrp", rule=rule, providers="cpu", threads=1)
        e = e(x.numpy(), 1)
        expected, score = by_torch(module, x, 1, rule)
        size = np.abs(expected).max()
        assert size > 0 and np.abs(e.attribution - expected).max() <= 1e-4 * size, rule
        left = expected.reshape(len(x), -1).sum(1) - score
        np.testing.assert_allclose(e.delta, left, rtol=1e-3, atol=1e-4 * np.abs(score).max())


def tokens(kind: str = "matmul", patches=ConvPatches, count: int = 2, **how):
    return lambda: Transformer(patches(), blocks(kind, count), **how)


NETWORKS = {
    "class token": tokens(),
    "three layers": tokens(count=3),
    "fused": tokens("fused"),
    "einsum": tokens("einsum"),
    "transposed": tokens("transposed"),
    "over channels": tokens("channels", before=0, pool="mean"),
    "mean of patches": tokens(before=2, behind=1, pool="mean"),
    "a query reads": tokens(before=0, pool="query"),
    "cut by reshape": tokens(patches=CutPatches),
    "windows": Swin,
    "a convolution": modules.ChannelsLast,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    check(NETWORKS[name], networks.images([2, 3, *SIZE]))


@pytest.mark.parametrize("name", ["class token", "fused"])
def test_networks_by_dynamo(name):
    check(NETWORKS[name], networks.images([2, 3, *SIZE]), "dynamo", None)


def test_layer_norm_in_nodes():
    check(NETWORKS["class token"], networks.images([2, 3, *SIZE]), "torchscript", 13)


def written(form):
    class Written(nn.Module):
        def forward(self, x):
            return form(x)

    return Written()


class OneFunction(nn.Module):
    """An activation that PyTorch has no function for; the oracle's is of all of it."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        if not x.requires_grad:
            return self.form(x)
        with torch.no_grad():
            y = self.form(x.detach())
        return Ratio.apply(x, y)


def gelu_by_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_of_gpt(x):
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


FORMS = {
    "gelu": nn.GELU,
    "gelu by tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hard swish": nn.Hardswish,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "softplus": nn.Softplus,
    "relu6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "hard sigmoid": nn.Hardsigmoid,
    "leaky relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "log of sigmoid": nn.LogSigmoid,
    "less its tanh": nn.Tanhshrink,
    "quick gelu": lambda: OneFunction(lambda x: x * torch.sigmoid(1.702 * x)),
    "gelu in nodes": lambda: OneFunction(lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
    "gelu by tanh in nodes": lambda: OneFunction(gelu_by_tanh),
    "gelu of GPT": lambda: OneFunction(gelu_of_gpt),
    "silu by exp": lambda: OneFunction(lambda x: x / (1 + torch.exp(-x))),
    "silu by a reciprocal": lambda: OneFunction(lambda x: x * torch.reciprocal(1 + torch.exp(-x))),
    "mish in nodes": lambda: OneFunction(lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))),
    "hard swish in nodes": lambda: OneFunction(lambda x: x * F.relu6(x + 3) / 6),
    "square of relu": lambda: OneFunction(lambda x: torch.relu(x) ** 2),
    "square": lambda: OneFunction(lambda x: x * x),
    "cube": lambda: OneFunction(lambda x: x * x * x),
    "sine squared beside": lambda: OneFunction(lambda x: torch.sin(x) * torch.tanh(x) * 2),
    "times what is shifted": lambda: OneFunction(lambda x: (x + 1) * torch.tanh(x)),
    "leaky in nodes": lambda: OneFunction(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "max with a number": lambda: OneFunction(lambda x: torch.maximum(x, torch.tensor(0.2))),
    "relu by its mask": lambda: OneFunction(lambda x: x * (x > 0).to(x.dtype)),
}


class Beside(nn.Module):
    """Forms beside each other in one network, each with a part of the input and weights of its own.

    A part's attribution tells of its form alone.
    """

    def __init__(self, forms):
        super().__init__()
        self.into = nn.ModuleList(nn.Linear(6, 6) for _ in forms)
        self.forms = nn.ModuleList(make() for make in forms.values())
        self.out = nn.ModuleList(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)) for _ in forms)

    def forward(self, x):
        parts = zip(self.into, self.forms, self.out, x.unbind(1), strict=True)
        return sum(out(form(into(part))) for into, form, out, part in parts)


def check_each(forms, exporter: str, opset: int | None):
    x = networks.images([2, len(forms), 4, 6])
    module = modules.built(lambda: Beside(forms))
    model = networks.export(module, x, exporter, opset, {0: "batch"})
    found = onnxplain.Explainer(model, "attn-lrp", providers="cpu")(x.numpy(), 1).attribution
    expected, _ = by_torch(module, x, 1, "attn")
    for at, name in enumerate(forms):
        right = expected[:, at]
        assert np.abs(found[:, at] - right).max() <= 1e-4 * np.abs(right).max(), name


@pytest.mark.parametrize("opset", [13, 17])
def test_an_activation_is_one_function(opset):
    check_each(FORMS, "torchscript", opset)


def test_an_activation_by_dynamo():
    names = ("gelu", "gelu by tanh", "silu", "mish", "softplus", "quick gelu", "leaky in nodes")
    check_each({name: FORMS[name] for name in names}, "dynamo", None)


class Rms(nn.Module):
    """As LLaMA has it."""

    def __init__(self, form):
        super().__init__()
        self.weight, self.form = nn.Parameter(torch.rand(6)), form

    def forward(self, x):
        root = self.form(x.detach() if x.requires_grad else x)
        return self.weight * (x * root)


def inverse_root(x):
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def power(x):
    return (x * x).mean(-1, keepdim=True).add(1e-6) ** -0.5


class ByHand(nn.Module):
    """(x - mean) / deviation, in nodes."""

    def __init__(self, unbiased: bool):
        super().__init__()
        self.unbiased = unbiased

    def forward(self, x):
        fixed = x.detach() if x.requires_grad else x
        deviation = fixed.std(-1, keepdim=True, unbiased=self.unbiased)
        return (x - x.mean(-1, keepdim=True)) / (deviation + 1e-6)


NORMS = {
    "layer": lambda: nn.LayerNorm(6),
    "layer, two axes": lambda: nn.LayerNorm((4, 6), elementwise_affine=False),
    "root of mean square": lambda: Rms(inverse_root),
    "mean square to a power": lambda: Rms(power),
    "std": lambda: ByHand(False),
    "unbiased std": lambda: ByHand(True),
    "groups": lambda: nn.GroupNorm(2, 4),
    "instances": lambda: nn.InstanceNorm1d(4),
    "length one": lambda: written(lambda x: F.normalize(x, dim=-1)),
}


@pytest.mark.parametrize(("exporter", "opset"), [*BOTH, ("torchscript", 13)])
def test_a_deviation_stands_still(exporter, opset):
    check_each(NORMS, exporter, opset)


def test_normalisations_of_newer_opsets():
    def make():
        return nn.Sequential(nn.GroupNorm(2, 4), nn.RMSNorm(6), nn.Flatten(), nn.Linear(24, 3))

    check(make, networks.images([2, 4, 6]), "dynamo", 23, rules=("attn",))


class Gated(nn.Module):
    """down(silu(gate x) * up x)."""

    def __init__(self, act=F.silu, bias: bool = True):
        super().__init__()
        self.act = act
        self.gate, self.up = nn.Linear(6, 9, bias), nn.Linear(6, 9, bias)
        self.down = nn.Linear(9, 3, bias)

    def forward(self, x):
        return self.down(self.act(self.gate(x)) * self.up(x))


@pytest.mark.parametrize(("exporter", "opset"), BOTH)
def test_a_gate_has_half(exporter, opset):
    for act in (F.silu, F.gelu, torch.sigmoid)[: 1 if exporter == "dynamo" else 3]:
        check(lambda act=act: Gated(act), networks.images([3, 6]), exporter, opset)


@pytest.mark.parametrize(("exporter", "opset"), BOTH)
def test_token_ids(exporter, opset):
    """Of the embedding, summed over each token's."""

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(20, 12), nn.Linear(12, 3)
            self.body = nn.Sequential(*blocks())

        def forward(self, ids):
            return self.rest(self.embed(ids))

        def rest(self, x):
            return self.head(self.body(x)[:, 0])

    net = modules.built(Text)
    ids = torch.tensor([[3, 5, 9, 1, 0], [7, 2, 2, 4, 11]])
    model = networks.export(net, ids, exporter, opset, {0: "batch"})
    rest = written(net.rest)
    net.double()
    for rule in RULES:
        expected, _ = by_torch(rest, ids, 2, rule, net.embed)
        e = onnxplain.Explainer(model, "attn-lrp", rule=rule, providers="cpu")(ids.numpy(), 2)
        assert e.attribution.shape == (2, 5)
        np.testing.assert_allclose(e.attribution, expected.sum(-1), rtol=1e-4, atol=1e-5)


class Bare(Transformer):
    """Without a bias, a class token or an epsilon that counts."""

    def __init__(self):
        super().__init__(ConvPatches(), blocks(), pool="mean", before=0)
        for module in self.modules():
            if getattr(module, "bias", None) is not None:
                module.bias = None
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-12


def test_conserved_without_biases():
    """CP hands on all of the score; so does a gate. Softmax's gradient does not."""
    x = networks.images([2, 3, *SIZE])
    model = networks.export(modules.built(Bare), x, "torchscript", 17, {0: "batch"})

    def delta(model, x, rule):
        return onnxplain.Explainer(model, "attn-lrp", rule=rule, providers="cpu")(x, 1)

    assert delta(model, x.numpy(), "cp").relative_delta.max() < 1e-4
    assert delta(model, x.numpy(), "attn").relative_delta.max() > 1e-3
    x = networks.images([3, 6])
    model = networks.export(modules.built(lambda: Gated(bias=False)), x, "torchscript", 17, None)
    assert delta(model, x.numpy(), "attn").relative_delta.max() < 1e-5


def test_an_activation_at_zero():
    """What a function passes at 0 is its derivative, also where f(0) is not 0."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[N, 3] x) => (float[N, 3] y) {
        m = Mul (x, x)  c = Sub (x, x)  s = Sigmoid (c)  y = Add (m, s)
    }"""
    x = np.array([[0.0, 1.0, -2.0]], np.float32)
    e = onnxplain.Explainer(parser.parse_model(text), "attn-lrp", providers="cpu")(x, 2)
    np.testing.assert_allclose(e.attribution, [[0, 0, 4.0]], rtol=1e-6)


def test_a_quantiser_is_no_shift():
    """Its zero point and bounds belong to its rounding, which passes what it would round."""

    def model(quantised: bool):
        step = """q = QuantizeLinear (m, s, z)  h = DequantizeLinear (q, s, z)"""
        return parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
            g (float[N, 3] x) => (float[N, 3] y)
            <float s = {{0.02}}, uint8 z = {{100}},
             float[3, 3] w = {{1, 2, 3, -1, 1, 0, 1, -1, 2}}> {{
                m = MatMul (x, w)  {step if quantised else "h = Identity (m)"}
                t = Tanh (h)  y = MatMul (t, w)
            }}""")

    x = np.array([[0.3, 0.5, -0.9], [0.2, 1.0, 0.4]], np.float32)
    found = [
        onnxplain.Explainer(model(quantised), "attn-lrp", providers="cpu")(x, 2).attribution
        for quantised in (True, False)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=0.05, atol=1e-6)
    shifted = model(True)
    shifted.graph.node[3].op_type = "Exp"
    number = parser.parse_node("h = Add (d, one)")
    shifted.graph.node[2].output[0] = "d"
    shifted.graph.node.insert(3, number)
    shifted.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    with pytest.raises(onnxplain.UnsupportedModelError, match="activation that is written out"):
        onnxplain.Explainer(shifted, "attn-lrp")


def shares(x):
    return x / x.sum(-1, keepdim=True)


def linear_attention(x):
    q, k = F.elu(x) + 1, (F.elu(2 * x) + 1).transpose(-2, -1)
    return q @ (k @ x) / (q @ k.sum(-1, keepdim=True))


REFUSED = {
    "elu by where": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), "activation that is writ"),
    "softplus by log": (lambda x: torch.log(1 + torch.exp(x)), "activation that is written out"),
    "sigmoid by exp": (lambda x: 1 / (1 + torch.exp(-x)), "divisor is computed"),
    "hard sigmoid in nodes": (lambda x: F.relu6(x + 3) / 6, "activation that is written out"),
    "two shifts": (lambda x: (x + 1) * (x + 2), "activation that is written out"),
    "shares of a sum": (shares, "divisor is computed"),
    "linear attention": (linear_attention, "divisor is computed"),
    "product of all": (lambda x: x.prod(-1, keepdim=True) + x, "no AttnLRP rule"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    form, message = REFUSED[name]

    def make():
        return nn.Sequential(nn.Linear(6, 6), written(form), nn.Flatten(), nn.Linear(24, 3))

    model = networks.export(modules.built(make), networks.images([2, 4, 6]), "torchscript", 17)
    with pytest.raises(onnxplain.UnsupportedModelError, match=message):
        onnxplain.Explainer(model, "attn-lrp")
    assert message in str(onnxplain.inspect(model).unsupported["attn-lrp"])


def test_blocks_are_what_is_tested():
    """Each of the three rules changes something in these networks."""
    x = networks.images([2, 3, *SIZE])
    module = modules.built(lambda: Transformer(ConvPatches(), [Block(modules.Attention())]))
    model = networks.export(module, x, "torchscript", 17, None)
    found = [
        onnxplain.Explainer(model, method, providers="cpu", **options)(x.numpy(), 1).attribution
        for method, options in (
            ("attn-lrp", {}),
            ("attn-lrp", {"rule": "cp"}),
            ("input-x-gradient", {}),
        )
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(found[one] - found[other]).max() > 0.01 * np.abs(found[other]).max()
