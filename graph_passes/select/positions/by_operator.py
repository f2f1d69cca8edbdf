"""What each operator does to the places of its operands' elements."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.dims import is_static
from ...graph.evaluated import by_reference, indices_fit
from ...graph.operators import Fact, has, operators
from ...graph.subscripts import subscripts, unused_letters
from ...graph.tensors import is_constant, operator_name
from . import moves
from .positions import Grids, Places, compressed, nowhere
from .readings import (
    Operands,
    Reading,
    Readings,
    Source,
    constant_operand,
    contracted,
    each_reading,
    elementwise,
)

Rule = Callable[[Grids, gs.Node, Operands], Readings]
# Of ONNX's reference implementation.
_OPSET = 21


def places_behind(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    """The readings of each of a node's outputs; an empty list where they are not known."""
    unknown: Readings = [[] for _ in node.outputs]
    own = operator_name(node) == node.op
    rule = (_RULES.get(node.op) or _elementwise_rule(node)) if own else None
    used = [*node.outputs[:1], *(tensor for tensor in node.inputs if tensor.name)]
    if rule is None or not all(is_static(tensor.shape) for tensor in used):
        return unknown
    try:
        made = rule(grids, node, operands)
    except (ValueError, IndexError):
        # What is moved how is only known at run time, or the file's own arithmetic of shapes fails
        # at the sizes that were put in for its symbols.
        return unknown
    read = {id(places.ids) for readings in operands for places in readings}
    new = {id(r.places.ids): r.places.ids.size for readings in made for r in readings}
    if not grids.remember(sum(size for key, size in new.items() if key not in read)):
        return unknown
    fitting = [
        [r for r in readings if list(r.places.shape) == list(output.shape or [])]
        for readings, output in zip(made, node.outputs, strict=False)
    ]
    return fitting + unknown[len(fitting) :]


def _elementwise_rule(node: gs.Node) -> Rule | None:
    return _elementwise if has(node, Fact.ALIGNS | Fact.KEEPS_PLACES | Fact.STEP) else None


