"""What the table is about: one network, one input, one score."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn


class Network(NamedTuple):
    """A network with one float input and one output.

    Attributes:
        module: takes `x` and returns one tensor.
        example: [1, ...].
        target: the score: a class, or an index tuple behind the batch.
        is_image: whether Grad-CAM is owed.
        note: which of a family's models it is.
    """

    module: nn.Module
    example: torch.Tensor
    target: Any
    is_image: bool
    note: str = ""


class Wrapper(nn.Module):
    """A library's network as a function of one tensor."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, torch.Tensor], torch.Tensor]):
        super().__init__()
        self.network = network
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.network, x)

    def plainly(self) -> Wrapper:
        """The same with attention as two products and a Softmax, which any exporter knows."""
        config = copy.deepcopy(self.network.config)
        plain = type(self.network)._from_config(config, attn_implementation="eager")
        plain.load_state_dict(self.network.state_dict())
        return Wrapper(plain.eval(), self.call)
