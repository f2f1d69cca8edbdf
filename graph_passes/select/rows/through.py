"""How each operator moves the rows of a batch, keeps them, or takes them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.dims import Dim, same_dim
from ...graph.names import RANGE, is_marked
from ...graph.operators import Fact, operators
from ...graph.subscripts import subscripts
from ...graph.tensors import is_constant, operator_name, optional_input
from .places import Lost, Place, Rows

_Through = Callable[[gs.Node, "dict[int, Place]"], "Rows | list[Rows]"]

_THROUGH: dict[str, _Through] = {}


def rows_through(node: gs.Node, places: dict[int, Place]) -> Rows | list[Rows]:
    """Where a node puts the rows of its operands (`places`, by operand): all outputs, or each."""
    through = _THROUGH.get(operator_name(node))
    return unknown(node) if through is None else through(node, places)


def _mixed(node: gs.Node) -> Lost:
    kind = "quantiser" if is_marked(node.name, RANGE) else "mixed"
    return Lost(kind, f"{_named(node)} takes them together")


def unknown(node: gs.Node) -> Lost:
    """What is said of an operator that no function here knows."""
    return Lost("unknown", f"what {_named(node)} does to them is not known")


def _named(node: gs.Node) -> str:
    return f"{operator_name(node)} (node {node.name or node.outputs[0].name!r})"


def _rank(tensor: gs.Tensor) -> int | None:
    return None if tensor.shape is None else len(tensor.shape)


def _through(*ops: str):
    def register(function: _Through) -> _Through:
        _THROUGH.update(dict.fromkeys(ops, function))
        return function

    return register


def _agreed(node: gs.Node, places: Sequence[Place]) -> Rows:
    """The place that all operands give the output; rows of pairs are mixed."""
    return places[0] if all(place == places[0] for place in places) else _mixed(node)


@_through(*operators(Fact.ALIGNS))
def _elementwise(node: gs.Node, places: dict[int, Place]) -> Rows:
    """Shapes are aligned at the right."""
    ranks = [_rank(t) for t in node.inputs if t.name]
    if node.op == "Expand":
        shape = node.inputs[1].shape
        ranks[1] = shape[0] if shape and isinstance(shape[0], int) else None
    if None in ranks:
        return unknown(node) if len(ranks) > 1 else next(iter(places.values()))
    rank = max(r for r in ranks if r is not None)
    moved = [p._replace(axis=p.axis + rank - len(node.inputs[k].shape)) for k, p in places.items()]
    return _agreed(node, moved)


@_through(*operators(Fact.BY_IMAGE))
def _images(node: gs.Node, places: dict[int, Place]) -> Rows:
    """Each element of the first axis by itself; weights that depend on the input mix."""
    own = node.op in ("GridSample", "MaxUnpool")
    if any(place.axis for place in places.values()) or (not own and set(places) != {0}):
        return _mixed(node)
    return _agreed(node, list(places.values()))


@_through("MatMul")
def _matmul(node: gs.Node, places: dict[int, Place]) -> Rows:
    ranks = [_rank(t) for t in node.inputs]
    if None in ranks or 1 in ranks:
        return unknown(node)
    rank = max(r for r in ranks if r is not None)
    moved = []
    for k, place in places.items():
        own = len(node.inputs[k].shape)
        if place.axis == own - (1 if k == 0 else 2):
            return _mixed(node)
        moved.append(place._replace(axis=place.axis + rank - own))
    return _agreed(node, moved)


@_through("Gemm")
def _gemm(node: gs.Node, places: dict[int, Place]) -> Rows:
    moved = []
    for k, place in places.items():
        if k == 2:
            moved.append(place._replace(axis=place.axis + 2 - len(node.inputs[2].shape)))
            continue
        turned = node.attrs.get("transB" if k else "transA", 0)
        if place.axis != (1 - turned if k else turned):
            return _mixed(node)
        moved.append(place._replace(axis=k))
    return _agreed(node, moved)


@_through("Einsum")
def _einsum(node: gs.Node, places: dict[int, Place]) -> Rows:
    letters, result = subscripts(node)
    chosen = {letters[k][place.axis] for k, place in places.items()}
    if len(chosen) > 1 or not chosen <= set(result):
        return _mixed(node)
    return _agreed(node, [p._replace(axis=result.index(min(chosen))) for p in places.values()])


@_through("Transpose")
def _transpose(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    perm = node.attrs.get("perm") or (None if rank is None else list(range(rank))[::-1])
    if perm is None:
        return unknown(node)
    return places[0]._replace(axis=list(perm).index(places[0].axis))


@_through(*operators(Fact.REDUCES), "ArgMax", "ArgMin")
def _reduction(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank, axes = _rank(node.inputs[0]), optional_input(node, 1)
    if node.op in ("ArgMax", "ArgMin"):
        numbers = [node.attrs.get("axis", 0)]
    elif axes is None:
        return _mixed(node)
    elif is_constant(axes):
        numbers = axes.values.reshape(-1).tolist()
    else:
        return unknown(node)
    if rank is None:
        return unknown(node)
    gone = {int(axis) % rank for axis in numbers}
    place = places[0]
    if place.axis in gone:
        return _mixed(node)
    if node.attrs.get("keepdims", 1):
        return place
    return place._replace(axis=place.axis - sum(axis < place.axis for axis in gone))


@_through(*operators(Fact.ALONG_AXIS))
def _along_an_axis(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    axis = node.attrs.get("axis", -1)
    if node.op in ("CumSum", "CumProd"):
        if not is_constant(node.inputs[1]):
            return unknown(node)
        axis = int(node.inputs[1].values.reshape(-1)[0])
    if rank is None or 0 not in places:
        return unknown(node)
    return _mixed(node) if axis % rank == places[0].axis else places[0]


@_through("LayerNormalization", "RMSNormalization")
def _layer_normalization(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    if rank is None or set(places) != {0}:
        return unknown(node)
    return _mixed(node) if places[0].axis >= node.attrs.get("axis", -1) % rank else places[0]


@_through("Trilu")
def _trilu(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    return unknown(node) if rank is None or places[0].axis >= rank - 2 else places[0]


@_through("Concat")
def _concat(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.outputs[0]) or _rank(node.inputs[next(iter(places))])
    if rank is None or any(p.axis == node.attrs["axis"] % rank for p in places.values()):
        return unknown(node)
    return _agreed(node, list(places.values()))


@_through("Split")
def _split(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    apart = rank is not None and node.attrs.get("axis", 0) % rank != places[0].axis
    return places[0] if apart else unknown(node)


@_through("Slice")
def _slice(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank, place = _rank(node.inputs[0]), places.get(0)
    starts, ends, axes, steps = (optional_input(node, k) for k in (1, 2, 3, 4))
    if place is None or len(places) > 1 or rank is None or starts is None or ends is None:
        return unknown(node)
    if axes is not None and not is_constant(axes):
        return unknown(node)
    named = list(range(rank)) if axes is None else [int(a) % rank for a in axes.values]
    if axes is None and is_constant(starts):
        named = named[: len(starts.values)]
    if place.axis not in named:
        return place
    index = named.index(place.axis)
    limits = [starts, ends, *([steps] if steps is not None else [])]
    if not all(map(is_constant, limits)):
        return unknown(node)
    start, end, *step = (int(t.values[index]) for t in limits)
    return place if start == 0 and end >= 2**31 - 1 and step in ([], [1]) else unknown(node)


@_through("Gather")
def _gather(node: gs.Node, places: dict[int, Place]) -> Rows:
    data, indices = (_rank(t) for t in node.inputs)
    if data is None or indices is None or len(places) > 1:
        return unknown(node)
    axis = node.attrs.get("axis", 0) % data
    if 1 in places:
        return places[1]._replace(axis=places[1].axis + axis)
    place = places[0]
    if place.axis == axis:
        return unknown(node)
    return place if place.axis < axis else place._replace(axis=place.axis + indices - 1)


@_through("GatherElements", "ScatterElements")
def _by_element(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    if rank is None or any(p.axis == node.attrs.get("axis", 0) % rank for p in places.values()):
        return unknown(node)
    return _agreed(node, list(places.values()))


@_through("GatherND")
def _gather_nd(node: gs.Node, places: dict[int, Place]) -> Rows:
    inside = all(place.axis < node.attrs.get("batch_dims", 0) for place in places.values())
    return _agreed(node, list(places.values())) if inside else unknown(node)


@_through("Pad")
def _pad(node: gs.Node, places: dict[int, Place]) -> Rows:
    amounts, rank = node.inputs[1], _rank(node.inputs[0])
    if rank is None or not is_constant(amounts) or set(places) != {0}:
        return unknown(node)
    axes = optional_input(node, 3)
    if axes is not None and not is_constant(axes):
        return unknown(node)
    named = list(range(rank)) if axes is None else [int(a) % rank for a in axes.values]
    pairs = dict(zip(named, amounts.values.reshape(2, -1).T.tolist(), strict=True))
    return unknown(node) if any(pairs.get(places[0].axis, [0])) else places[0]


@_through("Tile")
def _tile(node: gs.Node, places: dict[int, Place]) -> Rows:
    repeats = node.inputs[1]
    if set(places) != {0} or not is_constant(repeats) or repeats.values[places[0].axis] != 1:
        return unknown(node)
    return places[0]


@_through("OneHot")
def _one_hot(node: gs.Node, places: dict[int, Place]) -> Rows:
    rank = _rank(node.inputs[0])
    if rank is None or set(places) != {0}:
        return unknown(node)
    axis = node.attrs.get("axis", -1) % (rank + 1)
    return places[0]._replace(axis=places[0].axis + (axis <= places[0].axis))


@_through("Resize")
def _resize(node: gs.Node, places: dict[int, Place]) -> Rows:
    place, (x, y) = places.get(0), (node.inputs[0].shape, node.outputs[0].shape)
    if place is None or len(places) > 1 or x is None:
        return unknown(node)
    scales = optional_input(node, 2)
    named = node.attrs.get("axes") or list(range(len(x)))
    if place.axis not in [axis % len(x) for axis in named]:
        return place
    if scales is not None and is_constant(scales) and scales.values.size == len(named):
        return place if scales.values[list(named).index(place.axis)] == 1 else unknown(node)
    same = y is not None and same_dim(x[place.axis], y[place.axis])
    return place if same or place.axis == 0 else unknown(node)


@_through(*operators(Fact.RECURS))
def _recurrent(node: gs.Node, places: dict[int, Place]) -> Rows | list[Rows]:
    """X [T, N, I] makes Y [T, D, N, H], Y_h and Y_c [D, N, H]; or N first, by `layout`."""
    first = bool(node.attrs.get("layout", 0))
    wanted = {0: 0 if first else 1, 4: 0, 5: 0 if first else 1, 6: 0 if first else 1}
    if any(wanted.get(k) != place.axis or place[1:] != (1, 1) for k, place in places.items()):
        return unknown(node)
    state = Place(0 if first else 1)
    return [Place(0 if first else 2), state, state]


@_through("Squeeze", "Unsqueeze")
def _squeeze(node: gs.Node, places: dict[int, Place]) -> Rows | list[Rows]:
    rank, axes = _rank(node.inputs[0]), optional_input(node, 1)
    if rank is None or set(places) != {0}:
        return unknown(node)
    place = places[0]
    if axes is None or not is_constant(axes):
        return _reshape(node, places)
    numbers = axes.values.reshape(-1).tolist()
    if node.op == "Squeeze":
        gone = {int(axis) % rank for axis in numbers}
        if place.axis in gone:
            return unknown(node)
        return place._replace(axis=place.axis - sum(axis < place.axis for axis in gone))
    new = {int(axis) % (rank + len(numbers)) for axis in numbers}
    old = [axis for axis in range(rank + len(numbers)) if axis not in new]
    return place._replace(axis=old[place.axis])


@_through("Flatten", "Reshape")
def _reshape(node: gs.Node, places: dict[int, Place]) -> Rows:
    """Elements keep their order: the axis is where as many follow a row as before."""
    if set(places) != {0} or node.inputs[0].shape is None:
        return unknown(node)
    before, place = list(node.inputs[0].shape), places[0]
    after = _new_shape(node)
    if after is None:
        return unknown(node)
    lead = before[: place.axis]
    head = after[: place.axis]
    lengths = zip([*lead, before[place.axis]], [*head, *after[place.axis :][:1]], strict=False)
    if len(after) > place.axis and all(same_dim(a, b) for a, b in lengths):
        return place
    rest = before[place.axis + 1 :]
    if not all(isinstance(dim, int) for dim in [*lead, *rest]):
        return unknown(node)
    outside = place.before * int(np.prod(lead, dtype=np.int64))
    inside = place.after * int(np.prod(rest, dtype=np.int64))
    return _place_in(after, outside, inside, before[place.axis], place) or unknown(node)


def _new_shape(node: gs.Node) -> list[Dim] | None:
    """The output's shape as far as it is known; a Reshape's own constant says most."""
    shape = node.outputs[0].shape
    if node.op != "Reshape" or not is_constant(node.inputs[1]):
        return None if shape is None else list(shape)
    asked = node.inputs[1].values.reshape(-1).tolist()
    own = list(node.inputs[0].shape)
    copies = not node.attrs.get("allowzero", 0)
    return [
        (own[k] if k < len(own) else None) if d == 0 and copies else (None if d < 0 else int(d))
        for k, d in enumerate(asked)
    ]


def _place_in(
    shape: list[Dim], outside: int, inside: int, length: Dim, place: Place
) -> Place | None:
    """The axis of `shape` with N rows of `inside` elements, `outside` times one after the other."""
    rows = length // (place.before * place.after) if isinstance(length, int) else None
    trailing, found = 1, None
    if 0 in shape:
        return None
    for axis in range(len(shape) - 1, -1, -1):
        dim = shape[axis]
        if inside % trailing == 0:
            after = inside // trailing
            lead = [d for d in shape[:axis] if isinstance(d, int)]
            if len(lead) == axis:
                ahead = math.prod(lead)
                fits = outside % ahead == 0
                before = outside // ahead
                known = rows is not None and dim == before * rows * after
                if fits and (known or not isinstance(dim, int)):
                    found = Place(axis, before, after)
        if not isinstance(dim, int):
            break
        trailing *= dim
    return found
