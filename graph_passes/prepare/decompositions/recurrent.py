"""RNN, GRU and LSTM unrolled over a sequence of known length, by the specification's equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import optional_input
from ...graph.terms import NodeView, Term
from .registry import decomposition

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_PLAIN = {"Tanh", "Sigmoid", "Relu", "Softsign", "Softplus"}


@decomposition("RNN", "GRU", "LSTM")
def recurrent(emit: Emitter, node: NodeView) -> list[Term | None] | None:
    """Y [T, directions, N, hidden], Y_h and Y_c (the last states), direction by direction.

    Left alone (and refused by the walk) where the length is not known or an activation takes
    parameters.
    """
    x = node.inputs[0]
    by_batch = bool(node.attrs.get("layout", 0))
    if x.shape is None or not isinstance(x.shape[1 if by_batch else 0], int):
        return None
    if node.attrs.get("activation_alpha") or node.attrs.get("activation_beta"):
        return None
    direction = node.attrs.get("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    names = node.attrs.get("activations") or _DEFAULTS[node.op] * count
    if not set(names) <= _PLAIN:
        return None
    steps = int(x.shape[1 if by_batch else 0])
    if by_batch:
        x = emit.Transpose(x, perm=[1, 0, 2])
    runs = []
    for index in range(count):
        own = names[index * len(_DEFAULTS[node.op]) :][: len(_DEFAULTS[node.op])]
        backwards = direction == "reverse" or index == 1
        runs.append(_one_direction(emit, node, x, index, own, steps, backwards))
    return _joined(emit, node, runs, by_batch)


def slices(emit: Emitter, x: Term, count: int, axis: int) -> list[Any]:
    """The parts of x along an axis of known length, without that axis.

    By one Split, whose adjoint is one Concat: those of as many Gathers are as many tensors of x's
    size, so that a gradient takes time and memory quadratic in the length.
    """
    parts = [x] if count == 1 else emit.many("Split", count, x, axis=axis, num_outputs=count)
    return [emit.Squeeze(part, [axis]) for part in parts]


def _of_direction(emit: Emitter, node: NodeView, index: int, direction: int) -> Term | None:
    """One direction's part of a weight, bias or peephole input."""
    tensor = optional_input(node, index)
    return None if tensor is None else emit.Gather(tensor, np.asarray(direction), axis=0)


def _initial(emit: Emitter, node: NodeView, index: int, direction: int, like) -> Term:
    """The initial state [N, hidden]: given, or zeros of the hidden size."""
    tensor = optional_input(node, index)
    if tensor is None:
        return like * 0.0
    axis = 1 if node.attrs.get("layout", 0) else 0
    return emit.Gather(tensor, np.asarray(direction), axis=axis)


def _one_direction(
    emit: Emitter, node: NodeView, x, direction: int, names, steps: int, backwards: bool
):
    """All states h_t (in the order of time) and the last h and c."""
    hidden = int(node.attrs["hidden_size"])
    weights, recurrence = (_of_direction(emit, node, k, direction) for k in (1, 2))
    bias = _of_direction(emit, node, 3, direction)
    gates = _GATES[node.op]
    if bias is not None:
        input_bias, state_bias = emit.many("Split", 2, bias, [gates * hidden] * 2, axis=0)
    else:
        input_bias = state_bias = emit.constant(np.zeros(gates * hidden), x.dtype)
    projected = x @ emit.Transpose(weights, perm=[1, 0]) + input_bias
    frames = slices(emit, projected, steps, 0)
    like = emit.Slice(frames[0], [0], [hidden], [1])
    h = _initial(emit, node, 5, direction, like)
    c = _initial(emit, node, 6, direction, like) if node.op == "LSTM" else None
    peepholes = _of_direction(emit, node, 7, direction) if node.op == "LSTM" else None
    turned = emit.Transpose(recurrence, perm=[1, 0])
    cell = Cell(emit, node, hidden, names, turned, state_bias, peepholes)
    lengths = optional_input(node, 4)
    states: list[Term] = []
    for t in range(steps)[::-1] if backwards else range(steps):
        new_h, new_c = STEPS[node.op](cell, frames[t], h, c)
        if lengths is None:
            h, c = new_h, new_c
            states.append(h)
            continue
        # A sequence that is over keeps its state and returns 0.
        lasts = emit.cast_like(emit.Greater(lengths, np.asarray(t, np.int32)), h)
        lasts = emit.Unsqueeze(lasts, [1])
        h = h + lasts * (new_h - h)
        c = c if c is None else c + lasts * (new_c - c)
        states.append(new_h * lasts)
    return states[::-1] if backwards else states, h, c


