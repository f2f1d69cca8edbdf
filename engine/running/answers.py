"""What the model answered: the probabilities of the classes, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ...graph_passes.graph.operators import Fact, has
from ...graph_passes.graph.tensors import producer_of
from ...graph_passes.select.ending import AFFINE, TAIL, ending_of, varying_operand
from ...graph_passes.select.rows.places import Place
from ...graph_passes.select.subject import Subject
from ...models.plain_card import Card

_ONE = 1e-3
# The file gives probabilities itself; else they are made of its scores, and are named after how.
MODEL, SOFTMAX, SIGMOID = "model", "softmax", "sigmoid"
# Ends of formulae that are written out: 1 / (1 + exp(-x)), clip(0.2 x + 0.5, 0, 1).
_BOUNDED = {"Reciprocal", "Div", "HardSigmoid", "Clip", "Tanh", "Softsign", "Erf", "Exp", "Min"}
# The second class is this near to the first, by the ratio of their probabilities: a close call.
_CLOSE = 0.5


class Top(NamedTuple):
    """One class of the model's answer.

    Attributes:
        index: the class.
        label: its name; None: not known.
        score: its logit, as the explained score is read; None where a probability of 0 hides it.
        probability: 0 to 1; None where the output says none.
    """

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    label: str | None
    score: float | None
    probability: float | None

    @property
    def words(self) -> str:
        """Its name, or its index."""
        return self.label or f"class {self.index}"


class Reading(NamedTuple):
    """How an output is read: what `Subject` and card know of it, and an explanation keeps.

    Attributes:
        output: its name.
        classes: whether a row is one number for each class; and how many, where that is known.
        number: see `classes`.
        activation: the one that it ends in, or None.
        logits: whether scores are read in front of that.
        in_place: whether an index tuple finds its own number in the output.
        raw: whether nothing is seen that bounds its numbers: they are scores as a layer makes them.
        given: how the card says that scores become probabilities; None: it does not.
    """

    output: str
    classes: bool
    number: int | None
    activation: str | None
    logits: bool
    in_place: bool
    raw: bool
    given: str | None = None


def reading_of(subject: Subject, card: Card | None) -> Reading:
    """How a subject's output is read."""
    ending = ending_of(subject.output)
    moved = not all(has(node, Fact.COPIES) for node in ending.nodes)
    return Reading(
        subject.output.name,
        classes=subject.per_class and not subject.embedding,
        number=subject.classes if isinstance(subject.classes, int) else None,
        activation=None if ending.activation is None else ending.activation.op,
        logits=subject.activation is not None,
        in_place=not moved and subject.rows.get(subject.output.name) == Place(0),
        raw=not _is_bounded(ending.tensor),
        given=None if card is None else card.probability,
    )


def _is_bounded(tensor: gs.Tensor) -> bool:
    """Whether what makes a tensor bounds its numbers, as a sigmoid of an exporter's own does."""
    while (node := producer_of(tensor)) is not None:
        varying = varying_operand(node) if node.op in AFFINE else None
        if node.op not in TAIL and varying is None:
            return node.op in _BOUNDED
        tensor = node.inputs[varying or 0]
    return False


def rows_of(reading: Reading, output: np.ndarray) -> np.ndarray | None:
    """An output [N, ...] as N rows of one number for each class, float64; None: it is none."""
    values = np.asarray(output)
    # Whole numbers are a quantiser's steps, or an index: no scores.
    if not reading.classes or values.dtype.kind != "f" or values.ndim == 0:
        return None
    if sum(size != 1 for size in values.shape[1:]) > 1:
        return None
    rows = values.reshape(len(values), -1)
    # One row whose batch axis went.
    if values.ndim == 1 and rows.shape[1] != reading.number and values.size == reading.number:
        rows = values.reshape(1, -1)
    known = rows.shape[1] == reading.number or (reading.number is None and rows.size > 0)
    return rows.astype(np.float64) if known else None


def probabilities(reading: Reading, rows: np.ndarray) -> tuple[np.ndarray | None, str | None]:
    """The classes' probabilities of each row [N, K], and where they come from.

    The file's own, behind a final Softmax, LogSoftmax (the exponential is taken) or Sigmoid, or
    where all numbers are 0 or more and sum to 1. Else softmax(scores) of two classes or more, and
    what the card says: classes that do not exclude each other need its "sigmoid". Of one raw number
    nobody knows whether it is a class's score, and numbers that something bounds may be
    probabilities by a way of their own: None.
    """
    if reading.activation == "LogSoftmax":
        return np.exp(rows), MODEL
    if reading.activation is not None or _sum_to_one(rows):
        known = rows.size > 0 and rows.min() >= 0 and rows.max() <= 1 + _ONE
        return (rows, MODEL) if known else (None, None)
    how = reading.given or (SOFTMAX if reading.raw and rows.shape[1] > 1 else None)
    with np.errstate(all="ignore"):
        if how == SIGMOID:
            return 1 / (1 + np.exp(-rows)), SIGMOID
        if how == SOFTMAX:
            parts = np.exp(rows - rows.max(axis=1, keepdims=True))
            return parts / parts.sum(axis=1, keepdims=True), SOFTMAX
    return None, None


