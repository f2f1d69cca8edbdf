"""What can be said of an operator: the columns of the table in `operators.py`."""

from __future__ import annotations

from enum import Flag, auto
from typing import NamedTuple


class Fact(Flag):
    """What is true of an operator whatever model it stands in."""

    # Where the elements of the operands go.
    ALIGNS = auto()
    """Operands are aligned at the right: each result depends on what stands at its place."""
    KEEPS_PLACES = auto()
    """Each output element stands where its own input element does."""
    KEEPS_AXES = auto()
    """Leaves axes where they are, whatever becomes of their length; so does what ALIGNS."""
    BY_IMAGE = auto()
    """Works on each element of the first axis by itself."""
    CHANNELS_SECOND = auto()
    """Results have channels on the second axis."""
    ALONG_AXIS = auto()
    """Takes elements together along one axis that it names, and keeps that axis."""
    REDUCES = auto()
    """Takes the axes together that its second operand lists."""
    MOVES = auto()
    """Each output element is one element of one operand (or many are), but for its sign."""
    COPIES = auto()
    """The first operand's elements in its shape, perhaps in another type."""
    PERMUTES = auto()
    """All elements of the operand along other axes."""
    RESHAPES = auto()
    """The same, in their order."""
    DROPS = auto()
    """Elements of the operand may be missing in the result."""
    FILLS = auto()
    """Further numbers stand among the operand's elements."""
    BY_INDEX = auto()
    """Elements go to places that only the values of another operand tell."""
    ONE_OPERAND = auto()
    """What stands behind the first operand is no data: sizes, axes, indices, bounds."""

    # What it computes.
    ARITHMETIC = auto()
    """+, -, * or / of two operands."""
    COMPARES = auto()
    """A relation between two operands."""
    SUMS = auto()
    """A sum of operands; it moves elements where only one of them varies."""
    WEIGHTED = auto()
    """A sum with weights of both signs, the operand that does not vary."""
    CONVOLVES = auto()
    """A sum over a window with weights."""
    DENSE = auto()
    """A product with a matrix of weights."""
    AVERAGES = auto()
    """A sum of one operand's elements with weights above zero."""
    POOLS = auto()
    """Takes each window of a channel together."""
    POOLS_ALL = auto()
    """Takes each channel together."""
    LEAST = auto()
    """Picks the smallest element."""
    RECURS = auto()
    """A recurrent network."""
    CLASSIFIES = auto()
    """Makes probabilities of scores, or their logarithms: what classifiers end with."""
    STEP = auto()
    """Piecewise constant: no derivative reaches its operands."""
    REVEALED = auto()
    """A function that RevealCancel's formula fits: defined everywhere, continuous, of bounded
    slope. f(x' + dx+) may not exist for others (Log), overflow (Exp) or land on the wrong side of a
    jump (Round)."""
    HOMOGENEOUS = auto()
    """c times the first operand makes c times the result, for c > 0."""
    MEASURES = auto()
    """A norm of what it takes together, or a power of one."""
    STEEP_AT_ENDS = auto()
    """The slope is infinite where the range of the operand ends: at 1, say."""
    RANDOM = auto()
    """Results are drawn anew in each run."""

    # Signs.
    KEEPS_SIGN = auto()
    """Positive, or never negative, where the first operand is."""
    KEEPS_SIGNS = auto()
    """Positive, or never negative, where all operands are."""
    NEVER_NEGATIVE = auto()
    """Results are 0 or more."""
    POSITIVE = auto()
    """Results are above 0."""
    RECTIFIES = auto()
    """LRP treats its results as never negative."""

    # What may be done with it before a model runs.
    EVALUATED = auto()
    """Computes sizes, indices and masks; ONNX's reference implementation may run it."""
    FOLDED = auto()
    """ONNX Runtime may compute it of constants, as it may what is EVALUATED."""
    BY_VALUES = auto()
    """How many elements the result has depends on values."""
    CARRIED = auto()
    """ONNX's shape inference carries its results as numbers."""
    SIZES = auto()
    """Reads the operand's shape alone."""
    NO_DATA = auto()
    """Results come from sizes and limits, not from elements."""
    TOTAL = auto()
    """Cannot fail on operands of shapes that inference let pass, whatever their values are."""
    SAME_SHAPE = auto()
    """Where its operands have one shape an emitter gives the result that shape."""


class Operator(NamedTuple):
    """A row of the table.

    Attributes:
        name: of the operator, in ONNX's own domain.
        facts: what is true of it.
        result: the type of the results, "int64" or "bool"; None: that of an operand.
        typed_by: that operand.
        added: the operand that is added to what is linear in the others, or fills.
        indices: the operand that holds indices.
        sizes: the operand that says only how large the result is.
        pole: the operand at whose 0 the slope by it may be infinite.
    """

    name: str
    facts: Fact
    result: str | None = None
    typed_by: int = 0
    added: int | None = None
    indices: int | None = None
    sizes: int | None = None
    pole: int | None = None


def row(name: str, *facts: Fact, **more) -> Operator:
    """One row, its facts in any order."""
    together = Fact(0)
    for fact in facts:
        together |= fact
    return Operator(name, together, **more)
