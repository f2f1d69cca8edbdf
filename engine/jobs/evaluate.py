"""Evaluating methods on a model: from images or arrays to an `Evaluation`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ... import InvalidInputError, OnnxplainError, UnsupportedModelError
from ...graph_passes.methods import default_methods, find_method
from ..checking.checks import check_inputs
from ..evaluating.evaluation import Evaluation
from ..evaluating.measuring import Item, Measured, Measurements
from ..explaining.explainer import Explainer
from ..export.facts import versions
from ..files.writing import reason_of
from ..inputs.baselines import baseline_arrays
from ..inputs.regions import Boxes, Regions
from ..metrics import find_metrics
from ..model import Model, opened
from ..running.process import Lock
from ..running.settings import asked_methods, for_methods, own_options
from ..running.stopping import check_stopped
from ..running.workers import shared_out, side_by_side, usable_cores
from ..targets.target import Target, asked_of_all
from .asked import TOP, Options
from .image_explainer import ImageExplainer
from .sources import find_images

Progress = Callable[[str, float], None]
# The part of the work that is done image by image, and of that the part that explaining takes.
_BY_IMAGE, _EXPLAINING = 0.85, 0.3


@dataclass(frozen=True)
class Questions:
    """What to measure; see `evaluate`."""

    metrics: Sequence[str] | None = None
    masks: str | os.PathLike[str] | None = None
    boxes: str | os.PathLike[str] | Boxes | None = None
    mask_id: int | Sequence[int] | None = None
    seed: int = 0
    full: bool = False
    recursive: bool = False

    def measurements(self, count: int, regions: bool) -> Measurements:
        """Of so many inputs; metrics that need regions only where they are told or asked for."""
        found = find_metrics(self.metrics)
        if not self.metrics and not regions:
            found = [metric for metric in found if not metric.needs_region]
        return Measurements(found, count, self.seed, self.full)


def questions_from(chosen: Mapping[str, Any]) -> tuple[Questions, dict[str, Any]]:
    """The command line's choices as questions, and those that are methods' own.

    The seed is for both.
    """
    names = [one.name for one in fields(Questions)]
    more = {name: value for name, value in chosen.items() if name not in names}
    names_of = asked_methods(chosen.get("methods") or ())[0]
    if any(find_method(method).takes("seed") for method in names_of):
        more["seed"] = chosen["seed"]
    return Questions(**{name: chosen[name] for name in names}), more


@dataclass
class _Work:
    """An evaluation that is under way."""

    measured: Measurements
    explainers: Mapping[str, Explainer]
    tell: Progress
    at_once: int
    images: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def run(self, names: Sequence[str], item_of: Callable[[int], Item]) -> None:
        """Measure every input, several at once; one that fails is named, and stops no other."""
        parts = np.zeros(len(names))
        lock = Lock()

        def tell(place: int, done: float) -> None:
            with lock:
                parts[place] = done
                self.tell(Path(names[place]).name, _BY_IMAGE * float(parts.mean()))

        def of_one(place: int) -> tuple[Item, Measured] | str:
            check_stopped()
            tell(place, 0.0)
            try:
                item = item_of(place)
                step = partial(_step, tell, place)
                return item, self.measured.measured(item, self.explainers, step)
            except OnnxplainError as error:
                return str(error)
            except OSError as error:
                return reason_of(error)
            finally:
                tell(place, 1.0)

        jobs = (partial(of_one, place) for place in range(len(names)))
        for name, found in zip(names, side_by_side(jobs, self.at_once), strict=True):
            if isinstance(found, str):
                self._fail(name, found)
                continue
            item, measured = found
            self.measured.keep(measured)
            self.images.append(_described(item))
        if not self.images:
            return

        def last(done: float) -> None:
            self.tell("shuffling weights", _BY_IMAGE + (1 - _BY_IMAGE) * done)

        last(0.0)
        self.measured.finish(last, self.at_once)

    def _fail(self, name: str, error: str) -> None:
        self.failed.append({"image": name, "error": error})

    def evaluation(self, file: Model, settings: dict[str, Any], left_out: dict) -> Evaluation:
        """What was found."""
        measured = self.measured
        curves = {
            name: {m: {"places": places, "values": np.stack(v)} for m, (places, v) in of.items()}
            for name, of in measured.curves.items()
        }
        values = {
            name: {method: np.array(v) for method, v in of.items()}
            for name, of in measured.values.items()
            if name not in measured.left_out
        }
        return Evaluation(
            records=measured.records(),
            images=self.images,
            values=values,
            curves=curves,
            settings={**settings, "seed": measured.seed, "full": measured.full},
            model="" if file.path is None else os.fspath(file.path),
            model_sha256=file.sha256,
            versions=versions(),
            failed=self.failed,
            left_out={**left_out, **measured.left_out},
        )


def _step(tell: Callable[[int, float], None], place: int, done: float) -> None:
    """What measuring one input has done, behind explaining it."""
    tell(place, _EXPLAINING + (1 - _EXPLAINING) * done)


def evaluate(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    images_or_arrays: Any,
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    target: Any = None,
    baseline: Any = None,
    masks: str | os.PathLike[str] | None = None,
    boxes: str | os.PathLike[str] | Boxes | None = None,
    mask_id: int | Sequence[int] | None = None,
    regions: Any = None,
    seed: int = 0,
    full: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Measure how faithful methods are on a model, beside a random map and an edge detector.

    What costs most is measured on a seeded sample of the inputs; each record says of how many.
    `onnxplain.metrics.metrics()` lists what is measured.

    Args:
        model: path, bytes or onnx.ModelProto; for image files a path.
        images_or_arrays: image files, folders or patterns (one or several paths); or an array
            [N, ...] as the model takes it, or {input name: array}.
        methods: names of `onnxplain.methods()`; None: those that run by default.
        metrics: names of `onnxplain.metrics.metrics()`; None: all that apply.
        target: of files a class, a label or "top1" ..., of arrays as in calling an explainer.
        baseline: what methods compare with and what stands for missing features: of files a
            choice of the command line, of arrays an array that broadcasts to the input.
        masks: of files, a folder with a PNG for each photo; see `Regions`.
        mask_id: of masks of several objects the id, or ids, that are meant; see `Regions`.
        boxes: of files, {image name: [[x0, y0, x1, y1], ...]} in the photo's pixels, or JSON of it.
        regions: of arrays, bool [N, H, W]: where the object is.
        seed: of all that is drawn.
        full: measure every metric on every input, however long it takes.
        progress: called with a text and the part of the work that is done.
        options: of methods; each goes to those that take it.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method asked for.
        InvalidInputError: a wrong argument, or not one input could be measured.

    Examples:
        >>> found = onnxplain.evaluate("digits.onnx", "seven.png", ["deeplift"], ["deletion"])
    """
    questions = Questions(metrics, masks, boxes, mask_id, _checked_seed(seed), full)
    find_metrics(metrics)
    _check_places(_are_paths(images_or_arrays), regions, masks, boxes)
    if _are_paths(images_or_arrays):
        named = {"targets": ("top1" if target is None else str(target),), "baseline": baseline}
        named["methods"] = _names(methods)
        found = _of_files(model, images_or_arrays, named, options, questions, progress)
    else:
        arrays = images_or_arrays, target, baseline, regions
        found = _evaluate_arrays(model, arrays, _names(methods), options, questions, progress)
    if not found.images and found.failed:
        raise InvalidInputError(found.failed[0]["error"])
    return found


