"""Random small models of what exporters write, for `random_checks`.

`Draw` chooses; hypothesis can stand behind it (and shrink what fails), or a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Draw = Callable[[Sequence[Any]], Any]

_SMOOTH = ["Tanh", "Sigmoid", "Softplus", "Erf", "Sin", "Cos", "Elu", "Selu", "Softsign", "Atan"]
_KINKED = ["Relu", "LeakyRelu", "Abs", "HardSigmoid", "ThresholdedRelu", "HardSwish"]


class Built(NamedTuple):
    """A model with an input for it, [3, ...], and a baseline, [1, ...]."""

    model: onnx.ModelProto
    x: np.ndarray
    baseline: np.ndarray


class Writer:
    """Writes nodes one after the other; `shape` is that of the last tensor, without the batch."""

    def __init__(self, draw: Draw, seed: int):
        self.draw = draw
        self.random = np.random.default_rng(seed)
        self.opset = draw([11, 13, 17, 18, 21])
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.older: list[tuple[str, tuple[int, ...]]] = []
        self.last, self.shape = "x", ()

    def weight(self, values: Any, kind: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        return self.weight(self.random.standard_normal(shape) * scale)

    def emit(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def then(self, name: str, shape: Sequence[int] | None = None) -> None:
        """The next tensor; the one before stays at hand for residual connections."""
        self.older.append((self.last, self.shape))
        self.last = name
        if shape is not None:
            self.shape = tuple(shape)

    def reduce(self, op: str, x: str, axes: Sequence[int], keep: int = 1) -> str:
        if self.opset >= 18 or (op == "ReduceSum" and self.opset >= 13):
            return self.emit(op, x, self.weight(axes, np.int64), keepdims=keep)
        return self.emit(op, x, axes=list(axes), keepdims=keep)


def activation(w: Writer) -> None:
    kinds = _SMOOTH + _KINKED + (["Gelu"] if w.opset >= 20 else ["Celu"] if w.opset >= 12 else [])
    kinds = [kind for kind in kinds if kind != "HardSwish" or w.opset >= 14]
    w.then(w.emit(w.draw(kinds), w.last))


def clipped(w: Writer) -> None:
    low, high = w.draw([(-0.5, 0.7), (0.0, 6.0), (None, 0.3), (0.0, None), (1e-36, 1.0)])
    bounds = ["" if bound is None else w.weight(bound) for bound in (low, high)]
    w.then(w.emit("Clip", w.last, *bounds))


def rooted(w: Writer) -> None:
    """Roots and powers of what may be 0."""
    inner = w.emit(w.draw(["Relu", "Abs"]), w.last)
    if w.draw([True, False]):
        return w.then(w.emit("Sqrt", inner))
    return w.then(w.emit("Pow", inner, w.weight(w.draw([0.5, 1.5, 2.0, 3.0]))))


def with_constant(w: Writer) -> None:
    side = w.draw([w.shape, w.shape[-1:], ()])
    constant = w.normal(*side)
    op = w.draw(["Add", "Sub", "Mul", "Max", "Min"])
    pair = (w.last, constant) if w.draw([True, False]) else (constant, w.last)
    w.then(w.emit(op, *pair))


def residual(w: Writer) -> None:
    alike = [name for name, shape in w.older if shape == w.shape]
    if alike:
        op = w.draw(["Add", "Mul", "Sub", "Max"])
        w.then(w.emit(op, w.last, w.draw(alike)))


def gated(w: Writer) -> None:
    """x * (x > 0), as a comparison or by Where."""
    condition = w.emit("Greater", w.last, w.weight(0.0))
    if w.draw([True, False]):
        return w.then(w.emit("Mul", w.last, w.emit("Cast", condition, to=TensorProto.FLOAT)))
    return w.then(w.emit("Where", condition, w.last, w.weight(0.0)))


def quotient(w: Writer) -> None:
    """x over its norm, which may be next to nothing."""
    axis = len(w.shape)
    norm = w.reduce("ReduceL2", w.last, [axis])
    floor = w.draw(["Max", "Add"])
    w.then(w.emit("Div", w.last, w.emit(floor, norm, w.weight(w.draw([1e-12, 1e-3])))))


def normalised(w: Writer) -> None:
    width = w.shape[-1]
    if w.opset >= 17 and w.draw([True, False]):
        scale, bias = w.normal(width), w.normal(width)
        return w.then(w.emit("LayerNormalization", w.last, scale, bias, axis=-1))
    axis = len(w.shape)
    centred = w.emit("Sub", w.last, w.reduce("ReduceMean", w.last, [axis]))
    variance = w.reduce("ReduceMean", w.emit("Mul", centred, centred), [axis])
    deviation = w.emit("Sqrt", w.emit("Add", variance, w.weight(1e-5)))
    return w.then(w.emit("Div", centred, deviation))


def softmax(w: Writer) -> None:
    # Before opset 13 the axes from `axis` on were one: only the last axis is what it is today.
    w.then(w.emit(w.draw(["Softmax", "LogSoftmax"]), w.last, axis=len(w.shape)))


def product(w: Writer) -> None:
    width = w.draw([2, 3, 5])
    weights = w.normal(w.shape[-1], width, scale=w.shape[-1] ** -0.5)
    w.then(w.emit("MatMul", w.last, weights), [*w.shape[:-1], width])


def attention(w: Writer) -> None:
    if len(w.shape) != 2:
        return
    length = w.shape[0]
    scores = w.emit("MatMul", w.last, w.emit("Transpose", w.last, perm=[0, 2, 1]))
    if w.draw([True, False]):
        mask = np.triu(np.full((length, length), -np.inf), 1)
        scores = w.emit("Add", scores, w.weight(mask))
    w.then(w.emit("MatMul", w.emit("Softmax", scores, axis=2), w.last))


def convolution(w: Writer) -> None:
    if len(w.shape) != 3:
        return
    channels, height, width = w.shape
    kernel, stride, pad = w.draw([(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (3, 1, 0)])
    if min(height, width) + 2 * pad < kernel:
        return
    group = w.draw([1, channels])
    outs = channels * w.draw([1, 2])
    weights = w.normal(outs, channels // group, kernel, kernel, scale=0.5)
    y = w.emit(
        *("Conv", w.last, weights, w.normal(outs)),
        **{"strides": [stride] * 2, "pads": [pad] * 4, "group": group},
    )
    sizes = [(n + 2 * pad - kernel) // stride + 1 for n in (height, width)]
    w.then(y, [outs, *sizes])


def pool(w: Writer) -> None:
    if len(w.shape) != 3 or min(w.shape[1:]) < 3:
        return
    kernel, stride, pad, ceil = w.draw([(2, 2, 0, 0), (3, 2, 1, 0), (2, 2, 0, 1), (2, 3, 1, 1)])
    op = w.draw(["MaxPool", "AveragePool"])
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    if op == "AveragePool":
        attributes["count_include_pad"] = w.draw([0, 1]) if not ceil else 0
    y = w.emit(op, w.last, ceil_mode=ceil, **attributes)
    sizes = []
    for n in w.shape[1:]:
        room = n + 2 * pad - kernel
        count = (-(-room // stride) if ceil else room // stride) + 1
        sizes.append(count - 1 if ceil and (count - 1) * stride >= n + pad else count)
    w.then(y, [w.shape[0], *sizes])


def resized(w: Writer) -> None:
    if len(w.shape) != 3:
        return
    mode, place = w.draw([("nearest", "asymmetric"), ("linear", "half_pixel")])
    scales = w.weight([1, 1, 2, 1.5])
    empty = w.weight([], np.float32)
    y = w.emit(
        *("Resize", w.last, empty, scales),
        **{"mode": mode, "coordinate_transformation_mode": place, "nearest_mode": "floor"},
    )
    w.then(y, [w.shape[0], w.shape[1] * 2, int(w.shape[2] * 1.5)])


def moved(w: Writer) -> None:
    rank = len(w.shape)
    axes = list(range(1, rank + 1))
    perm = [0, *(axes[1:] + axes[:1])]
    w.then(w.emit("Transpose", w.last, perm=perm), [w.shape[a - 1] for a in perm[1:]])


def reshaped(w: Writer) -> None:
    total = int(np.prod(w.shape))
    shape = w.draw([(total,), (total, 1), (1, total), w.shape])
    batch = w.draw([0, -1])
    w.then(w.emit("Reshape", w.last, w.weight([batch, *shape], np.int64)), shape)


def sliced(w: Writer) -> None:
    if w.shape[-1] < 2:
        return
    ends = [w.weight([n], np.int64) for n in (1, 2**31 - 1, len(w.shape))]
    w.then(w.emit("Slice", w.last, *ends), [*w.shape[:-1], w.shape[-1] - 1])


def joined(w: Writer) -> None:
    alike = [name for name, shape in w.older if shape == w.shape]
    if alike:
        y = w.emit("Concat", w.last, w.draw(alike), axis=len(w.shape))
        w.then(y, [*w.shape[:-1], 2 * w.shape[-1]])


def reduced(w: Writer) -> None:
    if len(w.shape) < 2:
        return
    op = w.draw(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceLogSumExp"])
    w.then(w.reduce(op, w.last, [len(w.shape)], keep=0), w.shape[:-1])


def padded(w: Writer) -> None:
    amounts = [0] * (len(w.shape) + 1) + [0] * len(w.shape) + [1]
    mode = w.draw(["constant", "edge"])
    y = w.emit("Pad", w.last, w.weight(amounts, np.int64), mode=mode)
    w.then(y, [*w.shape[:-1], w.shape[-1] + 1])


STEPS = (
    *(activation, clipped, rooted, with_constant, residual, gated, quotient, normalised, softmax),
    *(product, attention, convolution, pool, resized, moved, reshaped, sliced, joined, reduced),
    padded,
)


def _finish(w: Writer) -> str:
    """Classes, an activation, and what may stand behind it."""
    total = int(np.prod(w.shape))
    flat = w.emit("Flatten", w.last, axis=1)
    logits = w.emit("Gemm", flat, w.normal(total, 4, scale=total**-0.5), w.normal(4))
    final = w.draw(["", "Softmax", "Sigmoid", "LogSoftmax"])
    y = (
        w.emit(final, logits, **({} if final in ("", "Sigmoid") else {"axis": 1}))
        if final
        else logits
    )
    tail = w.draw(["", "Identity", "Reshape", "Cast"])
    if tail == "Identity":
        return w.emit("Identity", y)
    if tail == "Reshape":
        return w.emit("Reshape", y, w.weight([0, -1], np.int64))
    if tail == "Cast":
        return w.emit("Cast", y, to=TensorProto.FLOAT)
    return y


def random_model(draw: Draw, seed: int) -> Built:
    """A model of two to eight steps, from an image, a sequence or a row of numbers."""
    w = Writer(draw, seed)
    w.shape = draw([(6,), (5, 4), (2, 6, 6), (3, 5, 7)])
    own = w.shape
    for _ in range(draw(range(2, 9))):
        draw(STEPS)(w)
        if int(np.prod(w.shape)) > 4000:
            break
    y = _finish(w)
    batch = draw(["N", 3])
    graph = helper.make_graph(
        w.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *own])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [batch, 4])],
        w.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", w.opset)], ir_version=8)
    x = w.random.standard_normal((3, *own)).astype(np.float32)
    zero = draw([True, False])
    baseline = np.zeros((1, *own)) if zero else w.random.standard_normal((1, *own)) * 0.3
    return Built(model, x, baseline.astype(np.float32))
