"""Where in the input each row and column of a feature map lies.

A map is stretched over the whole input, which is right where nothing but windows stands between. A
graph that flips, crops, pads or rolls the picture itself (augmentation, a letterbox) moves it: here
each axis is followed as the positions of its elements along one axis of the input, in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.operators import Fact, has, operators
from ..graph.reach import Reach
from ..graph.tensors import is_constant, operator_name, optional_input
from .own_padding import is_own_padding
from .positions.moves import paired


class Along(NamedTuple):
    """An axis of a tensor.

    Attributes:
        axis: of the input that it runs along.
        at: the middle of each element there, in pixels from 0 to the input's length; NaN for what
            is no part of the input (a border that was padded).
    """

    axis: int
    at: np.ndarray


# For each axis of a tensor; None: it runs along none of the input's, or nobody knows.
Axes = list["Along | None"]
# Two branches that place one axis further apart than this part of the input, and than an element,
# contradict.
_APART = 1 / 8
# Moves by less than this part of the input are a convolution's own: its padding, every other row.
_LITTLE = 0.05


class Geometry(NamedTuple):
    """Where every tensor's elements lie.

    Attributes:
        axes: by tensor's name.
        moved: the tensors that something else than windows moved.
        doubts: by tensor's name, why nobody knows where it lies.
    """

    axes: dict[str, Axes]
    moved: set[str]
    doubts: dict[str, str]


def follow_geometry(path: Reach, start: gs.Variable) -> Geometry:
    """Follow the axes of `start` behind the first through a graph of static sizes."""
    found = Geometry({}, set(), {})
    if not is_static(start.shape):
        return found
    found.axes[start.name] = [
        None if axis == 0 else Along(axis, np.arange(size) + 0.5)
        for axis, size in enumerate(start.shape)
    ]
    for node in path.nodes:
        read = [t for t in node.inputs if t.name in path.varying]
        doubt = next((found.doubts[t.name] for t in read if t.name in found.doubts), None)
        try:
            made = [] if doubt else _behind(node, found.axes)
        except _DoubtError as error:
            made, doubt = [], str(error)
        except (ValueError, IndexError, AttributeError, TypeError):
            made = []
        moved = any(t.name in found.moved for t in read)
        moved = moved or (_is_mover(node) and bool(made) and _moves(node, made[0], found, start))
        for k, output in enumerate(node.outputs):
            if doubt:
                found.doubts[output.name] = doubt
            elif k < len(made) and len(made[k]) == len(output.shape or []):
                found.axes[output.name] = made[k]
            if moved:
                found.moved.add(output.name)
    return found


def _is_mover(node: gs.Node) -> bool:
    return (has(node, Fact.DROPS) and not is_own_padding(node)) or node.op == "Concat"


def _moves(node: gs.Node, made: Axes, found: Geometry, start: gs.Variable) -> bool:
    """Whether a node moves much of the picture, beside what windows before it have done."""
    if node.op == "Concat" and made[node.attrs["axis"] % len(made)] is None:
        return False
    before = max((_off(found.axes.get(t.name), start) for t in node.inputs), default=0.0)
    return abs(_off(made, start) - before) > _LITTLE


def _off(axes: Axes | None, start: gs.Variable) -> float:
    """How far elements lie from where stretching puts them, as a part of the input."""
    known = [one for one in axes or [] if one is not None and len(one.at) > 1]
    parts = [off_by(one.at, start.shape[one.axis]) / len(one.at) for one in known]
    return max(parts, default=0.0)


class _DoubtError(Exception):
    """Elements are moved to where nobody knows."""


def _named(node: gs.Node) -> str:
    return f"{operator_name(node)} (node {node.name or node.outputs[0].name!r})"


def _behind(node: gs.Node, axes: dict[str, Axes]) -> list[Axes]:
    """The axes of a node's outputs; an empty list where they are not known."""
    given = [axes.get(t.name) for t in node.inputs]
    if not any(given):
        return []
    if has(node, Fact.BY_INDEX) and _is_placed(given[0]):
        raise _DoubtError(f"{_named(node)} moves the picture's elements")
    if any(max(t.shape or [0]) > 2**22 for t in node.outputs if is_static(t.shape)):
        return []  # nobody looks at where the elements of longer axes lie
    rule = _RULES.get(node.op)
    if rule is not None:
        return rule(node, given)
    if has(node, Fact.ALIGNS | Fact.KEEPS_PLACES):
        return [_agreed(node, given)]
    same = given[0] is not None and node.inputs[0].shape == node.outputs[0].shape
    return [given[0]] if same and given[0] is not None else []


def _is_placed(axes: Axes | None) -> bool:
    return axes is not None and any(one is not None and len(one.at) > 1 for one in axes)


def _agreed(node: gs.Node, given: Sequence[Axes | None]) -> Axes:
    """Of operands aligned at the right, which must not contradict."""
    shape = node.outputs[0].shape
    found: list[list[Along]] = [[] for _ in shape]
    for own in given:
        lead = len(shape) - len(own or [])
        for axis, one in enumerate(own or [], start=lead):
            if one is not None and len(one.at) == shape[axis]:
                found[axis].append(one)
    return [_middle(node, ones) if ones else None for ones in found]


