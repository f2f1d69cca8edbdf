"""AttnLRP and CP-LRP beside plain PyTorch, however normalisations and activations are written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import parser
from support import networks
from support import token_modules as modules
from support.token_modules import Block, ConvPatches, CutPatches, Swin, Transformer, blocks
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import onnxplain

SIZE = (8, 12)
RULES = ("attn", "cp")
BOTH = [("torchscript", 17), ("dynamo", None)]
SOFTMAX = {torch.softmax, torch.Tensor.softmax, F.softmax}
PRODUCTS = {
    *(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm),
    *(torch.mul, torch.Tensor.mul, torch.Tensor.__mul__),
}
ACTIVATIONS = {
    *(F.gelu, F.silu, F.relu, F.mish, F.hardswish, F.softsign, F.elu, F.softplus, F.celu, F.selu),
    *(F.hardsigmoid, F.relu6, F.hardtanh, F.leaky_relu, F.logsigmoid, F.tanhshrink, F.prelu),
    *(torch.relu, torch.Tensor.relu, torch.tanh, torch.sigmoid, torch.Tensor.sigmoid),
}


class Ratio(torch.autograd.Function):
    """y = f(x), which passes f(x) / x."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return y.clone()

    @staticmethod
    def backward(ctx, *dy):
        x, y = ctx.saved_tensors
        return dy[0] * y / (x + 1e-10), None


class Changed(TorchFunctionMode):
    """The three changed gradients, in the functions that a network calls."""

    def __init__(self, rule: str):
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            q, k, v = args
            weights = self(torch.softmax, self(torch.matmul, q, k.mT) / q.shape[-1] ** 0.5, -1)
            return self(torch.matmul, weights, v)
        if func in (F.layer_norm, F.rms_norm, F.group_norm, F.instance_norm):
            return normalised(func, *args, **kwargs)
        if func is F.normalize:
            return args[0] / args[0].norm(dim=kwargs["dim"], keepdim=True).detach()
        if func in SOFTMAX and self.rule == "cp":
            return func(*args, **kwargs).detach()
        if func in ACTIVATIONS:
            return Ratio.apply(args[0], func(args[0].detach(), *args[1:], **kwargs))
        if func is torch.einsum and all(t.requires_grad for t in args[1:]):
            return halves(lambda a, b: func(args[0], a, b), *args[1:])
        if func in PRODUCTS and all(getattr(t, "requires_grad", False) for t in args):
            return halves(func, *args)
        return func(*args, **kwargs)

    def __call__(self, func, *args):
        return self.__torch_function__(func, (), args)


def halves(product, a, b):
    return (product(a, b.detach()) + product(a.detach(), b)) / 2


def normalised(func, x, how, weight=None, bias=None, *more, eps=None, **kwargs):
    """With the deviation detached; `how` are the last axes' sizes, or the number of groups."""
    shape = x.shape
    if func is F.group_norm:
        x = x.reshape(shape[0], how, -1)
    if func in (F.layer_norm, F.rms_norm):
        axes = list(range(x.ndim - len(how), x.ndim))
    else:
        axes = list(range(2, x.ndim))
    if func is F.rms_norm:
        eps = more[0] if more else eps
        eps = torch.finfo(torch.float32).eps if eps is None else eps
        x = x / (x.square().mean(axes, keepdim=True) + eps).sqrt().detach()
    else:
        x = x - x.mean(axes, keepdim=True)
        x = x / (x.square().mean(axes, keepdim=True) + 1e-5).sqrt().detach()
    x = x.reshape(shape)
    column = (-1,) if func in (F.layer_norm, F.rms_norm) else (-1, *[1] * (len(shape) - 2))
    if func is F.instance_norm:
        weight, bias = kwargs.get("weight", more[0] if more else None), kwargs.get("bias")
    x = x if weight is None else x * weight.reshape(column)
    return x if bias is None else x + bias.reshape(column)


def by_torch(module: nn.Module, x: torch.Tensor, target: int, rule: str, embed=None):
    """x times the gradient that is changed; and the score."""
    module = module.double()
    x = (x.double() if embed is None else embed(x)).detach().requires_grad_()
    with Changed(rule):
        score = module(x)[:, target]
        (slope,) = torch.autograd.grad(score.sum(), x)
    return (x * slope).detach().numpy(), score.detach().numpy()


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


@pytest.mark.parametrize(("exporter", "opset"), BOTH)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, exporter, opset):
    check(NETWORKS[name], networks.images([2, 3, *SIZE]), exporter, opset)


@pytest.mark.parametrize("name", ["class token", "mean of patches"])
def test_layer_norm_in_nodes(name):
    check(NETWORKS[name], networks.images([2, 3, *SIZE]), "torchscript", 13)


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
    "leaky in nodes": lambda: OneFunction(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "relu by its mask": lambda: OneFunction(lambda x: x * (x > 0).to(x.dtype)),
}


@pytest.mark.parametrize(("exporter", "opset"), [*BOTH, ("torchscript", 13)])
@pytest.mark.parametrize("name", FORMS)
def test_an_activation_is_one_function(name, exporter, opset):
    x = networks.images([3, 6])

    def make():
        return nn.Sequential(nn.Linear(6, 5), FORMS[name](), nn.Linear(5, 3))

    check(make, x, exporter, opset, rules=("attn",))


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


def with_norm(norm):
    return lambda: nn.Sequential(nn.Linear(6, 6), norm(), nn.Flatten(), nn.Linear(24, 3))


@pytest.mark.parametrize(("exporter", "opset"), [*BOTH, ("torchscript", 13)])
@pytest.mark.parametrize("name", NORMS)
def test_a_deviation_stands_still(name, exporter, opset):
    check(with_norm(NORMS[name]), networks.images([2, 4, 6]), exporter, opset, rules=("attn",))


@pytest.mark.parametrize("opset", [None, 23])
def test_rms_norm(opset):
    check(with_norm(lambda: nn.RMSNorm(6)), networks.images([2, 4, 6]), "dynamo", opset)


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
@pytest.mark.parametrize("act", [F.silu, F.gelu, torch.sigmoid])
def test_a_gate_has_half(act, exporter, opset):
    check(lambda: Gated(act), networks.images([3, 6]), exporter, opset)


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


def shares(x):
    return x / x.sum(-1, keepdim=True)


def linear_attention(x):
    q, k = F.elu(x) + 1, F.elu(2 * x) + 1
    return q @ (k.mT @ x) / (q @ k.sum(-2, keepdim=True).mT)


REFUSED = {
    "elu by where": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), "activation that is writ"),
    "softplus by log": (lambda x: torch.log(1 + torch.exp(x)), "activation that is written out"),
    "sigmoid by exp": (lambda x: 1 / (1 + torch.exp(-x)), "divisor is computed"),
    "hard sigmoid in nodes": (lambda x: F.relu6(x + 3) / 6, "activation that is written out"),
    "shifted product": (lambda x: (x + 1) * torch.tanh(x), None),
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
    if message is None:
        onnxplain.Explainer(model, "attn-lrp")
        return
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