def _elementwise(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    return [elementwise(grids, operands, tuple(node.outputs[0].shape))]


# Products, and sums over axes.


def _matmul(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    a, b = (len(tensor.shape) for tensor in node.inputs)
    batch = unused_letters("ijk")[: max(a, b) - 2]
    terms = [batch[len(batch) - a + 2 :] + "ij", batch[len(batch) - b + 2 :] + "jk"]
    return [contracted(grids, operands, terms, batch + "ik", node.outputs[0].shape)]


def _gemm(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    terms = [
        "ji" if node.attrs.get("transA") else "ij",
        "kj" if node.attrs.get("transB") else "jk",
    ]
    return [contracted(grids, operands[:2], terms, "ik", node.outputs[0].shape)]


def _einsum(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    letters, result = subscripts(node)
    if any(len(set(term)) < len(term) for term in [*letters, result]):
        return [[]]
    return [contracted(grids, operands, letters, result, node.outputs[0].shape)]


def _reduction(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    old, new = node.inputs[0].shape, node.outputs[0].shape
    listed = constant_operand(node, 1)
    axes = {int(axis) % len(old) for axis in (range(len(old)) if listed is None else listed)}
    return [_summed(grids, operands, old, new, axes)]


def _summed(grids: Grids, operands: Operands, old, new, axes: set[int]) -> list[Reading]:
    letters = unused_letters("")[: len(old)]
    kept = "".join(letter for axis, letter in enumerate(letters) if axis not in axes)
    shape = [size for axis, size in enumerate(old) if axis not in axes]
    readings = contracted(grids, operands[:1], [letters], kept, shape)
    whole = [(r, moves.reshaped(r.places, new)) for r in readings]
    return [r._replace(places=places) for r, places in whole if places is not None]


def _global_pooling(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    old, new = node.inputs[0].shape, node.outputs[0].shape
    return [_summed(grids, operands, old, new, set(range(2, len(old))))]


# Windows, which also make grids where there are none.


def _convolution(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    single = all(size == 1 for size in node.inputs[1].shape[2:])
    return [_windowed(grids, node, operands, node.attrs.get("group", 1), single)]


def _pooling(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    return [_windowed(grids, node, operands, node.inputs[0].shape[1], single=False)]


def _windowed(
    grids: Grids, node: gs.Node, operands: Operands, groups: int, single: bool
) -> list[Reading]:
    """The operand's places with its spatial axes in steps; a new grid where it has no places.

    `groups`: of channels that are mixed. `single`: the windows are one element large.
    """
    old, new = node.inputs[0].shape, tuple(node.outputs[0].shape)
    axes = list(range(2, len(new)))
    if len(operands[0]) > 1:
        return []
    places = operands[0][0] if operands[0] else None
    if places is not None and not places.anywhere and len(new) < 4:
        # Along the channels of what is left of a pooling, or of class tokens.
        return [Reading(nowhere(new), (Source(0, 0, True),))]
    if places is None or not places.anywhere:
        fresh = grids.fresh(new, axes, of_input=False)
        sources = (Source(0, 0, False),) if places is not None else ()
        return [Reading(fresh, sources)] if fresh is not None else []
    ids = _grouped(grids, places.ids, groups, new[1])
    if ids is None:
        return []
    steps = [axis for axis in axes if old[axis] != new[axis] or _repeats(ids, axis)]
    ids = grids.regridded(ids, steps, [new[axis] for axis in steps])
    if ids is None:
        return []
    exact = single and not steps and ids is places.ids
    return [Reading(Places(ids, new), (Source(0, 0, exact),))]


def _grouped(grids: Grids, ids: np.ndarray, groups: int, channels: int) -> np.ndarray | None:
    """Ids [N, C, ...] after the channels of each group are mixed, for so many channels."""
    if ids.shape[1] == 1 or groups == ids.shape[1] == channels:
        return ids
    apart = ids.reshape(ids.shape[0], groups, -1, *ids.shape[2:])
    mixed = grids.mixed(apart, [2])
    if mixed is None or mixed.shape[1] == 1:
        return None if mixed is None else mixed[:, :, 0]
    return mixed[:, :, 0].repeat(channels // groups, axis=1)


def _repeats(ids: np.ndarray, axis: int) -> bool:
    """True where neighbours along an axis stand for one place: a map that was only enlarged."""
    size = ids.shape[axis]
    before, behind = ids.take(range(size - 1), axis), ids.take(range(1, size), axis)
    return bool(((before == behind) & (before >= 0)).any())


def _resized(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    old, new = node.inputs[0].shape, tuple(node.outputs[0].shape)
    if node.op == "DepthToSpace" and any(p.ids.shape[1] > 1 for p in operands[0]):
        return _by_reference(grids, node, operands)
    first = 2 if node.op == "DepthToSpace" else 0
    axes = [axis for axis in range(first, len(new)) if old[axis] != new[axis]]

    def stretched(places: Places) -> Places | None:
        ids = grids.regridded(places.ids, axes, [new[axis] for axis in axes])
        return None if ids is None else Places(ids, new)

    return [each_reading(operands, stretched, exact=False)]


# Movement.


def _reshaped(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    return [each_reading(operands, lambda places: moves.reshaped(places, node.outputs[0].shape))]


def _transposed(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    perm = node.attrs.get("perm") or list(range(len(node.inputs[0].shape)))[::-1]
    return [each_reading(operands, lambda places: moves.transposed(places, perm))]


def _sliced(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    shape = node.inputs[0].shape
    starts, ends, axes, steps = (constant_operand(node, k) for k in range(1, 5))
    assert starts is not None and ends is not None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps

    def move(places: Places) -> Places | None:
        moved: Places | None = places
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            size = shape[axis]
            # A negative step goes on to before the first element, which no negative end can say.
            stop = None if step < 0 and end < -size else int(end)
            every = np.arange(size)[int(start) : stop : int(step)]
            moved = moved and moves.taken(moved, int(axis) % len(shape), every)
        return moved

    return [each_reading(operands, move)]


def _split(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    axis = node.attrs.get("axis", 0) % len(node.inputs[0].shape)
    made, first = [], 0
    for output in node.outputs:
        part = np.arange(first, first + output.shape[axis])
        first += output.shape[axis]
        made.append(each_reading(operands, lambda p, part=part: moves.taken(p, axis, part)))
    return made


def _gathered(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    axis = node.attrs.get("axis", 0) % len(node.inputs[0].shape)
    indices = node.inputs[1]

    def move(places: Places) -> Places | None:
        if is_constant(indices):
            return moves.taken(places, axis, indices.values)
        if places.ids.shape[axis] > 1:
            return None
        return moves.taken(places, axis, np.zeros(indices.shape, np.int64))

    return [each_reading(operands, move)]


def _concatenated(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    if any(len(readings) != 1 for readings in operands):
        return [[]]
    axis = node.attrs["axis"] % len(node.inputs[0].shape)
    sources = tuple(Source(k, 0, True) for k in range(len(operands)))
    places = moves.joined([readings[0] for readings in operands], axis)
    return [[] if places is None else [Reading(places, sources)]]


def _padded(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    rank = len(node.inputs[0].shape)
    pads, axes = constant_operand(node, 1), constant_operand(node, 3)
    assert pads is not None
    listed = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
    amounts = [(0, 0)] * rank
    for k, axis in enumerate(listed):
        amounts[axis] = (int(pads[k]), int(pads[k + len(listed)]))
    return [each_reading(operands, lambda places: moves.padded(places, amounts))]


def _expanded(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    return [each_reading(operands, lambda places: moves.expanded(places, node.outputs[0].shape))]


def _tiled(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    repeats = constant_operand(node, 1)
    assert repeats is not None
    return [each_reading(operands, lambda places: moves.repeated(places, repeats.tolist()))]


def _by_reference(grids: Grids, node: gs.Node, operands: Operands) -> Readings:
    """What moves elements by constant indices: ONNX's reference implementation runs it on ids."""
    moved = [0, 2] if node.op in ("ScatterElements", "ScatterND") else [0]
    if node.attrs.get("reduction", "none") not in ("none", b"none"):
        return [[]]
    if any(len(operands[k]) != 1 for k in moved):
        return [[]]
    sizes = (math.prod(t.shape) for t in (*node.inputs, *node.outputs) if t.name)
    if not grids.afford(sum(sizes)):
        return [[]]
    values = [
        np.broadcast_to(operands[k][0].ids, tensor.shape).copy()
        if k in moved
        else constant_operand(node, k)
        for k, tensor in enumerate(node.inputs)
    ]
    if not indices_fit(node.op, values):
        return [[]]
    (ids,) = by_reference(node, values, _OPSET)
    ids = compressed(np.asarray(ids), range(np.ndim(ids)))
    sources = tuple(Source(k, 0, True) for k in moved)
    return [[Reading(Places(ids, tuple(node.outputs[0].shape)), sources)]]


_RULES: dict[str, Rule] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    **dict.fromkeys(operators(Fact.REDUCES), _reduction),
    **dict.fromkeys(operators(Fact.CONVOLVES), _convolution),
    **dict.fromkeys(operators(Fact.POOLS), _pooling),
    **dict.fromkeys(operators(Fact.POOLS_ALL), _global_pooling),
    **dict.fromkeys(("Resize", "DepthToSpace"), _resized),
    **dict.fromkeys(operators(Fact.RESHAPES), _reshaped),
    "Transpose": _transposed,
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
    "Concat": _concatenated,
    "Pad": _padded,
    "Expand": _expanded,
    "Tile": _tiled,
    **dict.fromkeys(("Compress", "ReverseSequence", "SpaceToDepth"), _by_reference),
    **dict.fromkeys(("GatherElements", "GatherND"), _by_reference),
    **dict.fromkeys(("ScatterElements", "ScatterND"), _by_reference),
}
