"""The tensor that holds the scores: before the final activation, batch first, its class axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import Dim, Shape, describe
from ..graph.emitter import Emitter
from .class_axis import axis_behind
from .ending import AFFINE, Ending, ending_of, varying_operand
from .raw_scores import Raw, before_sigmoids
from .rows.places import Lost, Place, Rows
from .squeezed import with_rows


class Scores(NamedTuple):
    """The tensor that holds an output's scores.

    Attributes:
        tensor: the output, or what stands before its final activation and quantisers.
        axis: the one along which a Softmax ran, or None.
        left_out: the operator of the activation that was left out, or None.
        quantised: whether quantisers were left out.
        raw: where Sigmoids were left out ahead of moves; else None.
        leaves: what went into the activations that were left out.
    """

    tensor: gs.Variable
    axis: int | None = None
    left_out: str | None = None
    quantised: bool = False
    raw: Raw | None = None
    leaves: tuple[gs.Tensor, ...] = ()


def scores_of(graph: gs.Graph, output: gs.Variable, score: str) -> Scores:
    """An output's scores; `score` is as for `select`."""
    whole = with_rows(graph, output)
    if score != "logit":
        return Scores(whole)
    tensor, ending, axis = before_activation(graph, whole)
    left_out_nothing = ending.activation is None and not ending.quantised
    raw = before_sigmoids(graph, whole) if left_out_nothing else None
    if raw is not None:
        return Scores(raw.tensor, axis, "Sigmoid", raw=raw, leaves=raw.leaves)
    left_out = None if ending.activation is None else ending.activation.op
    return Scores(tensor, axis, left_out, ending.quantised, leaves=(tensor,))


def one_after_the_other(graph: gs.Graph, first: Scores, more: Sequence[str], score: str) -> Scores:
    """The scores of several outputs [N, A, C] or [A, C] as those of one; itself of no more."""
    if not more:
        return first
    outputs = {t.name: t for t in graph.outputs}
    found = [first, *(scores_of(graph, outputs[name], score) for name in more)]
    parts = [one.tensor for one in found]
    axis = max(len(parts[0].shape or (0, 0, 0)) - 2, 0)
    whole = Emitter(graph, "scales").Concat(*parts, axis=axis)
    lengths = [part.shape[axis] for part in parts if part.shape]
    known = len(lengths) == len(parts) and all(isinstance(n, int) for n in lengths)
    ahead, behind = parts[0].shape[:axis], parts[0].shape[axis + 1 :]
    whole.shape = [*ahead, sum(lengths) if known else None, *behind]
    return first._replace(tensor=whole, leaves=tuple(t for one in found for t in one.leaves))


def before_activation(
    graph: gs.Graph, output: gs.Variable
) -> tuple[gs.Variable, Ending, int | None]:
    """The output's value had its final activation, quantisers and Cast not been applied.

    Returns:
        The tensor, what was left out, and the axis along which a Softmax ran, or None.
    """
    ending = ending_of(output)
    if ending.tensor is output:
        return output, ending, None
    activation, tensor, axis = ending.activation, ending.tensor, None
    if activation is not None and activation.op != "Sigmoid":
        rank = len(activation.inputs[0].shape or [None, None])
        axis = activation.attrs.get("axis", -1) % rank
    emit = Emitter(graph, "logits")
    for node in reversed(ending.nodes):
        axis = axis_behind(node, axis)
        if node.op == "Cast":
            continue
        shape, inputs = node.outputs[0].shape, list(node.inputs)
        inputs[varying_operand(node) or 0 if node.op in AFFINE else 0] = tensor
        tensor = emit(node.op, *inputs, **node.attrs)
        tensor.shape = shape
    return tensor, ending, axis


