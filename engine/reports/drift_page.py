"""The report of what changed between files of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...models.text import counted, few
from ..comparing.changes import NUMBERS, ScoreDrift
from ..comparing.drift import Drift
from ..pictures.panel import PanelRow, heatmaps_of
from ..records.captions import class_value
from ..running.answers import Top
from ..targets.target import Index
from .html import MOST_IMAGES
from .page import Bar, Map, Page, Shown, Table, View, failed_pairs
from .settings import model_table, options_table, versions_table

# Changed top classes that are named in front of all else.
_MOST_FLIPS = 5


def drift_page(found: Drift) -> Page:
    """The page of a drift: each image by each model, and their differences."""
    own, others = Path(found.model).name, [Path(other).name for other in found.others]
    scores: dict[str, list[ScoreDrift]] = {}
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


def _verdict(found: Drift) -> list[str]:
    """Changed top classes first, then how far scores and maps moved; the table has all of them."""
    flips = found.flip_lines[:_MOST_FLIPS]
    more = len(found.flip_lines) - len(flips)
    flips += [f"... and {more} more"] if more else []
    return [*flips, *found.findings, *filter(None, [few(len(found.panels))])]


def _shown(
    path: str,
    rows: Sequence[PanelRow],
    scores: Sequence[ScoreDrift],
    own: str,
    models: Sequence[str],
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


def tables_of(found: Drift) -> list[tuple[str, list[str], list[list[str]]]]:
    """Means, maps and scores: for each a heading, heads and rows."""
    heads = ["other model", "method", *NUMBERS.values()]
    summary = [
        [Path(row["model"]).name, row["method"], *(_with_interval(row.get(n)) for n in NUMBERS)]
        for row in found.summary()
    ]
    worst = [
        [Path(m.image).name, Path(m.model).name, m.method]
        + [f"{getattr(m, name):.3f}" for name in NUMBERS]
        for m in found.maps
    ]
    scores = [
        [Path(s.image).name, Path(s.model).name, s.label, *_numbers(s), *_answers(s)]
        for s in found.scores
    ]
    columns = [
        "image",
        "other model",
        "class",
        "score",
        "other score",
        "best classes",
        "of the other",
    ]
    return [
        ("Scores, changed top classes first", columns, scores),
        ("Means over images, with 95 % intervals", heads, summary),
        ("Maps, the one that changed most first", ["image", *heads], worst),
    ]


def _answers(one: ScoreDrift) -> list[str]:
    return [one.answer or one.top, one.other_answer or one.other_top]


def _numbers(one: ScoreDrift) -> list[str]:
    return [f"{one.score:.3f}", f"{one.other_score:.3f}"]


def _with_interval(found: Mapping[str, float] | None) -> str:
    if not found:
        return "-"
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
