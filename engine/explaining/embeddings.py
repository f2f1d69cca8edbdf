"""Embeddings compared: which explainer serves a reference, and how a photo becomes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.embedding import COSINE
from ...graph_passes.select.subject import Subject
from ..checking.checks import check_inputs
from ..inputs import read_input
from ..inputs.kind import Reading
from ..inputs.stored import SUFFIXES, read_array
from ..model import Model
from ..running.process import BUILDING
from ..targets.array_like import as_array
from ..targets.similarity import Reference, asks_for_similarity, reference_of
from .photos import OfPhotos

if TYPE_CHECKING:
    from ..explanation.explanation import Explanation


Own = TypeVar("Own", bound="OfEmbeddings")


class OfEmbeddings(OfPhotos):
    """What an explainer does with references; see `targets.similarity`."""

    _file: Model
    _run_file: Callable[..., dict[str, np.ndarray]]
    _arguments: dict[str, Any]
    _given: Callable[[], dict[str, Any]]
    _cosine: Any = None

    def serving(self: Own, target: Any) -> Own:
        """The explainer of a target: of a reference one whose score is the cosine.

        Examples:
            >>> explainer.serving("three") is explainer
            True
        """
        if self.subject.cosine or not asks_for_similarity(target):
            return self
        with BUILDING:
            if self._cosine is None:
                make = cast("Callable[..., Own]", type(self))
                self._cosine = make(self._file, **{**self._given(), "score": COSINE})
            return self._cosine

    @property
    def exported(self: Own) -> Own:
        """The explainer whose graph is written: of an embedding that of its similarity.

        Where "output" was asked for it is one number of the embedding, which `target` names.
        """
        asked = self._arguments["score"] == "output" or not self.subject.embedding
        return self if asked else self.serving(np.ones(1))

    def reference(self, given: Any, name: str | None = None, strict: bool = False) -> Reference:
        """What embeddings are compared with, from a photo or from the numbers themselves.

        Args:
            given: as `explain` takes a photo; a vector of floats, or a `.npy` file of one.
            name: what it is called; None: as its file is.
            strict: refuse a photo whose file is damaged.

        Raises:
            InvalidInputError: it cannot be read, or the model has no embedding for it.

        Examples:
            >>> explainer.reference("three.png").name
            'three.png'
        """
        return _reference(self.serving(np.ones(1)), given, name, strict)


def with_direction(subject: Subject, e: Explanation) -> Explanation:
    """The same; an embedding that is zero everywhere has no cosine with anything.

    Raises:
        InvalidInputError: that of an input is.
    """
    if not subject.cosine or e.origin is None:
        return e
    rows = np.asarray(e.outputs[subject.output.name]).reshape(e.origin.count, -1)
    empty = np.flatnonzero(~rows.any(axis=1))
    if empty.size:
        which = f" {empty[0]}" if len(rows) > 1 else ""
        raise InvalidInputError(
            f"the model's embedding of the input{which} is zero everywhere: it has no similarity "
            "to anything"
        )
    return e


def _reference(explainer: OfEmbeddings, given: Any, name: str | None, strict: bool) -> Reference:
    if isinstance(given, Reference):
        return given
    is_path = isinstance(given, str | os.PathLike)
    called = os.path.basename(os.fspath(given)) if is_path else ""
    name = called if name is None else name
    vector = _vector_in(given, explainer.subject)
    if vector is None:
        how = Reading(os.fspath(given), strict) if is_path else None
        x = explainer._input_of(read_input(given, explainer.into, how))[0]
        output = explainer.subject.output.name
        found = explainer._run_file(check_inputs(explainer.subject, x), [output])[output]
        vector = np.asarray(found)[:1]
    return reference_of(vector, name)


def _vector_in(given: Any, subject: Subject) -> np.ndarray | None:
    """The numbers of a reference that is one already; None: it is an input of the model.

    One vector of floats is a reference, unless the model takes vectors, of another length.
    """
    array = given
    if isinstance(given, str | os.PathLike):
        if Path(given).suffix.lower() not in SUFFIXES:
            return None
        array = read_array(given, os.fspath(given))
    elif isinstance(given, bytes | bytearray | memoryview) or not hasattr(given, "__array__"):
        return None
    array = as_array(array)
    if array.dtype.kind != "f" or array.size != max(array.shape, default=0):
        return None
    takes = [d for d in list(subject.input.shape or [])[1:] if d != 1]
    other = len(takes) == 1 and array.size != subject.logits.shape[1]
    return None if other or (array.ndim > 2 and array.ndim == len(takes) + 1) else array
