"""What is explained: which input, which output, which score behind a final Softmax or Sigmoid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..graph.dims import Dim, is_static
from ..graph.emitter import Emitter
from ..graph.limits import hold
from ..graph.ordering import sort_nodes
from ..graph.tensors import is_float, numpy_type
from ..prepare.training import refuse_batch_statistics, refuse_randomness
from .channels import channels_behind
from .class_axis import channel_axis, two_readings
from .detector import Detector, detector_of, mixed
from .logits import batch_first, one_after_the_other, scores_of
from .lookups import float_readers, joined, looked_up_floats, lookups
from .outputs import choose_output, may_be_alike
from .raw_scores import maps_ahead
from .rows.follow import follow_rows
from .rows.places import Lost, Place, Rows
from .squeezed import with_rows


class Source(NamedTuple):
    """An input that is explained.

    Attributes:
        input: the graph input.
        start: the first float tensor behind it, which attributions are computed for (mostly `input`
            itself).
        embedded: whether `start` holds an embedding's row for each token of `input`; attributions
            are then summed over the rows.
        channels: the axis of `start` that the first layer takes for channels; None: not known.
    """

    input: gs.Variable
    start: gs.Variable
    embedded: bool = False
    channels: int | None = None

    @property
    def table(self) -> np.ndarray | None:
        """The rows of the one embedding that `input`'s ids are looked up in, or None."""
        made = self.start.inputs[0] if self.embedded else None
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
            tensor = node.inputs[1 if node.op == "Gather" else 0]
        ahead = zip(shape, start, strict=False)
        other = any(p != q and isinstance(p, int) and isinstance(q, int) for p, q in ahead)
        return not other and is_static(start[len(shape) :])


# Two are never the same: what is found of one may be kept for it.
@dataclass(frozen=True, eq=False)
class Subject:
    """A prepared graph and the tensors that an explanation connects.

    Attributes:
        graph: the prepared graph.
        sources: the inputs that the explanation is about, mostly one.
        output: the model output that is explained.
        logits: the score tensor: `output` before its final activation and its quantisers, or
            `output` itself.
        decided: what the top class is read off, in the shape of `logits`. It is `logits`; where
            quantisers were left out it is `output`, so that the top class is the one that the
            file's own user sees: of several classes that share a quantiser's step, or its top
            value, the first, as ArgMax has it.
        activation: the operator that was left out between them, or None.
        quantised: whether quantisers were left out between them.
        class_axis: the axis of `logits` along which classes lie.
        axis_known: whether the graph says so; else it is the usual one.
        coupled: why a row's score depends on other rows too, or may; None: it does not.
        rows: for each of the model's outputs where its rows are.
        others: outputs that could be meant as well where none was named, in words.
        detector: where a detector's boxes and scores are; None: it is none.
        sized: shapes of inputs at which all tensors were counted, and are few enough.
    """

    graph: gs.Graph
    sources: tuple[Source, ...]
    output: gs.Variable
    logits: gs.Variable
    decided: gs.Variable
    activation: str | None
    quantised: bool
    class_axis: int
    axis_known: bool
    coupled: Lost | None
    rows: dict[str, Rows]
    others: tuple[str, ...] = ()
    detector: Detector | None = None
    sized: set[Any] = field(default_factory=set, compare=False)

    def copy(self) -> Subject:
        """The same in a copy of the graph, which passes may change."""
        return self.moved_to(self.graph.copy())

    def moved_to(self, graph: gs.Graph) -> Subject:
        """The same in another graph that has its tensors, by name."""
        tensors = graph.tensors()
        sources = tuple(
            s._replace(input=tensors[s.input.name], start=tensors[s.start.name])
            for s in self.sources
        )
        own = {k: tensors[getattr(self, k).name] for k in ("output", "logits", "decided")}
        return replace(self, graph=graph, sources=sources, **own)

    @property
    def input(self) -> gs.Variable:
        """The explained input, or the first of them."""
        return self.sources[0].input

    @property
    def start(self) -> gs.Variable:
        """The first float tensor behind the explained input, or behind the first of them."""
        return self.sources[0].start

    @property
    def starts(self) -> list[gs.Variable]:
        """The first float tensor behind each explained input."""
        return [source.start for source in self.sources]

    def name_of(self, kind: str, source: Source) -> str:
        """A name in the explaining graph: `kind`, or of several inputs each `kind_<input>`."""
        return kind if len(self.sources) == 1 else f"{kind}_{source.input.name}"

    @property
    def batch(self) -> Dim:
        """The input's batch dimension: a number where the file fixes it."""
        return self.input.shape[0] if self.input.shape else None

    @property
    def classes(self) -> Dim:
        """How many classes the score tensor has, where that is known."""
        shape = self.logits.shape
        if shape is None:
            return None
        return 1 if len(shape) == 1 else shape[self.class_axis]

    @property
    def per_class(self) -> bool:
        """Whether the score tensor has one score for each class, and nothing else in a row."""
        shape = self.logits.shape
        if self.detector is not None:
            return False
        if shape is None or len(shape) <= 2:
            return True
        return all(dim == 1 for axis, dim in enumerate(shape) if axis not in (0, self.class_axis))

    @property
    def readings(self) -> tuple[str, str] | None:
        """What a map of scores may be, where the class axis is not known."""
        shape = self.logits.shape
        known = self.axis_known or self.per_class or shape is None or len(shape) != 4
        return None if known else two_readings(shape)


