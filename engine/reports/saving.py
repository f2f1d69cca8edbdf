"""The files that a result leaves behind: its report, its tables, its numbers, its pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

from ..comparing.comparison import Comparison
from ..comparing.drift import Drift
from ..evaluating.evaluation import CURVES_FILE, JSON_FILE, Evaluation
from ..files.writing import plain, to_json, utf8, writable_folder, write_whole
from ..pictures.curves_svg import drawn_curves
from ..pictures.heatmap import save_png
from ..pictures.panel import PanelRow, panel
from ..pictures.panel_svg import panel_svg
from .comparison_page import comparison_page
from .drift_page import drift_page
from .evaluation_page import evaluation_page
from .html import write_report
from .markdown import comparison_markdown, drift_markdown
from .page import Page

PANEL, TABLE, RECORDS = "panel", "table.md", "comparison.json"
# Images in one grid: more are in panels of their own.
_MOST_ROWS = 12


@singledispatch
def write_files_of(result: object, folder: str | os.PathLike[str]) -> list[str]:
    """Write all files of a result, and return their names; see its own `save`.

    Raises:
        InvalidInputError: the folder cannot be written to.
        OSError: a file cannot be written.
    """
    raise TypeError(f"no result: {type(result).__name__}")


@write_files_of.register
def _(found: Comparison, folder: str | os.PathLike[str]) -> list[str]:
    names, data = [image["image"] for image in found.images], found.to_dict()
    page = comparison_page(found, data)
    return write_all(folder, comparison_markdown(found), data, found.panels, names, page)


@write_files_of.register
def _(found: Drift, folder: str | os.PathLike[str]) -> list[str]:
    rows = [row for _, own in found.panels for row in own]
    names = [image for image, own in found.panels for _ in own]
    table, page = drift_markdown(found), drift_page(found)
    return write_all(folder, table, found.to_dict(), rows, names, page)


@write_files_of.register
def _(found: Evaluation, folder: str | os.PathLike[str]) -> list[str]:
    directory = writable_folder(folder)
    _write(directory / JSON_FILE, to_json(found.to_dict(), indent=2) + b"\n")
    if found.curves:
        _write(directory / CURVES_FILE, utf8(drawn_curves(found.curves)))
    report = write_report(evaluation_page(found), directory)
    return [JSON_FILE, *([CURVES_FILE] if found.curves else []), report]


def write_all(
    folder: str | os.PathLike[str],
    table: str,
    records: Mapping[str, Any],
    rows: Sequence[PanelRow],
    names: Sequence[str],
    page: Page,
) -> list[str]:
    """Write table.md, comparison.json, report.html, panel.png and .svg, of several images each.

    Args:
        folder: made if missing.
        table: Markdown.
        records: as JSON knows them, but for arrays, dataclasses and NaN.
        rows: of the grid.
        names: for each row the image's path, after which its own panel is called.
        page: the report.

    Returns:
        The files' names.

    Raises:
        InvalidInputError: the folder cannot be written to.
        OSError: a file cannot be written.
    """
    directory = writable_folder(folder)
    _write(directory / TABLE, utf8(table))
    _write(directory / RECORDS, to_json(plain(records), indent=2) + b"\n")
    written = [TABLE, RECORDS, write_report(page, directory)]
    if not rows:
        return written
    for name, own in _panels(rows, names):
        figure = panel(own)
        write_whole(directory / f"{name}.png", lambda file, figure=figure: save_png(figure, file))
        _write(directory / f"{name}.svg", utf8(panel_svg(own)))
        written += [f"{name}.png", f"{name}.svg"]
    return written


def _panels(
    rows: Sequence[PanelRow], names: Sequence[str]
) -> Iterator[tuple[str, Sequence[PanelRow]]]:
    yield PANEL, rows[:_MOST_ROWS]
    if len(rows) > 1:
        taken = {PANEL}
        for row, path in zip(rows, names, strict=True):
            stem = f"{Path(path).stem}.{PANEL}"
            name, number = stem, 2
            while name in taken:
                name, number = f"{stem}-{number}", number + 1
            taken.add(name)
            yield name, [row]


def _write(path: Path, content: bytes) -> None:
    write_whole(path, lambda file: file.write(content))