def _check_places(files: bool, regions: Any, masks: Any, boxes: Any) -> None:
    """Refuse places of objects that are said in the other one's way."""
    if files and regions is not None:
        raise InvalidInputError("regions are for arrays; image files take masks or boxes")
    if not files and (masks is not None or boxes is not None):
        raise InvalidInputError("masks and boxes are for image files; arrays take regions")


def _of_files(
    model: Any,
    paths: Any,
    named: dict[str, Any],
    options: dict[str, Any],
    questions: Questions,
    progress: Progress | None,
) -> Evaluation:
    """Of image files, asked in Python; each option of a method goes to those that take it."""
    if isinstance(model, bytes | onnx.ModelProto):
        raise InvalidInputError("of image files the model must be a path")
    paths = [paths] if _is_path(paths) else paths
    own = {k: options.pop(k) for k in list(options) if k in Options.__dataclass_fields__}
    asked = Options(more=options, **named, **own)
    return evaluate_files(model, [os.fspath(p) for p in paths], asked, questions, progress)


def evaluate_files(
    model: str | os.PathLike[str],
    images: Sequence[str],
    options: Options,
    questions: Questions,
    progress: Progress | None = None,
) -> Evaluation:
    """As `evaluate`, of image files, folders or patterns; images that fail are in `failed`.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method asked for.
        InvalidInputError: a wrong option.
    """
    tell = progress or (lambda text, done: None)
    regions = Regions(questions.masks, questions.boxes, questions.mask_id)
    found = find_images(images, questions.recursive)
    measured = questions.measurements(len(found), regions.told)
    at_once, threads = shared_out(options.provider, options.threads, len(found))
    options = replace(options, threads=threads)
    explainer = ImageExplainer(model, options, lambda text: tell(text, 0.0), files=found)
    work = _Work(measured, explainer.explainers, tell, at_once)

    def item_of(place: int) -> Item:
        image = found[place]
        if image.problem is not None:
            raise InvalidInputError(image.problem)
        region = regions.of(image.path, explainer.card) if regions.told else None
        return _item_of_file(explainer, image.path, place, options, region)

    work.run([image.path for image in found], item_of)
    settings = {
        "target": options.targets[0] if options.targets else TOP,
        "baseline": options.baseline,
    }
    settings["methods"] = {name: explainer.options[name] for name in explainer.explainers}
    return work.evaluation(explainer.file, settings, explainer.skipped)


