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
from ..facts import versions
from ..files.writing import reason_of
from ..inputs.kind import InputKind
from ..inputs.stdin import STDIN, stdin_bytes
from ..pictures.captions import (
    SCALES,
    answer_text,
    drawn_score,
    evidence_text,
    exactness,
    small_part,
    target_name,
)
from ..pictures.panel import small_view
from ..reporting.html import MOST_IMAGES
from ..reporting.page import Bar, Map, Page, Shown, Table, View, one_for_all, without_empty
from ..reporting.settings import model_table, number_text, options_table, versions_table
from ..running.answers import percent
from ..running.stopping import check_stopped
from ..targets.target import key_in
from .image_explainer import ImageExplainer
from .records import real_path
from .shared import VIEW

if TYPE_CHECKING:
    from ..pictures.heatmap import Heatmap, Picture

Records = Sequence[Mapping[str, Any]]
# What reading a photo that has gone, or another run's damaged arrays, may raise.
_UNREADABLE = (OnnxplainError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


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
    explainer: ImageExplainer,
    records: Records,
    folder: Path,
    notes: Sequence[str] = (),
    read: Mapping[str, Seen] | None = None,
    step: Callable[[], None] = check_stopped,
) -> Page:
    """The page of some records of results.json.

    Args:
        explainer: that made them.
        records: those of failures among them; each is shown once.
        folder: where their files are.
        notes: what there is to say beside them.
        read: images that were read already, by their real paths; others are read here.
        step: called before each image.
    """
    # One photo may be on record by several paths.
    every = list(dict.fromkeys(real_path(record["image"]) for record in records))
    first = set(every[:MOST_IMAGES])
    records = [record for record in records if real_path(record["image"]) in first]
    done = [record for record in records if "error" not in record]
    groups: dict[str, list[Any]] = {}
    for record in done:
        groups.setdefault(real_path(record["image"]), []).append(record)
    shown, missing = [], list(notes)
    for own in groups.values():
        step()
        path = own[0]["image"]
        try:
            before = (read or {}).get(real_path(path))
            if before is None:
                found = explainer.read(path)
                before = seen(found.kind, found.view())
            shown.append(_shown(explainer, path, before, own, folder))
        except _UNREADABLE as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            missing.append(f"{path}, its maps: {reason}")
    methods = list(dict.fromkeys(record["method"] for record in done))
    titles = ", ".join(find_method(method).title for method in methods)
    return Page(
        title=f"What {Path(explainer.model).name} looked at",
        lead=[
            f"{counted(len(groups))}, explained by {titles}."
            if done
            else "Nothing could be explained."
        ],
        images=shown,
        sheet=True,
        methods=methods,
        tables=[_scores(done)] if done else [],
        settings=_settings(explainer, methods, done),
        notes=missing,
        failed=[(str(r["image"]), str(r["error"])) for r in records if "error" in r],
        data={"records": list(records), "versions": versions()},
        images_left_out=len(every) - len(first),
    )


def _shown(explainer: ImageExplainer, path: str, of: Seen, records: Records, folder: Path) -> Shown:
    """One image, with the maps that its records' arrays hold."""
    views: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        views.setdefault(key_in(record["target"]), []).append(record)
    made = []
    for own in views.values():
        maps = []
        for record in own:
            (file,) = (name for name in record["files"] if name.endswith(".npz"))
            with np.load(folder / file, allow_pickle=False) as arrays:
                attribution = arrays["attribution"]
            heatmap = of.kind.draw(attribution[0], explainer.into, record["method"])
            maps.append(_map(heatmap, record, not attribution.any()))
        more = drawn_score(dict(own[0])).lstrip("· ")
        made.append(View(target_name(dict(own[0])), more, maps))
    asked = [record["target"]["index"] for record in records]
    output = records[0]["target"]["output"]
    return Shown(
        path=path,
        photo=of.view,
        views=made,
        answer=answer_text(dict(records[0])),
        bars=_bars(records[0], asked),
        bars_are=SCALES.get(str(records[0].get("probability_from")), f"score, output {output}"),
        facts=[("File", path), ("SHA-256", _sha256(path))],
        margin=_margin(records[0].get("top") or []),
        close=bool(records[0].get("close_call")),
    )


def _margin(top: Sequence[Mapping[str, Any]]) -> float | None:
    """By how much the best class's probability leads the second's."""
    chances = [one["probability"] for one in top[:2]]
    return None if len(chances) < 2 or None in chances else chances[0] - chances[1]


def _map(heatmap: Heatmap, record: Mapping[str, Any], empty: bool) -> Map:
    evidence = evidence_text(dict(record))
    lines = [*([evidence] if evidence else []), *exactness(dict(record), empty)]
    drawing = "; ".join(heatmap.findings + heatmap.drawing)
    lines += [drawing] if drawing else []
    return Map(record["method"], heatmap, f"for '{target_name(dict(record))}'", lines)


def _bars(record: Mapping[str, Any], asked: Sequence[Any]) -> list[Bar]:
    """The best classes; none where the output is no row of classes."""
    top = record.get("top") or []
    known = bool(top) and top[0]["probability"] is not None
    values = [one["probability" if known else "score"] or 0.0 for one in top]
    low, most = (0.0, 1.0) if known else (min([0.0, *values]), max([0.0, *values]))
    return [
        Bar(
            one["label"] or f"class {one['index']}",
            percent(value) if known else number_text(value),
            (value - low) / ((most - low) or 1.0),
            one["index"] in asked,
        )
        for one, value in zip(top, values, strict=True)
    ]


def _sha256(path: str) -> str:
    content = stdin_bytes() if path == STDIN else Path(path).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _scores(records: Records) -> Table:
    """Every record's numbers."""
    heads = "Image", "Class", "Method", "Score", "Probability", "Baseline score", "Delta"
    heads = *heads, "Relative delta", "Map's error", "Gradient passes", "Feature map"
    heads = *heads, "Provider", "Seconds"
    rows = []
    for r in records:
        chance = "-" if r["probability"] is None else percent(r["probability"])
        numbers = [number_text(r["score"], ".2f"), chance]
        numbers += [number_text(r["baseline_score"], ".2f"), number_text(r["delta"], ".1g")]
        exact = [
            "-" if r.get(k) is None else small_part(r[k]) for k in ("relative_delta", "map_error")
        ]
        first = Path(r["image"]).name, target_name(dict(r)), find_method(r["method"]).title
        last = (
            r["steps"] or "-",
            r["feature_map"] or "-",
            r["provider"],
            number_text(r["seconds"], ".2g"),
        )
        rows.append([*first, *numbers, *exact, *last])
    table = without_empty(Table("Scores, and how exactly the maps sum", heads, rows))
    return one_for_all(table, "Provider")


def _settings(explainer: ImageExplainer, methods: Sequence[str], records: Records) -> list[Table]:
    more = [("Assumed of the input, for want of a card", a) for a in explainer.card.assumed]
    if records:
        more = [("Explained output", records[0]["target"]["output"]), *more]
    return [
        model_table([(explainer.model, explainer.file.sha256)], more),
        options_table({method: explainer.options[method] for method in methods}),
        versions_table(versions()),
    ]
