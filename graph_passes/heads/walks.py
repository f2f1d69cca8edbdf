"""A walk back as a value: the table that it goes by, and what is made of what it brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.terms import Term
from ..rules.table import GRADIENT, Table

# (emit, what the walk brings, the point, the baseline there or None) -> the attribution.
Made = Callable[[Emitter, Term, gs.Tensor, Any], Term]


class Walk(NamedTuple):
    """What a method does at one point, for heads that do it at many.

    Attributes:
        title: the method's, in messages.
        table: what the walk goes by.
        made: what becomes of what it brings to an input; None: that is the attribution.
        shares_score: whether it begins as the score itself at the logits, and not as their weights.
    """

    title: str
    table: Table
    made: Made | None = None
    shares_score: bool = False

    def seeds(self, end: Term, weights: gs.Tensor) -> Any:
        """What the walk begins with at `end`, of which the score has these weights."""
        return end * weights if self.shares_score else weights


SLOPE = Walk("the gradient", GRADIENT)
"""The gradient itself."""


def times_point(emit: Emitter, slope: Term, point: gs.Tensor, baseline: Any) -> Term:
    """x m."""
    del emit, baseline
    return slope * point


def times_difference(emit: Emitter, slope: Term, point: gs.Tensor, baseline: Any) -> Term:
    """m (x - x')."""
    return slope * (emit.term(point) - baseline)
