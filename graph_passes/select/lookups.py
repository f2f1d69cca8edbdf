"""Where an input's numbers become float: by a Cast, or as ids that an embedding looks up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from ... import UnsupportedModelError
from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.ordering import sort_nodes
from ..graph.tensors import is_constant, is_float, optional_input
from .ending import TAIL
from .one_hot import is_one_hot, one_hot_of


class Lookup(NamedTuple):
    """One embedding that ids go to.

    Attributes:
        node: the Gather, or what makes rows of zeros with a one.
        axis: of the input that was taken apart before, or None.
        part: which index of it the ids are.
    """

    node: gs.Node
    axis: int | None = None
    part: int | None = None


def float_readers(source: gs.Variable) -> list[gs.Node]:
    """The Casts to float and embedding look-ups of an input, through integer reshapes and Casts.

    Rows of zeros with a one are look-ups, too.
    """
    found = []
    for node in source.outputs:
        output = node.outputs[0]
        looked_up = node.op == "Gather" and is_constant(node.inputs[0]) and node.inputs[1] is source
        chosen = one_hot_of(node, source)
        if looked_up or (node.op == "Cast" and is_float(output)):
            found.append(node)
        elif chosen is not None:
            found.append(chosen)
        elif node.op in TAIL and node.inputs[0] is source:
            found.extend(float_readers(output))
    return found


def looked_up_floats(source: gs.Variable) -> gs.Node | None:
    """The one embedding that a float input's numbers are ids of, where that is all they are."""
    found: list[gs.Node] = []
    for node in source.outputs:
        if node.op not in TAIL or node.inputs[0] is not source:
            return None
        output = node.outputs[0]
        inner = looked_up_floats(output) if is_float(output) else None
        found += [inner] if inner is not None else [] if is_float(output) else float_readers(output)
    return found[0] if len(found) == 1 and is_embedding(found[0]) else None


def looked_up_as_computed(source: gs.Variable) -> gs.Node | None:
    """The one embedding that an integer input's ids go to, after a computation element by element.

    TensorFlow's exporter wraps ids below 0 so: it adds the number of rows where ids are less.
    """
    found: dict[int, gs.Node] = {}
    waiting, seen = [source], {source.name}
    while waiting:
        tensor = waiting.pop()
        for node in tensor.outputs:
            if has(node, Fact.SIZES):
                continue
            if node.op == "Gather" and is_constant(node.inputs[0]):
                found[id(node)] = node
                continue
            output = node.outputs[0]
            # Numbers that are float only to be compared pass no gradient.
            exact = not is_float(output) or all(has(n, Fact.COMPARES) for n in output.outputs)
            if not exact or not has(node, Fact.ALIGNS):
                return None
            if output.name not in seen:
                seen.add(output.name)
                waiting.append(output)
    if len(found) != 1:
        return None
    (node,) = found.values()
    shape, ids = node.inputs[1].shape, source.shape
    aligned = shape is not None and ids is not None and len(shape) == len(ids)
    return node if aligned and is_embedding(node) else None


def looked_up_first(graph: gs.Graph, source: gs.Variable, node: gs.Node) -> gs.Variable:
    """The rows of ids in the input's own axes, so that attribution and baseline have these, too.

    Where ids are flattened or turned before (TensorFlow's BERT flattens them), the rows are
    instead. Returns what `node` makes of the input's ids, [*input, row].

    Raises:
        UnsupportedModelError: they are moved in a way that rows cannot be.
    """
    moves = _moves_before(source, node)
    if all(move.op in _SAME for move in moves):
        return node.outputs[0]
    emit, table = Emitter(graph, "first"), node.inputs[0]
    ids = emit.Cast(source, to=TensorProto.INT64)
    start = moved = emit.Gather(table, ids)
    start.shape, start.dtype = [*source.shape, *table.shape[1:]], node.outputs[0].dtype
    for move in reversed(moves):
        if move.op not in _SAME:
            moved = _of_rows(emit, move, moved, int(table.shape[-1]))
            shape = move.outputs[0].shape
            moved.shape = None if shape is None else [*shape, *table.shape[1:]]
    node.op, node.attrs, node.inputs = "Identity", {}, [moved]
    sort_nodes(graph)
    return start


_SAME = ("Cast", "Identity")


def _moves_before(source: gs.Variable, node: gs.Node) -> list[gs.Node]:
    """What moves ids between an input and the node that looks them up, the last one first."""
    moves, tensor = [], node.inputs[1]
    while tensor is not source:
        moves.append(tensor.inputs[0])
        tensor = tensor.inputs[0].inputs[0]
    return moves


def _of_rows(emit: Emitter, move: gs.Node, rows: Any, width: int) -> Any:
    """What moves ids, for their rows along a last axis more."""
    axes = optional_input(move, 1)
    if move.op == "Transpose" and move.attrs.get("perm") is not None:
        perm = list(move.attrs["perm"])
        return emit.Transpose(rows, perm=[*perm, len(perm)])
    if move.op == "Reshape" and not move.attrs.get("allowzero", 0):
        return emit.Reshape(rows, emit.Concat(move.inputs[1], [width], axis=0))
    if move.op in ("Squeeze", "Unsqueeze") and axes is not None and is_constant(axes):
        own = [int(a) - (a < 0) for a in axes.values.reshape(-1)]
        return emit(move.op, rows, own)
    raise UnsupportedModelError(
        f"ids are moved by {move.op} (node {move.name or move.outputs[0].name!r}) before they are "
        "looked up, in a way that cannot be followed"
    )