def batch_first(
    graph: gs.Graph,
    input: gs.Variable,
    logits: gs.Variable,
    axis: int | None,
    rows: dict,
    without_rows: bool = False,
) -> tuple[gs.Variable, int | None, Lost | None]:
    """The scores with their rows on the first axis, the class axis there, and why rows mix.

    without_rows: whether they have no axis for rows, since the file takes one input.

    Raises:
        UnsupportedModelError: the rows lie on another axis, and it cannot be told on which.
    """
    if without_rows:
        return _of_one_row(graph, logits)
    found: Rows = rows.get(logits.name)
    batch = input.shape[0] if input.shape else None
    shape = logits.shape
    others = [t.shape[0] for t in graph.inputs if t is not input and t.shape]
    table = isinstance(found, Place) and found.axis and isinstance(shape[0] if shape else None, str)
    if (table and shape[0] in others) or (isinstance(found, Lost) and _elsewhere(input, shape)):
        reason = f" ({found.reason})" if isinstance(found, Lost) else ""
        raise UnsupportedModelError(
            f"input {input.name!r} {describe(input.shape)} does not have the batch of the score "
            f"{describe(shape)} on its first axis{reason}"
        )
    if isinstance(found, Place):
        moved, axis = _moved(Emitter(graph, "scores"), logits, found, axis)
        return moved, axis, None
    lost = found if isinstance(found, Lost) else Lost("mixed", "the score is one for all of them")
    # Of one input a list of scores is one row: a score for each place of a sentence, say.
    listed = shape is not None and len(shape) == 1 and batch == 1
    if shape is not None and (not shape or listed or not _may_be_batch(shape[0], batch)):
        # One row has one score tensor, which has no axis for rows.
        alone = Emitter(graph, "scores")("Unsqueeze", logits, [0])
        alone.shape = [1, *shape]
        if not shape:
            return _as_matrix(graph, alone), None, lost
        return alone, None if axis is None else axis + 1, lost
    harmless = batch == 1 and lost.kind != "quantiser"
    return logits, axis, None if harmless else lost


def _of_one_row(graph: gs.Graph, logits: gs.Variable) -> tuple[gs.Variable, int | None, Lost]:
    alone = Emitter(graph, "scores")("Unsqueeze", logits, [0])
    alone.shape = [1, *(logits.shape or ())]
    return alone, None, Lost("mixed", "the scores are of one input")


def _elsewhere(input: gs.Variable, shape: Shape) -> bool:
    """Whether the declared lengths say that the batch is not on both first axes."""
    own, scores = list(input.shape or []), list(shape or [])
    if min(len(own), len(scores)) < 2 or own[0] == scores[0] or own[0] == 1:
        return False
    named = isinstance(scores[0], str) and scores[0] in own[1:]
    named = named or (isinstance(own[0], str) and own[0] in scores[1:])
    return named or (isinstance(own[0], int) and isinstance(scores[0], int))


def _may_be_batch(dim: Dim, batch: Dim) -> bool:
    """Whether an axis of length `dim` may hold the batch."""
    return dim == batch or not (isinstance(dim, int) and (isinstance(batch, int) or dim != 1))


def _as_matrix(graph: gs.Graph, tensor: gs.Variable) -> gs.Variable:
    result = Emitter(graph, "scores")("Reshape", tensor, [1, 1])
    result.shape = [1, 1]
    return result


def _moved(
    emit: Emitter, logits: gs.Variable, place: Place, axis: int | None
) -> tuple[gs.Variable, int | None]:
    """The rows brought to the front; the other axes keep their order."""
    if logits.shape is None or place == Place(0):
        return logits, axis
    shape = list(logits.shape)
    before, after = place.before, place.after
    if (before, after) != (1, 1):
        inner = [*([before] if before > 1 else []), None, *([after] if after > 1 else [])]
        parts = [emit.dims(logits, 0, place.axis)] if place.axis else []
        asked = emit.constant([d or -1 for d in inner], "int64")
        rest = [emit.dims(logits, place.axis + 1)] if place.axis + 1 < len(shape) else []
        target = emit.Concat(*parts, asked, *rest, axis=0)
        logits = emit.Reshape(logits, target)
        if axis is not None:
            gained = len(inner) - 1
            axis = axis + gained if axis > place.axis else (None if axis == place.axis else axis)
        shape = [*shape[: place.axis], *inner, *shape[place.axis + 1 :]]
        logits.shape = shape
        place = Place(place.axis + (before > 1))
    if place.axis == 0:
        return logits, axis
    perm = [place.axis, *(a for a in range(len(shape)) if a != place.axis)]
    moved = emit.Transpose(logits, perm=perm)
    moved.shape = [shape[a] for a in perm]
    return moved, None if axis is None else perm.index(axis)