def _middle(node: gs.Node, ones: Sequence[Along]) -> Along:
    """Between operands that lie at about the same positions: every other row, and those between."""
    first = next((one for one in ones if len(one.at) > 1), ones[-1])
    length = np.nanmax(np.concatenate([[1.0], *(one.at for one in ones)]))
    limit = max(_APART, 1 / len(first.at)) * length
    alike = [one for one in ones if len(one.at) > 1] or [first]
    for other in alike:
        both = ~(np.isnan(first.at) | np.isnan(other.at))
        near = not both.any() or np.abs(first.at[both] - other.at[both]).max() <= limit
        if first.axis != other.axis or not near:
            raise _DoubtError(f"{_named(node)} takes differently placed pictures together")
    at = [one.at for one in alike]
    return Along(first.axis, (np.fmin.reduce(at) + np.fmax.reduce(at)) / 2)


def _at(at: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Positions at fractional indices: between neighbours, and on beyond both ends."""
    n = len(at)
    if n == 1:
        return np.repeat(at, len(index))
    low = np.clip(np.floor(index).astype(int), 0, n - 2)
    a, b, share = at[low], at[low + 1], index - low
    steps = np.abs(np.diff(at))
    usual = np.nanmedian(steps) if np.isfinite(steps).any() else 0.0
    between = a + (b - a) * share
    # Across a seam, or beside what is no part of the input, the nearer one of both.
    nearer = np.where(share < 0.5, a, b)
    seam = np.isnan(a) | np.isnan(b) | (np.abs(b - a) > 3 * usual)
    return np.where(seam, nearer, between)


def _windows(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    """The middle of window i: element i s - p + d (k - 1) / 2."""
    own, new = given[0], list(node.outputs[0].shape)
    if own is None:
        return []
    spatial = len(new) - 2
    kernel = node.attrs.get("kernel_shape") or list(node.inputs[1].shape[2:])
    strides, dilations = (node.attrs.get(key) or [1] * spatial for key in ("strides", "dilations"))
    pads = node.attrs.get("pads") or [0] * (2 * spatial)
    result: Axes = [own[0], None]
    for k, one in enumerate(own[2:]):
        i = np.arange(new[2 + k])
        middle = dilations[k] * (kernel[k] - 1) / 2 - pads[k]
        index = (i - middle) / strides[k] if node.op == "ConvTranspose" else i * strides[k] + middle
        result.append(None if one is None else Along(one.axis, _at(one.at, index)))
    return [result]


def _stretched(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    """Pixel i of n' has its middle at (i + 1/2) n / n'."""
    own, new = given[0], list(node.outputs[0].shape)
    if own is None:
        return []
    return [
        [
            one if one is None or len(one.at) == size else Along(one.axis, _spread(one.at, size))
            for one, size in zip(own, new, strict=True)
        ]
    ]


def _spread(at: np.ndarray, size: int) -> np.ndarray:
    return _at(at, (np.arange(size) + 0.5) * len(at) / size - 0.5)


def _sliced(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own, shape = given[0], node.inputs[0].shape
    if own is None:
        return []
    limits = [optional_input(node, k) for k in (1, 2, 3, 4)]
    if any(t is not None and not is_constant(t) for t in limits):
        raise _DoubtError(f"{_named(node)} cuts at a place that only the run knows")
    starts, ends, axes, steps = (_numbers(t) for t in limits)
    result = list(own)
    for i, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
        axis = (i if axes is None else axes[i]) % len(shape)
        step = 1 if steps is None else steps[i]
        stop = None if step < 0 and end < -shape[axis] else end
        result[axis] = _taken(own[axis], np.arange(shape[axis])[start:stop:step])
    return [result]


def _taken(one: Along | None, index: np.ndarray) -> Along | None:
    return None if one is None else Along(one.axis, one.at[index])


def _gathered(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own, indices = given[0], node.inputs[1]
    if own is None:
        return []
    axis = node.attrs.get("axis", 0) % len(own)
    if not is_constant(indices):
        if own[axis] is not None and len(own[axis].at) > 1:
            raise _DoubtError(f"{_named(node)} takes places that only the run knows")
        return []
    rank = np.ndim(indices.values)
    inside: Axes = [_taken(own[axis], indices.values)] if rank == 1 else [None] * rank
    return [[*own[:axis], *inside, *own[axis + 1 :]]]


def _padded(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own, pads, axes = given[0], node.inputs[1], optional_input(node, 3)
    if own is None:
        return []
    if not is_constant(pads) or (axes is not None and not is_constant(axes)):
        raise _DoubtError(f"{_named(node)} pads by what only the run knows")
    listed = range(len(own)) if axes is None else [int(a) % len(own) for a in axes.values]
    amounts = np.asarray(pads.values).reshape(2, -1)
    result = list(own)
    for k, axis in enumerate(listed):
        before, behind = (int(n) for n in amounts[:, k])
        one = own[axis]
        if one is not None and (before or behind):
            kept = one.at[max(-before, 0) : len(one.at) - max(-behind, 0)]
            index = np.arange(-max(before, 0), len(kept) + max(behind, 0))
            result[axis] = Along(one.axis, _at(kept, index.astype(float)))
    return [result]


def _joined(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    shape = node.outputs[0].shape
    along = node.attrs["axis"] % len(shape)
    whole = _agreed(node, given)
    parts = [(own[along] if own else None, t) for own, t in zip(given, node.inputs, strict=True)]
    known = [part for part, _ in parts if part is not None]
    if not known:
        return [whole]
    if len({part.axis for part in known}) > 1:
        raise _DoubtError(f"{_named(node)} joins rows and columns")
    at = [np.full(t.shape[along], np.nan) if one is None else one.at for one, t in parts]
    whole[along] = Along(known[0].axis, np.concatenate(at))
    return [whole]


def _split(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own = given[0]
    if own is None:
        return []
    axis, first, made = node.attrs.get("axis", 0) % len(own), 0, []
    for output in node.outputs:
        part = np.arange(first, first + output.shape[axis])
        first += output.shape[axis]
        made.append([*own[:axis], _taken(own[axis], part), *own[axis + 1 :]])
    return made


def _transposed(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own = given[0]
    if own is None:
        return []
    perm = node.attrs.get("perm") or list(range(len(own)))[::-1]
    return [[own[axis] for axis in perm]]


def _reshaped(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    """Axes that stay whole, and those that are cut into patches: the middle of each patch."""
    own = given[0]
    if own is None:
        return []
    result: Axes = []
    for before, after in paired(node.inputs[0].shape, node.outputs[0].shape):
        wide = [own[axis] for axis in before if node.inputs[0].shape[axis] > 1]
        sizes = [node.outputs[0].shape[axis] for axis in after]
        one = wide[0] if len(wide) == 1 else None
        part: Axes = [None] * len(after)
        first = next((k for k, size in enumerate(sizes) if size > 1), None)
        if one is not None and first is not None and len(one.at) % sizes[first] == 0:
            part[first] = Along(one.axis, one.at.reshape(sizes[first], -1).mean(1))
        result += part
    return [result]


def _reduced(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    own, axes = given[0], optional_input(node, 1)
    if own is None or axes is None or not is_constant(axes):
        return []
    gone = {int(axis) % len(own) for axis in np.ravel(axes.values)}
    if node.attrs.get("keepdims", 1):
        return [[None if axis in gone else one for axis, one in enumerate(own)]]
    return [[one for axis, one in enumerate(own) if axis not in gone]]


def _product(node: gs.Node, given: Sequence[Axes | None]) -> list[Axes]:
    """A matrix of weights makes new features; all other axes stay."""
    own = given[0]
    if own is None or given[1] is not None or not is_constant(node.inputs[1]):
        return []
    return [[*own[:-1], None]]


_Rule = Callable[[gs.Node, Sequence["Axes | None"]], list[Axes]]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(operators(Fact.CONVOLVES | Fact.POOLS), _windows),
    **dict.fromkeys(("Resize", "DepthToSpace", "SpaceToDepth"), _stretched),
    **dict.fromkeys(operators(Fact.RESHAPES), _reshaped),
    **dict.fromkeys(operators(Fact.REDUCES), _reduced),
    "Slice": _sliced,
    "Gather": _gathered,
    "Pad": _padded,
    "Concat": _joined,
    "Split": _split,
    "Transpose": _transposed,
    "MatMul": _product,
    "Einsum": lambda node, given: [],
}


def weights_at(at: np.ndarray, length: int) -> np.ndarray:
    """[length, n]: how much of each element of a map each pixel shows, between their middles.

    A pixel that lies beyond half an element of all of them shows nothing.
    """
    valid = np.flatnonzero(~np.isnan(at))
    result = np.zeros((length, len(at)))
    if not len(valid):
        return result
    order = valid[np.argsort(at[valid], kind="stable")]
    middles = at[order]
    steps = np.diff(middles)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else float(length)
    for pixel in range(length):
        x = pixel + 0.5
        k = int(np.searchsorted(middles, x))
        low, high = max(k - 1, 0), min(k, len(middles) - 1)
        nearest = low if abs(middles[low] - x) <= abs(middles[high] - x) else high
        gap = middles[high] - middles[low]
        if low != high and 0 < gap <= 1.75 * usual and middles[low] <= x <= middles[high]:
            share = (x - middles[low]) / gap
            result[pixel, order[low]] += 1 - share
            result[pixel, order[high]] += share
        elif abs(middles[nearest] - x) <= usual / 2 + 1e-9:
            result[pixel, order[nearest]] = 1
    return result


def off_by(at: np.ndarray, length: int) -> float:
    """How far a map's elements lie from where stretching puts them, in elements of the map."""
    n = len(at)
    nominal = (np.arange(n) + 0.5) * length / n
    valid = ~np.isnan(at)
    if not valid.any():
        return float(n)
    return float(np.abs(at - nominal)[valid].max()) * n / length


def _numbers(tensor: Any) -> list[int] | None:
    """A constant operand's whole numbers; None: it is left out."""
    return None if tensor is None else tensor.values.tolist()
