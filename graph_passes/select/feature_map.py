"""Finding Grad-CAM's feature map: by dominance, not "the last Conv".

It is the last tensor with spatial extent, a map or patch tokens, that every path from the image to
the score crosses, and whose places still reach the score themselves. Where only a class token is
read in the end, that is what the last attention reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..graph.dims import Shape, describe
from ..graph.operators import Fact, has
from ..graph.tensors import operator_name
from .dominance import (
    behind_weights,
    crossed_by_places,
    dominators,
    feeds_weights,
    last_of_a_branch,
    nodes_behind,
)
from .map_layout import Layout, picture_axes
from .placement import placement
from .positions.flow import BY_ATTENTION, Flow
from .sight import Sight, seen
from .subject import Subject

# What a product's numbers pass as they are, or with a bias and a scale.
_LINEAR = Fact.COPIES | Fact.PERMUTES | Fact.DROPS | Fact.ARITHMETIC


class FeatureMap(NamedTuple):
    """The chosen tensor, the order of its axes, and why it was chosen.

    Attributes:
        tensor: the activation.
        layout: which of its axes hold what.
        picture: the explained input's axes that its places lie along; None: unknown.
        fixed: whether the layout's sizes are those of all inputs.
        sized_by: for tokens of a number that is only known at run time, a tensor and its axes that
            tell how many rows and columns they make; else None.
        others: how many other tokens stand among those of places.
        reason: why it was chosen, and what its tokens are.
        placed, turned, doubt, warning: where it lies (see `Placement`), and what is wrong with it.
    """

    tensor: gs.Variable
    layout: Layout
    picture: tuple[int, ...] | None
    fixed: bool
    sized_by: tuple[gs.Variable, tuple[int, ...]] | None
    others: int
    reason: str
    placed: tuple[np.ndarray, ...] | None = None
    turned: tuple[bool, ...] = ()
    doubt: str | None = None
    warning: str | None = None

    def moved_to(self, graph: gs.Graph) -> FeatureMap:
        """The same in a copy of the graph, whose tensors have the same names."""
        tensors = graph.tensors()
        sized_by = self.sized_by
        if sized_by is not None:
            sized_by = tensors[sized_by[0].name], sized_by[1]
        return self._replace(tensor=tensors[self.tensor.name], sized_by=sized_by)


# Subject -> layer -> what was found: whoever asks for the map's name asks for its graph, too.
_found: WeakKeyDictionary[Subject, dict[str | None, FeatureMap]] = WeakKeyDictionary()


def find_feature_map(subject: Subject, layer: str | None = None) -> FeatureMap:
    """Choose the feature map, or take the tensor (or node) named by `layer`; once for a subject.

    Raises:
        InvalidInputError: `layer` names nothing on the path, or something without channel and
            spatial axes, or tokens that do not reach the score.
        UnsupportedModelError: the model has no tensor with channels and spatial extent on every
            path.
    """
    known = _found.setdefault(subject, {})
    if layer not in known:
        known[layer] = _find_feature_map(subject, layer)
    return known[layer]


def find_tokens(subject: Subject, name: str, number: int) -> FeatureMap | None:
    """The last tensor before `name` with `number` tokens that stand for places, or None.

    Args:
        subject: what is explained.
        name: of a tensor between its input and the score, such as an attention's values.
        number: of its tokens, those of no place included.
    """
    sight = seen(subject, subject.batch if isinstance(subject.batch, int) else 2)
    before = {name}
    for node in reversed(sight.path.nodes):
        if before.isdisjoint(tensor.name for tensor in node.outputs):
            continue
        before.update(tensor.name for tensor in node.inputs)
        for tensor in node.outputs:
            layout = sight.layout(tensor)
            if layout is None or layout.tokens is None:
                continue
            if tensor.shape[layout.spatial[0]] == number:
                return _feature_map(sight, tensor, "the tokens that attention reads")
    return None


def _find_feature_map(subject: Subject, layer: str | None) -> FeatureMap:
    # Two rows tell the batch from what is cut into patches; some files hold one for good.
    batches = [2, 1] if not isinstance(subject.batch, int) else [subject.batch]
    found: list[FeatureMap] = []
    error: Exception | None = None
    for batch in batches:
        sight = seen(subject, batch)
        try:
            found.append(_named(sight, layer) if layer is not None else _chosen(sight))
        except (InvalidInputError, UnsupportedModelError) as refused:
            error = error or refused
        if found and found[-1].warning is None:
            return found[-1]
    if found:
        return found[0]
    assert error is not None
    raise error


# The choice.


def _is_dense(sight: Sight) -> bool:
    """Whether the score is one of many places: of a list, or of a map whose layout is known."""
    return sight.subject.by_index or sight.layout(sight.end) is not None


def _chosen(sight: Sight) -> FeatureMap:
    subject, path = sight.subject, sight.path
    # Where the score is a place of a map, the map itself is no feature of it.
    dense = _is_dense(sight)
    learnt = behind_weights(path)
    crossed = [tensor for tensor in dominators(path, sight.start) if tensor.name in learnt]
    fitting = [t for t in crossed if _is_candidate(sight, t)]
    if dense:
        fitting = [t for t in fitting if feeds_weights(t, path)]
    if not fitting:
        raise UnsupportedModelError(_no_map(sight))
    last = fitting[-1]
    later = [t for t in crossed_by_places(path, sight.flow, last) if _is_candidate(sight, t)]
    later = [t for t in later if not dense or feeds_weights(t, path)]
    if later and (chosen := _before_moving(later[-1], [last, *later])) is not last:
        reason = (
            "the last tensor that all patch tokens which still tell the score something go "
            "through: behind it, other tokens have read them"
        )
        return _feature_map(sight, chosen, reason, True)
    chosen = _before_moving(last, fitting)
    layout = sight.layout(chosen)
    tokens = layout is not None and layout.tokens is not None
    kind = "of patch tokens" if tokens else "with spatial extent"
    source = subject.input.name
    reason = f"the last tensor {kind} that every path from {source!r} to the score crosses"
    return _feature_map(sight, chosen, reason, True)


def _is_candidate(sight: Sight, tensor: gs.Variable) -> bool:
    """True where places reach the score, and not in the projections that an attention reads."""
    met = sight.flow.met(tensor)
    projected = BY_ATTENTION in met and _is_product(tensor)
    return bool(met) and not projected and sight.layout(tensor) is not None


def _is_product(tensor: gs.Variable) -> bool:
    """True for what a matrix of weights makes, with its bias or scale, moved or not."""
    node = tensor.inputs[0]
    while has(node, _LINEAR) and any(operand.inputs for operand in node.inputs):
        varying = [operand for operand in node.inputs if operand.inputs]
        if len(varying) > 1:
            return False
        node = varying[0].inputs[0]
    return has(node, Fact.WEIGHTED)


def _before_moving(tensor: gs.Variable, fitting: Sequence[gs.Variable]) -> gs.Variable:
    """What a Reshape or Slice moves, as long as it is a map, too."""
    names = {other.name for other in fitting}
    while _only_moves(tensor.inputs[0]) and tensor.inputs[0].inputs[0].name in names:
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _only_moves(node: gs.Node) -> bool:
    """Moves elements only: the map is what it moves."""
    return has(node, Fact.RESHAPES) or node.op == "Slice"


def _feature_map(
    sight: Sight, tensor: gs.Variable, reason: str, chosen: bool = False
) -> FeatureMap:
    layout = sight.layout(tensor)
    assert layout is not None
    own = sight.subject.graph.tensors()[tensor.name]
    made = f"made by {tensor.inputs[0].op}, {describe(_shown_shape(sight, tensor, own))}"
    others = 0
    if layout.tokens is not None:
        others = tensor.shape[layout.spatial[0]] - layout.number
        made += f"; {_grid_text(layout, sight, others)}"
    early = _too_early(sight, tensor, chosen)
    picture = picture_axes(
        sight.start.shape, sight.flow.grids.grid(sight.ranked(tensor)), sight.channels
    )
    where = placement(sight.path, sight.start, tensor, layout, picture, sight.fixed)
    notes = [note for note in (early, where.doubt) if note]
    reason = "; ".join(filter(None, [where.doubt, f"{reason} ({made})", early, *where.said]))
    return FeatureMap(
        tensor=own,
        layout=where.layout,
        picture=picture,
        fixed=sight.fixed,
        sized_by=None if sight.fixed else _sized_by(sight, tensor, layout),
        others=others,
        reason=reason,
        placed=where.placed,
        turned=where.turned,
        doubt=where.doubt,
        warning=f"Grad-CAM at {own.name!r}: {'; '.join(notes)}" if notes else None,
    )


def _shown_shape(sight: Sight, tensor: gs.Variable, own: gs.Variable) -> Shape:
    """The tensor's shape as far as it is the same for all inputs."""
    layout = sight.layout(tensor)
    if not sight.fixed or layout is None:
        return own.shape
    return [
        sight.subject.batch if axis == layout.batch else size
        for axis, size in enumerate(tensor.shape)
    ]


