"""A rule table as a value: what a head is handed, so that the same head makes another method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from ..backward import RuleTable, gradient_rules
from ..emit import Emitter


def _as_it_came(emit: Emitter, cotangent: Any, tensor: gs.Tensor) -> Any:
    del emit, tensor
    return cotangent


class Table(NamedTuple):
    """Rules, and what goes with them.

    Attributes:
        name: of the table, for messages.
        emitter: what emits its nodes.
        rules: the table itself, for a graph that such an emitter writes into.
        linear: whether it hands a linear layer's derivative on, so that a walk may begin behind
            the last one.
        collapse: (emit, what arrived at a tensor, the tensor) -> one cotangent.
    """

    name: str
    emitter: Callable[..., Any]
    rules: Callable[[Any], RuleTable]
    linear: bool = True
    collapse: Callable[[Any, Any, gs.Tensor], gs.Tensor] = _as_it_came


GRADIENT = Table("gradient", Emitter, lambda emit: gradient_rules)
