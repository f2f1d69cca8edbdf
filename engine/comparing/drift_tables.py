"""What changed between files of a model, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .tables import table

if TYPE_CHECKING:
    from .drift import Drift, ScoreDrift

# Of the numbers of a `MapDrift`: as they stand in tables.
NUMBERS = {
    "spearman": "Spearman",
    "top_overlap": "top 10 % overlap",
    "relative_difference": "relative difference",
    "centre_moved": "centre moved",
}


def markdown_of(found: Drift) -> str:
    """Summary, findings, and all maps, worst first."""
    parts = [
        f"# {found.model} against {', '.join(found.others)}",
        "\n".join(
            f"- {line}" for line in [*found.flip_lines, *found.findings, *found.matched.values()]
        ),
    ]
    for heading, heads, rows in tables_of(found):
        parts += [f"## {heading}", table(heads, rows)]
    return "\n\n".join(parts) + "\n"


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
