"""Oracles of methods: each once more, in torch and numpy, float64, on the file run node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch.nn import functional as F

from support import torch_runner
from support.torch_runner import OPERATORS

P = 2**31 - 1


class Asked(NamedTuple):
    """A file, its input [N, ...] and output by name, and a class for each row."""

    model: onnx.ModelProto
    input: str
    output: str
    x: torch.Tensor
    target: Sequence[int]


def score(asked: Asked, x: torch.Tensor, keep: Sequence[str] = ()) -> tuple[torch.Tensor, Any]:
    """The scores [N] of rows that may be several for each of the asked ones, and kept tensors."""
    found = torch_runner.run(asked.model, {asked.input: x}, keep=keep)
    logits = found[asked.output]
    logits = logits.reshape(*logits.shape[:2])
    return logits[torch.arange(len(x)), torch.tensor(asked.target)], found


def gradient(asked: Asked, x: torch.Tensor | None = None) -> torch.Tensor:
    """d score / dx."""
    x = (asked.x if x is None else x).clone().requires_grad_()
    return torch.autograd.grad(score(asked, x)[0].sum(), x)[0]


@contextmanager
def operators(**functions: Callable):
    """Run some operators otherwise."""
    before = {name: OPERATORS[name] for name in functions}
    OPERATORS.update(functions)
    try:
        yield
    finally:
        OPERATORS.update(before)


class _Backward(torch.autograd.Function):
    """y = f(x), and whatever for a gradient."""

    @staticmethod
    def forward(ctx, x, function, back):
        ctx.save_for_backward(x)
        ctx.function, ctx.back = function, back
        return function(x)

    @staticmethod
    def backward(ctx, dy):  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return ctx.back(x, ctx.function, dy), None, None


def backward_as(x: torch.Tensor, function: Callable, back: Callable) -> torch.Tensor:
    return _Backward.apply(x, function, back)  # pyright: ignore[reportReturnType]


def with_rectifiers(back: Callable) -> Any:
    """Relu, and Clip from 0 on, whose gradient is `back(x, function, dy)`."""
    relu, clip = OPERATORS["Relu"], OPERATORS["Clip"]

    def other_relu(node, x):
        return backward_as(x, lambda v: relu(node, v), back)

    def other_clip(node, x, low=None, high=None):
        if low is None or float(low) != 0:
            return clip(node, x, low, high)
        return backward_as(x, lambda v: clip(node, v, low, high), back)

    return operators(Relu=other_relu, Clip=other_clip)


def _own_gradient(x: torch.Tensor, function: Callable, dy: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x, dy)[0]


def guided_backprop(asked: Asked) -> torch.Tensor:
    with with_rectifiers(lambda x, f, dy: _own_gradient(x, f, dy.relu())):
        return gradient(asked)


def deconvnet(asked: Asked) -> torch.Tensor:
    with with_rectifiers(lambda x, f, dy: dy.relu()):
        return gradient(asked)


# The CAM family, as pytorch-grad-cam weighs.


def cam(asked: Asked, layers: Sequence[str], method: str) -> torch.Tensor:
    """The map at the input's size, [N, H, W]; of several layers the sum of parts of the maxima."""
    values, found = score(asked, asked.x.clone().requires_grad_(), layers)
    maps = []
    for layer in layers:
        a = found[layer]
        (g,) = torch.autograd.grad(values.sum(), a, retain_graph=True)
        weights = {
            "grad-cam": lambda a, g: g.mean((2, 3), keepdim=True),
            "grad-cam++": _plus_plus,
            "hirescam": lambda a, g: g,
            "layercam": lambda a, g: g.relu(),
            "xgrad-cam": lambda a, g: (g * a).sum((2, 3), True) / (a.sum((2, 3), True) + 1e-12),
        }[method](a, g)
        small = (weights * a).sum(1, keepdim=True).relu()
        large = F.interpolate(small, tuple(asked.x.shape[2:]), mode="bilinear")[:, 0]
        maps.append(large if len(layers) == 1 else large / large.amax((1, 2), keepdim=True))
    return torch.stack(maps).sum(0)