def _sum_to_one(rows: np.ndarray) -> bool:
    several = rows.size > 0 and rows.shape[1] > 1
    return several and bool((rows >= 0).all() and (abs(rows.sum(axis=1) - 1) <= _ONE).all())


class Answer(NamedTuple):
    """What a model says of one input.

    Attributes:
        scores: one for each class, as the output has them; None where it has none.
        chances: their probabilities; None: not known.
        how: where those come from.
    """

    scores: np.ndarray | None
    chances: np.ndarray | None
    how: str | None

    def chance(self, target: int) -> float | None:
        """The probability of a class."""
        known = self.chances is not None and 0 <= target < len(self.chances)
        return _number(self.chances, target) if known else None


def answer(reading: Reading, output: np.ndarray, row: int) -> Answer:
    """What the model says of one row of an output [N, ...], or of one row for all."""
    values = np.asarray(output)
    alone = values.ndim > 1 and len(values) > 1
    rows = rows_of(reading, values[row : row + 1] if alone else values)
    if rows is None or not len(rows):
        return Answer(None, None, None)
    own = rows[[row if len(rows) > 1 else 0]]
    chances, how = probabilities(reading, own)
    return Answer(own[0], None if chances is None else chances[0], how)


def chance_at(
    reading: Reading, output: np.ndarray, index: tuple[int, ...], row: int
) -> float | None:
    """The probability of an index tuple, where the file gives it in its place."""
    values = np.asarray(output)
    whole = reading.in_place and reading.activation is not None
    if not whole or values.ndim != len(index) + 1 or not len(values):
        return None
    value = float(values[(row if len(values) > 1 else 0, *index)])
    value = float(np.exp(value)) if reading.activation == "LogSoftmax" else value
    return value if 0 <= value <= 1 + _ONE else None


def best(
    reading: Reading,
    found: Answer,
    labels: Sequence[str] | None,
    k: int,
    constant: float | None = None,
) -> list[Top]:
    """The k best classes of an answer, the best first; fewer where there are fewer.

    Args:
        reading: of the output.
        found: the answer.
        labels: the classes' names.
        k: how many.
        constant: of a Softmax's scores, see below; None: they are not known.

    Scores in front of a final activation are read off what the file gives: of Softmax and
    LogSoftmax ln p plus one constant for all classes, of Sigmoid ln(p / (1 - p)).
    """
    if found.scores is None:
        return []
    scores = _scores(reading, found.scores, constant)
    order = np.argsort(-found.scores, kind="stable")[: max(k, 0)]
    return [
        Top(
            int(index),
            str(labels[index]) if labels and index < len(labels) else None,
            _number(scores, index),
            _number(found.chances, index),
        )
        for index in order
    ]


def _number(values: np.ndarray | None, index: int) -> float | None:
    known = values is not None and bool(np.isfinite(values[index]))
    return float(values[index]) if values is not None and known else None


def _scores(reading: Reading, row: np.ndarray, constant: float | None) -> np.ndarray:
    if not reading.logits:
        return row
    with np.errstate(all="ignore"):
        if reading.activation in ("Softmax", "LogSoftmax"):
            logarithms = np.log(row) if reading.activation == "Softmax" else row
            return logarithms + (np.nan if constant is None else constant)
        if reading.activation == "Sigmoid":
            return np.log(row / (1 - row))
    return row


def is_close(top: Sequence[Top], how: str | None, activation: str | None) -> bool:
    """Whether the first two classes are near each other, of classes that exclude each other."""
    apart = how == SIGMOID or activation == "Sigmoid"
    chances = [one.probability for one in top[:2] if one.probability is not None]
    return not apart and len(chances) == 2 and chances[1] >= _CLOSE * chances[0]


def percent(probability: float) -> str:
    """A probability for people: "96 %", "0.4 %", "99.97 %", "< 0.1 %"."""
    value = 100 * probability
    if value < 0.1:
        return "< 0.1 %"
    if 99.5 <= value < 100:
        return f"{value:.2f} %" if value < 99.995 else "> 99.99 %"
    return f"{value:.1f} %" if value < 1 else f"{value:.0f} %"
