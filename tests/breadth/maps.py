"""Grad-CAM's formula at a tensor that a submodule of the network makes, by autograd."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from breadth.oracle import Oracle, relative


def error_of_map(oracle: Oracle, value: np.ndarray, attribution: np.ndarray) -> float | None:
    """How far the attribution is from the formula at the module whose output `value` is.

    Returns:
        The relative error; None where `value` is no submodule's output, up to the order of its
        axes, or the formula gives an empty map.
    """
    name = _maker(oracle, value)
    if name is None:
        return None
    kept: list[torch.Tensor] = []
    module = dict(oracle.double.named_modules())[name]
    handle = module.register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        start = oracle.x.double().requires_grad_()
        score = (oracle.double(start) * oracle.integrated.cotangent.double()).sum()
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(score, kept[-1])
    with torch.no_grad():
        errors = [
            relative(attribution, expected)
            for expected in maps_of(kept[-1], slope, attribution.shape[-2:])
            if np.abs(expected).max() > 0
        ]
    return min(errors, default=None)


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

    Tokens are a square grid behind a few others, or before them.
    """
    for channels in range(1, value.ndim):
        a, da = (t.movedim(channels, 1).flatten(2) for t in (value, slope))
        places = value.movedim(channels, 1).shape[2:]
        for grid, taken in _grids(places):
            part, dpart = a[..., taken], da[..., taken]
            small = (part * dpart.mean(2, keepdim=True)).sum(1).relu()
            small = small.reshape(len(small), 1, *grid)
            yield interpolate(small, tuple(size), mode="bilinear")[:, 0].numpy()


def _grids(places) -> Iterator[tuple[tuple[int, int], slice]]:
    if len(places) == 2:
        yield (places[0], places[1]), slice(None)
    for side in range(2, 64):
        count = side * side
        if len(places) == 1 and places[0] - 8 <= count <= places[0]:
            yield (side, side), slice(places[0] - count, None)
            yield (side, side), slice(0, count)
