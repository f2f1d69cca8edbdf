"""The report of what changed between files of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...models.text import counted, few
from ..pictures.captions import class_value
from ..pictures.panel import PanelRow, heatmaps_of
from ..reporting.html import MOST_IMAGES
from ..reporting.page import Bar, Map, Page, Shown, Table, View
from ..reporting.settings import model_table, options_table, versions_table
from ..running.answers import Top
from ..targets.target import Index
from .drift_tables import tables_of
from .saved import failed_pairs

# Changed top classes that are named in front of all else.
_MOST_FLIPS = 5


def drift_page(found: Any) -> Page:
    """The page of a drift: each image by each model, and their differences."""
    own, others = Path(found.model).name, [Path(other).name for other in found.others]
    scores: dict[str, list[Any]] = {}
    for one in found.scores:
        scores.setdefault(one.image, []).append(one)
    shown = found.panels[:MOST_IMAGES]
    key, *tables = (Table(*one) for one in tables_of(found))
    return Page(
        title=f"What changed from {own} to {', '.join(others)}",
        lead=[f"{counted(len(found.panels))}, explained for the class that {own} was asked for."],
        verdict=_verdict(found),
        images=[_shown(path, rows, scores[path], own, found.others) for path, rows in shown],
        views_are="Model",
        all_views=True,
        methods=found.methods,
        key=key,
        tables=tables,
        settings=[
            model_table(
                list(zip([found.model, *found.others], found.sha256, strict=False)),
                [("Matched", text) for text in found.matched.values()],
            ),
            options_table(found.settings.get("methods", {})),
            versions_table(found.versions),
        ],
        notes=[f"left out {name}: {reason}" for name, reason in found.left_out.items()],
        failed=failed_pairs(found.failed),
        data=found.to_dict(),
        images_left_out=len(found.panels) - len(shown),
    )


def _verdict(found: Any) -> list[str]:
    """Changed top classes first, then how far scores and maps moved; the table has all of them."""
    flips = found.flip_lines[:_MOST_FLIPS]
    more = len(found.flip_lines) - len(flips)
    flips += [f"... and {more} more"] if more else []
    return [*flips, *found.findings, *filter(None, [few(len(found.panels))])]


def _shown(
    path: str, rows: Sequence[PanelRow], scores: Sequence[Any], own: str, models: Sequence[str]
) -> Shown:
    """One image: its rows are the first model's, then for each other one its own and the gap."""
    others = [Path(model).name for model in models]
    names = [own, *(name for other in others for name in (other, f"{other} less {own}"))]
    label, views = scores[0].label, []
    by_model = sorted(scores, key=lambda one: models.index(one.model))
    said = [scores[0].answer, *(text for one in by_model for text in (one.other_answer, ""))]
    for name, row, answer in zip(names, rows, said, strict=True):
        subject = f"for '{label}', {'the gap of ' if row.difference else 'by '}{name}"
        maps = [
            Map(method, heatmap, subject, [*heatmap.findings, *heatmap.drawing], row.difference)
            for method, heatmap in heatmaps_of(row).items()
        ]
        views.append(View(name, answer, maps))
    flips = [f"FLIP {one.flip}" for one in scores if one.changed]
    pairs = zip(others, by_model, strict=True)
    tops = [(own, scores[0].best), *((name, one.other_best) for name, one in pairs)]
    return Shown(
        path=path,
        photo=rows[0].view,
        views=views,
        answer="; ".join(flips) or f"Same top class: {scores[0].top}",
        tops=[(f"Best of {name}", _bars(best, scores[0].target)) for name, best in tops if best],
        facts=[("File", path)],
    )


def _bars(best: Sequence[Top], target: Index | None) -> list[Bar]:
    """A file's best three classes; without probabilities there is nothing to draw."""
    return [
        Bar(
            one.words,
            class_value(one.probability, one.score),
            one.probability or 0.0,
            one.index == target,
        )
        for one in best
    ]
