"""RNN, GRU and LSTM unrolled over a sequence of known length, by the specification's equations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.emitter import Emitter
from ...graph.tensors import optional_input
from .registry import decomposition

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_PLAIN = {"Tanh", "Sigmoid", "Relu", "Softsign", "Softplus"}


@decomposition("RNN", "GRU", "LSTM")
def recurrent(emit: Emitter, node: gs.Node) -> list[gs.Tensor | None] | None:
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


def slices(emit: Emitter, x: gs.Tensor, count: int, axis: int) -> list[gs.Tensor]:
    """The parts of x along an axis of known length, without that axis.

    By one Split, whose adjoint is one Concat: those of as many Gathers are as many tensors of x's
    size, so that a gradient takes time and memory quadratic in the length.
    """
    parts = [x] if count == 1 else emit.many("Split", count, x, axis=axis, num_outputs=count)
    return [emit.Squeeze(part, [axis]) for part in parts]


def _of_direction(emit: Emitter, node: gs.Node, index: int, direction: int) -> gs.Tensor | None:
    """One direction's part of a weight, bias or peephole input."""
    tensor = optional_input(node, index)
    return None if tensor is None else emit.Gather(tensor, np.asarray(direction), axis=0)


def _initial(emit: Emitter, node: gs.Node, index: int, direction: int, like) -> gs.Tensor:
    """The initial state [N, hidden]: given, or zeros of the hidden size."""
    tensor = optional_input(node, index)
    if tensor is None:
        return emit.Mul(like, 0.0)
    axis = 1 if node.attrs.get("layout", 0) else 0
    return emit.Gather(tensor, np.asarray(direction), axis=axis)


def _one_direction(
    emit: Emitter, node: gs.Node, x, direction: int, names, steps: int, backwards: bool
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
    projected = emit.Add(emit.MatMul(x, emit.Transpose(weights, perm=[1, 0])), input_bias)
    frames = slices(emit, projected, steps, 0)
    like = emit.Slice(frames[0], [0], [hidden], [1])
    h = _initial(emit, node, 5, direction, like)
    c = _initial(emit, node, 6, direction, like) if node.op == "LSTM" else None
    peepholes = _of_direction(emit, node, 7, direction) if node.op == "LSTM" else None
    turned = emit.Transpose(recurrence, perm=[1, 0])
    cell = Cell(emit, node, hidden, names, turned, state_bias, peepholes)
    lengths = optional_input(node, 4)
    states: list[gs.Tensor] = []
    for t in range(steps)[::-1] if backwards else range(steps):
        new_h, new_c = STEPS[node.op](cell, frames[t], h, c)
        if lengths is None:
            h, c = new_h, new_c
            states.append(h)
            continue
        # A sequence that is over keeps its state and returns 0.
        lasts = emit.cast_like(emit.Greater(lengths, np.asarray(t, np.int32)), h)
        lasts = emit.Unsqueeze(lasts, [1])
        h = emit.Add(h, emit.Mul(lasts, emit.Sub(new_h, h)))
        c = c if c is None else emit.Add(c, emit.Mul(lasts, emit.Sub(new_c, c)))
        states.append(emit.Mul(new_h, lasts))
    return states[::-1] if backwards else states, h, c


class Cell:
    """What one step of a recurrent operator needs, whatever its equations."""

    def __init__(self, emit: Emitter, node: gs.Node, hidden, names, recurrence, bias, peepholes):
        self.emit = emit
        self.node = node
        self.hidden = hidden
        self.recurrence = recurrence
        self.bias = bias
        self.activations: list[Callable] = [lambda v, n=n: emit(n, self.clipped(v)) for n in names]
        self.peepholes = None if peepholes is None else self.split(peepholes, 3, 0)

    def split(self, value, parts: int, axis: int = 1) -> list[gs.Tensor]:
        """A tensor of several gates cut into its gates."""
        return self.emit.many("Split", parts, value, [self.hidden] * parts, axis=axis)

    def clipped(self, value):
        """Held to -clip..clip, where the node says so."""
        clip = self.node.attrs.get("clip")
        return value if not clip else self.emit.Clip(value, -float(clip), float(clip))

    def recurrent_part(self, h):
        """h R^T + Rb, of all gates."""
        return self.emit.Add(self.emit.MatMul(h, self.recurrence), self.bias)


def _rnn_step(cell: Cell, frame, h, c):
    """h = f(x W^T + Wb + h R^T + Rb)."""
    return cell.activations[0](cell.emit.Add(frame, cell.recurrent_part(h))), c


def _gru_step(cell: Cell, frame, h, c):
    """h = (1 - z) n + z h, with z, r = f(...) and n = g(x W^T + r (h R^T + Rb)).

    Without linear_before_reset n = g(x W^T + (r h) R^T + Rb).
    """
    emit, (f, g) = cell.emit, cell.activations
    x_z, x_r, x_n = cell.split(frame, 3)
    h_z, h_r, h_n = cell.split(cell.recurrent_part(h), 3)
    z, r = f(emit.Add(x_z, h_z)), f(emit.Add(x_r, h_r))
    if cell.node.attrs.get("linear_before_reset", 0):
        inner = emit.Mul(r, h_n)
    else:
        inner = cell.split(cell.recurrent_part(emit.Mul(r, h)), 3)[2]
    n = g(emit.Add(x_n, inner))
    return emit.Add(emit.Mul(emit.Sub(1.0, z), n), emit.Mul(z, h)), c


def _lstm_step(cell: Cell, frame, h, c):
    """i, o, f gates with peepholes: c = f c + i g(...), h = o h(c); the o gate sees the new c."""
    emit, (f, g, squash) = cell.emit, cell.activations
    i, o, forget, candidate = cell.split(emit.Add(frame, cell.recurrent_part(h)), 4)
    peep = cell.peepholes
    if peep is not None:
        i = emit.Add(i, emit.Mul(peep[0], c))
        forget = emit.Add(forget, emit.Mul(peep[2], c))
    i = f(i)
    forget = emit.Sub(1.0, i) if cell.node.attrs.get("input_forget", 0) else f(forget)
    c = emit.Add(emit.Mul(forget, c), emit.Mul(i, g(candidate)))
    if peep is not None:
        o = emit.Add(o, emit.Mul(peep[1], c))
    return emit.Mul(f(o), squash(c)), c


STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


def _joined(emit: Emitter, node: gs.Node, runs, by_batch: bool) -> list[gs.Tensor | None]:
    """Y, Y_h and Y_c in the layout that the node asks for."""
    axis = 2 if by_batch else 1

    def stacked(tensors, where):
        return emit.Concat(*(emit.Unsqueeze(t, [where]) for t in tensors), axis=where)

    per_direction = [stacked(states, 1 if by_batch else 0) for states, _, _ in runs]
    y = stacked(per_direction, axis)
    last = stacked([h for _, h, _ in runs], 1 if by_batch else 0)
    outputs: list[gs.Tensor | None] = [y, last]
    if node.op == "LSTM":
        outputs.append(stacked([c for _, _, c in runs], 1 if by_batch else 0))
    return outputs[: len(node.outputs)]
