"""Gradients of sums, products, selections and type changes; the walk undoes their broadcasting."""

from __future__ import annotations

from functools import partial

from ..graph.tensors import is_float
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
bilinear = partial(gradient, family=Family.BILINEAR)
max_like = partial(gradient, family=Family.MAXIMUM)


@linear("Identity", "Dropout")
def identity(emit, node, dy, *_):
    """dx = dy (a Dropout that may drop is refused before)."""
    return dy


@linear("Cast", "CastLike")
def cast(emit, node, dy):
    """dx = dy, in x's type."""
    return emit.cast_like(dy, node.inputs[0]) if is_float(node.inputs[0]) else None


@linear("CastLike", operand=1)
def cast_like_pattern(emit, node, dy):
    """Only the type of the second operand matters."""
    return


@linear("Neg")
def neg(emit, node, dy):
    """dx = -dy."""
    return emit.neg(dy)


@linear("Add", "Sum", operand=None, broadcasts=True)
def add(emit, node, dy, operand):
    """dx_i = dy."""
    return dy


@linear("Sub", broadcasts=True)
def sub_left(emit, node, dy):
    """y = a - b: da = dy."""
    return dy


@linear("Sub", operand=1, broadcasts=True)
def sub_right(emit, node, dy):
    """y = a - b: db = -dy."""
    return emit.neg(dy)


@linear("Mean", operand=None, broadcasts=True)
def mean(emit, node, dy, operand):
    """dx_i = dy / n for n operands."""
    return emit.mul(dy, 1.0 / len(node.inputs))


@bilinear("Mul", broadcasts=True)
def mul_left(emit, node, dy):
    """y = a b: da = dy b."""
    return emit.mul(dy, node.inputs[1])


@bilinear("Mul", operand=1, broadcasts=True)
def mul_right(emit, node, dy):
    """y = a b: db = dy a."""
    return emit.mul(dy, node.inputs[0])


@linear("Div", broadcasts=True)
def div_left(emit, node, dy):
    """y = a / b: da = dy / b."""
    return emit.div(dy, node.inputs[1])


@gradient("Div", operand=1, family=Family.ELEMENTWISE, broadcasts=True)
def div_right(emit, node, dy):
    """y = a / b: db = -dy y / b."""
    return emit.neg(emit.mul(dy, emit.div(node.outputs[0], node.inputs[1])))


@linear("Where", operand=1, broadcasts=True)
def where_true(emit, node, dy):
    """y = a where c, else b: da = dy [c]."""
    return emit.keep_where(dy, node.inputs[0])


@linear("Where", operand=2, broadcasts=True)
def where_false(emit, node, dy):
    """y = a where c, else b: db = dy [not c]."""
    return emit.keep_where(dy, emit("Not", node.inputs[0]))


@max_like("Max", "Min", operand=None, broadcasts=True)
def extremum(emit, node, dy, operand):
    """dx_i = dy [x_i = y] / (number of operands that equal y): ties split evenly."""
    shares = extremum_shares(emit, node.inputs, node.outputs[0])
    return emit.gated(dy, shares[operand])


def extremum_shares(emit, operands, y):
    """[x_i = y] / sum_j [x_j = y] for each operand, in y's type."""
    hits = [emit.cast_like(emit("Equal", x, y), y) for x in operands]
    if len(hits) == 1:
        return hits
    total = emit("Sum", *hits)
    return [emit.div(hit, total) for hit in hits]


@gradient("Mod", family=Family.ELEMENTWISE, broadcasts=True)
def mod(emit, node, dy):
    """y = a - b trunc(a / b) (fmod): da = dy almost everywhere."""
    return dy
