"""The cosine similarity of an embedding to a reference: an array [D], or one for each input [N, D].

Of an embedding no number means anything by itself: nothing is explained unless it is told what the
embedding is compared with, or which of its numbers is meant.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.graph.dims import describe
from ...models.text import counted
from .array_like import as_array
from .classes import checked_class, ranks_in
from .target import About, Answer, Target, TargetKind, Wanted, one_score, place_of_class

_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST = 40
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Reference:
    """What an embedding is compared with.

    Attributes:
        content: its numbers, the bytes of float64.
        name: what it is called, such as a file's name.
    """

    content: bytes
    name: str

    @property
    def vector(self) -> np.ndarray:
        """Its numbers, float64 [D]."""
        return np.frombuffer(self.content)

    @property
    def key(self) -> str:
        """What tells it from others, as files are named after it: "versus-anna-1f6b0c"."""
        stem = self.name.rpartition(".")[0] or self.name
        stem = _UNSAFE.sub("-", stem)[:_LONGEST].strip("-.")
        return f"versus-{stem or 'vector'}-{hashlib.sha256(self.content).hexdigest()[:6]}"


class Number(NamedTuple):
    """One number of an embedding, by its index."""

    place: int


def reference_of(values: Any, name: str = "") -> Reference:
    """A reference from its numbers, [D] or [1, D].

    Raises:
        InvalidInputError: they are none, or have no direction.
    """
    array = np.asarray(values)
    what = name or "the reference"
    if array.dtype.kind not in "fiu" or array.size != max(array.shape, default=0):
        raise InvalidInputError(
            f"versus: expected {what} to be one vector of numbers, got {array.dtype} "
            f"{list(array.shape)}"
        )
    vector = array.reshape(-1).astype(np.float64)
    if not np.isfinite(vector).all():
        raise InvalidInputError(f"versus: {what} holds NaN or infinite values")
    if not vector.any():
        raise InvalidInputError(f"versus: {what} is zero everywhere, and has no direction")
    return Reference(vector.tobytes(), name)


def asks_for_similarity(target: Any) -> bool:
    """Whether a target as a caller hands it in is a reference, or a list of some."""
    target = numbers_in(target)
    if isinstance(target, np.ndarray) and target.dtype != object:
        return target.dtype.kind == "f" and target.ndim > 0
    if isinstance(target, list | np.ndarray):
        return len(target) > 0 and all(asks_for_similarity(one) for one in target)
    if isinstance(target, Wanted):
        return isinstance(target.value, Reference)
    found = isinstance(target, Target) and target.versus is not None
    return found or isinstance(target, Reference)


def numbers_in(target: Any) -> Any:
    """An array of another library as numpy's; all else as it is."""
    other = hasattr(target, "__array__") and not isinstance(target, np.ndarray | np.generic)
    return as_array(target) if other else target


def wanted_reference(reference: Reference) -> Wanted:
    """The target that is the similarity to a reference."""
    return Wanted(KIND.name, reference, reference.key)


def _of_array(value: Any, about: About) -> list[Any] | None:
    """The references in an array of floats: [D], or a row for each input."""
    array = numbers_in(value)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim == 0:
        return None
    if array.ndim > 2:
        raise InvalidInputError(
            f"target: expected a reference [D], or one for each input [N, D], got an array "
            f"{list(array.shape)}"
        )
    return [reference_of(row) for row in np.atleast_2d(array)]


def _parse(value: Any, about: About) -> list[Wanted] | None:
    value = numbers_in(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim:
        value = reference_of(value)
    if isinstance(value, Reference):
        _check(value, about)
        return [wanted_reference(value)]
    return _number(value, about) if about.subject.embedding else None


def _number(value: Any, about: About) -> list[Wanted] | None:
    """One number of an embedding, which was asked for by its index; no other text names one."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, str) and ranks_in(value) is not None:
        raise _nothing_to_compare(about)
    if isinstance(value, bool) or not isinstance(value, int) or not about.subject.per_class:
        return None
    if value < 0:
        raise _nothing_to_compare(about)
    return [Wanted(KIND.name, Number(checked_class(value, about)), str(value))]


def _nothing_to_compare(about: About) -> InvalidInputError:
    output = about.subject.output
    return InvalidInputError(
        f"output {output.name!r} {describe(output.shape)} is an embedding, and no number of it "
        "means anything alone: say what it is compared with (--versus PHOTO or VECTOR.npy, in "
        "Python target=vector), or name one number by its index (-t 5); if it holds a score for "
        "each class, give --labels or a card with the task classification"
    )


def _check(reference: Reference, about: About) -> None:
    shape, count = about.subject.logits.shape, len(reference.vector)
    length = shape[1] if shape and about.subject.cosine else None
    if isinstance(length, int) and length != count:
        what = reference.name or "the reference"
        raise InvalidInputError(
            f"versus: expected {counted(length, 'number')}, as many as "
            f"{about.subject.output.name!r} has, got {count} in {what}"
        )


def _known(value: Any, about: About) -> Target | None:
    if isinstance(value, Number):
        label = f"{about.subject.output.name}[{value.place}]"
        return one_score(place_of_class(about, value.place), index=value.place, label=label)
    return _similarity(value)


def _similarity(reference: Reference) -> Target:
    """cos(y, r) = sum_d (r_d / |r|) (y_d / |y|): the weights are the reference at length 1."""
    vector = reference.vector
    places = np.arange(len(vector), dtype=np.int64)[:, None]
    name = reference.name or "the reference"
    return Target(
        places,
        vector / np.linalg.norm(vector),
        (),
        label=f"similarity to {name}",
        versus=name,
        name=reference.key,
    )


def _resolve(value: Any, about: About, answer: Answer) -> list[Target]:
    found = _known(value, about)
    assert found is not None
    return [found]


def _best(about: About) -> Wanted | None:
    if about.subject.embedding:
        raise _nothing_to_compare(about)
    return None


def _words(about: About) -> str | None:
    subject, shape = about.subject, about.subject.logits.shape
    if not subject.cosine and not subject.embedding:
        return None
    length = shape[1] if shape is not None and len(shape) == 2 else "D"
    reference = f"a reference (an array of floats, [{length}])"
    return reference if subject.cosine else f"{reference}, or the index of one number"


KIND = TargetKind(
    "similarity",
    parse=_parse,
    of_array=_of_array,
    resolve=_resolve,
    known=_known,
    best=_best,
    words=_words,
    place=-1,
)
