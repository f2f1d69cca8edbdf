"""What is explained, as weights on the scores; and what a kind of it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ... import InvalidInputError
from ...graph_passes.graph.dims import describe
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.select.score import BEST, PLACE_WEIGHTS, PLACES, rank_of_places
from ...graph_passes.select.subject import Subject

# A class, or the place of one score behind the batch axis.
Index = int | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Target:
    """A weighted sum of scores.

    Attributes:
        places: int64 [R, axes], places among the scores behind the batch axis, each once; the class
            may be `BEST`, the top class of its row.
        weights: [R], one for each.
        index: what users know it by: a class or an index tuple.
        minus: the class or index tuple whose score is taken off, in a difference; else None.
        against: whether all weights are times -1: what speaks against it.
        label: its name; None: that of the class `index`.
        region: bool, the positions of the output that it sums over, where it does; else None.
        asked: the text that it was asked for by.
        box: x0, y0, x1, y1 of what it is the score of, in the model's input; None: of no box.
        chance: how sure the model is of a box, 0 to 1; else None.
        name: its key, where its index is none that people know it by.
        versus: what an embedding is compared with, by name, where it is their similarity; or None.
        held: of a score that the file picked, its places in what it was picked from, [R, axes], and
            their weights [R]; else None. They are those of the same score of any other input.
        picks: what the network picked inside on its way to the score, a row of each of the
            subject's `held`; () where it picks nothing.
    """

    places: np.ndarray
    weights: np.ndarray
    index: Index
    minus: Index | None = None
    against: bool = False
    label: str | None = None
    region: np.ndarray | None = None
    asked: str = ""
    box: tuple[float, ...] | None = None
    chance: float | None = None
    name: str | None = None
    versus: str | None = None
    held: tuple[np.ndarray, np.ndarray] | None = None
    picks: tuple[np.ndarray, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether only the graph knows its class."""
        return bool((self.places == BEST).any())

    @property
    def is_class(self) -> bool:
        """Whether it is what the model says of one class, and nothing else."""
        return isinstance(self.index, int) and self.minus is None and not self.against

    @property
    def key(self) -> str:
        """What tells it from all others: "281", "1-20-30", "not-281", "282-minus-285"."""
        return key_of_target(self.index, self.minus, self.against, self.name)

    def named(self, labels: Sequence[str] | None) -> str | None:
        """Its name, as far as labels are known."""
        name = self.label
        if name is None and isinstance(self.index, int) and labels and self.index < len(labels):
            name = labels[self.index]
        if self.minus is not None and self.label is None:
            name = f"{_name_of(self.index, labels)} - {_name_of(self.minus, labels)}"
        return f"not {name or index_text(self.index)}" if self.against else name


# What an explainer takes for one target.
Again: TypeAlias = Index | str | Target


def index_text(index: Index) -> str:
    """A class or an index tuple as files are named after it: "281", "1-20-30"."""
    return "-".join(map(str, index)) if isinstance(index, tuple) else str(index)


def key_of_target(index: Index, minus: Index | None, against: bool, name: str | None) -> str:
    """See `Target.key`."""
    difference = "" if minus is None else f"-minus-{index_text(minus)}"
    text = index_text(index) + difference if name is None else name
    return f"not-{text}" if against else text


def asked_again(index: Index, minus: Index | None = None, against: bool = False) -> Index | str:
    """What an explainer is asked for the same target: a class, an index tuple or a text."""
    if minus is None and not against:
        return index
    sides = [index] if minus is None else [index, minus]
    texts = [f"index:{','.join(map(str, s))}" if isinstance(s, tuple) else str(s) for s in sides]
    return ("not " if against else "") + " - ".join(texts)


def asked_of_all(targets: Sequence[Target]) -> tuple[int, ...] | np.ndarray:
    """N targets as an explainer takes them: the index tuple of all, or an array [N]."""
    found = [t if t.name else asked_again(t.index, t.minus, t.against) for t in targets]
    if isinstance(found[0], tuple) and all(one == found[0] for one in found):
        return found[0]
    if not any(isinstance(one, tuple | Target) for one in found):
        return np.asarray(found)
    array = np.empty(len(found), object)
    array[:] = found
    return array


def _name_of(index: Index, labels: Sequence[str] | None) -> str:
    if isinstance(index, int) and labels and index < len(labels):
        return labels[index]
    return index_text(index)


class Wanted(NamedTuple):
    """A target as it was asked for.

    Attributes:
        kind: the name of its kind.
        value: the kind's own.
        text: "top1", "281", "rank2", "not-281": as the journal keeps it.
    """

    kind: str
    value: Hashable
    text: str


class About(NamedTuple):
    """What targets are of: the scores, and what their classes are called."""

    subject: Subject
    labels: Sequence[str] | None