def _plus_plus(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    share = torch.where(below == 0, 0.0, g**2 / torch.where(below == 0, 1.0, below))
    return (g.relu() * share).sum((2, 3), keepdim=True)


# Random numbers, as the graphs make them, once more in numpy.


def uniform(samples: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    """[K, n] between 0 and 1."""
    first = (places.astype(object) * 1_103_515_245 + seed * 69_069 + 805_459_861) % P
    value = (samples.astype(object)[:, None] * 1_640_531_527) % P + first
    for more in (1_518_500_249, 22_468_225, 805_459_861):
        value = (value + more) ** 5 % P
    return (value.astype(np.float64) + 0.5) / P


def normal(samples: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[K, n], of mean 0 and variance 1."""
    half = (count + 1) // 2
    u, v = (uniform(samples, 2 * np.arange(half) + k, seed) for k in (0, 1))
    radius = np.sqrt(-2 * np.log(u))
    both = [radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)]
    return np.concatenate(both, axis=1)[:, :count]


def noisy_gradients(asked: Asked, count: int, noise: float, seed: int) -> torch.Tensor:
    """The gradient at each of K noisy copies, [K, N, ...]."""
    x = asked.x
    flat = x.flatten(1)
    width = (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (x.ndim - 1))
    numbers = normal(np.arange(count), flat.shape[1], seed)
    shifts = torch.from_numpy(numbers).reshape(count, 1, *x.shape[1:])
    return torch.stack([gradient(asked, x + noise * width * shift) for shift in shifts])


def along_the_way(asked: Asked, baselines, alphas, which, weights) -> torch.Tensor:
    """sum_k weights_k (x - b_k) d score / d x at b_k + alphas_k (x - b_k)."""
    total = torch.zeros_like(asked.x)
    for alpha, k, weight in zip(alphas, which, weights, strict=True):
        gap = asked.x - baselines[k]
        total = total + weight * gap * gradient(asked, baselines[k] + alpha * gap)
    return total


def rise(asked: Asked, baseline: float, count: int, seed: int, cells: int = 7) -> torch.Tensor:
    """The covariance of scores and masks over the probability of being seen, [N, H, W]."""
    height, width = asked.x.shape[2:]
    nodes, numbers = cells + 2, np.arange(count)
    grid = (uniform(numbers, np.arange(nodes**2), seed) < 0.5).astype(float)
    shifts = uniform(numbers, np.array([nodes**2, nodes**2 + 1]), seed)
    masks = np.zeros((count, height, width))
    for k in range(count):
        rows, columns = (
            np.maximum(
                0,
                1 - np.abs(((np.arange(d) + 0.5) * cells / d + shift)[:, None] - np.arange(nodes)),
            )
            for d, shift in zip((height, width), shifts[k], strict=True)
        )
        masks[k] = rows @ grid[k].reshape(nodes, nodes) @ columns.T
    seen = torch.from_numpy(masks)
    with torch.no_grad():
        scores = torch.stack(
            [score(asked, baseline + mask * (asked.x - baseline))[0] for mask in seen]
        )
    apart = scores - scores.mean(0)
    return torch.einsum("kn,khw->nhw", apart, seen - seen.mean(0)) / count / 0.5


# Relevance: every layer's own backward pass.


def lrp(asked: Asked, rule: str, epsilon=1e-6, gamma=0.25, alpha=2.0) -> torch.Tensor:
    first = [True]

    def shared(parts, relevance):
        """[(x, f)]: relevance by x f'(r / sum of f(x))."""
        with torch.enable_grad():
            xs = [x.detach().requires_grad_() for x, _ in parts]
            total = sum(f(x) for x, (_, f) in zip(xs, parts, strict=True))
            assert isinstance(total, torch.Tensor)
            ratio = relevance / (total + torch.where(total >= 0, epsilon, -epsilon)).detach()
            grads = torch.autograd.grad(total, xs, ratio)
        return sum(x.detach() * g for x, g in zip(xs, grads, strict=True))

    def layer(kind: str, run: Callable, x, w, b):
        chosen = rule
        if rule == "composite":
            chosen = "flat" if first[0] else ("z-plus" if kind == "Conv" else "epsilon")
        first[0] = False
        up, down = (lambda v: v.clamp(min=0)), (lambda v: v.clamp(max=0))
        none = None if b is None else torch.zeros_like(b)

        def bias(f):
            return None if b is None else f(b)

        def signed(x, same, other):
            return [
                (up(x), lambda v: run(v, same(w), bias(same))),
                (down(x), lambda v: run(v, other(w), none)),
            ]

        def back(x, _, relevance):
            if chosen == "epsilon":
                return shared([(x, lambda v: run(v, w, b))], relevance)
            if chosen == "flat":
                ones = [(torch.ones_like(x), lambda v: run(v, torch.ones_like(w), none))]
                return shared(ones, relevance)
            if chosen == "z-plus":
                return shared(signed(x, up, down), relevance)
            if chosen == "alpha-beta":
                good = shared(signed(x, up, down), relevance)
                return alpha * good - (alpha - 1) * shared(signed(x, down, up), relevance)
            y = run(x, w, b)
            more, less = (lambda v: v + gamma * up(v)), (lambda v: v + gamma * down(v))
            return shared(signed(x, more, less), relevance * (y >= 0)) + shared(
                signed(x, less, more), relevance * (y < 0)
            )

        return backward_as(x, lambda v: run(v, w, b), back)

    conv, gemm = OPERATORS["Conv"], OPERATORS["Gemm"]

    def other_conv(node, x, w, b=None):
        return layer("Conv", lambda v, w, b: conv(node, v, w, b), x, w, b)

    def other_gemm(node, x, w, b=None):
        return layer("Gemm", lambda v, w, b: gemm(node, v, w, b), x, w, b)

    def epsilon_of(name):
        own = OPERATORS[name]

        def other(node, x, *more):
            return backward_as(
                x, lambda v: own(node, v, *more), lambda v, f, r: shared([(v, f)], r)
            )

        return other

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a + b

        @staticmethod
        def backward(ctx, r):  # pyright: ignore[reportIncompatibleMethodOverride]
            a, b = ctx.saved_tensors
            ratio = r / (a + b + torch.where(a + b >= 0, epsilon, -epsilon))
            return a * ratio, b * ratio

    passing = with_rectifiers(lambda x, f, r: r)
    averages = {name: epsilon_of(name) for name in ("AveragePool", "ReduceMean")}
    averages["GlobalAveragePool"] = epsilon_of("GlobalAveragePool")
    others = operators(
        Conv=other_conv, Gemm=other_gemm, Add=lambda node, a, b: Sum.apply(a, b), **averages
    )
    with passing, others:
        x = asked.x.clone().requires_grad_()
        found = score(asked, x)[0]
        return torch.autograd.grad(found, x, found.detach())[0]
