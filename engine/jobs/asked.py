"""What a job is asked for, beside the model and the images: options, further inputs, references."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.graph.dims import describe
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.methods import default_methods
from ...graph_passes.select.sources import choose_input, choose_sources
from ...graph_passes.select.subject import Subject
from ...models.card import ModelCard
from ...models.labels import labels_of
from ...models.own_card import changed_card
from ...models.plain_card import Card
from ...models.text import counted
from ...models.variants import Shapes
from ..checking.assumed import tell_assumed
from ..explaining.explainer import Explainer
from ..inputs import input_of_path
from ..inputs.kind import model_input
from ..inputs.stdin import STDIN
from ..inputs.stored import SUFFIXES, read_array
from ..inspection import card_or_assumption
from ..model import Model
from ..records.keys import digest
from ..running.settings import asked_methods, for_methods, own_options
from ..targets.asking import one_wanted
from ..targets.target import Wanted

# The target where nobody said, of classes.
TOP = "top1"
# The card's keys that the command line takes one by one.
FACTS = ("size", "resize", "layout", "channels", "scale", "mean", "std")
_NUMBER = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBERS = re.compile(rf"\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*")
# Embeddings are mostly of 128, 256, 512, 768 ... numbers.
_LENGTHS = 64


@dataclass(frozen=True)
class Options:
    """What to explain and how; see `onnxplain explain --help`.

    `threads`: as `Explainer` takes them. `more`: further options of methods, by name; each goes to
    the methods that take it. `lenient`: methods that were asked for and do not serve the model are
    left out, too, with the reason. `shapes`, `output`, `score`: as `Explainer` has them. `methods`
    may have options of their own, "lrp:rule=epsilon", which are in `own` then. `preset` and `facts`
    stand in place of the card's. `strict`: images whose files are damaged are refused. `versus`:
    photos or vectors that an embedding is compared with, in place of targets. `inputs`: further
    inputs of the model, by name; see `given_inputs`.
    """

    methods: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    layer: str | Sequence[str] | None = None
    baseline: str | Sequence[str] | None = None
    steps: int | None = None
    tolerance: float | None = None
    card: str | Card | None = None
    labels: str | None = None
    provider: str = "auto"
    threads: int | None = None
    rule: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    lenient: bool = False
    shapes: Shapes | None = None
    score: str | None = None
    output: str | None = None
    strict: bool = False
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    versus: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.versus, str | os.PathLike):
            object.__setattr__(self, "versus", (os.fspath(self.versus),))
        names, own = asked_methods(self.methods)
        object.__setattr__(self, "methods", names)
        object.__setattr__(self, "own", {**self.own, **own})

    def of_method(self, name: str, among: Collection[str]) -> dict[str, Any]:
        """One method's options, where several run together; see `own_options`."""
        return {**own_options(name, among, self.of_methods), **self.own.get(name, {})}

    @property
    def of_methods(self) -> dict[str, Any]:
        """What is for methods, by option name; None: not asked for."""
        own = {n: getattr(self, n) for n in ("layer", "baseline", "steps", "tolerance", "rule")}
        return {**own, **self.more}


def options_from(chosen: Mapping[str, Any]) -> Options:
    """The command line's choices; those that are no field of `Options` are methods' own.

    Raises:
        InvalidInputError: an option that none of the methods takes.
    """
    names = {one.name for one in fields(Options)}
    given = {name: value for name, value in chosen.items() if name in names}
    facts = {key: chosen[key] for key in FACTS if key in chosen}
    more = {k: v for k, v in chosen.items() if k not in names and k not in facts}
    options = Options(**given, facts=facts, more=more)
    for_methods(options.methods or default_methods(), options.of_methods, left_alone=())
    return options


def card_for(model: Model, options: Options) -> Card:
    """The card of a model, as asked for or found, with the labels and the output asked for.

    Of a model that takes no image, and has no card, one that says nothing.
    """
    card = options.card
    if not isinstance(card, Card):
        card, _ = card_or_assumption(model, card)
    card = Card() if card is None else card
    card = changed_card(card, options.preset, options.facts)
    if options.labels is not None:
        card = replace(card, labels=labels_of(options.labels))
    if options.output is not None:
        card = replace(card, output=options.output)
    return card


class Given(NamedTuple):
    """Inputs of the model that are the same for every image.

    Attributes:
        explained: name of the input that images go into; None: nothing was given, it is found.
        arrays: the others, by name.
        said: what tells them from other ones, for records: a digest of each.
    """

    explained: str | None
    arrays: Mapping[str, np.ndarray]
    said: Mapping[str, str]


