"""The report of what changed between files of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pictures.panel import PanelRow, heatmaps_of
from ..reporting.html import MOST_IMAGES
from ..reporting.page import Map, Page, Shown, Table, View
from ..reporting.settings import counted, model_table, options_table, versions_table
from .drift_tables import tables_of
from .saved import failed_pairs


def drift_page(found: Any) -> Page:
    """The page of a drift: each image by each model, and their differences."""
    own, others = Path(found.model).name, [Path(other).name for other in found.others]
    labels = {one.image: one.label for one in found.scores}
    shown = found.panels[:MOST_IMAGES]
    return Page(
        title=f"What changed from {own} to {', '.join(others)}",
        lead=[f"{counted(len(found.panels))}, explained for the class that {own} was asked for."],
        findings=found.findings,
        images=[_shown(path, rows, labels.get(path, ""), own, others) for path, rows in shown],
        views_are="Model",
        all_views=True,
        methods=found.methods,
        tables=[Table(*one) for one in tables_of(found)],
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


def _shown(
    path: str, rows: Sequence[PanelRow], label: str, own: str, others: Sequence[str]
) -> Shown:
    """One image: its rows are the first model's, then for each other one its own and the gap."""
    names = [own, *(name for other in others for name in (other, f"{other} less {own}"))]
    views = []
    for name, row in zip(names, rows, strict=True):
        subject = f"for '{label}', {'the gap of ' if row.difference else 'by '}{name}"
        maps = [
            Map(method, heatmap, subject, [*heatmap.findings, *heatmap.drawing], row.difference)
            for method, heatmap in heatmaps_of(row).items()
        ]
        views.append(View(name, row.keep.lstrip("· \N{NO-BREAK SPACE}"), maps))
    return Shown(path=path, photo=rows[0].view, views=views, facts=[("File", path)])
