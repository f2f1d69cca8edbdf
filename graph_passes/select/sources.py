"""Which inputs are explained, and where each becomes float."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..graph.dims import describe, is_static
from ..graph.emitter import Emitter
from ..graph.limits import hold
from ..graph.ordering import sort_nodes
from ..graph.tensors import is_constant, is_float, numpy_type
from .channels import channels_behind
from .features import Features, of_graph
from .lookups import (
    float_readers,
    is_row,
    joined,
    looked_up_as_computed,
    looked_up_first,
    looked_up_floats,
    lookups,
)
from .one_hot import is_one_hot, rows_of_all
from .outputs import may_be_alike


class Source(NamedTuple):
    """An input that is explained.

    Attributes:
        input: the graph input.
        start: the first float tensor behind it, which attributions are computed for (mostly `input`
            itself).
        embedded: whether `start` holds an embedding's row for each token of `input`; attributions
            are then summed over the rows.
        features: where channels and positions lie in `input`; of the graph, until a card
            says more.
    """

    input: gs.Variable
    start: gs.Variable
    embedded: bool = False
    features: Features = Features(0)

    @property
    def table(self) -> np.ndarray | None:
        """The rows of the one embedding that `input`'s ids are looked up in, or None."""
        made = self.start.inputs[0] if self.embedded else None
        if made is not None and is_one_hot(made):
            return rows_of_all(made)
        if made is None or made.op != "Gather" or not isinstance(made.inputs[0], gs.Constant):
            return None
        return made.inputs[0].values

    @property
    def straight(self) -> bool:
        """Whether `start`'s shape follows from the input's: the same, and an embedding's row."""
        shape, start = self.input.shape, self.start.shape
        if shape is None or start is None or len(start) != len(shape) + self.embedded:
            return False
        tensor = self.start
        while tensor is not self.input:
            node = tensor.inputs[0]
            if node.op in ("Concat", "Unsqueeze"):
                break  # made by `joined`
            if node.op == "Transpose":
                return False
            computed = (t for t in node.inputs if not is_constant(t))
            tensor = node.inputs[1] if node.op == "Gather" else next(computed)
        ahead = zip(shape, start, strict=False)
        other = any(p != q and isinstance(p, int) and isinstance(q, int) for p, q in ahead)
        return not other and is_static(start[len(shape) :])


def choose_sources(graph: gs.Graph, input: str | Sequence[str] | None) -> tuple[Source, ...]:
    """The inputs named, or the one that is found, each with where it becomes float."""
    names = [*input] if isinstance(input, Iterable) and not isinstance(input, str) else [input]
    if not names or len(set(names)) < len(names):
        raise InvalidInputError(f"input must be a name or several different ones, got {input!r}")
    sources = tuple(first_float(graph, choose_input(graph, name)) for name in names)
    for source in sources:
        if source.start.shape is None:
            raise UnsupportedModelError(
                f"the file does not say how many axes the input {source.input.name!r} has"
            )
        if not source.start.shape:
            raise UnsupportedModelError(
                f"input {source.input.name!r} is one number: expected a batch on its first axis"
            )
        if len(source.start.shape) > 1 and isinstance(source.start.shape[0], int):
            hold("batch", f"batch of the input {source.input.name!r}", source.start.shape[0])
    return tuple(source._replace(features=_features_of(source)) for source in sources)


def _features_of(source: Source) -> Features:
    """Where the first layer that tells channels from positions reads the channels."""
    rank = len(source.start.shape) - source.embedded
    channels = None if source.embedded else channels_behind(source.start)
    return of_graph(rank, channels)


def choose_input(
    graph: gs.Graph, name: str | None = None, but: Collection[str] = ()
) -> gs.Variable:
    """The input named, or the first float input with three axes or more, or the first float one.

    States that the model hands back come after all else; `but` names inputs that are none of them.
    """
    if name is not None:
        for tensor in graph.inputs:
            if tensor.name == name:
                return tensor
        known = ", ".join(repr(t.name) for t in graph.inputs)
        raise InvalidInputError(f"the model has no input {name!r}; it has {known}")
    free = [t for t in graph.inputs if t.name not in but]
    floats = [t for t in free if t.dtype is not None and is_float(t)]
    # A threshold or a scale is no input to attribute to, where there is another.
    floats = [t for t in floats if t.shape is None or len(t.shape)] or floats
    fresh = [t for t in floats if not _is_state(graph, t)]
    # A picture is no state of something smaller, though the model may hand it back, too.
    enough = 4 if any(len(t.shape or []) >= 4 for t in floats) else 2
    if any(t.shape is None or len(t.shape) >= enough for t in fresh):
        floats = fresh
    images = [t for t in floats if t.shape is not None and len(t.shape) >= 3]
    integers = [t for t in free if (_is_number(t) and float_readers(t)) or _is_looked_up(t)]
    candidates = images or floats or integers
    if not candidates:
        found = ", ".join(f"{t.name!r} ({t.dtype})" for t in graph.inputs) or "none"
        raise UnsupportedModelError(
            "the model has no float input to attribute to, nor one that becomes float by a Cast or "
            f"an embedding; its inputs: {found}"
        )
    return candidates[0]


