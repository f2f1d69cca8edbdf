"""Checking what a caller hands in: arrays, targets and baselines, against what the model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.graph.dims import Shape, describe
from ...graph_passes.graph.names import RESERVED
from ...graph_passes.graph.tensors import is_float, numpy_type
from ...graph_passes.select.subject import Source, Subject
from ...models.card import ModelCard
from ...models.labels import labels_of
from ...models.plain_card import Card
from ...models.text import counted
from ..targets.array_like import as_array
from ..targets.target import out_of_range
from .assumed import tell_assumed
from .sizes import check_sizes

# Inputs that say how large the picture is: (height, width) -> one row.
_SIZES: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "orig_target_sizes": lambda height, width: (width, height),
    "im_shape": lambda height, width: (height, width),
    "scale_factor": lambda height, width: (1, 1),
}


class MissingInputError(InvalidInputError):
    """An input of the model was not handed in."""


def check_inputs(subject: Subject, x: Any) -> dict[str, np.ndarray]:
    """Every model input by name, in the model's types.

    Args:
        subject: what is explained.
        x: an array for the explained input, or {input name: array} for models with several.

    Raises:
        InvalidInputError: a missing or unknown input, or a wrong rank, size, type, NaN or infinity.
    """
    named = dict(x) if isinstance(x, Mapping) else {subject.input.name: x}
    inputs = {tensor.name: tensor for tensor in subject.graph.inputs}
    unknown = [name for name in named if name not in inputs]
    if unknown:
        raise InvalidInputError(
            f"the model has no input {unknown[0]!r}; it has {', '.join(inputs)}"
        )
    given = {name: array for name, array in subject.given.items() if name not in named}
    named = {**sizes_of_picture(subject, named, inputs), **given, **named}
    named = {**_that_follow(subject, named, inputs), **named}
    missing = [name for name in inputs if name not in named]
    if missing:
        raise MissingInputError(
            f"the model also takes {', '.join(map(repr, missing))}: pass a dict of input name -> "
            "array (--input NAME=FILE for each of them on the command line)"
        )
    arrays = {name: _check_array(name, named[name], inputs[name]) for name in inputs}
    rows = len(arrays[subject.input.name]) if arrays[subject.input.name].ndim else 1
    for name in given:
        arrays[name] = _for_rows(arrays[name], inputs[name].shape, rows)
    check_sizes(subject, arrays)
    return arrays


def _for_rows(array: np.ndarray, declared: Shape, rows: int) -> np.ndarray:
    """An array of one row for each of N rows, where the file leaves their number open."""
    open_rows = not isinstance(next(iter(declared or [1])), int)
    alone = array.ndim > 0 and len(array) == 1 and rows > 1
    return np.repeat(array, rows, axis=0) if open_rows and alone else array


def with_given(subject: Subject, given: Mapping[str, Any] | None) -> Subject:
    """The subject with arrays for further inputs, which are fed where a call hands in none.

    Raises:
        InvalidInputError: there is no such input, it is explained, or the array does not fit it.
    """
    if not given:
        return subject
    explained = {source.input.name for source in subject.sources}
    inputs = {t.name: t for t in subject.graph.inputs if t.name not in explained}
    for name in given:
        if name not in inputs:
            others = ", ".join(inputs) or "none"
            raise InvalidInputError(f"fixed: {name!r} is no further input; there are: {others}")
    arrays = {name: _check_array(name, value, inputs[name]) for name, value in given.items()}
    return replace(subject, given=arrays)


def sizes_of_picture(
    subject: Subject, given: Mapping[str, Any], inputs: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """What detectors want to know of a picture's size, by the names that exporters give it.

    RT-DETR's, D-FINE's and DEIM's `orig_target_sizes` (width, height), Paddle's `im_shape` (height,
    width) and `scale_factor`: such that boxes are in the pixels of the model's input.
    """
    missing = [name for name in inputs if name not in given and name in _SIZES]
    source = subject.sources[0]
    axes = source.features.spatial_axes
    picture = given.get(source.input.name)
    if not missing or len(axes) != 2 or picture is None or np.ndim(picture) != source.features.rank:
        return {}
    height, width = (np.shape(picture)[axis] for axis in axes)
    rows = np.shape(picture)[0]
    return {
        name: np.tile(np.asarray(_SIZES[name](height, width)), (rows, 1)).astype(
            numpy_type(inputs[name].dtype)
        )
        for name in missing
    }


def _that_follow(
    subject: Subject, given: Mapping[str, Any], inputs: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """What follows from the explained input for others that nobody gave; see `InputKind.filled`."""
    x = given.get(subject.input.name)
    found: dict[str, np.ndarray] = {}
    if subject.filled is None or x is None:
        return found
    for name in inputs:
        made = None if name in given else subject.filled(name, as_array(x))
        if made is not None:
            found[name] = made.astype(numpy_type(inputs[name].dtype))
    return found


def _check_array(name: str, value: Any, declared) -> np.ndarray:
    dtype = numpy_type(declared.dtype)
    try:
        array = as_array(value)
    except Exception as error:
        # Whatever another library raises: it would not hand its numbers over.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"input {name!r} is no array: {reason}") from error
    expected = f"{dtype} {describe(declared.shape)}"
    came = f"{array.dtype} {list(array.shape)}"
    if array.dtype != dtype:
        floats = np.issubdtype(array.dtype, np.floating) and is_float(declared)
        integers = array.dtype.kind in "iu" and dtype.kind in "iu"
        if not floats and not integers:
            raise InvalidInputError(f"input {name!r}: expected {expected}, got {came}")
        array = array.astype(dtype)
    if declared.shape is not None:
        sizes = zip(array.shape, declared.shape, strict=False)
        fits = len(array.shape) == len(declared.shape) and all(
            axis == 0 or not isinstance(want, int) or want == got
            for axis, (got, want) in enumerate(sizes)
        )
        if not fits or 0 in array.shape:
            raise InvalidInputError(f"input {name!r}: expected {expected}, got {came}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        kind = "NaN" if np.isnan(array).any() else "infinite values"
        raise InvalidInputError(f"input {name!r} holds {kind}")
    return np.asarray(array, order="C")


def tell_of_others(subject: Subject) -> None:
    """One line where another output could be meant as well."""
    if subject.others:
        tell_assumed(chosen_output(subject))


def chosen_output(subject: Subject) -> str:
    """Which output is explained, and which others there are."""
    shape = describe(subject.output.shape)
    return (
        f"explaining the output {subject.output.name!r} {shape}; the model also has "
        f"{', '.join(subject.others)} (--output NAME, in Python output=, says otherwise)"
    )


def if_out_of_range(subject: Subject, target: Any, error: OnnxplainError) -> OnnxplainError:
    """What to raise when the graph failed: for a target that only the run found too large, that.

    The nodes that look a target up are ours; the file's own may look up something else.
    """
    text = str(error)
    if "indice" not in text.lower():
        return error
    if f"Name:'{RESERVED}" not in text:
        return InvalidInputError(f"the model itself cannot be run on this input: {text}")
    if target is None:
        return error
    return out_of_range(subject, target)


def check_baseline(source: Source, baseline: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A baseline that `check_baseline_values` passed, repeated to the explained tensor's shape.

    As it is, where only the graph knows that shape. A view: a baseline of one row takes no more
    room for many inputs.

    Raises:
        InvalidInputError: a shape that does not broadcast.
    """
    if not source.straight:
        return baseline
    explained = (*x.shape, *list(source.start.shape)[x.ndim :])
    if not broadcasts(baseline.shape, explained):
        raise InvalidInputError(
            f"baseline of shape {list(baseline.shape)} does not broadcast to the input's "
            f"{list(explained)}"
        )
    return np.broadcast_to(baseline, explained)


