"""What was compared as Markdown: the tables of a comparison of methods, and of two files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...models.text import counted
from ..comparing.comparison import Comparison
from ..comparing.drift import Drift
from ..comparing.tables import agreement, literature
from .drift_page import tables_of


def comparison_markdown(found: Comparison) -> str:
    """The verdict and its reasons, agreement, and the literature last."""
    parts = [f"# {found.model}: methods on {counted(len(found.images))}", found.verdict]
    parts += ["\n".join(f"- {reason}" for reason in found.reasons)]
    if len(found.agreement.methods) > 1:
        parts += ["## Agreement: Spearman's correlation, by region"]
        parts += [table(*agreement(found, found.agreement.rank))]
    parts += ["## What the literature asks of methods", table(*literature(found))]
    parts += ["\n".join(f"- {claim}" for claim in found.claims)] if found.claims else []
    return "\n\n".join(parts) + "\n"


def drift_markdown(found: Drift) -> str:
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


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; what stands in a cell is text."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;")
