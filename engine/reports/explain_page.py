"""The report of a run of `explain`: made of its records and of the arrays that they speak of."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import OnnxplainError
from ...graph_passes.methods import find_method
from ...models.text import counted
from ..export.facts import versions
from ..files.members import file_of
from ..files.writing import reason_of
from ..inputs import Input
from ..inputs.kind import InputKind, ModelInput
from ..inputs.stdin import STDIN, stdin_bytes
from ..pictures.panel import VIEW, small_view
from ..records.captions import (
    SCALES,
    answer_text,
    box_text,
    evidence_text,
    exactness,
    small_part,
    target_name,
    value_text,
)
from ..records.keys import real_path
from ..records.record import Failure, Record
from ..running.answers import Top, percent
from ..running.stopping import check_stopped
from ..targets.target import Index
from .html import MOST_IMAGES
from .page import Bar, Map, Page, Shown, Table, View, one_for_all, without_empty
from .settings import model_table, number_text, options_table, versions_table

if TYPE_CHECKING:
    from ..pictures.heatmap import Heatmap, Picture

# What reading a photo that has gone, or another run's damaged arrays, may raise.
_UNREADABLE = (OnnxplainError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Explained(NamedTuple):
    """What a page tells of the model whose images it shows.

    Attributes:
        model: its path.
        sha256: of the file.
        into: what it takes.
        assumed: what was assumed of its input, for want of a card.
        options: for each method what shapes its numbers.
        read: reads one of its images.
    """

    model: str
    sha256: str
    into: ModelInput
    assumed: Sequence[str]
    options: Mapping[str, Mapping[str, Any]]
    read: Callable[[str], Input]


class Seen(NamedTuple):
    """What a page shows of an image that was read.

    Attributes:
        kind: of it.
        view: what maps of it are drawn over, as large as a page has it.
    """

    kind: InputKind
    view: Picture


def seen(kind: InputKind, view: Picture) -> Seen:
    """What is kept of an image for its page."""
    return Seen(kind, small_view(view, VIEW))


def explain_page(
    of: Explained,
    results: Sequence[Record | Failure],
    folder: Path,
    notes: Sequence[str] = (),
    read: Mapping[str, Seen] | None = None,
    step: Callable[[], None] = check_stopped,
) -> Page:
    """The page of what a run has put on record.

    Args:
        of: what they are of.
        results: failures among them; each is shown once.
        folder: where their files are.
        notes: what there is to say beside them.
        read: images that were read already, by their real paths; others are read here.
        step: called before each image.
    """
    # One photo may be on record by several paths.
    every = list(dict.fromkeys(real_path(one.image) for one in results))
    first = set(every[:MOST_IMAGES])
    results = [one for one in results if real_path(one.image) in first]
    done = [one for one in results if isinstance(one, Record)]
    groups: dict[str, list[Record]] = {}
    for record in done:
        groups.setdefault(real_path(record.image), []).append(record)
    shown, missing = [], list(notes)
    for own in groups.values():
        step()
        path = own[0].image
        try:
            before = (read or {}).get(real_path(path))
            if before is None:
                found = of.read(path)
                before = seen(found.kind, found.view())
            shown.append(_shown(of.into, path, before, own, folder))
        except _UNREADABLE as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            missing.append(f"{path}, its maps: {reason}")
    methods = list(dict.fromkeys(record.method for record in done))
    titles = ", ".join(find_method(method).title for method in methods)
    return Page(
        title=f"What {Path(of.model).name} looked at",
        lead=[
            f"{counted(len(groups))}, explained by {titles}."
            if done
            else "Nothing could be explained."
        ],
        images=shown,
        sheet=True,
        methods=methods,
        tables=[_scores(done)] if done else [],
        settings=_settings(of, methods, done),
        notes=missing,
        failed=[(one.image, one.error) for one in results if isinstance(one, Failure)],
        data={"records": [one.to_json() for one in results], "versions": versions()},
        images_left_out=len(every) - len(first),
    )


def _shown(into: ModelInput, path: str, of: Seen, records: Sequence[Record], folder: Path) -> Shown:
    """One image, with the maps that its records' arrays hold."""
    views: dict[str, list[Record]] = {}
    for record in records:
        views.setdefault(record.target.key, []).append(record)
    made = []
    for own in views.values():
        maps = []
        for record in own:
            (file,) = (name for name in record.files if name.endswith(".npz"))
            with np.load(folder / file, allow_pickle=False) as arrays:
                attribution = arrays["attribution"]
            heatmap = of.kind.draw(attribution[0], into, record.method)
            maps.append(_map(heatmap, record, not attribution.any()))
        said = value_text(own[0])
        where = box_text(own[0])
        said = f"{said} at {where}" if where else said
        made.append(View(target_name(own[0]), said, maps, own[0].target.box_in_view))
    first = records[0]
    kind = "score" if first.target.versus is None else "cosine similarity"
    scale = SCALES.get(str(first.probability_from), f"{kind}, output {first.target.output}")
    return Shown(
        path=path,
        photo=of.view,
        views=made,
        answer=answer_text(first),
        bars=_bars(first, [record.target.index for record in records]),
        bars_are=scale,
        facts=[("File", path), ("SHA-256", _sha256(path))],
        margin=_margin(first.top),
        close=first.close_call,
    )