def _is_state(graph: gs.Graph, tensor: gs.Variable) -> bool:
    """True where an output behind the first may have the tensor's shape: the state's next value."""
    return any(may_be_alike(tensor.shape, output.shape) for output in graph.outputs[1:])


def _is_number(tensor: gs.Variable) -> bool:
    return tensor.dtype is not None and numpy_type(tensor.dtype).kind in "iub"


def first_float(graph: gs.Graph, source: gs.Variable) -> Source:
    """The float tensor that stands for an input, and whether it is an embedding of it.

    That is the input itself, what a Cast makes of integers or half precision, or the rows that a
    Gather looks up for token ids (attributions are then summed over each row), also where several
    do, or where ids are handed over as float.

    Raises:
        UnsupportedModelError: integers become float in no such way, or in several.
    """
    if source.dtype in (np.float32, np.float64):
        node = looked_up_floats(source)
        if node is None:
            return Source(source, source)
        start = looked_up_first(graph, source, node) if is_row(node) else node.outputs[0]
        return Source(source, start, True)
    computed = looked_up_as_computed(source) if _is_number(source) else None
    if computed is not None:
        return Source(source, computed.outputs[0], embedded=True)
    readers = float_readers(source)
    several = lookups(source) if len(readers) != 1 else None
    start = joined(graph, source, several) if several else None
    if start is not None:
        return Source(source, start, embedded=True)
    if len(readers) != 1:
        raise UnsupportedModelError(
            f"input {source.name!r} ({source.dtype}) becomes float in {len(readers)} places; "
            "expected one Cast or one embedding that all of the model reads"
        )
    reader = readers[0]
    # A table of numbers has no rows to sum over.
    one_hot = is_one_hot(reader)
    rows = one_hot or (reader.op == "Gather" and len(reader.inputs[0].shape) > 1)
    if reader.op == "Cast" and not one_hot:
        return Source(source, _cast_first(graph, source, reader))
    if one_hot:
        _check_order(source, reader.outputs[0])
    start = looked_up_first(graph, source, reader) if is_row(reader) else reader.outputs[0]
    return Source(source, start, embedded=rows)


def _check_order(source: gs.Variable, start: gs.Variable) -> None:
    """Refuse rows of zeros with a one whose ids were turned or flattened before."""
    own, rows = list(source.shape or []), list(start.shape or [])
    known = [(a, b) for a, b in zip(own, rows, strict=False) if None not in (a, b)]
    fixed = [pair for pair in known if any(isinstance(dim, int) for dim in pair)]
    if len(rows) != len(own) + 1 or any(a != b for a, b in fixed):
        raise UnsupportedModelError(
            f"{source.name!r} {describe(own)} is looked up as {describe(rows)}, in an order "
            "that cannot be followed"
        )


def _is_looked_up(source: gs.Variable) -> bool:
    computed = looked_up_as_computed(source) if _is_number(source) else None
    return computed is not None or lookups(source) is not None


def _cast_first(graph: gs.Graph, source: gs.Variable, cast: gs.Node) -> gs.Variable:
    """The input cast to float at once, so that attribution and baseline have its own axes.

    Where it is moved before (bytes of a picture, channels last, are transposed, say), the floats
    are moved instead.
    """
    moves, tensor = [], cast.inputs[0]
    while tensor is not source:
        moves.append(tensor.inputs[0])
        tensor = tensor.inputs[0].inputs[0]
    if all(node.op in ("Cast", "Identity") for node in moves):
        return cast.outputs[0]
    emit = Emitter(graph, "first")
    start = emit.Cast(source, to=cast.attrs["to"])
    start.shape = source.shape
    moved = start
    for node in reversed(moves):
        if node.op != "Cast":
            shape = node.outputs[0].shape
            moved = emit(node.op, moved, *node.inputs[1:], **node.attrs)
            moved.shape = shape
    cast.op, cast.attrs, cast.inputs = "Identity", {}, [moved]
    sort_nodes(graph)
    return start
