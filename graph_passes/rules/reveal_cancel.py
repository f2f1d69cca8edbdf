"""RevealCancel (Shrikumar et al. 2017, section 3.5.3): rises and falls are followed apart.

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
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import Shape
from ..graph.emitter import Emitter
from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.tensors import is_constant, operator_name
from ..graph.twins import TwinEmitter
from .deeplift import RELATIVE_TINY, deeplift_rules
from .registry import Rule
from .table import Resolved, Table, gradient_rules

# Each output element comes from one element of one operand.
_MOVING = {"Identity", "Cast", "Neg", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
_MOVING |= {"Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Tile", "Compress"}
_MOVING |= {"Expand", "Pad", "DepthToSpace", "SpaceToDepth", "Trilu", "Where"}
# Sums: these move elements where only one operand varies.
_SUMS = {"Add", "Sub", "Sum", "Mean"}
# Sums with weights of both signs, the operand that does not vary.
_WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"}
# Sums with weights above zero.
_AVERAGES = {"AveragePool", "GlobalAveragePool", "ReduceSum", "ReduceMean", "CumSum"}
# Functions that the formula fits: defined everywhere, continuous, of bounded slope. f(x' + dx+)
# may not exist for others (Log), overflow (Exp) or land on the wrong side of a jump (Round).
REVEALED = {"Relu", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "Clip", "HardSigmoid", "HardSwish"}
REVEALED |= {"Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "Swish", "Gelu", "Erf", "Abs"}
REVEALED |= {"Sin", "Cos", "Atan", "Asinh"}

# The operands that a linear operator adds: to omit, or to replace by zeros, for its linear part.
_OMITTED = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "Pad": 2}
_ZEROED = {"Concat", "Where", *_SUMS}


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

    mean: gs.Tensor
    half: gs.Tensor

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
        self._spreads: dict[str, gs.Tensor] = {}

    def difference(self, tensor: gs.Tensor) -> gs.Tensor:
        """dx = x - x'."""
        dx = self.sub(tensor, self.twin(tensor))
        dx.shape = tensor.shape
        return dx

    def spread(self, tensor: gs.Tensor) -> gs.Tensor:
        """(dx+ - dx-) / 2, in the tensor's shape."""
        if tensor.name not in self._spreads:
            outputs, spreads = [tensor], []
            if tensor.name not in self._starts:
                outputs, spreads = tensor.inputs[0].outputs, _spreads(self, tensor.inputs[0])
            if not spreads:
                outputs = [tensor]
                spreads = [self.mul(self("Abs", self.difference(tensor)), 0.5)]
            for output, spread in zip(outputs, spreads, strict=True):
                spread.shape = output.shape
                self._spreads[output.name] = spread
        return self._spreads[tensor.name]

    def sum(self, terms: Sequence[gs.Tensor | Multipliers]) -> Any:
        """t0 + t1 + ..., mean by mean and half by half."""
        halves = [term.half for term in terms if isinstance(term, Multipliers)]
        means = [term.mean if isinstance(term, Multipliers) else term for term in terms]
        mean = super().sum(means)
        return Multipliers(mean, super().sum(halves)) if halves else mean

    def sum_to(self, value: gs.Tensor | Multipliers, value_shape: Shape, like: gs.Tensor) -> Any:
        """Undo a broadcast, for both of a pair."""
        if not isinstance(value, Multipliers):
            return super().sum_to(value, value_shape, like)
        mean = super().sum_to(value.mean, value_shape, like)
        return Multipliers(mean, super().sum_to(value.half, value_shape, like))


def reveal_cancel_rules(emit: RevealCancelEmitter):
    """The rule table of DeepLIFT with RevealCancel: rescale's, for tensors that come in parts."""
    plain = deeplift_rules(emit)

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


