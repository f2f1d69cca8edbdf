"""The kinds of input, a file each: what a module here calls KIND is known everywhere."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.methods.method import nearest
from ...graph_passes.select.features import Features
from ...graph_passes.select.subject import Source, Subject
from ...models.plain_card import Card
from ..files.members import file_of, member_of
from .kind import Box, InputKind, ModelInput, Reading, model_input
from .stdin import STDIN, stdin_bytes

if TYPE_CHECKING:
    from ..pictures.heatmap import Picture

# So many bytes tell what a file is.
_BEGINNING = 132


@cache
def _registry() -> dict[str, InputKind]:
    modules = pkgutil.iter_modules(__path__)
    found = [getattr(import_module(f"{__name__}.{m.name}"), "KIND", None) for m in modules]
    kinds = sorted((kind for kind in found if kind is not None), key=lambda k: (k.place, k.name))
    names = [kind.name for kind in kinds]
    assert len(set(names)) == len(names), f"two kinds of one name: {names}"
    return {kind.name: kind for kind in kinds}


def kinds() -> dict[str, InputKind]:
    """Every kind of input by its name, in the order in which they are asked."""
    return dict(_registry())


def find_kind(name: str) -> InputKind:
    """The kind of that name.

    Raises:
        InvalidInputError: there is none; the message names the nearest.
    """
    known = _registry()
    if name not in known:
        names = ", ".join(sorted(known))
        raise InvalidInputError(
            f"'kind': expected one of {names}; got {name!r}{nearest(name, known)}"
        )
    return known[name]


def kind_of_model(into: ModelInput) -> InputKind:
    """The kind that a model's input is of: its card's, else the first that takes it."""
    if into.card is not None and into.card.kind is not None:
        return find_kind(into.card.kind)
    return next(kind for kind in _registry().values() if kind.takes(into))


def kind_of_arrays(into: ModelInput) -> InputKind:
    """The kind of an array that is the model's input already: the model's, if it is read so."""
    own = kind_of_model(into)
    if ".npy" in own.suffixes():
        return own
    return next(k for k in _registry().values() if ".npy" in k.suffixes() and k.takes(into))


def kind_of(given: Any, into: ModelInput) -> InputKind:
    """The kind of something that is to be read.

    That of the model's input, if such files are of it; else one whose files are called so, or begin
    so, and that the model's input can be of.
    """
    own = kind_of_model(into)
    possible = [kind for kind in _registry().values() if _is_of(given, kind)]
    if not possible or own in possible:
        return own
    return next((kind for kind in possible if kind.takes(into)), possible[0])


def _is_of(given: Any, kind: InputKind) -> bool:
    """Whether something looks like a thing of this kind."""
    if isinstance(given, bytes):
        return kind.begins is not None and kind.begins(given[:_BEGINNING])
    if not isinstance(given, str | os.PathLike):
        return False
    suffix = suffix_of(os.fspath(given))
    if suffix and any(suffix in one.suffixes() for one in _registry().values()):
        return suffix in kind.suffixes()
    return kind.begins is not None and kind.begins(_beginning(given))


def suffix_of(path: str) -> str:
    """How the name of a path's file ends, in lower case."""
    return os.path.splitext(file_of(path))[1].lower()


def things_in(path: str) -> list[str]:
    """A path for each thing in a file: of a table's rows `table.csv#1` and so on."""
    if member_of(path)[1] is None:
        for kind in _registry().values():
            if kind.members is not None and suffix_of(path) in kind.suffixes():
                try:
                    return list(kind.members(path))
                except OnnxplainError:
                    break  # who reads it says what is wrong
    return [path]


def _beginning(path: Any) -> bytes:
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(_BEGINNING)
    except (OSError, ValueError):
        return b""


def check_kinds(paths: Iterable[str], into: ModelInput) -> None:
    """Refuse a model that takes none of these files, before any of them is read.

    Raises:
        InvalidInputError: what the first one's kind says of it.
    """
    found = [kind_of(path, into) for path in paths]
    if found and not any(kind.takes(into) for kind in found):
        found[0].refuse(into)


def input_suffixes() -> frozenset[str]:
    """How the names of files of any kind end, with the dot and in lower case."""
    return frozenset().union(*(kind.suffixes() for kind in _registry().values()))


@dataclass(frozen=True)
class Input:
    """Something that was read for a model.

    Attributes:
        kind: of it.
        thing: what the kind made of it.
        into: what the model takes.
        name: its path; None: it was given otherwise.
    """

    kind: InputKind
    thing: Any
    into: ModelInput
    name: str | None = None

    def tensor(self) -> np.ndarray:
        """As the model takes it, [1, ...]."""
        return self.kind.tensor(self.kind.fit(self.thing, self.into), self.into)

    def view(self) -> Picture:
        """The ground that maps of it are drawn over."""
        return self.kind.view(self.thing, self.into)

    def box_in_thing(self, box: Box) -> Box:
        """Corners in the model's input as those in its own pixels."""
        return self.kind.box_in_thing(box, self.thing, self.into)

    def pixel_in_thing(self) -> Box:
        """Where the first pixel of the model's input lies in its own pixels."""
        return self.box_in_thing((0.0, 0.0, 1.0, 1.0))

    def box_in_input(self, box: Box) -> Box:
        """Corners in its own pixels as those in the model's input."""
        return self.kind.box_in_input(box, self.thing, self.into)

    def strongest(self, values: np.ndarray, most: int = 5) -> tuple[tuple[str, float], ...]:
        """The parts of it that count most by a map, [...], by name; () where they have none."""
        if self.kind.named is None or not np.isfinite(values).all():
            return ()
        parts = sorted(self.kind.named(self.thing, values), key=lambda part: -abs(part[1]))
        return tuple(part for part in parts[:most] if part[1])

    @property
    def damage(self) -> str | None:
        """What is wrong with its file; None: nothing that shows."""
        return self.kind.damage(self.thing)


