"""The tensor that holds the scores: before the final activation, batch first, its class axis."""

from __future__ import annotations

import math
from typing import Any

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import Dim, Shape, describe, is_static, same_dim
from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, producer_of
from ..rules.registry import Trait, has
from .ending import AFFINE, TAIL, Ending, ending_of, varying_operand
from .rows.places import Lost, Place, Rows


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
        axis = _axis_behind(node, axis)
        if node.op == "Cast":
            continue
        shape, inputs = node.outputs[0].shape, list(node.inputs)
        inputs[varying_operand(node) or 0 if node.op in AFFINE else 0] = tensor
        tensor = emit(node.op, *inputs, **node.attrs)
        tensor.shape = shape
    return tensor, ending, axis


def _axis_behind(node: gs.Node, axis: int | None) -> int | None:
    """Where a tail node puts an axis; None where that is not known."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if axis is None or node.op in {"Identity", "Cast", "Dropout", *AFFINE}:
        return axis
    if node.op == "Transpose":
        perm = node.attrs.get("perm") or list(range(len(before or [])))[::-1]
        return list(perm).index(axis) if axis in perm else None
    if before is None or after is None:
        return None
    return _same_place(list(before), list(after), axis)


def _same_place(before: list[Any], after: list[Any], axis: int) -> int | None:
    """The axis of a reshaped tensor with the same length and as many elements inside."""
    inside = before[axis + 1 :]
    for place in range(len(after) - 1, -1, -1):
        rest = after[place + 1 :]
        same = [dim for dim in rest if dim != 1] == [dim for dim in inside if dim != 1]
        alike = same or (is_static([*rest, *inside]) and math.prod(rest) == math.prod(inside))
        if alike and same_dim(after[place], before[axis]):
            return place
    return None


def channel_axis(tensor: gs.Tensor) -> int | None:
    """The axis that the last layer made: 1 behind a convolution, the last behind a product.

    None where that is not known.
    """
    moves: list[gs.Node] = []
    while (node := producer_of(tensor)) is not None:
        rank = None if tensor.shape is None else len(tensor.shape)
        axis = None
        if has(node.op, Trait.CHANNELS_SECOND):
            axis = 1
        elif node.op in ("MatMul", "Gemm") and is_constant(node.inputs[1]) and rank:
            axis = rank - 1
        if axis is not None:
            for move in reversed(moves):
                axis = _axis_behind(move, axis)
            return axis
        varying = [t for t in node.inputs if t.name and not is_constant(t)]
        if has(node.op, Trait.KEEPS_CHANNELS):
            varying = [t for t in varying if t.shape is not None and len(t.shape) == rank]
        elif node.op in TAIL:
            moves.append(node)
            varying = varying[:1]
        else:
            return None
        if not varying:
            return None
        tensor = varying[0]
    return None


def batch_first(
    graph: gs.Graph, input: gs.Variable, logits: gs.Variable, axis: int | None, rows: dict
) -> tuple[gs.Variable, int | None, Lost | None]:
    """The scores with their rows on the first axis, the class axis there, and why rows mix.

    Raises:
        UnsupportedModelError: the rows lie on another axis, and it cannot be told on which.
    """
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
