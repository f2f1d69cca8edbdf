"""AttnLRP and CP-LRP in plain PyTorch: the changed gradients, in the functions a network calls."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

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


def normalised(func, x, how=None, weight=None, bias=None, *more, eps=None, **kwargs):
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