def read_input(given: Any, into: ModelInput, how: Reading | None = None) -> Input:
    """Read something that is to be explained.

    Args:
        given: a path, a file's bytes, a file object, an array, or a kind's own.
        into: what the model takes.
        how: it is read; None: as what it is called, whatever is wrong with it.

    Raises:
        InvalidInputError: it cannot be read, or does not fit.
    """
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    name = path or "(an array)"
    if isinstance(given, bytes | bytearray | memoryview):
        given, name = bytes(given), "(bytes)"
    elif path is None and callable(take := getattr(given, "read", None)):
        name, content = str(getattr(given, "name", "(a file)")), take()
        given = content if isinstance(content, bytes) else given
    kind = kind_of(given, into)
    how = how or Reading(name)
    try:
        thing = kind.read(path if path is not None else given, how, into)
    except OnnxplainError:
        raise
    except Exception as error:
        # What reads files of other people's making raises nearly anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"{how.name}: expected {kind.title}, {reason}") from error
    return Input(kind, thing, into, path)


def input_of_path(path: str, into: ModelInput, strict: bool = False) -> Input:
    """Read a file as the command line names it: "-" is what comes on standard input."""
    given = stdin_bytes() if path == STDIN else path
    return replace(read_input(given, into, Reading(path, strict)), name=path)


def read_array(array: np.ndarray, into: ModelInput) -> Input:
    """An array that is one input of the model already, [1, ...]."""
    kind = kind_of_arrays(into)
    return Input(kind, kind.read(array, Reading("(an array)"), into), into)


def decided(subject: Subject, card: Card | None, labels: Sequence[str] | None = None) -> Subject:
    """The subject with what its card says of where channels and positions lie, and of its task.

    What a card says that was read counts more than what the graph says, and that more than what was
    assumed of the model.

    Args:
        subject: as its graph says.
        card: the model's; None: it has none.
        labels: of its classes; an output with these is no embedding.

    Raises:
        InvalidInputError: there is no such kind, or its settings are wrong.
    """
    task = None if card is None else card.task
    named = bool(labels or (card is not None and card.labels))
    embedding = task == "embedding" or (subject.embedding and not named and task is None)
    subject = replace(subject, embedding=subject.cosine or embedding)
    if card is None or card.kind is None:
        return subject
    return subject.with_features(_features(source, card) for source in subject.sources)


def _features(source: Source, card: Card) -> Features:
    own, shape = source.features, tuple(source.input.shape or ())
    assert card.kind is not None
    try:
        said = find_kind(card.kind).features(card, shape)
    except InvalidInputError as error:
        raise InvalidInputError(f"model card: {error}") from None
    if said is None or source.embedded or said.rank != own.rank:
        return own
    return own if card.assumed and own.channel_axis is not None else said


def filled(
    subject: Subject,
    card: Card | None,
    folder: str | None,
    labels: Sequence[str] | None = None,
) -> Subject:
    """The subject as `decided`, which knows what follows from its one input: masks of texts."""
    subject = decided(subject, card, labels)
    into = inputs_of(subject, card, folder)
    follow = kind_of_model(into).filled
    if follow is None or len(subject.sources) > 1:
        return subject
    return replace(subject, filled=partial(follow, into))


def default_name(subject: Subject, into: ModelInput) -> str | None:
    """The name of the baseline where none is asked for; None: black of a picture, else zeros."""
    own = kind_of_model(into).default_baseline
    return None if own is None or len(subject.sources) > 1 else own(into)


def inputs_of(subject: Subject, card: Card | None, folder: str | None = None) -> ModelInput:
    """What a model takes at the explained input, or the first of them."""
    return model_input(subject.sources[0], card, folder)


def files_of_a_kind(names: Iterable[str]) -> list[str]:
    """Those of a folder's file names that end as the first kind's do of which there are any.

    A folder of photos may hold arrays as well, that are something else.
    """
    every = list(names)
    for kind in _registry().values():
        ends = kind.suffixes()
        found = [name for name in every if os.path.splitext(name)[1].lower() in ends]
        if found:
            return found
    return []


def files_in(paths: Iterable[str]) -> list[str]:
    """These paths, with each folder replaced by its files of a kind, sorted; see above.

    A file that holds several things is replaced by them.
    """
    found = []
    for path in paths:
        if not os.path.isdir(path):
            found += things_in(path)
            continue
        names = sorted(n for n in os.listdir(path) if not n.startswith("."))
        own = [os.path.join(path, name) for name in files_of_a_kind(names)]
        found += [thing for file in own for thing in things_in(file)]
    return found
