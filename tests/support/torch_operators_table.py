"""What `torch_runner`'s operator functions share: their registry and their view of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch


class Node(NamedTuple):
    """What an operator function may know of its node, besides the input tensors."""

    attributes: dict[str, Any]
    opset: int
    outputs: int
    dtype: torch.dtype

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def get_or_input(self, name: str, value: torch.Tensor | None, default: Any = None) -> Any:
        """Read a list that is an attribute in old opsets and an input in newer ones."""
        return self.get(name, default) if value is None else value.tolist()


Operator = Callable[..., "torch.Tensor | Sequence[torch.Tensor]"]
Function = TypeVar("Function", bound=Operator)
OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register the function for these ONNX operators; it takes the node, then the inputs."""

    def register(function: Function) -> Function:
        for name in names:
            assert name not in OPERATORS, name
            OPERATORS[name] = function
        return function

    return register