def _margin(top: Sequence[Top]) -> float | None:
    """By how much the best class's probability leads the second's."""
    chances = [one.probability for one in top[:2] if one.probability is not None]
    return chances[0] - chances[1] if len(chances) == 2 else None


def _map(heatmap: Heatmap, record: Record, empty: bool) -> Map:
    evidence = evidence_text(record)
    lines = [*([evidence] if evidence else []), *exactness(record, empty)]
    drawing = "; ".join(heatmap.findings + heatmap.drawing)
    lines += [drawing] if drawing else []
    return Map(record.method, heatmap, f"for '{target_name(record)}'", lines)


def _bars(record: Record, asked: Sequence[Index]) -> list[Bar]:
    """The best classes; none where the output is no row of classes."""
    top = record.top
    known = bool(top) and top[0].probability is not None
    values = [(one.probability if known else one.score) or 0.0 for one in top]
    low, most = (0.0, 1.0) if known else (min([0.0, *values]), max([0.0, *values]))
    return [
        Bar(
            one.words,
            percent(value) if known else number_text(value),
            (value - low) / ((most - low) or 1.0),
            one.index in asked,
        )
        for one, value in zip(top, values, strict=True)
    ]


def _sha256(path: str) -> str:
    content = stdin_bytes() if path == STDIN else Path(file_of(path)).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _scores(records: Sequence[Record]) -> Table:
    """Every record's numbers."""
    heads = "Image", "Class", "Method", "Score", "Probability", "Baseline score", "Delta"
    heads = *heads, "Relative delta", "Map's error", "Gradient passes", "Feature map"
    heads = *heads, "Provider", "Seconds"
    rows = []
    for r in records:
        chance = "-" if r.probability is None else percent(r.probability)
        numbers = [number_text(r.score, ".2f"), chance]
        numbers += [number_text(r.baseline_score, ".2f"), number_text(r.delta, ".1g")]
        exact = [
            "-" if part is None else small_part(part) for part in (r.relative_delta, r.map_error)
        ]
        first = Path(r.image).name, target_name(r), find_method(r.method).title
        last = r.steps or "-", r.feature_map or "-", r.provider, number_text(r.seconds, ".2g")
        rows.append([*first, *numbers, *exact, *last])
    table = without_empty(Table("Scores, and how exactly the maps sum", heads, rows))
    return one_for_all(table, "Provider")


def _settings(of: Explained, methods: Sequence[str], records: Sequence[Record]) -> list[Table]:
    more = [("Assumed of the input, for want of a card", a) for a in of.assumed]
    if records:
        more = [("Explained output", records[0].target.output), *more]
    return [
        model_table([(of.model, of.sha256)], more),
        options_table({method: of.options[method] for method in methods}),
        versions_table(versions()),
    ]
