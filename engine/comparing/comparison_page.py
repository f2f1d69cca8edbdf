"""The report of a comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...models.text import counted
from ..pictures.matrix_svg import matrix_svg
from ..pictures.panel import PanelRow, heatmaps_of
from ..reporting.html import MOST_IMAGES
from ..reporting.page import Bar, Figure, Map, Page, Shown, Table, View
from ..reporting.settings import model_table, options_table, versions_table
from .facts import Measured
from .saved import failed_pairs
from .tables import agreement, literature, titles_of


def comparison_page(found: Measured, claims: list[str], data: dict[str, Any]) -> Page:
    """The page of a comparison: its maps, claims, the literature's table, the agreement."""
    applying = [one.method for one in found.facts if one.applies]
    both = found.agreement
    tables = [Table("What the literature says of methods, measured here", *literature(found))]
    figures = []
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
    shown = zip(found.images[:MOST_IMAGES], found.panels, strict=False)
    return Page(
        title=f"Methods side by side on {Path(found.model).name}",
        lead=[f"{len(applying)} methods, {counted(len(found.images))}."],
        findings=claims,
        images=[_shown(image, row) for image, row in shown],
        methods=applying,
        tables=tables,
        figures=figures,
        settings=[
            model_table([(found.model, found.model_sha256)], asked),
            options_table(found.settings.get("methods", {})),
            versions_table(found.versions),
        ],
        notes=[f"{o.title} does not apply: {o.reason}" for o in found.facts if not o.applies],
        failed=failed_pairs(found.failed),
        data=data,
        images_left_out=max(len(found.panels) - MOST_IMAGES, 0),
    )


def _shown(image: Mapping[str, Any], row: PanelRow) -> Shown:
    targets = image["targets"]
    label = targets[0]["label"]
    maps = [
        Map(m, h, f"for '{label}'", [*filter(None, [row.notes.get(m)]), *h.findings, *h.drawing])
        for m, h in heatmaps_of(row).items()
    ]
    known = [(one["label"], one["score"]) for one in targets if one["score"] is not None]
    most = max((abs(score) for _, score in known), default=0.0) or 1.0
    return Shown(
        path=image["image"],
        photo=row.view,
        views=[View(label, row.keep.lstrip("· \N{NO-BREAK SPACE}"), maps)],
        bars=[Bar(name, v, max(v, 0.0) / most, k == 0) for k, (name, v) in enumerate(known)],
        bars_are="the explained scores",
        facts=[("File", image["image"])],
    )
