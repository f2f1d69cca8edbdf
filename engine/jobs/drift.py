"""Two files of one model by what they look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ... import InvalidInputError, UnsupportedModelError
from ...models.text import counted
from ..comparing.changes import MapDrift, ScoreDrift, at_size, flips_first, map_drift, worst_first
from ..comparing.drift import Drift
from ..export.facts import versions
from ..inputs.kind import one_input
from ..inspection import card_or_assumption
from ..model import Model, opened
from ..pictures.lettering import drawable
from ..pictures.panel import VIEW, PanelRow, small_view
from ..records.captions import answer_text, target_name
from ..targets.asking import wanted_of
from .asked import Options
from .image_explainer import ImageExplainer
from .results import Result, drawn_by, panel_row, place_map
from .sources import find_images, one_by_one

Progress = Callable[[str, float], None]


def drift_files(
    model: str | os.PathLike[str],
    others: Sequence[str | os.PathLike[str]],
    images: Sequence[str],
    options: Options,
    *,
    recursive: bool = False,
    progress: Progress | None = None,
) -> Drift:
    """Explain every image by several files of a model, and measure what changed.

    Args:
        model: path of the model that the others are compared with.
        others: paths. Inputs and outputs are matched by name, else by order; where one has no card,
            the first model's serves.
        images: files, folders or patterns.
        options: methods, the target and so on; the class is the first model's.
        recursive: take folders in folders.
        progress: called with a text and the part of the work that is done.

    Raises:
        UnsupportedModelError: a model cannot be read, or there is no method that serves all.
        InvalidInputError: a wrong option, or models that do not take the same images.
    """
    tell = progress or (lambda text, done: None)
    found = find_images(images, recursive)
    asked = replace(options, lenient=True)
    first = ImageExplainer(model, asked, lambda text: tell(text, 0.0), files=found)
    work = _Drifting(first, tell)
    for other in others:
        work.against(os.fspath(other), asked)
    work.failed += one_by_one(found, work.add, tell)
    return work.drift(options.methods)


class _Drifting:
    """A comparison of files that is under way."""

    def __init__(self, first: ImageExplainer, tell: Callable[[str, float], None]):
        self._first, self._tell = first, tell
        self._others: dict[str, ImageExplainer] = {}
        self._matched: dict[str, str] = {}
        self._left_out: dict[str, str] = dict(first.skipped)
        self.maps: list[MapDrift] = []
        self.scores: list[ScoreDrift] = []
        self.panels: list[tuple[str, list[PanelRow]]] = []
        self.failed: list[dict[str, str]] = []

    def against(self, path: str, options: Options) -> None:
        """Open one more model, and match its input and output with the first one's."""
        file = opened(path, options.shapes)
        own, _ = card_or_assumption(file, None) if file.card is not None else (None, "")
        output, how = _matching_output(self._first, file)
        card = replace(own or self._first.card, output=output)
        explainer = ImageExplainer(
            path, replace(options, card=card), lambda text: self._tell(text, 0.0), file
        )
        shapes = [one_input(e.into) for e in (explainer, self._first)]
        if shapes[0] != shapes[1]:
            raise InvalidInputError(
                f"{path}: its input is {shapes[0]}, that of {self._first.model} {shapes[1]}"
            )
        for method, reason in explainer.skipped.items():
            self._left_out.setdefault(method, f"{Path(path).name}: {reason}")
        if not set(explainer.explainers) & set(self._first.explainers):
            reasons = "; ".join(dict.fromkeys(self._left_out.values()))
            raise UnsupportedModelError(f"no method serves both models: {reasons}")
        self._matched[path] = f"{Path(path).name}: {_matched_input(self._first, explainer)}; {how}"
        self._others[path] = explainer

    def add(self, path: str) -> None:
        """Explain one image by all models."""
        own = {r.record.method: r for r in self._first.explain(path)}
        rows = [_row(self._first, path, own)]
        maps, scores = [], []
        for name, explainer in self._others.items():
            shared = [m for m in own if m in explainer.explainers]
            target = own[shared[0]].record.target
            # Each file's own embedding of the reference, as whoever changes files has it.
            similar = target.versus is not None
            asked = explainer.targets if similar else wanted_of(target.again, explainer.about)
            theirs = {
                r.record.method: r
                for r in explainer.explain(path, targets={m: list(asked) for m in shared})
            }
            maps += [
                map_drift(path, name, m, place_map(own[m]), place_map(theirs[m])) for m in shared
            ]
            scores.append(self._score(path, name, own[shared[0]], theirs[shared[0]]))
            rows.append(_row(explainer, path, theirs))
            rows.append(_difference_row(own, theirs))
        self.maps += maps
        self.scores += scores
        self.panels.append((path, rows))

    def _score(self, path: str, name: str, own: Result, other: Result) -> ScoreDrift:
        record, theirs = own.record, other.record
        return ScoreDrift(
            path,
            name,
            target=record.target.index,
            label=target_name(record),
            score=_number(record.score),
            other_score=_number(theirs.score),
            top=_top_class(self._first, own),
            other_top=_top_class(self._others[name], other),
            best=record.top[:3],
            other_best=theirs.top[:3],
            answer=answer_text(record),
            other_answer=answer_text(theirs),
        )

    def drift(self, judged: Sequence[str] = ()) -> Drift:
        """What was found; see `Drift.judged`."""
        if not self.panels:
            raise InvalidInputError(self.failed[0]["error"] if self.failed else "no image")
        first, maps = self._first, worst_first(self.maps)
        images, scores = flips_first(self.scores, maps)
        panels = dict(self.panels)
        return Drift(
            maps=maps,
            scores=scores,
            matched=self._matched,
            failed=self.failed,
            left_out=self._left_out,
            model=first.model,
            others=list(self._others),
            sha256=[first.file.sha256, *(o.file.sha256 for o in self._others.values())],
            settings={"methods": {m: first.options[m] for m in first.explainers}},
            versions=versions(),
            panels=[(image, panels[image]) for image in images],
            judged=list(judged),
        )


