"""Terms: what formulas are written with. `dy * (1 - y * y)` emits a Mul, a Sub and a Mul.

What an emitter makes are tensors of onnx-graphsurgeon that are terms, too; a tensor of the file
becomes one by `Emitter.term`, and a node whose operands are terms by `NodeView`. Every operation
returns a new tensor in the graph, in the order in which Python evaluates the formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

# What emits: called with an operator and its operands, it returns a new tensor.
Emit: TypeAlias = Any


class Term:
    """A tensor with arithmetic: `+ - * / @`, unary `-`, `abs`, `~` (Not) and comparisons.

    The other side may be a tensor, an array, a list of integers (int64) or a number, which takes
    the type of this one. `==` compares tensors, not their values: write `op.Equal`.
    """

    __slots__ = ()
    _emitter: Emit
    name: Any
    shape: Any
    dtype: Any
    values: Any
    inputs: Any
    outputs: Any
    # Arrays and numpy's numbers leave arithmetic with terms to the terms.
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Any:
        return self._emitter("Add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._emitter("Add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._emitter("Sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._emitter("Sub", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._emitter("Mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._emitter("Mul", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._emitter("Div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._emitter("Div", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._emitter("MatMul", self, other)

    def __neg__(self) -> Any:
        return self._emitter("Neg", self)

    def __abs__(self) -> Any:
        return self._emitter("Abs", self)

    def __invert__(self) -> Any:
        return self._emitter("Not", self)

    def __gt__(self, other: Any) -> Any:
        return self._emitter("Greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._emitter("GreaterOrEqual", self, other)

    def __lt__(self, other: Any) -> Any:
        return self._emitter("Less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._emitter("LessOrEqual", self, other)


class Emitted(gs.Variable, Term):
    """What a node that was emitted makes.

    Bases in this order: only then can gs turn one into a constant where it stands.
    """

    def __init__(self, emitter: Emit, name: str, dtype: Any = None, shape: Any = None):
        super().__init__(name, dtype, shape)
        self._emitter = emitter


class EmittedConstant(gs.Constant, Term):
    """An initializer that was emitted."""

    def __init__(self, emitter: Emit, name: str, values: np.ndarray):
        super().__init__(name, values)
        self._emitter = emitter


class Seen(Term):
    """A tensor that stands in the graph already, in the formulas of one emitter."""

    __slots__ = ("_emitter", "tensor")

    def __init__(self, emitter: Emit, tensor: Any):
        self._emitter = emitter
        self.tensor = tensor

    def __repr__(self) -> str:
        return f"Seen({self.tensor!r})"

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.tensor.name

    @property
    def dtype(self) -> Any:
        """The tensor's type."""
        return self.tensor.dtype

    @property
    def values(self) -> Any:
        """The numbers of a constant."""
        return self.tensor.values

    @property
    def inputs(self) -> Any:
        """The node that makes the tensor, in a list."""
        return self.tensor.inputs

    @property
    def outputs(self) -> Any:
        """The nodes that read the tensor."""
        return self.tensor.outputs

    @property
    def shape(self) -> Any:
        """The tensor's shape."""
        return self.tensor.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self.tensor.shape = shape


def lowered(value: Any) -> Any:
    """The tensor that a term stands for; anything else as it is."""
    return value.tensor if isinstance(value, Seen) else value


class NodeView:
    """A node as formulas see it: what goes in and what comes out are terms.

    Attributes:
        op: the operator, as in `gs.Node`; so are name, domain and attrs.
        inputs: terms; None for what is omitted.
        outputs: terms.
        node: the node itself; of a stand-in, the one that it stands for.
    """

    def __init__(self, emitter: Emit, node: gs.Node):
        self.node, self._emitter = node, emitter
        self.op: str = node.op
        self.name, self.domain, self.attrs = node.name, node.domain, node.attrs
        self.inputs: list[Any] = [emitter.term(t) if t.name else None for t in node.inputs]
        self.outputs: list[Any] = [emitter.term(t) for t in node.outputs]

    @property
    def x(self) -> Any:
        """What goes in first."""
        return self.inputs[0]

    @property
    def y(self) -> Any:
        """What comes out first."""
        return self.outputs[0]

    def output(self, k: int, hint: str, dtype: Any, shape: Any = None) -> Any:
        """What comes out at place k; a node that leaves it out is made to put it out."""
        outputs = self.node.outputs
        while len(outputs) <= k:
            outputs.append(gs.Variable.empty())
        if not outputs[k].name:
            outputs[k] = gs.Variable(self._emitter.name(hint), np.dtype(dtype), shape)
        return self._emitter.term(outputs[k])

    def with_inputs(self, inputs: Sequence[Any], op: str | None = None) -> NodeView:
        """A stand-in, of which nothing is emitted: the node had it other inputs (or operator).

        Its outputs have shapes and types, no values.
        """
        stand_in = copy(self)
        stand_in.op, stand_in.inputs = op or self.op, list(inputs)
        blanks = [gs.Variable("shape_only", y.dtype, y.shape) for y in self.outputs]
        stand_in.outputs = [Seen(self._emitter, blank) for blank in blanks]
        return stand_in