def _kind_of(node: gs.Node, varying: Sequence[int]) -> _Kind:
    op, alone = operator_name(node), len(varying) == 1
    if op in _MOVING or (alone and (op in _SUMS or op == "Mul")):
        return _Kind.MOVE
    if op == "Div" and list(varying) == [0]:
        return _Kind.MOVE
    if op in _SUMS or op in _AVERAGES or (alone and op in _WEIGHTED and varying[0] < 2):
        return _Kind.MIX
    if op == "Round" and is_marked(node.name, STRAIGHT_THROUGH):
        return _Kind.ROUND
    return _Kind.REVEAL if op in REVEALED and list(varying) == [0] else _Kind.BY_SIGN


def _spreads(emit: RevealCancelEmitter, node: gs.Node) -> list[gs.Tensor]:
    """The spreads of a node's outputs, where they are not split by sign.

    Moved elements take theirs along, s_y = L s. A linear sum is split by the signs of its terms:
    dy+ - dy- = sum |w_i dx_i|, so s_y = |L| |dx| / 2. For an f see `reveal`.
    """
    varying = [k for k, t in enumerate(node.inputs) if t.name and emit.depends(t)]
    kind = _kind_of(node, varying)
    if kind is _Kind.BY_SIGN:
        return []
    if kind is _Kind.REVEAL:
        high, low = (_at(emit, node, value) for value in _virtual_points(emit, node.inputs[0]))
        return [emit.mul(emit.sub(high, low), 0.5)]
    if kind is _Kind.ROUND:
        return [emit("Identity", emit.spread(node.inputs[0]))]
    if kind is _Kind.MOVE:
        return _linear_part(emit, node, {k: emit.spread(node.inputs[k]) for k in varying})
    sizes = {k: emit("Abs", emit.difference(node.inputs[k])) for k in varying}
    positive = _with_positive_weights(emit, node, varying)
    spreads = _linear_part(emit, positive, sizes)
    _forget(positive, node)
    return [emit.mul(spread, 0.5) for spread in spreads]


def _virtual_points(emit: RevealCancelEmitter, x: gs.Tensor) -> list[gs.Tensor]:
    """x' + dx+ and x' + dx-: the middle of x and x', plus and minus the spread."""
    middle, spread = emit.mean(x, emit.twin(x)), emit.spread(x)
    return [emit.add(middle, spread), emit.sub(middle, spread)]


def _at(emit: Emitter, node: gs.Node, value: gs.Tensor) -> gs.Tensor:
    """The node's function of another value."""
    return emit(node.op, value, *node.inputs[1:], **node.attrs)


def _linear_part(emit: Emitter, node: gs.Node, values: Mapping[int, gs.Tensor]) -> list[gs.Tensor]:
    """The node applied to these values of its varying operands, without what else it adds."""
    operands: list[gs.Tensor | None] = list(node.inputs)
    for k, operand in enumerate(node.inputs):
        if k in values:
            operands[k] = values[k]
        elif _OMITTED.get(node.op) == k:
            operands[k] = None
        elif node.op in _ZEROED and not (node.op == "Where" and k == 0):
            operands[k] = _zeros(emit, operand)
    return emit.many(node.op, len(node.outputs), *operands, **node.attrs)


def _zeros(emit: Emitter, like: gs.Tensor) -> gs.Tensor:
    if is_constant(like):
        return emit.constant(np.zeros_like(like.values))
    return emit.filled_like(like, 0.0)


def _with_positive_weights(emit: Emitter, node: gs.Node, varying: Sequence[int]) -> gs.Node:
    """A linear node whose weights are the magnitudes of this one's: |L| in the place of L."""
    inputs = list(node.inputs)
    if node.op in _WEIGHTED and len(node.inputs) > 1:
        other = 1 - varying[0]
        weight = inputs[other]
        if is_constant(weight):
            inputs[other] = emit.constant(np.abs(weight.values))
        else:
            inputs[other] = emit("Abs", weight)
            inputs[other].shape = weight.shape
    elif node.op != "Sub":
        return node
    y = [gs.Variable("shape_only", dtype=t.dtype, shape=t.shape) for t in node.outputs]
    op = "Add" if node.op == "Sub" else node.op
    return gs.Node(op, node.name, node.attrs, inputs, y, domain=node.domain)


def _forget(stand_in: gs.Node, node: gs.Node) -> None:
    """Cut a stand-in off the graph's tensors again."""
    if stand_in is not node:
        stand_in.inputs.clear()