def select(
    graph: gs.Graph,
    input: str | Sequence[str] | None = None,
    output: str | None = None,
    score: str = "logit",
) -> Subject:
    """Choose input, output and score tensor.

    Args:
        graph: prepared; gains the nodes that carry the score tensor past a removed activation.
        input: name of the input to explain, or several names; None takes the first image-like
            float input.
        output: name of the output to explain; None finds it, see `choose_output`.
        score: "logit" (before a final Softmax, LogSoftmax or Sigmoid, and before the last
            quantiser's rounding and saturation) or "output" (as the model returns it).

    Raises:
        InvalidInputError: no such input, output or kind of score.
        UnsupportedModelError: no float input, or no float output that depends on it.
    """
    if score not in ("logit", "output"):
        raise InvalidInputError(f"score must be 'logit' or 'output', got {score!r}")
    sources = _choose_sources(graph, input)
    refuse_batch_statistics(graph)
    inputs, starts = [s.input for s in sources], [s.start for s in sources]
    detector = detector_of(graph, inputs)
    if detector is not None and output in (None, *detector.scores):
        chosen, others = choose_output(graph, inputs, starts, detector.scores[0]).output, ()
    else:
        detector = None
        chosen, others = choose_output(graph, inputs, starts, output)
    found = scores_of(graph, chosen, score)
    detector = detector or mixed(inputs, chosen, found.raw)
    if detector is not None:
        found = one_after_the_other(graph, found, detector.scores[1:], score)
        detector = detector._replace(maps=maps_ahead(found.leaves))
    axis = channel_axis(found.tensor) if found.axis is None else found.axis
    sort_nodes(graph)
    refuse_randomness(graph, found.tensor)
    rows = follow_rows(graph, _row_starts(graph, sources))
    decided = None
    if found.quantised:
        decided = batch_first(graph, inputs[0], with_rows(graph, chosen), axis, rows)[0]
    logits, axis, problem = batch_first(graph, inputs[0], found.tensor, axis, rows)
    own = {t.name: rows.get(t.name) for t in graph.outputs}
    return Subject(
        graph,
        sources,
        chosen,
        logits,
        logits if decided is None else decided,
        found.left_out,
        found.quantised,
        _class_axis(logits, axis),
        axis is not None,
        problem,
        own,
        others,
        detector,
    )


def _class_axis(logits: gs.Variable, axis: int | None) -> int:
    """The axis of the classes, by what is known of it, or the usual one."""
    rank = 2 if logits.shape is None else len(logits.shape)
    return axis if axis and rank > 2 else min(1, rank - 1)


def _choose_sources(graph: gs.Graph, input: str | Sequence[str] | None) -> tuple[Source, ...]:
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
        if len(source.start.shape) > 1 and isinstance(source.start.shape[0], int):
            hold("batch", f"batch of the input {source.input.name!r}", source.start.shape[0])
    return tuple(source._replace(channels=channels_behind(source.start)) for source in sources)


def _row_starts(graph: gs.Graph, sources: Sequence[Source]) -> dict[str, Place]:
    """The inputs that have a row for each row of the explained ones, and on which axis."""
    explained = {source.input.name for source in sources}
    batch = (sources[0].input.shape or [None])[0]
    found = dict.fromkeys(explained, Place(0))
    for tensor in graph.inputs:
        shape = list(tensor.shape or [])
        if tensor.name in explained or batch in (None, 1) or batch not in shape:
            continue
        if isinstance(batch, str) or shape[0] == batch:
            found[tensor.name] = Place(shape.index(batch))
    return found


def choose_input(graph: gs.Graph, name: str | None = None) -> gs.Variable:
    """The input named, or the first float input with three axes or more, or the first float one.

    States that the model hands back come after all else.
    """
    if name is not None:
        for tensor in graph.inputs:
            if tensor.name == name:
                return tensor
        known = ", ".join(repr(t.name) for t in graph.inputs)
        raise InvalidInputError(f"the model has no input {name!r}; it has {known}")
    floats = [t for t in graph.inputs if t.dtype is not None and is_float(t)]
    fresh = [t for t in floats if not _is_state(graph, t)]
    # A picture is no state of something smaller, though the model may hand it back, too.
    enough = 4 if any(len(t.shape or []) >= 4 for t in floats) else 2
    if any(t.shape is None or len(t.shape) >= enough for t in fresh):
        floats = fresh
    images = [t for t in floats if t.shape is not None and len(t.shape) >= 3]
    integers = [t for t in graph.inputs if (_is_number(t) and float_readers(t)) or _is_looked_up(t)]
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
        return Source(source, source) if node is None else Source(source, node.outputs[0], True)
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
    rows = reader.op == "Gather" and len(reader.inputs[0].shape) > 1
    if reader.op == "Cast":
        return Source(source, _cast_first(graph, source, reader))
    return Source(source, reader.outputs[0], embedded=rows)


def _is_looked_up(source: gs.Variable) -> bool:
    return lookups(source) is not None


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