def _grid_text(layout: Layout, sight: Sight, others: int) -> str:
    """The grid of the tokens, and how many others are left out."""
    text = f"patch tokens {' x '.join(map(str, layout.sizes))}"
    if not sight.fixed:
        text += f" for an input {describe(sight.start.shape)}"
    return text + (f", {others} other token{'s' * (others > 1)} left out" if others else "")


def _sized_by(sight: Sight, tensor: gs.Variable, layout: Layout):
    """The last map before tokens of unknown number that has their rows and columns."""
    if layout.tokens is None:
        return None
    ids, found = sight.ranked(tensor), None
    for node in sight.path.nodes[: sight.path.nodes.index(tensor.inputs[0])]:
        for other in node.outputs:
            shaped = sight.layout(other)
            if shaped is None or shaped.tokens is not None or shaped.sizes != layout.sizes:
                continue
            if sight.flow.grids.grid(sight.ranked(other)) == sight.flow.grids.grid(ids):
                found = sight.subject.graph.tensors()[other.name], shaped.spatial
    steps = np.diff(layout.tokens)
    if found is None or (steps != 1).any():
        raise UnsupportedModelError(
            f"Grad-CAM cannot tell how many rows and columns the tokens of {tensor.name!r} make at "
            "run time; a file with a fixed input size works"
        )
    return found


