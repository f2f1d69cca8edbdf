"""What the processes of a batch do with images: decode them, and explain them."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .... import InvalidInputError, OnnxplainError, UnsupportedModelError
from ....graph_passes.graph.limits import within
from ...files.members import file_of
from ...files.writing import place, write_draft
from ...inputs import Input, find_kind, read_input
from ...inputs.baselines import baseline_arrays, is_of_each
from ...inputs.kind import Box, Reading
from ...model import Model
from ...pictures.heatmap import save_png
from ...pictures.overlay import framed, scale_words
from ...records.captions import texts_of
from ...records.row import Row
from ...targets.asking import moved
from ..image_explainer import Explained, ImageExplainer
from .items import Item
from .question import Question
from .rows import failed_row, row_of

if TYPE_CHECKING:
    from ...pictures.heatmap import Picture

PICTURES = "_pictures"


class Decoded(NamedTuple):
    """An image that was read, or why it could not be.

    Attributes:
        number, name: of the item.
        kind: name of the kind of input that it is of.
        fitted: what of it the model needs: of an image, a quarter of the bytes of its tensor.
        baseline: the image's own, where the question asks for such.
        view: what maps are drawn over, where pictures are drawn.
        error: why it could not be read.
        missing: whether there was nothing where it should be.
        damage: what is wrong with its file, though there are pixels; or None.
        in_photo: where the first pixel of the model's input lies in its own; see `Origin`.
    """

    number: int
    name: str
    kind: str = ""
    fitted: Any = None
    baseline: Any = None
    view: Picture | None = None
    error: str | None = None
    missing: bool = False
    damage: str | None = None
    in_photo: Box = (0.0, 0.0, 1.0, 1.0)

    def in_input(self, box: Box) -> Box:
        """Corners in the image's own pixels as those in the model's input."""
        left, top, right, bottom = self.in_photo
        x0, y0, x1, y1 = box
        wide, tall = right - left, bottom - top
        return (x0 - left) / wide, (y0 - top) / tall, (x1 - left) / wide, (y1 - top) / tall


class Answer(NamedTuple):
    """The rows of one image; `missing` and `damage` as in `Decoded`."""

    rows: list[Row]
    missing: bool = False
    damage: str | None = None


def decode(item: Item, question: Question) -> Decoded:
    """Read an image, whatever is wrong with it."""
    into, choice, content = question.into, question.options.baseline, item.content
    try:
        read = _read(item, question)
        fitted = read.kind.fit(read.thing, into)
        baseline = None
        if choice is not None and is_of_each(choice):
            baseline = baseline_arrays(choice, into, read)
        view = read.view() if question.form.pictures else None
        found = Decoded(item.number, item.name, read.kind.name, fitted, baseline, view)
        return found._replace(damage=read.damage, in_photo=read.pixel_in_thing())
    except OnnxplainError as error:
        missing = isinstance(content, str) and not os.path.exists(file_of(content))
        return Decoded(item.number, item.name, error=str(error), missing=missing)
    except Exception as error:
        # One image is no reason to end a batch: no memory for it, sides that nobody can resize.
        reason = f"{type(error).__name__} {error}".strip()
        return Decoded(item.number, item.name, error=f"image {item.name}: cannot be used, {reason}")


def _read(item: Item, question: Question) -> Input:
    """The thing as its kind reads it."""
    content, how = (
        item.content,
        Reading(item.name, question.options.strict, question.form.fast_decode),
    )
    if content is None:
        problem = "nothing is there" if item.problem is None else item.problem
        raise InvalidInputError(f"image {item.name}: {problem}")
    # "-" is a file's name as any other: nobody waits for what comes on standard input.
    return read_input(content, question.into, how)


class Explaining:
    """A model, ready to make rows of decoded images.

    Args:
        question: what is asked.
        folder: where pictures go.
        file: the model, where it is read already.

    Raises:
        UnsupportedModelError: the file is another one than when the batch began.
    """

    def __init__(
        self,
        question: Question,
        folder: str | os.PathLike[str] | None = None,
        file: Model | None = None,
    ):
        self._question, self._folder = question, folder
        with within(question.limits):
            self._explainer = ImageExplainer(question.model, question.options, file=file)
        if file is None and self._explainer.file.sha256 != question.sha256:
            raise UnsupportedModelError(f"model {question.model}: it has changed on the way")

    def __call__(self, decoded: Decoded) -> Answer:
        """The rows of one image.

        Raises:
            OSError: a picture cannot be written.
        """
        if decoded.error is not None:
            return Answer([failed_row(decoded.name, decoded.error)], decoded.missing)
        rows: list[Row] = []
        tensor = self._tensor(decoded)
        for method in self._explainer.explainers:
            wanted = self._explainer.targets_of(method)[method]
            about = self._explainer.about
            here = [one for w in wanted for one in moved(w, about, decoded.in_input)]
            targets = {method: here}
            own = {"targets": targets, "in_photo": decoded.in_photo}
            try:
                with within(self._question.limits):
                    for one in self._explainer.explained(
                        decoded.name, tensor, decoded.baseline, **own
                    ):
                        rows.append(row_of(one.record, one.attribution, self._question))
                        if decoded.view is not None:
                            self._draw(decoded, one, tensor)
            except OnnxplainError as error:
                rows.append(failed_row(decoded.name, str(error), method))
            except MemoryError:
                error = f"image {decoded.name}: there is not enough memory to explain it"
                rows.append(failed_row(decoded.name, error, method))
        return Answer(rows, damage=decoded.damage)

    def all_of(self, decoded: Sequence[Decoded]) -> list[Answer]:
        """The rows of each image; on a device several images go in at once.

        On a CPU each goes by itself, so that a shard's bytes depend on its images alone.
        """
        if self._explainer.together:
            return self.together(decoded)
        return [self(one) for one in decoded]

    def together(self, decoded: Sequence[Decoded]) -> list[Answer]:
        """The rows of several images, explained as one batch of the model.

        Those that have a baseline of their own, or of which one fails, are explained one by one.

        Raises:
            OSError: a picture cannot be written.
        """
        read = [one for one in decoded if one.error is None]
        if len(read) < 2 or any(one.baseline is not None for one in read):
            return [self(one) for one in decoded]
        tensors = [self._tensor(one) for one in read]
        if len({tensor.shape for tensor in tensors}) > 1:
            return [self(one) for one in decoded]
        rows: list[list[Row]] = [[] for _ in read]
        names, tensor = [one.name for one in read], np.concatenate(tensors)
        try:
            with within(self._question.limits):
                for method in self._explainer.explainers:
                    targets = self._explainer.targets_of(method)
                    for place, one in self._explainer.explained_together(names, tensor, targets):
                        rows[place].append(row_of(one.record, one.attribution, self._question))
                        if read[place].view is not None:
                            self._draw(read[place], one, tensor[place : place + 1])
        except (OnnxplainError, MemoryError):
            return [self(one) for one in decoded]
        found = {
            id(one): Answer(own, damage=one.damage) for one, own in zip(read, rows, strict=True)
        }
        return [found.get(id(one)) or self(one) for one in decoded]

    def _tensor(self, decoded: Decoded) -> np.ndarray:
        return find_kind(decoded.kind).tensor(decoded.fitted, self._question.into)

    def _draw(self, decoded: Decoded, one: Explained, tensor: np.ndarray) -> None:
        assert decoded.view is not None and self._folder is not None
        attribution = one.attribution
        evidence = self._explainer.checked_by_hiding(tensor, attribution, one.record)
        record = replace(one.record, evidence=evidence)
        draw = find_kind(decoded.kind).draw
        heatmap = draw(attribution[0], self._question.into, record.method)
        texts = texts_of(record, not attribution.any())
        words = scale_words(heatmap, record.method)
        picture = framed(decoded.view, heatmap, texts, words, one.region)
        name = f"{decoded.number:08}.{record.method}.{record.target.key}.png"
        folder = Path(self._folder)
        place(write_draft(folder, lambda file: save_png(picture, file)), folder / name)


class _Process:
    """What a process keeps between its tasks."""

    question: Question
    folder: str | None = None
    explaining: Explaining | None = None


def begin(question: Question, folder: str | None) -> None:
    """Make this process ready for its tasks.

    Args:
        question: what is asked.
        folder: where pictures go.
    """
    # Ctrl-C goes to all processes; the main one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("onnxplain").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    _Process.question, _Process.folder, _Process.explaining = question, folder, None


def decode_all(items: Sequence[Item]) -> list[Decoded]:
    """A decoding process's task."""
    return [decode(item, _Process.question) for item in items]


def explain_all(decoded: Sequence[Decoded]) -> list[Answer]:
    """An explaining process's task."""
    if _Process.explaining is None:
        _Process.explaining = Explaining(_Process.question, _Process.folder)
    return _Process.explaining.all_of(decoded)


def decode_and_explain(items: Sequence[Item]) -> list[Answer]:
    """Both, where no process decodes for others."""
    return explain_all(decode_all(items))