class Cell:
    """What one step of a recurrent operator needs, whatever its equations."""

    def __init__(self, emit: Emitter, node: NodeView, hidden, names, recurrence, bias, peepholes):
        self.emit = emit
        self.node = node
        self.hidden = hidden
        self.recurrence = recurrence
        self.bias = bias
        self.activations: list[Callable] = [lambda v, n=n: emit(n, self.clipped(v)) for n in names]
        self.peepholes = None if peepholes is None else self.split(peepholes, 3, 0)

    def split(self, value, parts: int, axis: int = 1) -> list[Term]:
        """A tensor of several gates cut into its gates."""
        return self.emit.many("Split", parts, value, [self.hidden] * parts, axis=axis)

    def clipped(self, value):
        """Held to -clip..clip, where the node says so."""
        clip = self.node.attrs.get("clip")
        return value if not clip else self.emit.Clip(value, -float(clip), float(clip))

    def recurrent_part(self, h):
        """h R^T + Rb, of all gates."""
        return h @ self.recurrence + self.bias


def _rnn_step(cell: Cell, frame, h, c):
    """h = f(x W^T + Wb + h R^T + Rb)."""
    return cell.activations[0](frame + cell.recurrent_part(h)), c


def _gru_step(cell: Cell, frame, h, c):
    """h = (1 - z) n + z h, with z, r = f(...) and n = g(x W^T + r (h R^T + Rb)).

    Without linear_before_reset n = g(x W^T + (r h) R^T + Rb).
    """
    f, g = cell.activations
    x_z, x_r, x_n = cell.split(frame, 3)
    h_z, h_r, h_n = cell.split(cell.recurrent_part(h), 3)
    z, r = f(x_z + h_z), f(x_r + h_r)
    if cell.node.attrs.get("linear_before_reset", 0):
        inner = r * h_n
    else:
        inner = cell.split(cell.recurrent_part(r * h), 3)[2]
    n = g(x_n + inner)
    return (1.0 - z) * n + z * h, c


def _lstm_step(cell: Cell, frame, h, c):
    """i, o, f gates with peepholes: c = f c + i g(...), h = o h(c); the o gate sees the new c."""
    f, g, squash = cell.activations
    i, o, forget, candidate = cell.split(frame + cell.recurrent_part(h), 4)
    peep = cell.peepholes
    if peep is not None:
        i = i + peep[0] * c
        forget = forget + peep[2] * c
    i = f(i)
    forget = 1.0 - i if cell.node.attrs.get("input_forget", 0) else f(forget)
    c = forget * c + i * g(candidate)
    if peep is not None:
        o = o + peep[1] * c
    return f(o) * squash(c), c


STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


def _joined(emit: Emitter, node: NodeView, runs, by_batch: bool) -> list[Term | None]:
    """Y, Y_h and Y_c in the layout that the node asks for."""
    axis = 2 if by_batch else 1

    def stacked(tensors, where):
        return emit.Concat(*(emit.Unsqueeze(t, [where]) for t in tensors), axis=where)

    per_direction = [stacked(states, 1 if by_batch else 0) for states, _, _ in runs]
    y = stacked(per_direction, axis)
    last = stacked([h for _, h, _ in runs], 1 if by_batch else 0)
    outputs: list[Term | None] = [y, last]
    if node.op == "LSTM":
        outputs.append(stacked([c for _, _, c in runs], 1 if by_batch else 0))
    return outputs[: len(node.outputs)]
