"""Explaining image files: pictures, arrays and one results.json."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxplain import InvalidInputError, OnnxplainError, UnsupportedModelError
from onnxplain.engine.explainer import METHODS, Explainer
from onnxplain.engine.explanation import Explanation
from onnxplain.engine.images import baseline_image, image_to_tensor, read_image
from onnxplain.engine.inspection import card_or_assumption
from onnxplain.engine.pictures import METHOD_NAMES, PanelRow, overlay, panel
from onnxplain.engine.prepared import prepared_graph
from onnxplain.models.card import ModelCard, find_label, read_labels
from onnxplain.models.load import load, sha256


@dataclass(frozen=True)
class Options:
    """What to explain and how; see `onnxplain explain --help`."""

    methods: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("top1",)
    layer: str | None = None
    baseline: str = "black"
    steps: int = 50
    card: str | None = None
    labels: str | None = None
    provider: str = "auto"


@dataclass(frozen=True)
class Result:
    """One image, method and target.

    Its record for results.json, what the model saw and what it made of it.
    """

    record: dict[str, Any]
    view: Image.Image
    tensor: np.ndarray
    attribution: np.ndarray


@dataclass(frozen=True)
class Failure:
    """An image that could not be explained."""

    record: dict[str, Any]


class ImageExplainer:
    """One model, ready to explain image files by one or several methods.

    Attributes:
        skipped: method -> why it was left out, where the caller asked for no method in particular.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method that was
            asked for.
        InvalidInputError: a wrong option, or a model whose input is no image.
    """

    def __init__(self, model: str | os.PathLike[str], options: Options):
        self.options = options
        self.model = os.fspath(model)
        self.sha256 = sha256(model)
        self.card = _card(model, options)
        self.skipped: dict[str, str] = {}
        self.explainers: dict[str, Explainer] = {}
        for method in dict.fromkeys(options.methods or METHODS):
            try:
                self.explainers[method] = Explainer(
                    model,
                    method,
                    layer=options.layer,
                    steps=options.steps,
                    output=self.card.output,
                    providers=options.provider,
                )
            except UnsupportedModelError as error:
                if options.methods:
                    raise
                self.skipped[method] = str(error)
        if not self.explainers:
            raise UnsupportedModelError("; ".join(dict.fromkeys(self.skipped.values())))

    def explain(
        self, path: str, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Result]:
        """Explain one image file by every method and target.

        Raises:
            InvalidInputError: the image or a target does not fit.
        """
        image = read_image(path)
        tensor, view = image_to_tensor(image, self.card)
        baseline = baseline_image(self.options.baseline, image, self.card)
        targets = list(dict.fromkeys(self._target(text, tensor) for text in self.options.targets))
        for explainer in self.explainers.values():
            for target in targets:
                began = time.perf_counter()
                extra = {} if explainer.method == "grad-cam" else {"baseline": baseline}
                explanation = explainer(tensor, target, progress=progress, **extra)
                seconds = time.perf_counter() - began
                record = self._record(path, explainer, explanation, seconds)
                yield Result(record, view, tensor, explanation.attribution)

    def _target(self, text: str, tensor: np.ndarray) -> int | tuple[int, ...]:
        """A class index, index tuple ("1,20,30"), label or topK, as what Explainer takes."""
        text = text.strip()
        if text == "top1":
            return -1
        if text.startswith("top") and text[3:].isdigit():
            return self._ranked(int(text[3:]), tensor)
        if text.lstrip("-").isdigit():
            return int(text)
        if "," in text and text.replace(",", "").replace(" ", "").isdigit():
            return tuple(int(part) for part in text.split(","))
        return find_label(self.card.labels, text)

    def _ranked(self, rank: int, tensor: np.ndarray) -> int:
        explainer = next(iter(self.explainers.values()))
        if explainer.subject.needs_index or explainer.subject.is_map:
            raise InvalidInputError("top2 and below need an output with one score for each class")
        scores = explainer(tensor[:1]).outputs[explainer.subject.output.name].reshape(-1)
        if not 1 <= rank <= len(scores):
            raise InvalidInputError(f"target top{rank}: the model has {len(scores)} classes")
        return int(np.argsort(-scores, kind="stable")[rank - 1])

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
            "score": _first(e.score),
            "baseline_score": _first(e.baseline_score),
            "delta": _first(e.delta),
            "relative_delta": _first(e.relative_delta),
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


def _first(values: np.ndarray | None) -> float | None:
    """One number for JSON, which knows no NaN."""
    return float(values[0]) if values is not None and math.isfinite(values[0]) else None


def explain_files(
    explainer: ImageExplainer,
    images: Sequence[str],
    folder: str | os.PathLike[str],
    progress: Callable[[str, float], None] | None = None,
) -> list[Result | Failure]:
    """Explain every image and write pictures, arrays and results.json; a bad image stops no other.

    Args:
        explainer: the model, methods and targets.
        images: files.
        folder: where to write; made if missing.
        progress: called with a text and the fraction of the whole work that is done.

    Raises:
        InvalidInputError: the folder cannot be written to.
    """
    directory = writable_folder(folder)
    stems = _file_stems(images)
    results: list[Result | Failure] = []
    share = 1 / (len(images) * len(explainer.explainers) * len(explainer.options.targets))
    for number, path in enumerate(images):
        done = [number / len(images)]

        def step(passes: int, of: int, done=done, path=path) -> None:
            if progress is not None:
                progress(Path(path).name, min(1.0, done[0] + share * passes / of))

        try:
            for result in explainer.explain(path, step):
                write_result(result, directory, stems[number], explainer.card)
                results.append(result)
                done[0] += share
        except (OnnxplainError, OSError) as error:
            record = {"image": os.fspath(path), "model": explainer.model, "error": str(error)}
            results.append(Failure(record))
    text = json.dumps([result.record for result in results], indent=2, ensure_ascii=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")
    return results


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if missing and tried.

    Raises:
        InvalidInputError: it cannot be made or written to.
    """
    directory = Path(folder)
    probe = directory / ".onnxplain-probe"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(
            f"cannot write to the output folder {directory}: {reason}"
        ) from error
    return directory


