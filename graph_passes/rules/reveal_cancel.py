"""RevealCancel (Shrikumar et al. 2017, section 3.5.3): increases and decreases apart.

Each difference is split, dx = dx+ + dx-, and each part has its own multiplier. All formulas of the
paper are even in the two parts, so they are written with half their difference, the spread
s = (dx+ - dx-) / 2, and with the multipliers' mean and half difference, m+- = mean +- half:

    dx+- = dx / 2 +- s        m+ dx+ + m- dx- = mean dx + 2 half s

A tensor that no rule below splits is split by sign, s = |dx| / 2: there one multiplier is left,
mean + half sign(dx), for the rules of rescale to go on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from operator import add, sub
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import Shape
from ..graph.emitter import Emitter
from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.operators import Fact, facts_of, has
from ..graph.tensors import Node, Value, is_constant
from ..graph.terms import NodeView, Term
from ..graph.twins import TwinEmitter
from .deeplift import RELATIVE_TINY, deeplift_rules
from .registry import Rule
from .table import Resolved, Table, gradient_rules


class _Kind(Enum):
    """What a node does with the parts of its operands' differences."""

    MOVE = auto()
    MIX = auto()
    REVEAL = auto()
    ROUND = auto()
    BY_SIGN = auto()


@dataclass
class Multipliers:
    """The two multipliers of one tensor, m+ = mean + half and m- = mean - half."""

    mean: Term
    half: Term

    @property
    def shape(self):
        """The shape of both."""
        return self.mean.shape

    @shape.setter
    def shape(self, shape) -> None:
        for part in (self.mean, self.half):
            if not is_constant(part):
                part.shape = shape


class RevealCancelEmitter(TwinEmitter):
    """Knows every tensor's spread, and adds up and un-broadcasts pairs of multipliers."""

    def __init__(self, graph: gs.Graph, prefix: str = "explain"):
        super().__init__(graph, prefix)
        self._spreads: dict[str, Any] = {}

    def difference(self, tensor: Value) -> Any:
        """dx = x - x'."""
        dx = self.term(tensor) - self.twin(tensor)
        dx.shape = tensor.shape
        return dx

    def spread(self, tensor: Value) -> Any:
        """(dx+ - dx-) / 2, in the tensor's shape."""
        if tensor.name not in self._spreads:
            outputs, spreads = [tensor], []
            if tensor.name not in self._starts:
                maker = NodeView(self, tensor.inputs[0])
                outputs, spreads = maker.outputs, _spreads(self, maker)
            if not spreads:
                outputs = [tensor]
                spreads = [abs(self.difference(tensor)) * 0.5]
            for output, spread in zip(outputs, spreads, strict=True):
                spread.shape = output.shape
                self._spreads[output.name] = spread
        return self._spreads[tensor.name]

    def sum(self, terms: Sequence[Value | Multipliers]) -> Any:
        """t0 + t1 + ..., mean by mean and half by half."""
        halves = [term.half for term in terms if isinstance(term, Multipliers)]
        means = [term.mean if isinstance(term, Multipliers) else term for term in terms]
        mean = super().sum(means)
        return Multipliers(mean, super().sum(halves)) if halves else mean

    def sum_to(self, value: Value | Multipliers, value_shape: Shape, like: Value) -> Any:
        """Undo a broadcast, for both of a pair."""
        if not isinstance(value, Multipliers):
            return super().sum_to(value, value_shape, like)
        mean = super().sum_to(value.mean, value_shape, like)
        return Multipliers(mean, super().sum_to(value.half, value_shape, like))