def _matching_output(first: ImageExplainer, file: Model) -> tuple[str, str]:
    """The output of another model that stands for the explained one, and how it was found."""
    subject = next(iter(first.explainers.values())).subject
    name, names = subject.output.name, [value.name for value in file.proto.graph.output]
    if name in names:
        return name, f"output {name!r} by name"
    place = [tensor.name for tensor in subject.graph.outputs].index(name)
    if place >= len(names):
        enough = counted(place + 1, "output")
        raise InvalidInputError(
            f"{file.path}: expected an output {name!r} or {enough}, got {names}"
        )
    return names[place], f"output {name!r} is {names[place]!r} there, by order"


def _matched_input(first: ImageExplainer, other: ImageExplainer) -> str:
    own, theirs = (
        next(iter(explainer.explainers.values())).subject.input.name for explainer in (first, other)
    )
    if own == theirs:
        return f"input {own!r} by name"
    return f"input {own!r} is {theirs!r} there, by order"


def _number(score: float | None) -> float:
    return float("nan") if score is None else score


def _top_class(explainer: ImageExplainer, result: Result) -> str:
    """The top class in words: on record already, where there is a score for each class.

    Of an embedding what it is compared with, which no file changes.
    """
    if result.record.target.versus is not None:
        return target_name(result.record)
    for one in result.record.top[:1]:
        return one.words
    return explainer.top_class(result.tensor, result.record.method)


def _row(explainer: ImageExplainer, path: str, results: dict[str, Result]) -> PanelRow:
    """One file's maps; the caption has its best three classes."""
    row = panel_row(f"{Path(path).name}, {Path(explainer.model).name}", results)
    answer = answer_text(next(iter(results.values())).record)
    if not answer or not drawable(answer):
        return row
    return replace(row, caption=f"{row.caption} {row.keep}; best: {answer}", keep="")


def _difference_row(own: dict[str, Result], theirs: dict[str, Result]) -> PanelRow:
    """The other maps less the first ones."""
    one = next(iter(own.values()))
    gaps = {}
    for method, result in theirs.items():
        before = place_map(own[method])
        gaps[method] = (at_size(place_map(result), before.shape) - before).astype(np.float32)
    draw = partial(drawn_by, one.kind, one.into)
    caption = "difference: the second less the first"
    return PanelRow(small_view(one.view, VIEW), caption, gaps, {}, draw=draw, difference=True)
