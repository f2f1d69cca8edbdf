"""Grad-CAM's formula at a tensor that a submodule of the network makes, by autograd."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from breadth.oracle import Oracle, relative


def error_of_map(
    oracle: Oracle, value: np.ndarray, attribution: np.ndarray
) -> tuple[float, float] | None:
    """How far the attribution is from the formula at the module whose output `value` is.

    Returns:
        The relative error, and that of PyTorch's own float32; None where `value` is no submodule's
        output, up to the order of its axes, or central differences contradict autograd there.
    """
    name = _maker(oracle, value)
    if name is None:
        return None
    made, slope = _slope(oracle, name, oracle.double, torch.float64)
    if not _differences_agree(oracle, name, slope):
        return None
    single = _slope(oracle, name, oracle.single, torch.float32)
    size = attribution.shape[1:]
    pairs = zip(maps_of(made, slope, size), maps_of(*single, size), strict=True)
    errors = [(relative(attribution, right), relative(own, right)) for right, own in pairs]
    return min(errors, default=None)


def _slope(oracle: Oracle, name: str, network: nn.Module, kind: torch.dtype):
    """What the module returns, and the score's slope there."""
    kept: list[torch.Tensor] = []
    handle = dict(network.named_modules())[name].register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )
    try:
        start = oracle.x.to(kind).clone().requires_grad_()
        score = (network(start) * oracle.integrated.cotangent.to(kind)).sum()
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(score, kept[-1])
    return kept[-1].detach(), slope


def _differences_agree(oracle: Oracle, name: str, slope: torch.Tensor) -> bool:
    """Whether the score changes along `slope` as it says."""
    module = dict(oracle.double.named_modules())[name]
    direction = slope / slope.abs().max().clamp(min=1e-300)

    def score(step: float) -> float:
        handle = module.register_forward_hook(
            # A module that is called for several tensors is asked about the last.
            lambda _module, _inputs, output: (
                torch.add(output, step * direction) if output.shape == direction.shape else None
            )
        )
        try:
            with torch.no_grad():
                y = oracle.double(oracle.x.double())
        finally:
            handle.remove()
        return float((y * oracle.integrated.cotangent.double()).sum())

    rise = (score(1e-5) - score(-1e-5)) / 2e-5
    said = float((slope * direction).sum())
    return abs(rise - said) <= 0.05 * abs(said)


def _maker(oracle: Oracle, value: np.ndarray) -> str | None:
    """The last submodule to return this array in some order of its axes."""
    found: list[str] = []

    def look(name: str):
        def hook(_module: nn.Module, _inputs, output):
            if isinstance(output, torch.Tensor) and output.ndim == value.ndim:
                seen = output.detach().numpy()
                for order in permutations(range(1, value.ndim)):
                    moved = seen.transpose(0, *order)
                    if moved.shape == value.shape and relative(moved, value) < 1e-3:
                        found.append(name)

        return hook

    modules = oracle.single.named_modules()
    handles = [module.register_forward_hook(look(name)) for name, module in modules]
    try:
        with torch.no_grad():
            oracle.single(oracle.x)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None


def maps_of(value: torch.Tensor, slope: torch.Tensor, size) -> Iterator[np.ndarray]:
    """The map for every way in which the tensor's axes may be channels and places.

    Tokens of an image are a grid behind a few others, before them or between them; a signal's map
    is a line.
    """
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    for channels in range(1, value.ndim):
        a, da = (t.movedim(channels, 1).flatten(2) for t in (value, slope))
        for grid, taken in _grids(value.movedim(channels, 1).shape[2:], len(size)):
            part, dpart = a[..., taken], da[..., taken]
            small = (part * dpart.mean(2, keepdim=True)).sum(1).relu()
            small = small.reshape(len(small), 1, *grid)
            yield interpolate(small, tuple(size), mode=mode)[:, 0].numpy()
            if len(grid) == 2:  # a spectrogram may go in with its axes exchanged
                yield interpolate(small.mT, tuple(size), mode=mode)[:, 0].numpy()


def _grids(places, axes: int) -> Iterator[tuple[tuple[int, ...], slice]]:
    if len(places) == axes:
        yield tuple(places), slice(None)
    if axes != 2 or len(places) != 1:
        return
    for count in range(max(places[0] - 16, 2), places[0] + 1):
        for rows in range(1, count + 1):
            if count % rows == 0:
                for first in range(places[0] - count + 1):
                    yield (rows, count // rows), slice(first, first + count)
