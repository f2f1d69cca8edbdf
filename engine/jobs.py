"""Explaining image files: pictures, arrays and one results.json."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain import InvalidInputError, OnnxplainError, UnsupportedModelError
from onnxplain.engine.arrays import check_inputs, check_target
from onnxplain.engine.explainer import Explainer
from onnxplain.engine.explanation import Explanation, each_target
from onnxplain.engine.files import open_file
from onnxplain.engine.images import (
    BASELINES_OF_THE_IMAGE,
    baseline_image,
    fixed_baseline,
    image_to_tensor,
    read_image,
)
from onnxplain.engine.inspection import (
    QUANTISED_RULE,
    card_or_assumption,
    quantised_operators,
)
from onnxplain.engine.prepared import prepared_graph
from onnxplain.engine.results import (
    Result,
    file_stems,
    finite,
    writable_folder,
    write_panel,
    write_records,
    write_result,
)
from onnxplain.engine.session import Session
from onnxplain.engine.settings import METHODS
from onnxplain.engine.stopwatch import measured, phase
from onnxplain.models.card import ModelCard, find_label, read_labels
from onnxplain.models.load import load, sha256

_TOP = re.compile(r"top([0-9]{1,9})")
_INDEX = re.compile(r"-?[0-9]{1,18}")
_TUPLE = re.compile(r"[0-9]{1,18}(\s*,\s*[0-9]{1,18})+")

Progress = Callable[[str, float], None]
# A class, or an index tuple.
Target = int | tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """What to explain and how; see `onnxplain explain --help`."""

    methods: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("top1",)
    layer: str | None = None
    baseline: str = "black"
    steps: int | None = None
    tolerance: float | None = None
    card: str | None = None
    labels: str | None = None
    provider: str = "auto"
    rule: str = "rescale"


@dataclass(frozen=True)
class Report:
    """What a job did.

    Attributes:
        records: what results.json holds: a record for each image, method and target, and one with
            the key "error" for each image that failed.
        skipped: method -> why it was left out, where none was asked for in particular.
        assumed: what was guessed about the model's input, for want of a card.
        quantised: the rule used for a quantised model's operators, or None.
        seconds: where the time went: seconds for each of `stopwatch.PHASES`, and OTHER.
    """

    records: list[dict[str, Any]]
    skipped: dict[str, str]
    assumed: tuple[str, ...]
    quantised: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The records of the images that failed."""
        return [record for record in self.records if "error" in record]


@dataclass(frozen=True)
class _Rank:
    """The target topK; K counts from 1."""

    place: int


def explain_files(
    model: str | os.PathLike[str],
    images: Sequence[str],
    folder: str | os.PathLike[str],
    options: Options,
    progress: Progress | None = None,
    panel: str | None = None,
) -> Report:
    """Explain every image and write pictures, arrays and results.json; a bad image stops no other.

    Args:
        model: path of the model.
        images: files.
        folder: where to write; made if missing.
        options: methods, targets and so on.
        progress: called with a text and the fraction of the whole work that is done.
        panel: name of one more picture, with all images and methods side by side; None: none.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method that was
            asked for.
        InvalidInputError: a wrong option, a model whose input is no image, or a folder that cannot
            be written to.
    """
    with measured() as seconds:
        report = _explain_files(model, images, folder, options, progress, panel)
    return replace(report, seconds=seconds)


def _explain_files(
    model: str | os.PathLike[str],
    images: Sequence[str],
    folder: str | os.PathLike[str],
    options: Options,
    progress: Progress | None,
    panel: str | None,
) -> Report:
    tell = progress or (lambda text, done: None)
    directory = writable_folder(folder)
    stems = file_stems(images)
    explainer = ImageExplainer(model, options, lambda text: tell(text, 0.0))
    records: list[dict[str, Any]] = []
    for_panel: list[Result] = []
    try:
        for number, (path, stem) in enumerate(zip(images, stems, strict=True)):

            def step(done: float, number=number, path=path) -> None:
                tell(Path(path).name, (number + done) / len(images))

            try:
                for result in explainer.explain(path, step):
                    with phase("draw"):
                        write_result(result, directory, stem)
                    records.append(result.record)
                    if panel is not None:
                        for_panel.append(result)
            except OnnxplainError as error:
                records.append(explainer.failure(path, str(error)))
            except OSError as error:
                where = error.filename or directory
                records.append(explainer.failure(path, f"{where}: {error.strerror or error}"))
    finally:
        # Also when interrupted: what is written is on record.
        write_records(records, directory)
    if panel is not None and for_panel:
        with phase("draw"):
            write_panel(for_panel, directory / panel)
    quantised = QUANTISED_RULE if quantised_operators(load(model)) else None
    return Report(records, explainer.skipped, explainer.card.assumed, quantised)


