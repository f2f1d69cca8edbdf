"""Random weights under which every part of a network counts."""

from __future__ import annotations

import math

import torch
from torch import nn

# Below this a norm would amplify rounding and what is alike everywhere, layer by layer: chaos.
_LEAST_VARIANCE = 0.002
_ADDED = ("bias", "embed", "token", "pos", "table", "beta", "mean", "prompt")


def randomise(model: nn.Module, example: torch.Tensor, seed: int = 0) -> nn.Module:
    """Fill a network so that no branch is dead, no bias zero and no activation explodes.

    Fresh networks are poor subjects: layer scales of 1e-6 switch their blocks off, zero biases make
    a zero baseline degenerate, and running statistics of 0 and 1 let activations grow without end.

    Args:
        model: changed in place.
        example: one input; its random fellows calibrate BatchNorm.
        seed: of all random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {
        id(module.weight)
        for module in model.modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
        and (isinstance(module, nn.Linear) or "Conv" in type(module).__name__)
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _fill(name, parameter, id(parameter) in weights, generator)
        _calibrate(model, example, generator)
    return model.eval()


def _fill(name: str, values: torch.Tensor, is_weight: bool, generator: torch.Generator) -> None:
    if not values.is_floating_point():
        return
    noise = torch.randn(values.shape, generator=generator)
    spread = float(values.std()) if values.numel() > 1 else 0.0
    if is_weight and values.ndim > 1:
        fan_in = values[0].numel()
        if spread * math.sqrt(fan_in) < 0.5:
            values.copy_(noise / math.sqrt(fan_in))
    elif spread == 0:
        middle = float(values.flatten()[0])
        if any(word in name.rsplit(".", 2)[-1].lower() for word in _ADDED):
            values.add_(0.1 * noise)
        elif abs(middle) < 0.2:
            values.copy_(0.4 + 0.1 * noise)
        else:
            values.mul_(1 + 0.1 * noise)
    elif values.ndim == 1 or spread < 0.1:
        values.add_(0.1 * noise)


def _calibrate(model: nn.Module, example: torch.Tensor, generator: torch.Generator) -> None:
    """Running statistics as they are after training: those of data, a little off.

    Each norm's are set as data reach it, so that what is off does not add up from norm to norm.
    """

    def observe(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean, variance = x.mean(axes), x.var(axes, unbiased=False)
        variance = ((variance + variance.mean()) / 2).clamp(min=_LEAST_VARIANCE)
        off = torch.randn((2, len(mean)), generator=generator) * 0.1
        norm.running_mean.copy_(mean + off[0] * variance.sqrt())
        norm.running_var.copy_(variance * off[1].exp())

    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    handles = [norm.register_forward_pre_hook(observe) for norm in norms]
    if norms:
        model.eval()(torch.randn((4, *example.shape[1:]), generator=generator))
    for handle in handles:
        handle.remove()