def reveal_cancel_rules(op: RevealCancelEmitter):
    """The rule table of DeepLIFT with RevealCancel: rescale's, for tensors that come in parts."""
    plain = deeplift_rules(op)

    def table(node: gs.Node, operand: int, varying: Sequence[int]) -> Resolved | str:
        resolved = plain(node, operand, varying)
        if isinstance(resolved, str):
            return resolved
        kind = _kind_of(node, varying)
        if kind is _Kind.REVEAL:
            derivative = gradient_rules(node, operand, varying)
            assert isinstance(derivative, Resolved)
            rule = partial(reveal, derivative=derivative.rule)
        elif kind is _Kind.MIX:
            rule = partial(mix, operand=operand, varying=list(varying), linear=resolved.rule)
        elif kind is _Kind.ROUND:
            rule = partial(round_through, rescaled=resolved.rule)
        else:
            rule = partial(move if kind is _Kind.MOVE else by_sign, linear=resolved.rule)
        return Resolved(rule, resolved.broadcasts)

    return table


def _kind_of(node: Node, varying: Sequence[int]) -> _Kind:
    alone = len(varying) == 1
    if has(node, Fact.MOVES) or (alone and (has(node, Fact.SUMS) or node.op == "Mul")):
        return _Kind.MOVE
    if node.op == "Div" and list(varying) == [0]:
        return _Kind.MOVE
    weighted = alone and has(node, Fact.WEIGHTED) and varying[0] < 2
    if has(node, Fact.SUMS | Fact.AVERAGES) or weighted:
        return _Kind.MIX
    if node.op == "Round" and is_marked(node.name, STRAIGHT_THROUGH):
        return _Kind.ROUND
    return _Kind.REVEAL if has(node, Fact.REVEALED) and list(varying) == [0] else _Kind.BY_SIGN


def _spreads(op: RevealCancelEmitter, node: NodeView) -> list[Term]:
    """The spreads of a node's outputs, where they are not split by sign.

    Moved elements take theirs along, s_y = L s. A linear sum is split by the signs of its terms:
    dy+ - dy- = sum |w_i dx_i|, so s_y = |L| |dx| / 2. For an f see `reveal`.
    """
    varying = [k for k, t in enumerate(node.inputs) if t is not None and op.depends(t)]
    kind = _kind_of(node, varying)
    if kind is _Kind.BY_SIGN:
        return []
    if kind is _Kind.REVEAL:
        high, low = (_at(op, node, value) for value in _virtual_points(op, node.x))
        return [(high - low) * 0.5]
    if kind is _Kind.ROUND:
        return [op.Identity(op.spread(node.x))]
    if kind is _Kind.MOVE:
        return _linear_part(op, node, {k: op.spread(node.inputs[k]) for k in varying})
    sizes = {k: abs(op.difference(node.inputs[k])) for k in varying}
    positive = _with_positive_weights(op, node, varying)
    return [spread * 0.5 for spread in _linear_part(op, positive, sizes)]


def _virtual_points(op: RevealCancelEmitter, x: Term) -> list[Term]:
    """x' + dx+ and x' + dx-: the middle of x and x', plus and minus the spread."""
    middle, spread = op.mean(x, op.twin(x)), op.spread(x)
    return [middle + spread, middle - spread]


def _at(op: Emitter, node: NodeView, value: Term) -> Term:
    """The node's function of another value."""
    return op(node.op, value, *node.inputs[1:], **node.attrs)


def _linear_part(op: Emitter, node: NodeView, values: Mapping[int, Term]) -> list[Term]:
    """The node applied to these values of its varying operands, without what else it adds."""
    operands = list(node.inputs)
    for k, operand in enumerate(node.inputs):
        if k in values:
            operands[k] = values[k]
        elif facts_of(node).added == k:
            operands[k] = None
        elif has(node, Fact.SUMS) or node.op == "Concat" or (node.op == "Where" and k > 0):
            operands[k] = _zeros(op, operand)
    return op.many(node.op, len(node.outputs), *operands, **node.attrs)


def _zeros(op: Emitter, like: Term) -> Term:
    if is_constant(like):
        return op.constant(np.zeros_like(like.values))
    return op.filled_like(like, 0.0)


def _with_positive_weights(op: Emitter, node: NodeView, varying: Sequence[int]) -> NodeView:
    """A linear node whose weights are the magnitudes of this one's: |L| in the place of L."""
    inputs = list(node.inputs)
    if has(node, Fact.WEIGHTED) and len(node.inputs) > 1:
        other = 1 - varying[0]
        weight = inputs[other]
        if is_constant(weight):
            inputs[other] = op.constant(np.abs(weight.values))
        else:
            inputs[other] = abs(weight)
            inputs[other].shape = weight.shape
    elif node.op != "Sub":
        return node
    return node.with_inputs(inputs, "Add" if node.op == "Sub" else node.op)