def parse_input(text: str) -> tuple[str, str]:
    """("name", "file.npy") of "name=file.npy".

    Raises:
        InvalidInputError: it has no "=".
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InvalidInputError(
            f"expected NAME=FILE, the name of one of the model's inputs, got {text!r}"
        )
    return name.strip(), value.strip()


def given_inputs(file: Model, given: Mapping[str, str], card: Card) -> Given:
    """The arrays of `--input`, and which input is left to be explained.

    Args:
        file: the model.
        given: name -> a `.npy` file, an image where the input is one, or numbers: "640,480".
        card: how images become inputs.

    Raises:
        InvalidInputError: there is no such input, none is left, or one cannot be read.
    """
    if not given:
        return Given(None, {}, {})
    graph = file.graph()
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    for name in given:
        if name not in inputs:
            raise InvalidInputError(
                f"--input {name}: the model has no such input; it has {', '.join(inputs)}"
            )
    if len(given) == len(inputs):
        raise InvalidInputError(
            f"--input: nothing is left to be explained of {', '.join(inputs)}; leave out the one "
            "that IMAGE goes into"
        )
    explained = choose_input(graph, but=given).name
    arrays = {name: _array(graph, inputs[name], text, card) for name, text in given.items()}
    said = {name: digest(array.tobytes()) for name, array in arrays.items()}
    return Given(explained, arrays, said)


def _array(graph: gs.Graph, declared: gs.Variable, text: str, card: Card) -> np.ndarray:
    name = declared.name
    try:
        if _NUMBERS.fullmatch(text) and not os.path.exists(text):
            return _of_numbers(declared, text)
        if not os.path.isfile(text):
            raise InvalidInputError(f"expected a file, or numbers such as 640,480, got {text!r}")
        if Path(text).suffix.lower() in SUFFIXES:
            return _with_batch(declared, read_array(text, text))
        (source,) = choose_sources(graph, name)
        into = model_input(source, _card_of(declared, card))
        return input_of_path(text, into).tensor()
    except OnnxplainError as error:
        raise InvalidInputError(f"--input {name}: {str(error).removeprefix('array ')}") from None


def _of_numbers(declared: gs.Variable, text: str) -> np.ndarray:
    """Numbers as one row of an input: [1, ...], or a number of its own."""
    values = np.array([float(part) for part in text.split(",")])
    kind, shape = numpy_type(declared.dtype), declared.shape
    if kind.kind in "iub" and (values != np.rint(values)).any():
        raise InvalidInputError(f"expected whole numbers ({kind}), got {text}")
    rest = [dim if isinstance(dim, int) else -1 for dim in list(shape or [])[1:]]
    wanted = [1, *rest] if shape is not None and len(shape) > 1 else [-1] if shape else []
    known = int(np.prod([dim for dim in wanted if dim != -1]))
    if values.size % max(known, 1) or (-1 not in wanted and values.size != known):
        raise InvalidInputError(
            f"expected {counted(known, 'number')}, {kind} {describe(shape)}, got {values.size}"
        )
    if wanted.count(-1) > 1:
        raise InvalidInputError(f"expected a file, for an input {describe(shape)}")
    return values.astype(kind).reshape(wanted)


def _with_batch(declared: gs.Variable, array: np.ndarray) -> np.ndarray:
    """[1, ...] of an array without the batch axis."""
    lacks = declared.shape is not None and array.ndim == len(declared.shape) - 1
    return array[None] if lacks else array


def _card_of(declared: gs.Variable, card: Card) -> Card:
    """The card with this input's own size, where the file says it."""
    if not isinstance(card, ModelCard) or len(declared.shape or []) != 4:
        return card
    sides = declared.shape[2:] if card.layout == "NCHW" else declared.shape[1:3]
    fixed = all(isinstance(side, int) for side in sides)
    return replace(card, size=tuple(sides)) if fixed else card


def tell_of_embedding(subject: Subject, card: Card, options: Options) -> None:
    """One line where an output without names may be an embedding, as a face's mostly is.

    Its length is a multiple of 64, nobody named its classes, and nothing makes them probabilities.
    """
    classes, named = subject.classes, card.labels or card.task or card.probability
    asked = options.versus or any(target != TOP for target in options.targets)
    may_be = subject.per_class and isinstance(classes, int) and classes % _LENGTHS == 0
    plain = subject.activation is None and not subject.embedding
    if may_be and plain and not named and not asked:
        tell_assumed(
            f"output {subject.output.name!r} {describe(subject.output.shape)} is explained as "
            "scores of classes; if it is an embedding, --versus PHOTO explains its similarity to "
            "another"
        )


def references(
    explainer: Explainer, versus: Sequence[str], targets: Sequence[str], strict: bool
) -> list[Wanted]:
    """The similarity to each of some photos or vectors, as targets.

    Args:
        explainer: whose score is the cosine.
        versus: paths of photos, or of `.npy` files of vectors.
        targets: what else was asked for.
        strict: refuse photos whose files are damaged.

    Raises:
        InvalidInputError: one cannot be read, or there are other targets.
    """
    others = [target for target in targets if target != TOP]
    if others:
        raise InvalidInputError(
            f"--versus and the target {others[0]} do not go together: the similarity is the target"
        )
    found = []
    for path in versus:
        if path == STDIN or not os.path.isfile(path):
            raise InvalidInputError(f"--versus {path}: expected a photo or a .npy file of a vector")
        try:
            reference = explainer.reference(path, strict=strict)
            found.append(one_wanted(reference, explainer.about))
        except OnnxplainError as error:
            text = str(error).removeprefix("versus: ")
            raise InvalidInputError(f"--versus {path}: {text}") from None
    return list(dict.fromkeys(found))
