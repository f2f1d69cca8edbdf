"""The files that a comparison leaves behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.writing import to_json, utf8, writable_folder, write_whole
from ..pictures.heatmap import save_png
from ..pictures.panel import PanelRow, panel
from ..pictures.panel_svg import panel_svg
from ..reporting.html import write_report
from ..reporting.page import Page

PANEL, TABLE, RECORDS = "panel", "table.md", "comparison.json"
# Images in one grid: more are in panels of their own.
_MOST_ROWS = 12


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


def failed_pairs(failed: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """What failed, as a report shows it."""
    return [(one["image"], one["error"]) for one in failed]


def plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, records as objects, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    names: Any = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    if names is not None:
        return plain({name: getattr(value, name) for name in names})
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