def is_embedding(node: gs.Node) -> bool:
    """Whether a node looks rows up; a table of single numbers has none to sum over."""
    if is_one_hot(node):
        return True
    return node.op == "Gather" and len(node.inputs[0].shape) > 1 and not node.attrs.get("axis", 0)


def is_row(node: gs.Node) -> bool:
    """Whether a Gather looks up rows of a table with an axis for them, by its first axis."""
    return is_embedding(node) and node.op == "Gather" and len(node.inputs[0].shape) == 2


def lookups(source: gs.Variable) -> list[Lookup] | None:
    """All embeddings of an input, also of its parts along one axis; None where there is more."""
    rank = None if source.shape is None else len(source.shape)
    found: list[Lookup] = []
    for node in source.outputs:
        for tensor, axis, index in _parts(node, source, rank):
            found += [Lookup(reader, axis, index) for reader in float_readers(tensor)]
    whole = [Lookup(reader) for reader in float_readers(source)]
    found = [*whole, *found]
    axes = {one.axis for one in found}
    if not found or len(axes) > 1 or not all(is_embedding(one.node) for one in found):
        return None
    return found if axes != {None} or all(_is_straight(source, one.node) for one in found) else None


def _is_straight(source: gs.Variable, node: gs.Node) -> bool:
    """Whether ids keep their axes until a Gather looks them up."""
    if node.op != "Gather":
        return True
    return all(move.op in _SAME for move in _moves_before(source, node))


def _parts(
    node: gs.Node, source: gs.Variable, rank: int | None
) -> list[tuple[gs.Variable, int, int]]:
    """(part, axis, index) where a node takes one index of an axis, which is gone afterwards."""
    if rank is None or not node.inputs or node.inputs[0] is not source:
        return []
    if node.op == "Gather" and is_constant(node.inputs[1]) and node.inputs[1].values.ndim == 0:
        axis = node.attrs.get("axis", 0) % rank
        return [(node.outputs[0], axis, int(node.inputs[1].values))]
    if node.op == "Split":
        axis, sizes = node.attrs.get("axis", 0) % rank, optional_input(node, 1)
        single = sizes is None or (is_constant(sizes) and (sizes.values == 1).all())
        if single and source.shape[axis] == len(node.outputs):
            own = [(_squeezed(t, axis), k) for k, t in enumerate(node.outputs)]
            return [(t, axis, k) for t, k in own if t is not None]
    if node.op == "Slice" and all(is_constant(t) and t.values.size == 1 for t in node.inputs[1:4]):
        if len(node.inputs) < 4:
            return []
        start, end, axis = (int(t.values.item()) for t in node.inputs[1:4])
        tensor = _squeezed(node.outputs[0], axis % rank)
        if tensor is not None and end == start + 1 and start >= 0:
            return [(tensor, axis % rank, start)]
    return []


def _squeezed(tensor: gs.Variable, axis: int) -> gs.Variable | None:
    """What a part of length 1 becomes without that axis, where nothing else reads it."""
    if len(tensor.outputs) != 1 or tensor.outputs[0].op != "Squeeze":
        return None
    axes = optional_input(tensor.outputs[0], 1)
    if axes is None or not is_constant(axes) or axes.values.tolist() != [axis]:
        return None
    return tensor.outputs[0].outputs[0]


def joined(graph: gs.Graph, source: gs.Variable, found: list[Lookup]) -> Any:
    """One tensor of all that was looked up, in the input's own axes and the rows behind them.

    What read one embedding reads its part of that. Rows are as long as the longest, or as all of
    one id's; None where parts of the input are looked up by nobody.
    """
    axis = found[0].axis
    length = 1 if axis is None else source.shape[axis]
    groups: dict[int, list[gs.Node]] = {}
    for one in found:
        index = 0 if one.part is None else one.part
        groups.setdefault(index % length if isinstance(length, int) else index, []).append(one.node)
    if not isinstance(length, int) or sorted(groups) != list(range(length)):
        return None
    emit = Emitter(graph, "ids")
    width = max(sum(_width(node) for node in nodes) for nodes in groups.values())
    readers = {id(node): list(node.outputs[0].outputs) for one in groups.values() for node in one}
    rows = [_row(emit, groups[index], width, axis) for index in range(length)]
    start = rows[0] if axis is None else emit.Concat(*rows, axis=axis)
    start.shape, start.dtype = [*source.shape, width], found[0].node.outputs[0].dtype
    for index, nodes in groups.items():
        part = start if axis is None else emit.Gather(start, np.asarray(index), axis=axis)
        first = 0
        for node in nodes:
            own = emit.Slice(part, [first], [first + _width(node)], [-1])
            own.shape = node.outputs[0].shape
            _read_instead(node.outputs[0], own, readers[id(node)])
            first += _width(node)
    sort_nodes(graph)
    return start


def _width(node: gs.Node) -> int:
    return int((node.inputs[0] if node.op == "Gather" else node.outputs[0]).shape[-1])


def _row(emit: Emitter, nodes: list[gs.Node], width: int, axis: int | None) -> gs.Tensor:
    """What the embeddings of one id return, side by side, as wide as the widest."""
    parts = [node.outputs[0] for node in nodes]
    rank = len(parts[0].shape)
    row = parts[0] if len(parts) == 1 else emit.Concat(*parts, axis=rank - 1)
    missing = width - sum(map(_width, nodes))
    if missing:
        pads = np.zeros(2 * rank, np.int64)
        pads[-1] = missing
        row = emit.Pad(row, emit.constant(pads))
    return row if axis is None else emit.Unsqueeze(row, [axis])


def _read_instead(old: gs.Variable, new: gs.Variable, readers: list) -> None:
    for node in readers:
        node.inputs = [new if tensor is old else tensor for tensor in node.inputs]