def _file_stems(images: Sequence[str]) -> list[str]:
    """A name for each image's files: its stem, or more where two images would share it."""
    stems = [Path(path).stem for path in images]
    names = [
        stem if stems.count(stem) == 1 else Path(p).name
        for stem, p in zip(stems, images, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def write_result(result: Result, folder: Path, stem: str, card: ModelCard) -> None:
    """Write `<stem>.<method>.<target>.png` and `.npz`, and name both in the record."""
    record = result.record
    index = record["target"]["index"]
    target = "-".join(map(str, index)) if isinstance(index, list) else str(index)
    base = f"{stem}.{record['method']}.{target}"
    picture = overlay(
        result.view,
        result.attribution[0],
        method=record["method"],
        title=title_of(record),
        subtitle=subtitle_of(record),
        channel_axis=_channel_axis(result, card),
    )
    picture.save(folder / f"{base}.png")
    arrays = {"attribution": result.attribution, "input": result.tensor}
    np.savez_compressed(folder / f"{base}.npz", **arrays)
    record["files"] = [f"{base}.png", f"{base}.npz"]


def _channel_axis(result: Result, card: ModelCard) -> int | None:
    return card.channel_axis - 1 if result.attribution.ndim == 4 else None


def title_of(record: dict[str, Any]) -> str:
    """The target and its score, as a picture's title says them."""
    target = record["target"]
    name = target["label"] or f"class {target['index']}"
    if isinstance(target["index"], list):
        name = f"{target['output']}{target['index']}"
    return f"{name} · score {record['score']:.2f}"


def subtitle_of(record: dict[str, Any]) -> str:
    """The method and how exactly it sums, as a picture's subtitle says them."""
    parts = [METHOD_NAMES[record["method"]]]
    if record["feature_map"] is not None:
        parts.append(f"feature map {record['feature_map']}")
    if record["steps"] is not None:
        parts.append(f"{record['steps']} steps")
    if record["delta"] is not None:
        parts.append(f"baseline score {record['baseline_score']:.2f}")
        parts.append(delta_text(record))
    return " · ".join(parts)


def delta_text(record: dict[str, Any]) -> str:
    """delta, and in percent of what was to be explained."""
    relative = record["relative_delta"]
    percent = "" if relative is None else f" ({100 * relative:.2g} %)"
    return f"delta {record['delta']:.2g}{percent}"


def write_panel(results: Sequence[Result | Failure], path: Path, card: ModelCard) -> None:
    """One figure: a row for each image and target, its maps by method side by side."""
    rows: dict[tuple, list[Result]] = {}
    for result in results:
        if isinstance(result, Result):
            key = (result.record["image"], str(result.record["target"]["index"]))
            rows.setdefault(key, []).append(result)
    drawn = []
    for group in rows.values():
        notes = {r.record["method"]: _panel_note(r.record) for r in group}
        drawn.append(
            PanelRow(
                view=group[0].view,
                caption=title_of(group[0].record),
                attributions={r.record["method"]: _flat(r, card) for r in group},
                notes=notes,
            )
        )
    panel(drawn).save(path)


def _flat(result: Result, card: ModelCard) -> np.ndarray:
    axis = _channel_axis(result, card)
    return result.attribution[0] if axis is None else result.attribution[0].sum(axis=axis)


def _panel_note(record: dict[str, Any]) -> str:
    return "" if record["delta"] is None else delta_text(record)


def export_file(
    model: str,
    file: str,
    *,
    method: str,
    steps: int,
    baseline: str,
    baseline_input: bool,
    layer: str | None,
    card: str | None,
):
    """Write the explaining graph of a model file; returns it.

    Raises:
        InvalidInputError: a baseline that depends on the image, or a file that cannot be written.
        UnsupportedModelError: the model cannot be explained by the method.
    """
    known, _ = card_or_assumption(load(model), model, prepared_graph(model), card)
    values = _fixed_baseline(baseline, known) if method != "grad-cam" else None
    output = known.output if known is not None else None
    explainer = Explainer(model, method, layer=layer, steps=steps, baseline=values, output=output)
    try:
        return explainer.export(file, baseline_input=baseline_input)
    except OSError as error:
        raise InvalidInputError(f"cannot write {file}: {error.strerror or error}") from error


def _fixed_baseline(choice: str, card: ModelCard | None) -> np.ndarray | None:
    """A baseline that can be embedded: black, white or an array; black is zeros without a card."""
    if choice in ("mean", "blur"):
        raise InvalidInputError(
            f"baseline {choice!r} depends on each image: "
            "use --baseline-input and feed it, or black, white or a file"
        )
    if card is None:
        if choice == "black":
            return None
        raise InvalidInputError(f"baseline {choice!r} needs a model card (--card FILE)")
    blank = Image.new("RGB", (card.size[1], card.size[0]))
    return baseline_image(choice, blank, card)
