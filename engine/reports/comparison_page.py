"""The report of a comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...models.text import counted
from ..comparing.comparison import Comparison
from ..comparing.facts import Beside
from ..comparing.tables import agreement, literature, titles_of
from ..pictures.matrix_svg import matrix_svg
from ..pictures.panel import PanelRow, heatmaps_of
from ..records.captions import class_value, score_text
from .html import MOST_IMAGES
from .page import Bar, Figure, Map, Page, Shown, Table, View, failed_pairs
from .settings import model_table, options_table, versions_table


def comparison_page(found: Comparison, data: dict[str, Any]) -> Page:
    """The page of a `Comparison`: verdict, reasons, maps, agreement, the literature's table."""
    applying = [one.method for one in found.facts if one.applies]
    both = found.agreement
    tables, figures = [], []
    if len(both.methods) > 1:
        names = {
            "Agreement: Spearman's correlation of the maps, by region": both.rank,
            "Agreement: overlap of the highest tenth of all places": both.top,
            "Agreement: Spearman's correlation of the maps, by pixel": both.pixels,
        }
        tables += [Table(name, *agreement(found, values)) for name, values in names.items()]
        name = "Agreement by region: 1 is the same order, 0 none, -1 the opposite one"
        alt = "Matrix of the table of agreement by region"
        figures = [Figure(name, alt, matrix_svg(titles_of(found), both.rank))]
    asked = [(name, value) for name, value in found.settings.items() if name != "methods"]
    shown = list(zip(found.images[:MOST_IMAGES], found.panels, strict=False))
    first = (found.settings.get("baselines") or ["the first baseline"])[0]
    beside = [*found.beside, *[None] * len(shown)]
    return Page(
        title=f"Methods side by side on {Path(found.model).name}",
        lead=[f"{counted(len(applying), 'method')}, {counted(len(found.images))}."],
        verdict=[found.verdict],
        findings_are="Why",
        findings=found.reasons,
        images=[_shown(*pair, more, first) for pair, more in zip(shown, beside, strict=False)],
        sheet=True,
        views_are="Maps",
        all_views=True,
        methods=applying,
        tables=tables,
        figures=figures,
        last=[Table("What the literature asks of methods, measured here", *literature(found))],
        settings=[
            model_table([(found.model, found.model_sha256)], asked),
            options_table(found.settings.get("methods", {})),
            versions_table(found.versions),
        ],
        notes=_notes(found),
        failed=failed_pairs(found.failed),
        data=data,
        images_left_out=max(len(found.panels) - MOST_IMAGES, 0),
    )


def _notes(found: Comparison) -> list[str]:
    """What does not apply, and of which images there are no more maps than the first ones."""
    notes = [f"{o.title} does not apply: {o.reason}" for o in found.facts if not o.applies]
    parts = {
        "of the second class": sum(bool(one.second) for one in found.beside),
        "against other baselines": sum(bool(one.baselines) for one in found.beside),
    }
    return notes + [
        f"Maps {which} are shown of the first {counted(count)}."
        for which, count in parts.items()
        if 0 < count < len(found.images)
    ]


def _shown(image: Mapping[str, Any], row: PanelRow, beside: Beside | None, first: str) -> Shown:
    targets = image["targets"]
    label = targets[0]["label"]
    maps = [
        Map(m, h, f"for '{label}'", [*filter(None, [row.notes.get(m)]), *h.findings, *h.drawing])
        for m, h in heatmaps_of(row).items()
    ]
    views = [View(label, score_text(targets[0]["probability"], targets[0]["score"]), maps)]
    if beside is not None:
        views += _second(row, beside, targets) + _baselines(row, beside, label, first)
    known = [one for one in targets if one["score"] is not None]
    chances = all(one["probability"] is not None for one in known)
    most = max((abs(one["score"]) for one in known), default=0.0) or 1.0
    return Shown(
        path=image["image"],
        photo=row.view,
        views=views,
        bars=[
            Bar(
                one["label"],
                class_value(one["probability"], one["score"]),
                one["probability"] if chances else max(one["score"], 0.0) / most,
                False,
            )
            for one in known
        ],
        bars_are="those that are compared",
        facts=[("File", image["image"])],
        margin=_margin(known) if chances else None,
    )


def _margin(known: list[Mapping[str, Any]]) -> float | None:
    """How far apart the two classes are that are compared."""
    if len(known) < 2 or known[0]["index"] == known[1]["index"]:
        return None
    return abs(known[0]["probability"] - known[1]["probability"])


def _second(row: PanelRow, beside: Beside, targets: list[dict[str, Any]]) -> list[View]:
    """The second class's maps."""
    if not beside.second or len(targets) < 2:
        return []
    label, own = targets[1]["label"], targets[0]["label"]
    maps = [
        Map(method, heatmap, f"for '{label}'", _like(beside.second_rank[method], f"for '{own}'"))
        for method, heatmap in heatmaps_of(_row(row, beside.second)).items()
    ]
    value = class_value(targets[1]["probability"], targets[1]["score"])
    return [View(label, f"{value}, the other class", maps)]


def _baselines(row: PanelRow, beside: Beside, label: str, first: str) -> list[View]:
    """The maps against other baselines, method by method."""
    maps = []
    for method, others in beside.baselines.items():
        for choice, (values, rank) in others.items():
            (heatmap,) = heatmaps_of(_row(row, {method: values})).values()
            subject, variant = f"for '{label}', against {choice}", f"against {choice}"
            maps.append(
                Map(method, heatmap, subject, _like(rank, f"against {first}"), variant=variant)
            )
    return [View("Other baselines", f"the first maps are against {first}", maps)] if maps else []


def _row(row: PanelRow, maps: Mapping[str, np.ndarray]) -> PanelRow:
    return PanelRow(row.view, "", dict(maps), {}, draw=row.draw)


def _like(rank: float, what: str) -> list[str]:
    return [] if np.isnan(rank) else [f"correlation with the map {what}: {rank:.2f}"]
