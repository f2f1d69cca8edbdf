"""What a command is given beside the images: other inputs of the model, and references."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.graph.dims import describe
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.select.sources import choose_input, choose_sources
from ...graph_passes.select.subject import Subject
from ...models.card import ModelCard
from ...models.plain_card import Card
from ...models.text import counted
from ..assumed import tell_assumed
from ..explainer import Explainer
from ..inputs import input_of_path
from ..inputs.kind import model_input
from ..inputs.stdin import STDIN
from ..inputs.stored import SUFFIXES, read_array
from ..model import Model
from ..records.keys import digest
from ..targets.asking import one_wanted
from ..targets.target import Wanted
from .asked import Options

_NUMBER = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBERS = re.compile(rf"\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*")
_TOP = "top1"
# Embeddings are mostly of 128, 256, 512, 768 ... numbers.
_LENGTHS = 64


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
    asked = options.versus or any(target != _TOP for target in options.targets)
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
    others = [target for target in targets if target != _TOP]
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
