"""What PyTorch says, in double and in single precision, and who is right where they differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from breadth.network import Network

_STEP = 1e-5
_MIDDLE_POINTS = (0.25, 0.75)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|, as vectors; infinite where `found` is no number."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size else float(np.abs(found).max())


class Slopes(NamedTuple):
    """times * mean over the points p of (d cotangent . f / dx)(p x).

    A gradient at x is that with times 1 at the one point 1; Integrated Gradients from zeros with
    times x.
    """

    cotangent: torch.Tensor
    times: torch.Tensor
    points: Sequence[float]


class Oracle:
    """One network in float64, beside its own float32.

    A network that computes a part in float32 by force has no more to offer.
    """

    def __init__(self, network: Network, x: torch.Tensor):
        self.network, self.x = network, x
        self.single = network.module
        self.precision = "float64"
        with torch.no_grad():
            self.y32 = self.single(x).detach()
        generator = torch.Generator().manual_seed(9)
        cotangent = torch.randn(self.y32.shape, generator=generator)
        self.gradient = Slopes(cotangent, torch.ones_like(x), (1.0,))
        seed = torch.zeros_like(self.y32)
        target = network.target
        seed[(slice(None), *(target if isinstance(target, tuple) else (target,)))] = 1.0
        self.integrated = Slopes(seed, x, _MIDDLE_POINTS)

    def at(self, x: torch.Tensor) -> Oracle:
        """The same network at other inputs."""
        other = Oracle(self.network, x)
        other.double, other.precision = self.double, self.precision
        return other

    @cached_property
    def double(self) -> nn.Module:
        """The network in float64."""
        return copy.deepcopy(self.single).double()

    @cached_property
    def y(self) -> np.ndarray:
        """Its outputs."""
        with torch.no_grad():
            return self.double(self.x.double()).detach().numpy()

    def expected(self, asked: Slopes, double: bool = True) -> np.ndarray:
        """By reverse mode."""
        module, kind = (self.double, torch.float64) if double else (self.single, torch.float32)
        total = torch.zeros_like(self.x, dtype=kind)
        for point in asked.points:
            start = (point * self.x).to(kind).requires_grad_()
            (slope,) = torch.autograd.grad(module(start), start, asked.cotangent.to(kind))
            total += slope
        return (asked.times.to(kind) * total / len(asked.points)).numpy()

    def sides_with(self, asked: Slopes, found: np.ndarray, expected: np.ndarray) -> bool:
        """Whether central differences in float64 agree with `found` rather than with `expected`.

        They are asked for the slope along the very direction in which the two differ.
        """
        if found.shape != expected.shape or not np.isfinite(found).all():
            return False
        apart = found.astype(np.float64) - expected
        direction = torch.from_numpy(apart / np.abs(apart).max())
        along = asked.times.double() * direction
        truth = 0.0
        with torch.no_grad():
            for point in asked.points:
                start = point * self.x.double()
                ahead, behind = (self.double(start + s * _STEP * along) for s in (1, -1))
                rise = float(((ahead - behind) * asked.cotangent.double()).sum())
                truth += rise / (2 * _STEP) / len(asked.points)
        ours, theirs = (float((g * direction.numpy()).sum()) for g in (found, expected))
        return abs(ours - truth) < 0.1 * abs(theirs - truth)