def broadcasts(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Whether an array of a shape can be repeated to another one."""
    try:
        return np.broadcast_shapes(shape, into) == into
    except ValueError:
        return False


def check_baseline_values(source: Source, baseline: Any) -> np.ndarray:
    """The baseline as finite numbers of the explained tensor's type and rank.

    Of token ids it may be ids as well (whole numbers): the rows that they stand for are taken.

    Raises:
        InvalidInputError: not numbers, NaN, or more axes than the input has.
    """
    try:
        array = as_array(baseline)
        ids = source.embedded and array.dtype.kind in "iu" and _has_ids(source, array)
        array = array if ids else array.astype(numpy_type(source.start.dtype))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"baseline is no array of numbers: {baseline!r}") from error
    if ids:
        array = _rows_of_ids(source, array).astype(numpy_type(source.start.dtype))
    if not np.isfinite(array).all():
        raise InvalidInputError("baseline holds NaN or infinite values")
    rank = len(source.start.shape)
    if array.ndim > rank:
        raise InvalidInputError(
            f"baseline of shape {list(array.shape)} does not broadcast to the input's "
            f"{describe(source.start.shape)}"
        )
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _has_ids(source: Source, array: np.ndarray) -> bool:
    """Whether whole numbers are ids: those of an array that may stand where the input does."""
    return array.ndim <= len(source.input.shape or [])


def _rows_of_ids(source: Source, ids: np.ndarray) -> np.ndarray:
    """The embedding's rows of token ids, such as those of padding.

    Raises:
        InvalidInputError: ids that it does not have, or that several embeddings look up.
    """
    table = source.table
    if table is None:
        raise InvalidInputError(
            f"baseline: ids of {source.input.name!r} go to several embeddings; give the rows "
            f"themselves, {describe(source.start.shape)}"
        )
    if ids.size and not (-len(table) <= ids.min() and ids.max() < len(table)):
        raise InvalidInputError(
            f"baseline: expected ids of 0 to {len(table) - 1}, got {ids.min()} to {ids.max()}"
        )
    return table[ids]


def labels_for(card: Card | None, given: Any) -> tuple[str, ...] | None:
    """The classes' names: those given, or else the card's; None: not known.

    Raises:
        InvalidInputError: what was given is no list of names; see `labels_of`.
    """
    if given is not None:
        return labels_of(given)
    return None if card is None else card.labels


def check_one_at_a_time(card: Card, subject: Subject) -> None:
    """Refuse a model that cannot take one input, before any file is read; and labels of others.

    Raises:
        InvalidInputError: its card says an image of another shape, or it takes several at a time.
    """
    if isinstance(card, ModelCard):
        try:
            check_inputs(subject, np.zeros(card.tensor_shape, card.dtype))
        except MissingInputError:
            raise
        except InvalidInputError as error:
            raise InvalidInputError(f"the model card does not fit the model: {error}") from error
    batch = subject.batch
    if isinstance(batch, int) and batch != 1:
        raise InvalidInputError(
            f"the model takes exactly {counted(batch)} at a time, and the command line feeds "
            "one; use the Python API"
        )
    check_label_count(card.labels, subject)


def check_label_count(
    labels: Sequence[str] | None,
    subject: Subject,
    outputs: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Refuse labels that are not as many as the classes: some score would have a wrong name.

    Args:
        labels: of the model card, or of --labels.
        subject: what is explained.
        outputs: the model's own, which say how many classes there are where the file does not.

    Raises:
        InvalidInputError: fewer or more, with both numbers.
    """
    if not labels or subject.by_index:
        return
    classes = subject.classes
    if not isinstance(classes, int):
        output = (outputs or {}).get(subject.output.name)
        if output is None or (subject.per_class and not _is_row_of_classes(subject, output)):
            return
        classes = output.size if subject.per_class else output.shape[subject.class_axis]
    if len(labels) != classes:
        raise InvalidInputError(
            f"expected a label for each class of {subject.output.name!r}: {classes}, "
            f"got {counted(len(labels), 'label')}"
        )


def _is_row_of_classes(subject: Subject, output: np.ndarray) -> bool:
    """Whether the output holds one number for each class of one input, and nothing else."""
    if sum(size != 1 for size in output.shape) > 1:
        return False
    return not isinstance(subject.classes, int) or output.size == subject.classes