def _item_of_file(
    explainer: ImageExplainer, path: str, place: int, options: Options, region: np.ndarray | None
) -> Item:
    results = list(explainer.explain(path))
    tensor = results[0].tensor
    target = results[0].record.target.again
    target = target if isinstance(target, tuple) else np.array([target])
    baseline = None
    if options.baseline is not None:
        baseline = baseline_arrays(options.baseline, explainer.into, explainer.read(path))
    name = next(iter(explainer.explainers.values())).subject.input.name
    maps = {result.record.method: result.attribution for result in results}
    takers = [m for m in maps if find_method(m).takes("baseline") and baseline is not None]
    how = {method: {"baseline": baseline} for method in takers}
    first = baseline[0] if isinstance(baseline, list) else baseline
    return Item(path, place, {name: tensor}, target, maps, region, first, how)


def _evaluate_arrays(
    model: Any,
    arrays: tuple[Any, Any, Any, Any],
    methods: tuple[str, ...],
    options: dict[str, Any],
    questions: Questions,
    progress: Progress | None,
) -> Evaluation:
    x, target, baseline, regions = arrays
    tell = progress or (lambda text, done: None)
    file = opened(model)
    how = options.get("providers"), options.get("threads")
    at_once, threads = shared_out(*how, usable_cores())
    options["threads"] = threads
    explainers, skipped = _explainers(file, methods, baseline, options)
    first = next(iter(explainers.values()))
    feeds = check_inputs(first.subject, x)
    count = len(feeds[first.subject.input.name])
    measured = questions.measurements(count, regions is not None)
    target = asked_of_all(first.scores(feeds, target).targets)
    if regions is not None:
        regions = np.broadcast_to(regions, (count, *np.shape(regions)[-2:]))
    rowed = {name for name, array in feeds.items() if array.shape[:1] == (count,)}

    def item_of(place: int) -> Item:
        own = {k: v[place : place + 1] if k in rowed else v for k, v in feeds.items()}
        asked = target if isinstance(target, tuple) else target[place : place + 1]
        maps = {name: one(own, asked).attribution for name, one in explainers.items()}
        region = None if regions is None else regions[place]
        own_baseline = baseline[0] if isinstance(baseline, list) else baseline
        return Item(f"row {place}", place, own, asked, maps, region, own_baseline, {})

    work = _Work(measured, explainers, tell, min(at_once, count))
    work.run([f"row {place}" for place in range(count)], item_of)
    return work.evaluation(file, {"baseline": baseline, "methods": list(explainers)}, skipped)


def _explainers(
    file: Model, methods: tuple[str, ...], baseline: Any, options: dict[str, Any]
) -> tuple[dict[str, Explainer], dict[str, str]]:
    """An explainer for each method, and why methods that nobody asked for were left out."""
    own = {
        k: options.pop(k)
        for k in ("input", "output", "score", "providers", "threads", "card")
        if k in options
    }
    chosen, of_each = asked_methods(methods or default_methods())
    for_methods(chosen, options)
    made: dict[str, Explainer] = {}
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(chosen):
        taken = {**own_options(name, chosen, options), **of_each.get(name, {})}
        if baseline is not None and find_method(name).takes("baseline"):
            taken["baseline"] = baseline
        try:
            made[name] = Explainer(file, name, **own, **taken)
        except UnsupportedModelError as error:
            if methods:
                raise
            skipped[name] = str(error)
    if not made:
        raise UnsupportedModelError("; ".join(dict.fromkeys(skipped.values())))
    return made, skipped


def _described(item: Item) -> dict[str, Any]:
    target = item.target
    index = list(target) if isinstance(target, tuple) else _said(target[0])
    part = None if item.region is None else float(np.mean(item.region))
    return {"image": item.name, "target": index, "region": part}


def _said(target: Any) -> int | str:
    """One target in an evaluation's JSON: a class, or what it was asked for as."""
    return target.key if isinstance(target, Target) else np.asarray(target).item()


def _names(given: Sequence[str] | str | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _is_path(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def _are_paths(given: Any) -> bool:
    several = isinstance(given, list | tuple) and len(given) > 0
    return _is_path(given) or (several and all(map(_is_path, given)))


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInputError(f"seed: expected a whole number of at least 0, got {seed!r}")
    return int(seed)
