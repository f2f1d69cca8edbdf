"""The report of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...graph_passes.methods import methods
from ...models.text import counted
from ..metrics import metrics
from ..metrics.references import EDGES, RANDOM
from ..pictures.curves_svg import drawn_curves
from ..reporting.html import MOST_IMAGES
from ..reporting.page import Figure, Page, Table
from ..reporting.settings import (
    model_table,
    number_text,
    options_table,
    value_text,
    versions_table,
)
from ..reporting.words import title_of

_REFERENCES = {RANDOM: "Random map", EDGES: "Edge detector"}
# What a record holds beside its metric's settings.
_RESULT = ("method", "metric", "mean", "low", "high", "images", "higher_is_better")


def evaluation_page(found: Any) -> Page:
    """The page of an evaluation: table, findings, curves, each image's own numbers."""
    rows = [row["method"] for row in found.table()]
    own = [name for name in rows if name in methods()]
    figures = []
    if found.curves:
        caption = "Curves: the mean over images of each method"
        figures = [Figure(caption, _curves_in_words(found), drawn_curves(found.curves))]
    return Page(
        title=f"How faithful methods are on {Path(found.model).name or 'this model'}",
        lead=[
            f"{len(own)} methods on {counted(len(found.images))}, beside maps that know nothing of "
            "the model."
        ],
        findings=found.findings,
        methods=own,
        tables=[_means(found), *_each_image(found)],
        figures=figures,
        settings=_settings(found),
        notes=[f"left out {name}: {reason}" for name, reason in found.left_out.items()],
        failed=[(one["image"], one["error"]) for one in found.failed],
        data={k: v for k, v in found.to_dict().items() if k not in ("values", "curves", "images")},
    )


def _name(method: str) -> str:
    return _REFERENCES.get(method) or title_of(method)


def _means(found: Any) -> Table:
    """Each method's mean by each metric, with its interval."""
    higher = {r["metric"]: r["higher_is_better"] for r in found.records}
    heads = [
        f"{_title(name)} ({'higher' if up else 'lower'} is better)" for name, up in higher.items()
    ]
    by = {(r["method"], r["metric"]): r for r in found.records}
    rows = [
        [_name(row["method"]), *(_with_interval(by.get((row["method"], name))) for name in higher)]
        for row in found.table()
    ]
    caption = "Means over images, with 95 % intervals"
    return Table(caption, ["Method", *heads], rows, [_explained(found, name) for name in higher])


def _title(name: str) -> str:
    metric = metrics().get(name)
    return metric.title if metric else name


def _explained(found: Any, name: str) -> str:
    """A metric in a sentence, and on how many images it was measured."""
    metric = metrics().get(name)
    counts = {r["images"] for r in found.records if r["metric"] == name}
    images = " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
    what = "" if metric is None else f" {metric.summary.rstrip('.')} ({metric.cite})"
    return f"{_title(name)}:{what}; measured on {images} of {counted(len(found.images))}."


def _with_interval(record: Mapping[str, Any] | None) -> str:
    if record is None or record["mean"] is None:
        return "-"
    mean, low, high = (number_text(record[k], ".3f") for k in ("mean", "low", "high"))
    return mean if record["images"] < 2 else f"{mean} ({low} to {high})"


def _each_image(found: Any) -> list[Table]:
    """A table for each metric: images by methods."""
    tables = []
    left = len(found.images) - MOST_IMAGES
    notes = [f"{left} more images are in evaluation.json."] if left > 0 else []
    for name, of in found.values.items():
        rows = [
            [Path(image["image"]).name, *(number_text(float(v[place]), ".3f") for v in of.values())]
            for place, image in enumerate(found.images[:MOST_IMAGES])
        ]
        heads = ["Image", *map(_name, of)]
        tables.append(Table(f"{_title(name)}, image by image", heads, rows, notes))
    return tables


def _curves_in_words(found: Any) -> str:
    """The mean height of each line."""
    parts = []
    for name, of in found.curves.items():
        heights = []
        for method, curve in of.items():
            mean = np.nanmean(np.asarray(curve["values"], np.float64), axis=0)
            places = np.asarray(curve["places"], np.float64)
            width = float(places[-1] - places[0]) or 1.0
            height = float(np.sum((mean[1:] + mean[:-1]) / 2 * np.diff(places))) / width
            heights.append(f"{_name(method)} {height:.3f}")
        parts.append(f"{name}: {', '.join(heights)}")
    return f"Mean heights of the lines. {'; '.join(parts)}."


def _settings(found: Any) -> list[Table]:
    of_metrics = {
        r["metric"]: {k: v for k, v in r.items() if k not in _RESULT} for r in found.records
    }
    rows = [
        [_title(metric), name, value_text(value)]
        for metric, own in of_metrics.items()
        for name, value in own.items()
    ]
    more = dict(found.settings)
    options = more.pop("methods", None)
    own = [options_table(options)] if isinstance(options, Mapping) else []
    return [
        model_table([(found.model, found.model_sha256)], list(more.items())),
        *own,
        Table("Settings of each metric", ["Metric", "Setting", "Value"], rows),
        versions_table(found.versions),
    ]
