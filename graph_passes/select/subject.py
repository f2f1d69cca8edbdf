"""What is explained: which input, which output, which score behind a final Softmax or Sigmoid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError
from ..graph.dims import Dim
from ..graph.ordering import sort_nodes
from ..prepare.training import refuse_batch_statistics, refuse_randomness
from .class_axis import channel_axis, chosen_along, two_readings
from .detector import Detector, detector_of, is_alone, mixed
from .embedding import COSINE, embedding_among, is_embedding, unit_length
from .features import Features
from .head_maps import head_maps
from .logits import Scores, batch_first, one_after_the_other, scores_of
from .outputs import choose_output
from .picked import Head, picked_from, picks_inside
from .rows.follow import follow_rows
from .rows.places import Lost, Place, Rows
from .sources import Source, choose_sources
from .squeezed import with_rows

# What of a detected box may be explained.
PARTS = CLASS, OBJECTNESS, BOX = "class", "objectness", "box"


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
        embedding: whether the output is an embedding, none of whose numbers is a class's score.
        cosine: whether the scores are that embedding at length 1, whose weighted sum is a cosine.
        given: arrays for inputs that are not explained, fed where a call hands in none.
        part: what of a detected box is explained: one of `PARTS`.
        filled: (an input's name, the explained input) -> what follows for it; None: nothing does.
        head: what a detector's file picks the scores from by values, where it does; else None.
        held: what a detector's network picked on its way to the scores, of each input: places that
            stay the same wherever two inputs are compared. RT-DETR's queries are such.
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
    embedding: bool = False
    cosine: bool = False
    given: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    part: str = CLASS
    filled: Callable[[str, np.ndarray], np.ndarray | None] | None = None
    head: Head | None = None
    held: tuple[gs.Variable, ...] = ()
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
        head = None if self.head is None else self.head.moved_to(tensors)
        held = tuple(tensors[t.name] for t in self.held)
        return replace(self, graph=graph, sources=sources, head=head, held=held, **own)

    def with_features(self, features: Iterable[Features]) -> Subject:
        """The same with what else is known of each source's axes."""
        pairs = zip(self.sources, features, strict=True)
        return replace(self, sources=tuple(s._replace(features=own) for s, own in pairs))

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
    def weighed(self) -> gs.Tensor:
        """The tensor whose weighted sum the score is: `logits`, or what they are picked from."""
        return self.logits if self.head is None else self.head.tensor

    @property
    def batch(self) -> Dim:
        """The input's batch dimension: a number where the file fixes it."""
        return self.input.shape[0] if self.input.shape else None

    @property
    def rows_at_least(self) -> int:
        """How many rows the file takes at once, where it says so; else 1."""
        return self.batch if isinstance(self.batch, int) else 1

    @property
    def classes(self) -> Dim:
        """How many classes the score tensor has, where that is known."""
        shape = self.logits.shape
        if shape is None:
            return None
        return 1 if len(shape) < 2 else shape[self.class_axis]

    @property
    def per_class(self) -> bool:
        """Whether the score tensor has one score for each class, and nothing else in a row."""
        shape = self.logits.shape
        if self.detector is not None or self.cosine:
            return False
        if shape is None or len(shape) <= 2:
            return True
        return all(dim == 1 for axis, dim in enumerate(shape) if axis not in (0, self.class_axis))

    @property
    def by_index(self) -> bool:
        """Whether only an index tuple names a score: there is none for each class, nor pixel."""
        shape = self.logits.shape
        return not self.per_class and (shape is None or len(shape) != 4)

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
        input: name of the input to explain, or several; None: the first image-like float input.
        output: name of the output to explain; None finds it, see `choose_output`.
        score: "logit" (before a final Softmax, LogSoftmax or Sigmoid, and before the last
            quantiser's rounding and saturation), "output" (as the model returns it) or "cosine"
            (of an embedding, at length 1); of a detector also "class" (the logit of a box's class),
            "objectness" or "box".

    Raises:
        InvalidInputError: no such input, output or kind of score.
        UnsupportedModelError: no float input, or no float output that depends on it.
    """
    score, part = _score_and_part(score)
    sources = choose_sources(graph, input)
    refuse_batch_statistics(graph)
    inputs, starts = [s.input for s in sources], [s.start for s in sources]
    cosine = score == COSINE
    chosen, others, detector = _output_of(graph, inputs, starts, output, cosine, part)
    found = scores_of(graph, chosen, score)
    detector = detector or mixed(inputs, chosen, found.raw)
    found, detector = _of_detector(graph, starts[0], found, detector, score, part)
    axis = _axis_of(found, chosen)
    sort_nodes(graph)
    refuse_randomness(graph, found.tensor)
    rows = follow_rows(graph, _row_starts(graph, sources))
    decided = None
    if found.quantised:
        decided = batch_first(graph, inputs[0], with_rows(graph, chosen), axis, rows)[0]
    alone = detector is not None and detector.alone
    logits, axis, problem = batch_first(graph, inputs[0], found.tensor, axis, rows, alone)
    if cosine:
        logits, axis = unit_length(graph, logits, chosen), 1
    subject = Subject(
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
        {t.name: rows.get(t.name) for t in graph.outputs},
        others,
        detector,
        cosine or is_embedding(chosen),
        cosine,
        part=part or CLASS,
    )
    return subject if detector is None else _with_picks(subject, rows)


def _with_picks(subject: Subject, rows: Mapping[str, Rows]) -> Subject:
    """A detector's subject with what its file picks the scores from, and what it picks before."""
    graph = subject.graph
    subject = replace(subject, head=picked_from(graph, subject.logits, subject.starts, rows))
    held = picks_inside(graph, subject.starts, subject.weighed, rows)
    sort_nodes(graph)
    return replace(subject, held=held)


def _output_of(
    graph: gs.Graph,
    inputs: Sequence[gs.Variable],
    starts: Sequence[gs.Variable],
    name: str | None,
    cosine: bool,
    part: str | None,
) -> tuple[gs.Variable, tuple[str, ...], Detector | None]:
    """The output of the scores, others that could be meant, and the detector that it is of.

    For a cosine it is an embedding, where there is one.
    """
    if cosine:
        name = name or embedding_among(graph.outputs)
    detector = None if cosine else detector_of(graph, inputs)
    if detector is not None and name in (None, *detector.scores):
        first = _outputs_of(detector, part)[0]
        return choose_output(graph, inputs, starts, first).output, (), detector
    chosen, others = choose_output(graph, inputs, starts, name)
    return chosen, others, None


def _outputs_of(detector: Detector, part: str | None) -> tuple[str, ...]:
    """The outputs that hold what is explained of a box: an objectness may have its own."""
    return detector.objectness if part == OBJECTNESS and detector.objectness else detector.scores


def _axis_of(found: Scores, output: gs.Variable) -> int | None:
    """The axis of the classes: of a Softmax, of the last layer, or of the file's own ArgMax."""
    axis = channel_axis(found.tensor) if found.axis is None else found.axis
    return chosen_along(output) if axis is None else axis


def _of_detector(
    graph: gs.Graph,
    start: gs.Variable,
    found: Scores,
    detector: Detector | None,
    score: str,
    part: str | None,
) -> tuple[Scores, Detector | None]:
    """The scores of all of a detector's outputs, and what they say of it."""
    if detector is None:
        if part is not None:
            raise InvalidInputError(f"score {part!r} is of a detector's boxes, and this is none")
        return found, None
    found = one_after_the_other(graph, found, _outputs_of(detector, part)[1:], score)
    alone = is_alone(detector.form, found.tensor.shape)
    maps = head_maps(graph, start, found.leaves)
    return found, detector._replace(maps=maps, alone=alone)


def _score_and_part(score: str) -> tuple[str, str | None]:
    """What a score is read off, and which part of a box; None: nothing was said of boxes.

    Raises:
        InvalidInputError: there is no such kind of score.
    """
    if score in PARTS:
        return "logit", score
    if score not in ("logit", "output", COSINE):
        raise InvalidInputError(
            "score must be 'logit', 'output' or 'cosine' (of a detector also "
            f"{', '.join(PARTS)}), got {score!r}"
        )
    return score, None


def _class_axis(logits: gs.Variable, axis: int | None) -> int:
    """The axis of the classes, by what is known of it, or the usual one."""
    rank = 2 if logits.shape is None else len(logits.shape)
    return axis if axis and rank > 2 else min(1, rank - 1)


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
