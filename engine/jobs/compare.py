"""Methods side by side on one model and its images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.methods import find_method
from ...graph_passes.methods.method import Method
from ..comparing.axioms import WRITTEN_OTHERWISE
from ..comparing.comparison import Comparison
from ..comparing.facts import Agreement, Beside, MethodFacts
from ..comparing.hiding import Hidden, Tried, tried_by_hiding
from ..comparing.likeness import by_location, by_region, spearman, top_overlap
from ..export.facts import versions
from ..inputs import kind_of_model
from ..inputs.baselines import baseline_arrays, default_baseline
from ..model import opened
from ..pictures.panel import PanelRow
from ..records.captions import target_name
from ..running.stopping import check_stopped
from ..running.workers import shared_out, side_by_side, usable_cores
from ..targets.target import Again
from .asked import TOP, Options
from .axioms import AXIOMS, against, axiom, in_few_passes
from .image_explainer import ImageExplainer
from .results import Result, panel_row, place_map
from .sources import Found, find_images, one_by_one

Progress = Callable[[str, float], None]
# Of the work the part that is done image by image; the rest is about the model.
_BY_IMAGE = 0.6
# Seconds of a run whose time need not be taken twice.
_LONG = 0.5
# Images on which other baselines are tried.
_MOST_BASELINED = 5
# Images of which the second class's maps are kept, to be shown.
_MOST_BESIDE = 12


@dataclass
class _Seen:
    """What is collected image by image, by method; `numbers` by the record's field, too."""

    maps: dict[str, np.ndarray] = field(default_factory=dict)
    between: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    numbers: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    negative: dict[str, list[float]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = field(default_factory=dict)
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    hidden: list[Tried] = field(default_factory=list)


class _Timed(NamedTuple):
    """Seconds of an explanation and of a forward pass."""

    seconds: float
    forward: float


class _Looked(NamedTuple):
    """One image explained by every method, which nobody else has seen yet.

    Attributes:
        path: its.
        results: by method, one for each target.
        maps: by method, of the first target.
        hidden: what hiding their strongest places did.
    """

    path: str
    results: dict[str, list[Result]]
    maps: dict[str, np.ndarray]
    hidden: Tried | None


def compare_files(
    model: str | os.PathLike[str],
    images: Sequence[str],
    options: Options,
    *,
    baselines: Sequence[str] = (),
    recursive: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Explain every image by every method, and measure what the literature says of them.

    Args:
        model: path of the model.
        images: files, folders or patterns.
        options: methods (none: the three best known), the target and so on.
        baselines: choices to compare, the first of which is used elsewhere, too; none: black,
            white, mean and blur.
        recursive: take folders in folders.
        progress: called with a text and the part of the work that is done.

    Raises:
        UnsupportedModelError: the model cannot be read, or by none of the methods be explained.
        InvalidInputError: a wrong option, or a model whose input is no image.
    """
    tell = progress or (lambda text, done: None)
    found = find_images(images, recursive)
    asked = replace(options, baseline=baselines[0] if baselines else None, lenient=True)
    at_once, threads = shared_out(options.provider, options.threads, usable_cores())
    asked = replace(asked, threads=threads)
    explainer = _with_two_classes(model, asked, lambda text: tell(text, 0.0), found)
    own = kind_of_model(explainer.into).baselines
    tried = tuple(dict.fromkeys(baselines or own))
    work = _Comparing(explainer, tried, tell, at_once)
    work.failed += one_by_one(found, work.look, tell, _BY_IMAGE, work.keep, at_once)
    return work.comparison()


def _with_two_classes(
    model: str | os.PathLike[str],
    options: Options,
    tell: Callable[[str], None],
    files: Sequence[Found],
) -> ImageExplainer:
    """An explainer of the target that was asked for and of another class, where there is one."""
    file = opened(os.fspath(model), options.shapes)
    explainer = ImageExplainer(model, options, tell, file, files)
    subject = next(iter(explainer.explainers.values())).subject
    if not subject.per_class or subject.classes == 1:
        return explainer
    asked = options.targets[0] if options.targets else TOP
    explainer.ask((asked, "rank2" if asked == TOP else TOP))
    return explainer


class _Comparing:
    """A comparison that is under way."""

    def __init__(
        self, explainer: ImageExplainer, baselines: Sequence[str], tell: Progress, at_once: int
    ):
        self._explainer, self._baselines, self._tell = explainer, baselines, tell
        self._at_once = at_once
        # Those that other baselines are still to be tried on.
        self._unbaselined: list[_Looked] = []
        self._seen = _Seen()
        self._first: tuple[np.ndarray, Again] | None = None
        self.images: list[dict[str, Any]] = []
        self.panels: list[PanelRow] = []
        self.beside: list[Beside] = []
        self.failed: list[dict[str, str]] = []

    def look(self, path: str) -> _Looked:
        """Explain one image; from any thread."""
        results: dict[str, list[Result]] = {}
        for result in self._explainer.explain(path):
            results.setdefault(result.record.method, []).append(result)
        first = next(iter(results.values()))[0]
        hidden = tried_by_hiding(
            next(iter(self._explainer.explainers.values())),
            first.tensor,
            {method: own[0].attribution for method, own in results.items()},
            self._explainer.into.features,
            first.record,
        )
        maps = {method: place_map(own[0]) for method, own in results.items()}
        return _Looked(path, results, maps, hidden)

    def keep(self, looked: _Looked) -> None:
        """Keep what the maps of the next image say."""
        path, results, maps, hidden = looked
        if hidden is not None:
            self._seen.hidden.append(hidden)
        if len(self.images) < _MOST_BASELINED:
            self._unbaselined.append(looked)
        for method, own in results.items():
            self._keep(method, own, maps[method])
        names = list(maps)
        for a, first in enumerate(names):
            for second in names[a + 1 :]:
                pair = maps[first], maps[second]
                found = spearman(*map(by_region, pair)), top_overlap(*pair), spearman(*pair)
                self._seen.pairs.setdefault((first, second), []).append(found)
        one = next(iter(results.values()))
        self.images.append(_described(path, one))
        self.panels.append(
            panel_row(Path(path).name, {m: own[0] for m, own in results.items()}, maps)
        )
        if len(self.beside) < _MOST_BESIDE:
            second = {m: place_map(own[1]) for m, own in results.items() if len(own) > 1}
            small = {m: found.astype(np.float32) for m, found in second.items()}
            ranks = {m: spearman(by_region(maps[m]), by_region(second[m])) for m in second}
            self.beside.append(Beside(small, ranks))
        if self._first is None:
            self._first = one[0].tensor, one[0].record.target.again

    def _keep(self, method: str, own: Sequence[Result], found: np.ndarray) -> None:
        seen, record = self._seen, own[0].record
        size = float(np.abs(own[0].attribution).sum())
        below = float(np.minimum(own[0].attribution, 0).sum())
        seen.negative.setdefault(method, []).append(-below / size if size else 0.0)
        numbers = {
            "relative_delta": record.relative_delta,
            "map_error": record.map_error,
            "steps": record.steps,
        }
        for name, number in numbers.items():
            if number is not None:
                seen.numbers.setdefault((method, name), []).append(number)
        if len(own) > 1:
            other = place_map(own[1])
            pair = spearman(by_region(found), by_region(other)), top_overlap(found, other)
            seen.between.setdefault(method, []).append(pair)

    def _try_baselines(self, looked: _Looked, method: str) -> dict[str, tuple[np.ndarray, float]]:
        """Baseline -> its map, and how like it is to that against the first; from any thread."""
        check_stopped()
        record, found = find_method(method), {}
        if not record.takes("baseline") or record.baselines == "always":
            return found
        one, into = looked.results[method][0], self._explainer.into
        target = one.record.target.again
        image = self._explainer.read(looked.path)
        for choice in self._baselines[1:]:
            baseline = baseline_arrays(choice, into, image)
            e = self._explainer.explainers[method](one.tensor, target, baseline=baseline)
            other = by_location(e.attribution[0], into.features.in_row(e.attribution.ndim - 1))
            rank = spearman(by_region(looked.maps[method]), by_region(other))
            found[choice] = other.astype(np.float32), rank
        return found

    def comparison(self) -> Comparison:
        """What was found, with what is asked of the model on the first image."""
        if self._first is None:
            raise InvalidInputError(self.failed[0]["error"] if self.failed else "no image")
        explainer = self._explainer
        facts = self._all_facts(*self._first)
        facts += [
            MethodFacts(name, find_method(name).title, False, reason)
            for name, reason in explainer.skipped.items()
        ]
        return Comparison(
            facts=facts,
            agreement=self._agreement(),
            images=self.images,
            failed=self.failed,
            settings={
                "baselines": list(self._baselines),
                "methods": {name: explainer.options[name] for name in explainer.explainers},
            },
            model=explainer.model,
            model_sha256=explainer.file.sha256,
            versions=versions(),
            panels=self.panels,
            beside=self.beside,
        )

    def _agreement(self) -> Agreement:
        names = list(self._explainer.explainers)
        rank, top, pixels = (np.eye(len(names)) for _ in range(3))
        each = {}
        for (a, b), found in self._seen.pairs.items():
            i, j = names.index(a), names.index(b)
            for matrix, values in zip((rank, top, pixels), zip(*found, strict=True), strict=True):
                matrix[i, j] = matrix[j, i] = _mean(values)
            each[f"{a}, {b}"] = [r for r, *_ in found]
        return Agreement(names, rank, top, pixels, each)

    def _all_facts(self, x: np.ndarray, target: Again) -> list[MethodFacts]:
        """Every method's row: what is asked of one image, and of other baselines."""
        explainer = self._explainer
        names = list(explainer.explainers)
        # One after the other, with nothing beside them.
        timed = {method: self._timed(method, x, target) for method in names}
        slowest = sorted(names, key=lambda method: -timed[method].seconds)
        places = range(len(self._unbaselined))
        tried = [(place, method) for method in slowest for place in places]
        axioms = [(method, what) for method in slowest for what in AXIOMS]
        jobs: list[Callable[[], Any]] = [
            partial(self._try_baselines, self._unbaselined[place], method)
            for place, method in tried
        ]
        few = {method: in_few_passes(explainer.explainers[method]) for method in names}
        jobs += [
            partial(axiom, few[method], explainer.into, what, x, target) for method, what in axioms
        ]
        results, found = [], side_by_side(jobs, self._at_once)
        for done, result in enumerate(found, start=1):
            results.append(result)
            self._tell("baselines and axioms", _BY_IMAGE + (1 - _BY_IMAGE) * done / len(jobs))
        for (place, method), others in zip(tried, results, strict=False):
            of = self._seen.baselines.setdefault(method, {})
            for choice, (_, rank) in others.items():
                of.setdefault(choice, []).append(rank)
            if others:
                self.beside[place].baselines[method] = others
        kept = dict(zip(axioms, results[len(tried) :], strict=True))
        return [
            self._facts(method, timed[method], {what: kept[method, what] for what in AXIOMS})
            for method in names
        ]

    def _timed(self, method: str, x: np.ndarray, target: Again) -> _Timed:
        """Seconds of one explanation, and of one forward pass."""
        check_stopped()
        explainer = self._explainer.explainers[method]
        more = against(method, default_baseline(self._explainer.into))
        seconds = _seconds(lambda: explainer(x, target, **more))
        return _Timed(seconds, _seconds(lambda: explainer.scores(x, target)))

    def _facts(self, method: str, timed: _Timed, axioms: dict[str, Any]) -> MethodFacts:
        """One method's row."""
        seen, record = self._seen, find_method(method)
        between = seen.between.get(method, [])
        feature_map = self._explainer.explainers[method].feature_map
        return MethodFacts(
            method=method,
            title=record.title,
            applies=True,
            reference="a baseline" if record.takes("baseline") else "",
            between_classes=_mean([r for r, _ in between]) if between else None,
            top_between_classes=_mean([t for _, t in between]) if between else None,
            relative_delta=max(seen.numbers.get((method, "relative_delta"), []), default=None),
            map_error=max(seen.numbers.get((method, "map_error"), []), default=None),
            sensitivity=axioms["sensitivity"],
            dummy=axioms["dummy"],
            invariance={name: axioms[name] for name in WRITTEN_OTHERWISE},
            area=f"places of {feature_map}" if feature_map else _area(record),
            negative=_mean(seen.negative[method]),
            passes=_mean(passes) if (passes := seen.numbers.get((method, "steps"))) else None,
            forwards=timed.seconds / timed.forward,
            seconds=timed.seconds,
            baselines={k: _mean(v) for k, v in seen.baselines.get(method, {}).items()},
            hiding=_hidden(seen.hidden, method),
        )


def _hidden(tried: Sequence[Tried], method: str) -> Hidden | None:
    """One method's part of what hiding did to all images."""
    if not any(method in one.lost for one in tried):
        return None
    lost = [one.lost.get(method, float("nan")) for one in tried]
    size = _mean([one.size for one in tried])
    return Hidden(lost, [one.chance for one in tried], tried[0].of, size)


def _area(record: Method) -> str:
    return "places of the input" if record.per_location else "every element of the input"


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are numbers."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _seconds(run: Callable[[], object]) -> float:
    """Of a run that was done before: the better of two, where one is not long enough by itself."""
    took: list[float] = []
    while len(took) < 2 and sum(took) < _LONG:
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return min(took)


def _described(path: str, results: Sequence[Result]) -> dict[str, Any]:
    """What is said of one image."""
    targets = [
        {
            "index": r.record.target.index,
            "label": target_name(r.record),
            "score": r.record.score,
            "probability": r.record.probability,
        }
        for r in results
    ]
    return {"image": path, "targets": targets}