def collapsed(emit: RevealCancelEmitter, m, x: gs.Tensor):
    """The one multiplier of a tensor that is split by sign: mean + half sign(dx)."""
    if not isinstance(m, Multipliers):
        return m
    return emit.add(m.mean, emit.mul(m.half, emit("Sign", emit.difference(x))))


def by_sign(emit: RevealCancelEmitter, node: gs.Node, *ms, linear: Rule):
    """Any other operator: rescale's rule for the one multiplier of each output."""
    singles = [collapsed(emit, m, y) for m, y in zip(ms, node.outputs, strict=True)]
    return linear(emit, node, *singles)


def move(emit: RevealCancelEmitter, node: gs.Node, *ms, linear: Rule):
    """y = L x, one x for each y: both multipliers pass alike, m_x+- = L^T m_y+-."""
    pairs = [m if isinstance(m, Multipliers) else None for m in ms]
    means = [m if pair is None else pair.mean for m, pair in zip(ms, pairs, strict=True)]
    mean = linear(emit, node, *means)
    if mean is None or not any(pairs):
        return mean
    half = linear(emit, node, *(None if pair is None else pair.half for pair in pairs))
    return Multipliers(mean, half)


def round_through(emit: RevealCancelEmitter, node: gs.Node, m, *, rescaled: Rule):
    """A quantiser's rounding: the difference is rescaled, and the spread passes as it is."""
    if not isinstance(m, Multipliers):
        return rescaled(emit, node, m)
    return Multipliers(rescaled(emit, node, m.mean), m.half)


def mix(emit: RevealCancelEmitter, node: gs.Node, m, *, operand: int, varying, linear: Rule):
    """The linear rule (3.5.1): m_x = L+^T m_y+ + L-^T m_y- where dx > 0, exchanged where dx < 0.

    And half of each where dx = 0: with |L| = L+ - L-, m_x = L^T mean + sign(dx) |L|^T half.
    """
    if not isinstance(m, Multipliers):
        return linear(emit, node, m)
    positive = _with_positive_weights(emit, node, varying)
    resolved = gradient_rules(positive, operand, varying)
    assert isinstance(resolved, Resolved)
    half = resolved.rule(emit, positive, m.half)
    _forget(positive, node)
    sign = emit("Sign", emit.difference(node.inputs[operand]))
    return emit.add(linear(emit, node, m.mean), emit.mul(half, sign))


def reveal(emit: RevealCancelEmitter, node: gs.Node, m, *, derivative: Rule) -> Multipliers:
    """m_x+- = m_y+- dy+- / dx+-, and m_y+- f'(x) where dx+- is only rounding.

    dy+- = [f(x' + dx+-) - f(x')] / 2 + [f(x) - f(x' + dx-+)] / 2 = dy / 2 +- s_y, with the spread
    s_y = [f(x' + dx+) - f(x' + dx-)] / 2.
    """
    x, y = node.inputs[0], node.outputs[0]
    size = emit.mul(emit("Max", emit("Abs", x), emit("Abs", emit.twin(x))), RELATIVE_TINY)
    dx, dy = (emit.mul(emit.difference(t), 0.5) for t in (x, y))
    slope = derivative(emit, node, emit.constant(1.0, y.dtype))
    means = m.mean if isinstance(m, Multipliers) else m
    passed = []
    for part in (emit.add, emit.sub):
        dx_part, dy_part = part(dx, emit.spread(x)), part(dy, emit.spread(y))
        tiny = emit("LessOrEqual", emit("Abs", dx_part), size)
        quotient = emit.div(dy_part, emit.add(dx_part, emit.cast_like(tiny, dx_part)))
        own = part(means, m.half) if isinstance(m, Multipliers) else means
        passed.append(emit.mul(own, emit("Where", tiny, slope, quotient)))
    high, low = passed
    return Multipliers(emit.mean(high, low), emit.mul(emit.sub(high, low), 0.5))


REVEAL_CANCEL = Table("reveal-cancel", RevealCancelEmitter, reveal_cancel_rules, False, collapsed)
