"""Gradients of sums, products, selections and type changes; the walk undoes their broadcasting."""

from __future__ import annotations

from functools import partial

from ..graph.tensors import is_float
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
bilinear = partial(gradient, family=Family.BILINEAR)
max_like = partial(gradient, family=Family.MAXIMUM)


@linear("Identity", "Dropout")
def identity(op, node, dy, *_):
    """dx = dy (a Dropout that may drop is refused before)."""
    return dy


@linear("Cast", "CastLike")
def cast(op, node, dy):
    """dx = dy, in x's type."""
    return op.cast_like(dy, node.x) if is_float(node.x) else None


@linear("CastLike", operand=1)
def cast_like_pattern(op, node, dy):
    """Only the type of the second operand matters."""
    return


@linear("Neg")
def neg(op, node, dy):
    """dx = -dy."""
    return -dy


@linear("Add", "Sum", operand=None, broadcasts=True)
def add(op, node, dy, operand):
    """dx_i = dy."""
    return dy


@linear("Sub", broadcasts=True)
def sub_left(op, node, dy):
    """y = a - b: da = dy."""
    return dy


@linear("Sub", operand=1, broadcasts=True)
def sub_right(op, node, dy):
    """y = a - b: db = -dy."""
    return -dy


@linear("Mean", operand=None, broadcasts=True)
def mean(op, node, dy, operand):
    """dx_i = dy / n for n operands."""
    return dy * (1.0 / len(node.inputs))


@bilinear("Mul", broadcasts=True)
def mul_left(op, node, dy):
    """y = a b: da = dy b."""
    return dy * node.inputs[1]


@bilinear("Mul", operand=1, broadcasts=True)
def mul_right(op, node, dy):
    """y = a b: db = dy a."""
    return dy * node.x


@linear("Div", broadcasts=True)
def div_left(op, node, dy):
    """y = a / b: da = dy / b."""
    return dy / node.inputs[1]


@gradient("Div", operand=1, family=Family.ELEMENTWISE, broadcasts=True)
def div_right(op, node, dy):
    """y = a / b: db = -dy y / b."""
    return -(dy * (node.y / node.inputs[1]))


@linear("Where", operand=1, broadcasts=True)
def where_true(op, node, dy):
    """y = a where c, else b: da = dy [c]."""
    return op.keep_where(dy, node.x)


@linear("Where", operand=2, broadcasts=True)
def where_false(op, node, dy):
    """y = a where c, else b: db = dy [not c]."""
    return op.keep_where(dy, ~node.x)


@max_like("Max", "Min", operand=None, broadcasts=True)
def extremum(op, node, dy, operand):
    """dx_i = dy [x_i = y] / (number of operands that equal y): ties split evenly."""
    shares = extremum_shares(op, node.inputs, node.y)
    return op.gated(dy, shares[operand])


def extremum_shares(op, operands, y):
    """[x_i = y] / sum_j [x_j = y] for each operand, in y's type."""
    hits = [op.cast_like(op.Equal(x, y), y) for x in operands]
    if len(hits) == 1:
        return hits
    total = op.Sum(*hits)
    return [hit / total for hit in hits]


@gradient("Mod", family=Family.ELEMENTWISE, broadcasts=True)
def mod(op, node, dy):
    """y = a - b trunc(a / b) (fmod): da = dy almost everywhere."""
    return dy
