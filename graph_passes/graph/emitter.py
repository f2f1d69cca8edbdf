"""Emitting nodes: the small language in which the rules and heads are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .dims import Shape, broadcast_axes, is_static, same_shape
from .limits import hold
from .names import RESERVED, emitted_for
from .operators import Fact, has, operator
from .sizes import compute
from .tensors import Value, is_constant, numpy_type, onnx_type
from .terms import Emitted, EmittedConstant, Seen, Term, lowered


def _counts(op: str) -> bool:
    """Whether an operator is one that rules compute sizes by."""
    return has(op, Fact.ARITHMETIC) or op in ("Max", "Concat")


def _common_shape(inputs: Sequence[gs.Tensor]) -> Shape:
    shapes = [t.shape for t in inputs if t.name and not (is_constant(t) and t.values.size == 1)]
    if not shapes or not all(same_shape(shapes[0], other) for other in shapes):
        return None
    return shapes[0]


@cache
def _operators() -> frozenset[str]:
    """The names of ONNX's own operators."""
    return frozenset(s.name for s in onnx.defs.get_all_schemas() if not s.domain)


class Emitter:
    """Appends nodes to a graph and names what they return: `op.Where(c, a, b)`, `op.Exp(x)`.

    Every ONNX operator is a method; `op(name, ...)` and `op.many(name, count, ...)` take its name
    as a string, `many` for several outputs. Operands may be terms, tensors, numpy arrays, Python
    numbers (which take the type of the first tensor operand), lists of integers (int64) or None (an
    omitted optional input); keywords are attributes. What comes back is a tensor of the graph and a
    `Term`, to go on with by arithmetic. A `bounded` emitter holds what it writes to the limit on
    nodes.
    """

    def __init__(self, graph: gs.Graph, prefix: str = "explain", bounded: bool = False):
        self.graph = graph
        self.prefix = prefix
        self._bounded = bounded
        # Of the node that a rule works on: whether its cotangent may be infinite, and its name,
        # which what the rule emits is called after.
        self.selecting = False
        self.place: str | None = None
        self._taken = set(graph.tensors())
        self._count = 0
        self._scalars: dict[tuple[str, str], EmittedConstant] = {}
        self._shapes: dict[str, Any] = {}

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op not in _operators():
            raise AttributeError(f"ONNX has no operator {op!r}, and an emitter no such method")
        return partial(self.__call__, op)

    def term(self, tensor: Value) -> Any:
        """The tensor as a `Term` of formulas that this emitter writes."""
        plain = lowered(tensor)
        own = isinstance(plain, Term) and plain._emitter is self
        return plain if own else Seen(self, plain)

    def input(self, name: str, dtype: Any, shape: Sequence[Any]) -> Any:
        """A further input of the graph."""
        tensor = Emitted(self, name, dtype, list(shape))
        self.graph.inputs.append(tensor)
        return tensor

    def name(self, hint: str) -> str:
        """A tensor name that nobody in the graph has."""
        while True:
            name = f"{RESERVED}{self.prefix}/{hint}_{self._count}"
            self._count += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

    def constant(self, values: Any, dtype: Any = None) -> EmittedConstant:
        """An initializer; scalars are shared."""
        array = np.asarray(values, dtype=None if dtype is None else numpy_type(dtype))
        if array.dtype == np.float64 and dtype is None and not isinstance(values, np.ndarray):
            array = array.astype(np.float32)
        if array.ndim:
            return EmittedConstant(self, self.name("constant"), np.ascontiguousarray(array))
        key = (repr(array.item()), str(array.dtype))
        if key not in self._scalars:
            self._scalars[key] = EmittedConstant(self, self.name("scalar"), array)
        return self._scalars[key]

    def _operand(self, value: Any, dtype: Any) -> gs.Tensor:
        if isinstance(value, gs.Tensor):
            return value
        if value is None:
            return gs.Variable.empty()
        if isinstance(value, np.ndarray):
            return self.constant(value)
        if isinstance(value, list | tuple):
            return self.constant(np.asarray(value, np.int64))
        return self.constant(value, dtype)

    def many(
        self, op: str, count: int, *operands: Any, domain: str = "", **attributes: Any
    ) -> list[Any]:
        """Emit one node with `count` outputs; returns them as a list."""
        operands = tuple(map(lowered, operands))
        # A Where's numbers are of its values' type, not of its condition's.
        values = operands[1:] if op == "Where" else operands
        typed = next((v for v in values if isinstance(v, gs.Tensor) and v.name), None)
        dtype = None if typed is None else typed.dtype
        if typed is not None and dtype is None:
            # A number beside a tensor of unknown type, which counts as float.
            dtype = np.float32
        inputs = [self._operand(v, dtype) for v in operands]
        if _counts(op) and all(is_constant(v) and v.dtype == np.int64 for v in inputs):
            # Arithmetic of known sizes stays out of the graph.
            return [self.constant(compute(op, attributes, [v.values for v in inputs]))]
        while inputs and not inputs[-1].name:
            inputs.pop()
        dtype = self._result_type(op, inputs, attributes)
        outputs = [Emitted(self, self.name(op), dtype) for _ in range(count)]
        if has(op, Fact.SAME_SHAPE):
            outputs[0].shape = _common_shape(inputs)
        if self._bounded:
            hold("nodes", f"nodes written for {op}", self._count)
        name = emitted_for(outputs[0].name, self.place)
        node = gs.Node(op, name, attributes, inputs, outputs, domain=domain or None)
        self.graph.nodes.append(node)
        return outputs

    def either(
        self,
        condition: Value,
        then: Callable[[Emitter], Sequence[Any]],
        otherwise: Callable[[Emitter], Sequence[Any]],
        dtypes: Sequence[Any],
    ) -> list[Any]:
        """An If: what one of two functions emits by an emitter of its own; tensors of these types.

        A branch computes every tensor that it returns; what it only reads stands around it.
        """
        bodies = {}
        for name, write in (("then_branch", then), ("else_branch", otherwise)):
            domains = self.graph.import_domains
            graph = gs.Graph(opset=self.graph.opset, import_domains=domains, name=name)
            self._count += 1
            inner = Emitter(graph, f"{self.prefix}/{name}_{self._count}")
            graph.outputs = [lowered(value) for value in write(inner)]
            bodies[name] = graph
        outputs = [Emitted(self, self.name("If"), np.dtype(dtype)) for dtype in dtypes]
        node = gs.Node("If", outputs[0].name, bodies, [lowered(condition)], outputs)
        self.graph.nodes.append(node)
        return outputs

    def __call__(self, op: str, *operands: Any, **attributes: Any) -> Any:
        """Emit one node with one output; returns it."""
        return self.many(op, 1, *operands, **attributes)[0]

    def _result_type(self, op: str, inputs: Sequence[gs.Tensor], attributes: dict[str, Any]):
        own = operator(op)
        if own.result is not None:
            return np.dtype(own.result)
        if op == "Cast":
            return numpy_type(attributes["to"])
        if op == "ConstantOfShape":
            return attributes["value"].values.dtype
        if op == "EyeLike":
            return numpy_type(attributes["dtype"])
        return inputs[own.typed_by].dtype if inputs else None

    def mean(self, a: Value, b: Value) -> Any:
        """(a + b) / 2."""
        return (self.term(a) + b) * 0.5

    def cast_like(self, a: Value, like: Value) -> Any:
        """`a` in the type of `like`."""
        if a.dtype is not None and a.dtype == like.dtype:
            return a
        return self.Cast(a, to=onnx_type(like.dtype))

    def keep_where(self, a: Value, condition: Value) -> Any:
        """`a` where the condition holds, else 0.

        Cast and Mul: ONNX Runtime's CPU provider runs Where several times slower.
        """
        if self.selecting:
            return self.Where(condition, a, self._zero(a))
        return self.term(a) * self.cast_like(condition, a)

    def gated(self, a: Value, factor: Value) -> Any:
        """a * factor; where the factor is 0 that is 0, though `a` may be infinite."""
        product = self.term(a) * factor
        if not self.selecting:
            return product
        return self.Where(self.Equal(factor, 0.0), self._zero(a), product)

    def _zero(self, like: Value) -> Any:
        return self.constant(0.0, like.dtype)

    def sum(self, terms: Sequence[Value]) -> Any:
        """t0 + t1 + ..."""
        total = terms[0]
        for term in terms[1:]:
            shape = total.shape
            total = self.Add(total, term)
            total.shape = shape
        return total

    # Shapes: constants where they are known, computed where they are not.

    def shape(self, tensor: Value) -> Any:
        """The tensor's shape, int64 [rank]."""
        if is_static(tensor.shape):
            return self.constant(np.asarray(tensor.shape, np.int64))
        if tensor.name not in self._shapes:
            self._shapes[tensor.name] = self.Shape(tensor)
        return self._shapes[tensor.name]

    def dims(self, tensor: Value, start: int, end: int | None = None) -> Any:
        """The dimensions start..end-1 of the tensor's shape, int64 [end - start]."""
        part = None if tensor.shape is None else list(tensor.shape)[start:end]
        if part is not None and is_static(part):
            return self.constant(np.asarray(part, np.int64))
        bounds = {"start": start} if end is None else {"start": start, "end": end}
        return self.Shape(tensor, **bounds)

    def target_shape(self, tensor: Value) -> Any:
        """What Reshape needs to give something this tensor's shape.

        One unknown dimension becomes -1.
        """
        if tensor.shape is not None:
            unknown = [dim for dim in tensor.shape if not isinstance(dim, int)]
            if len(unknown) <= 1 and 0 not in tensor.shape:
                dims = [dim if isinstance(dim, int) else -1 for dim in tensor.shape]
                return self.constant(np.asarray(dims, np.int64))
        return self.shape(tensor)

    def reshape_like(self, value: Value, like: Value) -> Any:
        """`value`'s elements in `like`'s shape."""
        result = self.Reshape(value, self.target_shape(like))
        result.shape = like.shape
        return result

    def expand_like(self, value: Value, like: Value) -> Any:
        """`value` repeated to `like`'s shape."""
        result = self.Expand(value, self.shape(like))
        result.shape = like.shape
        return result

    def filled_like(self, like: Value, value: float, dtype: Any = None, hint: str = "fill") -> Any:
        """A tensor of `like`'s shape, and type unless one is given, that holds one number."""
        fill = self.single(value, like.dtype if dtype is None else dtype, hint)
        result = self.ConstantOfShape(self.shape(like), value=fill)
        result.shape = like.shape
        return result

    def filled(self, shape: Value, value: float, dtype: Any, hint: str = "fill") -> Any:
        """A tensor of this shape (int64 [rank]) and type that holds one number."""
        return self.ConstantOfShape(shape, value=self.single(value, dtype, hint))

    def single(self, value: float, dtype: Any, hint: str) -> gs.Constant:
        """What ConstantOfShape repeats."""
        return gs.Constant(self.name(hint), np.asarray([value], numpy_type(dtype)))

    def pad(
        self, value: Value, amounts: Any, axes: Sequence[int], rank: int, fill: float = 0.0
    ) -> Any:
        """`value` with `amounts` (begins, then ends; negative ones crop) of `fill` along `axes`.

        Written with an amount for every axis: where ONNX Runtime (seen in 1.31) moves a Transpose
        past a Pad, it forgets Pad's own input `axes`.
        """
        places = [*axes, *(rank + axis for axis in axes)]
        everywhere = np.zeros(2 * rank, np.int64)
        amounts = self._operand(amounts, np.int64)
        if is_constant(amounts):
            everywhere[places] = amounts.values
            amounts = self.constant(everywhere)
        elif places != list(range(2 * rank)):
            amounts = self.ScatterElements(everywhere, places, amounts, axis=0)
        return self.Pad(value, amounts, self.constant(fill, value.dtype))

    def sum_to(self, value: Value, value_shape: Shape, like: Value) -> Any:
        """Undo a broadcast: sum `value` over the axes along which `like` was repeated."""
        if same_shape(value_shape, like.shape):
            return value
        axes = broadcast_axes(value_shape, like.shape)
        if axes is None:
            return self._sum_to_at_run_time(value, like)
        if not axes:
            return value
        total = self.ReduceSum(value, axes, keepdims=1)
        assert value_shape is not None and like.shape is not None
        if len(value_shape) > len(like.shape):
            lead = list(range(len(value_shape) - len(like.shape)))
            total = self.Squeeze(total, lead)
        return total

    def _sum_to_at_run_time(self, value: Value, like: Value) -> Any:
        wide, narrow = self.Shape(value), self.shape(like)
        lead = self.Shape(wide) - self.Shape(narrow)
        ones = self.filled(lead, 1, np.int64, "one")
        padded = self.Concat(ones, narrow, axis=0)
        repeated = ~self.Equal(wide, padded)
        axes = self.Reshape(self.NonZero(repeated), [-1])
        total = self.ReduceSum(value, axes, keepdims=1, noop_with_empty_axes=1)
        return self.Reshape(total, narrow)