def collapsed(op: RevealCancelEmitter, m, x: Term):
    """The one multiplier of a tensor that is split by sign: mean + half sign(dx)."""
    if not isinstance(m, Multipliers):
        return m
    return m.mean + m.half * op.Sign(op.difference(x))


def by_sign(op: RevealCancelEmitter, node: NodeView, *ms, linear: Rule):
    """Any other operator: rescale's rule for the one multiplier of each output."""
    singles = [collapsed(op, m, y) for m, y in zip(ms, node.outputs, strict=True)]
    return linear(op, node, *singles)


def move(op: RevealCancelEmitter, node: NodeView, *ms, linear: Rule):
    """y = L x, one x for each y: both multipliers pass alike, m_x+- = L^T m_y+-."""
    pairs = [m if isinstance(m, Multipliers) else None for m in ms]
    means = [m if pair is None else pair.mean for m, pair in zip(ms, pairs, strict=True)]
    mean = linear(op, node, *means)
    if mean is None or not any(pairs):
        return mean
    half = linear(op, node, *(None if pair is None else pair.half for pair in pairs))
    return Multipliers(mean, half)


def round_through(op: RevealCancelEmitter, node: NodeView, m, *, rescaled: Rule):
    """A quantiser's rounding: the difference is rescaled, and the spread passes as it is."""
    if not isinstance(m, Multipliers):
        return rescaled(op, node, m)
    return Multipliers(rescaled(op, node, m.mean), m.half)


def mix(op: RevealCancelEmitter, node: NodeView, m, *, operand: int, varying, linear: Rule):
    """The linear rule (3.5.1): m_x = L+^T m_y+ + L-^T m_y- where dx > 0, exchanged where dx < 0.

    And half of each where dx = 0: with |L| = L+ - L-, m_x = L^T mean + sign(dx) |L|^T half.
    """
    if not isinstance(m, Multipliers):
        return linear(op, node, m)
    positive = _with_positive_weights(op, node, varying)
    resolved = gradient_rules(positive, operand, varying)
    assert isinstance(resolved, Resolved)
    half = resolved.rule(op, positive, m.half)
    sign = op.Sign(op.difference(node.inputs[operand]))
    return linear(op, node, m.mean) + half * sign


def reveal(op: RevealCancelEmitter, node: NodeView, m, *, derivative: Rule) -> Multipliers:
    """m_x+- = m_y+- dy+- / dx+-, and m_y+- f'(x) where dx+- is only rounding.

    dy+- = [f(x' + dx+-) - f(x')] / 2 + [f(x) - f(x' + dx-+)] / 2 = dy / 2 +- s_y, with the spread
    s_y = [f(x' + dx+) - f(x' + dx-)] / 2.
    """
    x, y = node.x, node.y
    size = op.Max(abs(x), abs(op.twin(x))) * RELATIVE_TINY
    dx, dy = (op.difference(t) * 0.5 for t in (x, y))
    slope = derivative(op, node, op.constant(1.0, y.dtype))
    means = m.mean if isinstance(m, Multipliers) else m
    passed = []
    for part in (add, sub):
        dx_part, dy_part = part(dx, op.spread(x)), part(dy, op.spread(y))
        tiny = abs(dx_part) <= size
        quotient = dy_part / (dx_part + op.cast_like(tiny, dx_part))
        own = part(means, m.half) if isinstance(m, Multipliers) else means
        passed.append(own * op.Where(tiny, slope, quotient))
    high, low = passed
    return Multipliers(op.mean(high, low), (high - low) * 0.5)


REVEAL_CANCEL = Table(
    "reveal-cancel",
    RevealCancelEmitter,
    reveal_cancel_rules,
    linear=False,
    collapse=collapsed,
    simple=True,
    compares=True,
)
