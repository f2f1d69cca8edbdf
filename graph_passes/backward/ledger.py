"""A ledger of DeepLIFT's backward walk: what each node was given of the sum, and passed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import Value
from ..graph.terms import NodeView
from ..graph.twins import TwinEmitter
from ..rules.reveal_cancel import Multipliers, RevealCancelEmitter
from ..rules.table import Resolved, RuleTable, Table


class Entry(NamedTuple):
    """One node of the walk, with (tensor, multiplier) pairs."""

    node: gs.Node
    given: list[tuple[Value, Any]]
    passed: list[tuple[Value, Any]]


class Ledger:
    """Watches a rule table and tells, in the graph, what each node of the path lost."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}

    @property
    def nodes(self) -> list[gs.Node]:
        """The nodes that the walk passed, from the score to the input."""
        return [entry.node for entry in self._entries.values()]

    def watching(self, table: Table) -> Table:
        """The same table, whose rules write down what they are given and what they return.

        It begins at the logits, so that a last layer is watched too.
        """

        def rules(emit: Any) -> RuleTable:
            return self._watched(table.rules(emit))

        return table._replace(rules=rules, linear=False)

    def _watched(self, rules: RuleTable) -> RuleTable:
        def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
            resolved = rules(node, operand, varying)
            if isinstance(resolved, str):
                return resolved

            def rule(op: Emitter, view: NodeView, *ms):
                m = resolved.rule(op, view, *ms)
                source = view.inputs[operand]
                if m is not None and resolved.broadcasts:
                    m = op.sum_to(m, view.y.shape, source)
                # A rule may have given the node a further output, which nothing arrived at.
                given = [
                    (y, m_y) for y, m_y in zip(view.outputs, ms, strict=False) if m_y is not None
                ]
                entry = self._entries.setdefault(id(node), Entry(node, given, []))
                if m is not None:
                    entry.passed.append((source, m))
                return m

            return Resolved(rule, False)

        return table

    def losses(self, emit: TwinEmitter) -> Any:
        """For each of `nodes`: sum(m_y dy) - sum(m_x dx), float64 [nodes], over the whole batch."""
        if not self._entries:
            return emit.constant(np.zeros(0))
        losses = []
        for entry in self._entries.values():
            given = [_worth(emit, tensor, m) for tensor, m in entry.given]
            passed = [-_worth(emit, tensor, m) for tensor, m in entry.passed]
            losses.append(emit.Sum(*given, *passed))
        return emit.Concat(*losses, axis=0)


def _worth(emit: TwinEmitter, tensor: Value, m: Any) -> Any:
    """sum(m dx), and the parts' sum(2 half s) where they have multipliers of their own; [1]."""
    dx = emit.term(tensor) - emit.twin(tensor)
    if not isinstance(m, Multipliers):
        return _product_sum(emit, m, dx)
    assert isinstance(emit, RevealCancelEmitter)
    parts = _product_sum(emit, m.half, emit.spread(tensor))
    return _product_sum(emit, m.mean, dx) + parts * 2


def _product_sum(emit: Emitter, *factors: Value) -> Any:
    a, b = (emit.Cast(value, to=onnx.TensorProto.DOUBLE) for value in factors)
    return emit.Reshape(emit.ReduceSum(a * b, keepdims=0), [1])
