"""The report of an evaluation, and what of it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...models.text import counted
from ..evaluating.evaluation import CURVES_FILE, JSON_FILE, Evaluation
from ..evaluating.verdict import FAIR, GOOD, POOR, levels_of, titled
from ..metrics import metrics
from ..metrics.references import EDGES, RANDOM
from ..pictures.curves_svg import drawn_curves
from .html import MOST_IMAGES, REPORT_FILE
from .page import MARKS, Cell, Figure, Page, Table
from .settings import model_table, number_text, options_table, value_text, versions_table

_REFERENCES = {RANDOM: "Random map", EDGES: "Edge detector"}
# What the colours of the table mean.
_SAID = {
    GOOD: "better than a random map and than an edge detector",
    FAIR: "better than a random map only",
    POOR: "no better than a random map",
}
# What a record holds beside its metric's settings.
_RESULT = ("method", "metric", "mean", "low", "high", "images", "higher_is_better")


def evaluation_page(found: Evaluation) -> Page:
    """The page of an evaluation: table, findings, curves, each image's own numbers."""
    rows = [row["method"] for row in found.table()]
    own = [name for name in rows if name not in _REFERENCES]
    figures = []
    if found.curves:
        caption = "Curves: the mean over images of each method"
        figures = [Figure(caption, _curves_in_words(found), drawn_curves(found.curves))]
    return Page(
        title=f"How faithful methods are on {Path(found.model).name or 'this model'}",
        lead=[
            f"{counted(len(own), 'method')} on {counted(len(found.images))}, beside maps that know "
            "nothing of the model."
        ],
        verdict=[found.verdict],
        key=_means(found),
        findings_are="What else the numbers say",
        findings=found.findings,
        methods=own,
        tables=_each_image(found),
        figures=figures,
        settings=_settings(found),
        notes=[f"left out {name}: {reason}" for name, reason in found.left_out.items()],
        failed=[(one["image"], one["error"]) for one in found.failed],
        data={k: v for k, v in found.to_dict().items() if k not in ("values", "curves", "images")},
    )


def _name(method: str) -> str:
    return _REFERENCES.get(method) or titled(method)


def _means(found: Evaluation) -> Table:
    """Each method's mean by each metric, with its interval, coloured by what it beats."""
    higher = {r["metric"]: r["higher_is_better"] for r in found.records}
    heads = [
        f"{_title(name)}, {'higher' if up else 'lower'} is better" for name, up in higher.items()
    ]
    by = {(r["method"], r["metric"]): r for r in found.records}
    digits = {name: _digits(found.records, name) for name in higher}
    levels = levels_of(found.records, found.values)
    rows = [
        [
            _name(row["method"]),
            *(
                _cell(
                    by.get((row["method"], name)), digits[name], levels.get((row["method"], name))
                )
                for name in higher
            ),
        ]
        for row in found.table()
    ]
    caption = "Means over images, with 95 % intervals where there are several"
    return Table(caption, ["Method", *heads], rows, _legend(levels))


def _digits(records: Sequence[Mapping[str, Any]], metric: str) -> int:
    """Decimals that show two digits of a metric's largest mean: 2 to 5."""
    known = [abs(r["mean"]) for r in records if r["metric"] == metric and r["mean"] is not None]
    most = max(known, default=0.0)
    return 2 if not most else int(np.clip(1 - np.floor(np.log10(most)), 2, 5))


def _cell(record: Mapping[str, Any] | None, digits: int, level: str | None) -> Cell:
    if record is None or record["mean"] is None:
        return Cell("-")
    mean, low, high = (_rounded(record[k], digits) for k in ("mean", "low", "high"))
    more = "" if record["images"] < 2 else f"{low} to {high}"
    return Cell(mean, more, level or "", _SAID.get(level or "", ""))


def _rounded(value: float, digits: int) -> str:
    """So many decimals; what they do not show is 0, and not -0."""
    return number_text(round(value, digits) + 0.0, f".{digits}f")


def _legend(levels: Mapping[Any, str]) -> list[str]:
    """What the colours and signs mean, of those that are there."""
    there = [level for level in _SAID if level in levels.values()]
    if not there:
        return []
    signs = "; ".join(f"{MARKS[level]} {_SAID[level]}" for level in there)
    return [
        f"{signs}. Better: the 95 % interval of the gain, image by image, lies above 0. What has "
        "no sign is not compared: the references themselves, and metrics by which a map that knows "
        "nothing of the model may do best.",
        "Metrics take single pixels in a map's order. The command compare tests maps as they are "
        "drawn, by region, and may come out otherwise. What each metric measures stands below.",
    ]


def _title(name: str) -> str:
    metric = metrics().get(name)
    return metric.title if metric else name


def _explained(found: Evaluation, name: str) -> str:
    """A metric in a sentence, and on how many images it was measured."""
    metric = metrics().get(name)
    counts = sorted({r["images"] for r in found.records if r["metric"] == name})
    images, every = (
        " to ".join(map(str, dict.fromkeys(counts[:1] + counts[-1:]))),
        len(found.images),
    )
    whole = counted(every) if every == 1 else f"all {counted(every)}"
    many = whole if counts == [every] else f"{images or 0} of {counted(every)}"
    what = "" if metric is None else f" {metric.summary.rstrip('.')} ({metric.cite})"
    better = {r["higher_is_better"] for r in found.records if r["metric"] == name}
    way = "higher is better" if True in better else "lower is better"
    return f"{_title(name)}:{what}; {way}; measured on {many}."


def _each_image(found: Evaluation) -> list[Table]:
    """A table for each metric: images by methods."""
    tables = []
    left = len(found.images) - MOST_IMAGES
    more = f"{counted(left, 'more image')} {'is' if left == 1 else 'are'} in evaluation.json."
    notes = [more] if left > 0 else []
    for name, of in found.values.items():
        rows = [
            [Path(image["image"]).name, *(_rounded(float(v[place]), 3) for v in of.values())]
            for place, image in enumerate(found.images[:MOST_IMAGES])
        ]
        heads = ["Image", *map(_name, of)]
        said = [_explained(found, name), *notes]
        tables.append(Table(f"{_title(name)}, image by image", heads, rows, said))
    return tables


def _curves_in_words(found: Evaluation) -> str:
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


def _settings(found: Evaluation) -> list[Table]:
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


def report_lines(found: Evaluation, folder: str) -> list[str]:
    """Verdict, table, findings and where all of it lies, for people to read."""
    files = f"{JSON_FILE}, {CURVES_FILE}" if found.curves else JSON_FILE
    return [
        found.verdict,
        *table_lines(found),
        *found.findings,
        f"{files} and {REPORT_FILE}: {folder}",
    ]


def table_lines(found: Evaluation) -> list[str]:
    """The table for people to read: a line for each method, an arrow for what is better."""
    better = {r["metric"]: "+" if r["higher_is_better"] else "-" for r in found.records}
    heads = [f"{name} {sign}" for name, sign in better.items()]
    rows = found.table()
    if not rows:
        return []
    width = max(len(row["method"]) for row in rows)
    lines = [" " * width + "".join(f"  {head}" for head in heads)]
    for row in rows:
        numbers = [_number(row.get(name)) for name in better]
        cells = "".join(f"  {n:>{len(h)}}" for n, h in zip(numbers, heads, strict=True))
        lines.append(f"{row['method']:{width}}{cells}")
    return [*lines, "+ higher is better, - lower"]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