# By name.


def _named(sight: Sight, layer: str) -> FeatureMap:
    """The path's tensor of that name, or the first output of the node of that name."""
    path = sight.path
    on_path = {t.name: t for node in path.nodes for t in node.outputs if t.name in path.varying}
    by_node = {node.name: node.outputs[0] for node in path.nodes}
    tensor = on_path.get(layer) or by_node.get(layer)
    if tensor is None:
        usable = [name for name, t in on_path.items() if sight.layout(t) is not None]
        near = difflib.get_close_matches(layer, usable, 3, 0.3) or usable[-3:]
        raise InvalidInputError(
            f"no tensor or node {layer!r} lies between the input and the score; for example: "
            + ", ".join(repr(name) for name in near)
        )
    if sight.layout(tensor) is None:
        own = sight.subject.graph.tensors()[tensor.name]
        raise InvalidInputError(
            f"layer {layer!r} has shape {describe(own.shape)}: "
            "expected channels and spatial axes, or one axis of patch tokens"
        )
    if not sight.flow.met(tensor):
        raise InvalidInputError(
            f"layer {layer!r}: its patch tokens do not reach the score, only other tokens do"
        )
    return _feature_map(sight, tensor, "asked for by name")


# Weights, before and behind.


def _too_early(sight: Sight, tensor: gs.Variable, chosen: bool) -> str | None:
    """What to say of a map with most of the network, or of one of its branches, behind it.

    Counted are the matrices of weights that places, or what may be places, go through.
    """
    path, flow = sight.path, sight.flow
    weighing = [
        id(node)
        for index, node in enumerate(path.nodes)
        if has(node, Fact.WEIGHTED)
        and len(path.operands(node)) == 1
        and (index, path.operands(node)[0]) in flow.carried
    ]
    behind = {id(node) for node in nodes_behind(tensor, path)}.intersection(weighing)
    part = f"{len(behind)} of {len(weighing)} convolutions and products with weights"
    dense = _is_dense(sight)

    def fits(made: gs.Variable) -> bool:
        map_of_places = BY_ATTENTION not in flow.met(made) and _is_candidate(sight, made)
        return map_of_places and (not dense or feeds_weights(made, path))

    branch = last_of_a_branch(tensor, path, behind, fits) if chosen else None
    if 2 * len(behind) > len(weighing):
        text = f"most of the network lies behind this map ({part}), so it shows little of what the "
        text += "score rests on"
    elif branch is not None:
        text = f"a branch goes on behind this map ({part}), and what it finds is shown where this "
        text += f"map has it; layer={branch!r} would show the last map of that branch"
    else:
        return None
    return f"{text}; {_lost(flow)}" if flow.lost is not None else text


def _lost(flow: Flow) -> str:
    node = flow.lost
    assert node is not None
    return f"places could not be followed through {operator_name(node)} (node {node.name!r})"


def _no_map(sight: Sight) -> str:
    path, learnt = sight.path, behind_weights(sight.path)
    maps = [
        tensor.name
        for node in path.nodes
        for tensor in node.outputs
        if tensor.name in learnt
        and _is_candidate(sight, tensor)
        and BY_ATTENTION not in sight.flow.met(tensor)
    ]
    why = "no convolution before it?"
    if sight.flow.lost is not None:
        why = _lost(sight.flow)
    elif maps:
        why = f"it is reached in several ways; layer={maps[-1]!r} would take the last map of one"
    return (
        "Grad-CAM needs a tensor with channels and height x width over 1 that every path from the "
        f"image to the score crosses, and {sight.subject.output.name!r} has none ({why}); "
        "integrated-gradients and deeplift work on any input"
    )
