"""What the file's own outputs say beside the score: a class's probability, and how many classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .. import InvalidInputError
from ..graph_passes.select.ending import ending_of
from ..graph_passes.select.rows.places import Place
from ..graph_passes.select.subject import Subject
from ..models.card import ModelCard
from .explanation import Explanation, each_target
from .origin import Origin

_ONE = 1e-3


def probability(subject: Subject, e: Explanation) -> float | None:
    """What the model's own output gives for the explained class, where that is a probability.

    It is one behind a final Softmax, LogSoftmax (whose exponential is taken) or Sigmoid, or where
    the output is the score itself and all of its numbers are 0 or more and sum to 1. From plain
    logits it cannot be told: classes may exclude each other, or not. So it is None there, and for
    maps, whose score is of many pixels.

    Args:
        subject: what is explained.
        e: the explanation of one input and one target.
    """
    output = e.outputs.get(subject.output.name)
    if output is None or (subject.is_map and not isinstance(e.target, tuple)):
        return None
    row = np.asarray(output, np.float64)
    if isinstance(e.target, tuple):
        tail = ending_of(subject.output).nodes
        moved = any(node.op not in ("Identity", "Cast", "Dropout") for node in tail)
        moved = moved or subject.rows.get(subject.output.name) != Place(0)
        if moved or row.shape[0] != 1 or row.ndim != len(e.target) + 1:
            return None
        value = row[(0, *e.target)]
    else:
        index = int(e.target[0])
        if subject.needs_index or index >= row.size or not _is_row(subject, row):
            return None
        value = row.reshape(-1)[index]
    if subject.activation == "LogSoftmax":
        value = np.exp(value)
    elif subject.activation is None and (isinstance(e.target, tuple) or not _sums_to_one(row)):
        return None
    return float(value) if 0 <= value <= 1 + _ONE else None


def origin_of(
    subject: Subject,
    e: Explanation,
    card: ModelCard | None,
    feeds: Mapping[str, np.ndarray],
    doubt: str | None = None,
) -> Origin:
    """What an explanation was made of, with what `probability` says of each of its rows.

    Args:
        subject: what is explained.
        e: the explanation of N inputs, or of one input for N targets.
        card: of the model, if known.
        feeds: what the model was fed.
        doubt: why a map may lie elsewhere than it is drawn.
    """
    name = subject.output.name
    ones, output = each_target(e), e.outputs.get(name)
    rowed = output is not None and output.ndim > 0 and len(output) == len(ones) > 1
    found = []
    for row, one in enumerate(ones):
        if rowed and output is not None:
            one = replace(one, outputs={name: output[row : row + 1]})
        found.append(probability(subject, one))
    inputs = {source.input.name: feeds[source.input.name] for source in subject.sources}
    return Origin(card, inputs, name, found, doubt=doubt)


def check_label_count(
    labels: Sequence[str] | None, subject: Subject, e: Explanation | None = None
) -> None:
    """Refuse labels that are not as many as the classes: some score would have a wrong name.

    Args:
        labels: of the model card, or of --labels.
        subject: what is explained.
        e: an explanation, whose outputs say how many classes there are where the file does not.

    Raises:
        InvalidInputError: fewer or more, with both numbers.
    """
    if not labels or subject.needs_index:
        return
    classes = subject.classes
    if not isinstance(classes, int):
        output = None if e is None else e.outputs.get(subject.output.name)
        if output is None or not (subject.is_map or _is_row(subject, output)):
            return
        classes = output.shape[subject.class_axis] if subject.is_map else output.size
    if len(labels) != classes:
        raise InvalidInputError(
            f"expected a label for each class of {subject.output.name!r}: {classes}, "
            f"got {len(labels)} labels"
        )


def _is_row(subject: Subject, output: np.ndarray) -> bool:
    """Whether the output holds one number for each class of one input, and nothing else."""
    if sum(size != 1 for size in output.shape) > 1:
        return False
    return not isinstance(subject.classes, int) or output.size == subject.classes


def _sums_to_one(row: np.ndarray) -> bool:
    return row.size > 1 and bool((row >= 0).all()) and abs(float(row.sum()) - 1) <= _ONE
