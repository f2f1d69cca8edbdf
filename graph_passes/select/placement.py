"""Where a feature map is drawn: stretched over the input, or put where the graph moved it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.reach import Reach
from .geometry import Along, Geometry, follow_geometry, off_by, weights_at
from .map_layout import Layout

# Below this part of an element of the map a move does not show.
_SEEN = 0.25


class Placement(NamedTuple):
    """How a map comes to its place.

    Attributes:
        layout: the map's, its places' axes in the order of the picture's.
        placed: a matrix [length, size] for each of the picture's axes; None: it is stretched.
        turned: for each whether it is mirrored, where the input has no fixed size.
        doubt: why it may lie elsewhere than it is drawn; None: it does not.
        said: what is said of a move that was followed.
    """

    layout: Layout
    placed: tuple[np.ndarray, ...] | None = None
    turned: tuple[bool, ...] = ()
    doubt: str | None = None
    said: tuple[str, ...] = ()


def placement(
    path: Reach,
    start: gs.Variable,
    tensor: gs.Variable,
    layout: Layout,
    picture: tuple[int, ...] | None,
    fixed: bool,
) -> Placement:
    """How the map at `tensor` comes to its place in the explained input.

    Args:
        path: from `start` to the score, in a graph of static sizes.
        start: the explained input.
        tensor: the map.
        layout: of the map.
        picture: the input's axes that its places lie along; None: unknown.
        fixed: whether the input always has this size.
    """
    if picture is None or len(picture) != len(layout.sizes):
        return Placement(layout)
    geometry = follow_geometry(path, start)
    if tensor.name in geometry.doubts:
        return Placement(layout, doubt=_elsewhere(geometry.doubts[tensor.name]))
    found = _axes_of(geometry, path, tensor, layout, picture)
    if found is None:
        if tensor.name not in geometry.moved:
            return Placement(layout)
        return Placement(layout, doubt=_elsewhere("what moves it could not be followed"))
    layout, axes = found
    lengths = [start.shape[axis] for axis in picture]
    pairs = list(zip(axes, lengths, strict=True))
    moved = tensor.name in geometry.moved
    if not moved or all(off_by(one.at, length) < _SEEN for one, length in pairs):
        return Placement(layout)
    if fixed:
        matrices = tuple(weights_at(one.at, length) for one, length in pairs)
        return Placement(layout, matrices, said=("put where the graph moves the picture to",))
    turned = tuple(off_by(one.at, length) > 1 for one, length in pairs)
    ways = [one.at[::-1] if t else one.at for (one, _), t in zip(pairs, turned, strict=True)]
    if all(off_by(at, length) < 1 for at, length in zip(ways, lengths, strict=True)):
        return Placement(layout, turned=turned, said=("mirrored as the graph mirrors the picture",))
    return Placement(
        layout,
        doubt=_elsewhere("the graph moves the picture, by amounts that depend on the input's size"),
    )


def _elsewhere(why: str) -> str:
    return f"the map may lie elsewhere than it is drawn: {why}"


def _axes_of(
    geometry: Geometry,
    path: Reach,
    tensor: gs.Variable,
    layout: Layout,
    picture: tuple[int, ...],
) -> tuple[Layout, list[Along]] | None:
    """The map's axes as they run along the picture's, and the layout in that order."""
    own = geometry.axes.get(tensor.name)
    if layout.tokens is None and own is not None:
        along = [own[axis] for axis in layout.spatial]
        known = [one for one in along if one is not None]
        if len(known) < len(along):
            return None
        order = [next((k for k, o in enumerate(known) if o.axis == a), None) for a in picture]
        if None in order or len(set(order)) < len(order):
            return None
        places = [int(k) for k in order if k is not None]
        turned = layout._replace(
            spatial=tuple(layout.spatial[k] for k in places),
            sizes=tuple(layout.sizes[k] for k in places),
        )
        return turned, [known[k] for k in places]
    return _before_tokens(geometry, path, tensor, layout, picture)


def _before_tokens(geometry, path, tensor, layout, picture) -> tuple[Layout, list[Along]] | None:
    """The axes of the last map before that has as many rows and columns."""
    for node in reversed(path.nodes[: path.nodes.index(tensor.inputs[0]) + 1]):
        for output in node.outputs:
            own = geometry.axes.get(output.name) or []
            found = [next((o for o in own if o and o.axis == axis), None) for axis in picture]
            known = [one for one in found if one is not None]
            if len(known) == len(picture) and tuple(len(o.at) for o in known) == layout.sizes:
                return layout, known
    return None