class ImageExplainer:
    """One model, ready to explain image files by one or several methods.

    Attributes:
        skipped: method -> why it was left out, where the caller asked for no method in particular.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method that was
            asked for.
        InvalidInputError: a wrong option, or a model whose input is no image.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        options: Options,
        tell: Callable[[str], None] = lambda text: None,
    ):
        tell("reading the model")
        self.options = options
        self.model = os.fspath(model)
        self.sha256 = sha256(model)
        self.card = _card(model, options)
        self._baseline = None
        if options.baseline not in BASELINES_OF_THE_IMAGE:
            self._baseline = fixed_baseline(options.baseline, self.card)
        self.skipped: dict[str, str] = {}
        self.explainers: dict[str, Explainer] = {}
        self._checked: dict[str, UnsupportedModelError | None] = {}
        for method in dict.fromkeys(options.methods or METHODS):
            tell(f"building {method}")
            self._add(method)
        if not self.explainers:
            raise UnsupportedModelError("; ".join(dict.fromkeys(self.skipped.values())))
        self._subject = next(iter(self.explainers.values())).subject
        self._check_card()
        self._targets = list(dict.fromkeys(self._target(text) for text in options.targets))

    def _add(self, method: str) -> None:
        try:
            self.explainers[method] = Explainer(
                self.model,
                method,
                layer=self.options.layer,
                steps=self.options.steps,
                tolerance=self.options.tolerance if method == "integrated-gradients" else None,
                output=self.card.output,
                rule=self.options.rule,
                providers=self.options.provider,
            )
        except UnsupportedModelError as error:
            if self.options.methods:
                raise
            self.skipped[method] = str(error)

    def _check_card(self) -> None:
        """Refuse a model that cannot take one image, before any image is read."""
        try:
            check_inputs(self._subject, np.zeros(self.card.tensor_shape, self.card.dtype))
        except InvalidInputError as error:
            raise InvalidInputError(f"the model card does not fit the model: {error}") from error
        batch = self._subject.batch
        if isinstance(batch, int) and batch != 1:
            raise InvalidInputError(
                f"the model takes exactly {batch} images at a time, and the command line feeds one;"
                " use the Python API"
            )

    def _target(self, text: str) -> Target | _Rank:
        """A class index, index tuple ("1,20,30"), label or topK."""
        text = text.strip()
        rank = _TOP.fullmatch(text)
        if rank:
            return self._checked_rank(int(rank[1]))
        target: Target
        if _INDEX.fullmatch(text):
            target = int(text)
        elif _TUPLE.fullmatch(text):
            target = tuple(int(part) for part in text.split(","))
        else:
            target = find_label(self.card.labels, text)
        check_target(self._subject, target, 1)
        return -1 if target == -1 else target

    def _checked_rank(self, place: int) -> int | _Rank:
        if place == 1:
            check_target(self._subject, -1, 1)
            return -1
        if self._subject.needs_index or self._subject.is_map:
            raise InvalidInputError("top2 and below need an output with one score for each class")
        classes = self._subject.classes
        if place < 1 or (isinstance(classes, int) and place > classes):
            raise InvalidInputError(f"target top{place}: the model has {classes} classes")
        return _Rank(place)

    def explain(
        self, path: str, progress: Callable[[float], None] = lambda done: None
    ) -> Iterator[Result]:
        """Explain one image file by every method and target, each target once.

        Args:
            path: an image file.
            progress: called with the fraction of this image's work that is done.

        Raises:
            InvalidInputError: the image does not fit.
        """
        with phase("load"):
            image = read_image(path)
            tensor, view = image_to_tensor(image, self.card)
        baseline = self._baseline
        if baseline is None:
            baseline = baseline_image(self.options.baseline, image, self.card)
        targets = list(dict.fromkeys(self._ranked(self._targets, tensor)))
        # Classes are explained together; an index tuple asks for a graph of its own.
        classes = [target for target in targets if isinstance(target, int)]
        groups = [classes] if classes else []
        groups += [target for target in targets if isinstance(target, tuple)]
        share = 1 / (len(self.explainers) * len(groups))
        for row, explainer in enumerate(self.explainers.values()):
            explained = set()
            for column, group in enumerate(groups):
                done = (row * len(groups) + column) * share

                def step(passes: int, of: int, done=done) -> None:
                    progress(done + share * passes / of)

                began = time.perf_counter()
                extra = {} if explainer.method == "grad-cam" else {"baseline": baseline}
                explanation = explainer(tensor, group, progress=step, **extra)
                self._check_first(explainer, tensor, explanation)
                seconds = (time.perf_counter() - began) / len(explanation.score)
                for one in each_target(explanation):
                    record = self._record(path, explainer, one, seconds)
                    # "top1" and the class that it turns out to be are one target.
                    index = str(record["target"]["index"])
                    if index not in explained:
                        explained.add(index)
                        axis = self.card.channel_axis - 1 if one.attribution.ndim == 4 else None
                        yield Result(record, view, tensor, one.attribution, axis)

    def _check_first(self, explainer: Explainer, tensor: np.ndarray, e: Explanation) -> None:
        """Compare the first image's outputs with the file's own; what was off stays refused.

        Raises:
            UnsupportedModelError: they differ.
        """
        if explainer.method not in self._checked:
            try:
                explainer.check_outputs(tensor, e)
                self._checked[explainer.method] = None
            except UnsupportedModelError as error:
                self._checked[explainer.method] = error
        error = self._checked[explainer.method]
        if error is not None:
            raise error

    @cached_property
    def _own(self) -> Session:
        """The model itself, for the ranks of its classes."""
        return open_file(self.model, self.options.provider)

    def _ranked(self, targets: Sequence[Target | _Rank], tensor: np.ndarray) -> list[Target]:
        """The targets, with topK replaced by the class in that place for this input."""
        if not any(isinstance(target, _Rank) for target in targets):
            return [target for target in targets if not isinstance(target, _Rank)]
        output = self._subject.output.name
        scores = self._own.run({self._subject.input.name: tensor}, [output])[output].reshape(-1)
        places = [target.place for target in targets if isinstance(target, _Rank)]
        if max(places) > len(scores):
            raise InvalidInputError(f"target top{max(places)}: the model has {len(scores)} classes")
        order = np.argsort(-scores, kind="stable")
        return [int(order[t.place - 1]) if isinstance(t, _Rank) else t for t in targets]

    def failure(self, path: str, error: str) -> dict[str, Any]:
        """The record of an image that could not be explained."""
        return {"image": os.fspath(path), "model": self.model, "error": error}

    def _record(
        self, path: str, explainer: Explainer, e: Explanation, seconds: float
    ) -> dict[str, Any]:
        index = list(e.target) if isinstance(e.target, tuple) else int(e.target[0])
        labels = self.card.labels
        label = labels[index] if labels and isinstance(index, int) and index < len(labels) else None
        return {
            "image": os.fspath(path),
            "model": self.model,
            "model_sha256": self.sha256,
            "method": e.method,
            "target": {"index": index, "label": label, "output": explainer.subject.output.name},
            "score": finite(e.score),
            "baseline_score": finite(e.baseline_score),
            "delta": finite(e.delta),
            "relative_delta": finite(e.relative_delta),
            "steps": e.steps,
            "feature_map": e.feature_map,
            "provider": e.provider,
            "seconds": round(seconds, 4),
            "files": [],
        }


def _card(model: str | os.PathLike[str], options: Options) -> ModelCard:
    card, note = card_or_assumption(load(model), model, prepared_graph(model), options.card)
    if card is None:
        raise InvalidInputError(note)
    if options.labels is not None:
        card = replace(card, labels=read_labels(options.labels))
    return card