class Answers(NamedTuple):
    """What the model answered to N inputs.

    Attributes:
        scores: what the top class is read off, [N, ...].
        outputs: the file's own outputs.
        shape: of one input, without the batch axis.
        run: runs a small model on the CPU: (model, feeds) -> its outputs by name.
    """

    scores: np.ndarray
    outputs: Mapping[str, np.ndarray]
    shape: tuple[int, ...]
    run: Callable[[Any, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]

    def of(self, row: int) -> Answer:
        """That to one input."""
        return Answer(self.scores[row], self, row)


class Answer(NamedTuple):
    """What the model answered to one input.

    Attributes:
        scores: what the top class is read off, without the batch axis.
        of_all: the answers to all inputs that went with it.
        row: which of them it is.
    """

    scores: np.ndarray
    of_all: Answers
    row: int


@dataclass(frozen=True, eq=False)
class TargetKind:
    """A kind of target: how people name it, and where it is in the outputs.

    Attributes:
        name: tells it from the others.
        parse: (a text, a number or a tuple; about) -> what it asks for; None: it is not of this
            kind.
        resolve: (value, about, the answer) -> the targets that it comes to.
        of_array: (array, about) -> the values in it that `parse` takes, for each input or for all;
            None: such arrays are of another kind.
        known: (value, about) -> the target, where no answer is needed for it; else None.
        best: (about) -> what is asked for where nobody said; None: this is not for such scores.
        moved: (value, from a thing's own pixels to the model's input) -> the value there.
        usual: the texts of what a command explains where nobody said.
        of_places: whether its scores are of places of the picture, not of the whole.
        words: (about) -> what such a target can be, in words; None: this is not for such scores.
        place: those of a lower one are tried first.
    """

    name: str
    parse: Callable[[Any, About], list[Wanted] | None]
    resolve: Callable[[Any, About, Answer], list[Target]]
    known: Callable[[Any, About], Target | None] = lambda value, about: None
    of_array: Callable[[Any, About], list[Any] | None] = lambda array, about: None
    best: Callable[[About], Wanted | None] = lambda about: None
    words: Callable[[About], str | None] = lambda about: None
    moved: Callable[[Any, Callable[[Any], Any]], Hashable] = lambda value, to_input: value
    usual: list[str] = field(default_factory=lambda: ["top1"])
    of_places: bool = False
    place: int = 100


def one_score(place: Sequence[int], **facts: Any) -> Target:
    """The target that is one score, with weight 1."""
    places = np.asarray([place], np.int64)
    return Target(places, np.ones(1), **facts)


def out_of_range(subject: Subject, target: Any) -> InvalidInputError:
    """What to raise for a target that this input has no score for."""
    return InvalidInputError(
        f"target {target!r} is out of range of {subject.output.name!r} "
        f"{describe(subject.logits.shape)} for this input"
    )


def place_of_class(about: About, index: int) -> list[int]:
    """Where a class's score is, behind the batch axis."""
    place = [0] * (rank_of_places(about.subject) - 1)
    place[about.subject.class_axis - 1 if about.subject.class_axis else 0] = index
    return place


def negative(target: Target) -> Target:
    """What speaks against it: its score times -1; of what speaks against a target, the target."""
    held = None if target.held is None else (target.held[0], -target.held[1])
    return replace(target, weights=-target.weights, against=not target.against, held=held)


def difference(a: Target, b: Target) -> Target:
    """The score of one less that of another; places that both have come once."""
    both = np.concatenate([a.places, b.places])
    places, at = np.unique(both, axis=0, return_inverse=True)
    weights = np.zeros(len(places))
    np.add.at(weights, at.reshape(-1), np.concatenate([a.weights, -b.weights]))
    named = a.name is not None or b.name is not None
    return Target(
        places,
        weights,
        a.index,
        minus=b.index,
        label=f"{a.label or a.key} - {b.label or b.key}" if named else None,
        name=f"{a.key}-minus-{b.key}" if named else None,
    )


def fed(subject: Subject, targets: Sequence[Target]) -> dict[str, np.ndarray]:
    """What a graph is fed for N targets, one a row."""
    rows = [np.full((len(t.places), 1), row, np.int64) for row, t in enumerate(targets)]
    places = [np.concatenate([row, t.places], axis=1) for row, t in zip(rows, targets, strict=True)]
    weights = np.concatenate([t.weights for t in targets])
    kind = numpy_type(subject.logits.dtype)
    return {PLACES: np.concatenate(places), PLACE_WEIGHTS: weights.astype(kind)}


def held_at(targets: Sequence[Target], places: np.ndarray, weights: np.ndarray) -> list[Target]:
    """Picked targets, one a row, with where in their head the graph found them.

    Args:
        targets: those that ran.
        places: int64 [R, axes], the row first.
        weights: [R].
    """
    rows = [places[:, 0] == row for row in range(len(targets))]
    return [
        replace(target, held=(places[own, 1:], weights[own]))
        for target, own in zip(targets, rows, strict=True)
    ]


def with_picks(targets: Sequence[Target], picks: Sequence[np.ndarray]) -> list[Target]:
    """Targets, one a row, with what the network picked inside: tensors of as many rows, or of one.

    Args:
        targets: those that ran.
        picks: the values of the subject's `held`.
    """
    return [
        replace(target, picks=tuple(one[row if len(one) > 1 else 0] for one in picks))
        for row, target in enumerate(targets)
    ]


def at_head(target: Target) -> Target:
    """A held target with its places in what the file picks from, in place of the picks'."""
    assert target.held is not None, "no target that was picked"
    places, weights = target.held
    return replace(target, places=places, weights=weights)


def settled(subject: Subject, targets: Sequence[Target], places: np.ndarray) -> list[Target]:
    """The targets with the classes that the graph found.

    Args:
        subject: what is explained.
        targets: those that ran.
        places: all their places, as the graph resolved them.
    """
    found, first = [], 0
    for target in targets:
        count = len(target.places)
        if target.is_open:
            own = places[first : first + count, 1:]
            index = int(own[0].max())
            target = replace(target, places=own, index=index)
        found.append(target)
        first += count
    return found


def indices_of(targets: Sequence[Target]) -> tuple[int, ...] | np.ndarray:
    """What an explanation calls its targets: int64 [N] classes, or the index tuple.

    Where there are several tuples, or tuples and classes, an array [N] of objects.
    """
    found = [target.index for target in targets]
    if all(isinstance(index, int) for index in found):
        return np.asarray(found, np.int64)
    if isinstance(found[0], tuple) and all(index == found[0] for index in found):
        return found[0]
    array = np.empty(len(found), object)
    array[:] = found
    return array
