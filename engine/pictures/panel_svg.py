"""The figure of several images and methods as SVG: text that stays text, maps as embedded PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from ...graph_passes.methods import find_method
from .heatmap import Heatmap, bar, blend, fit, save_png, scale_texts
from .lettering import wrap
from .panel import PanelRow, columns_of, heatmaps_of, meaning_of

_CELL_WIDTH, _CELL_HEIGHT, _GAP, _MARGIN = 264, 320, 16, 20
# Pixels of an embedded picture for each unit of the drawing: 300 dots an inch at a column's width.
_DENSITY = 2
_STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;fill:#18181c}"
    ".faint{fill:#68686f;font-size:13px}.head{font-size:19px}.row{font-size:16px}"
    ".scale{font-size:13px}.mid{text-anchor:middle}.end{text-anchor:end}"
)


def panel_svg(rows: Sequence[PanelRow]) -> str:
    """The figure that `panel` draws, fit for a paper.

    Raises InvalidInputError when there is no row, or an attribution's shape is not a map's.
    """
    columns = columns_of(rows)
    width = (1 + len(columns)) * (_CELL_WIDTH + _GAP) - _GAP
    parts, drawing = [], dict[str, Sequence[str]]()
    for place, name in enumerate([rows[0].what, *(find_method(m).title for m in columns)]):
        middle = place * (_CELL_WIDTH + _GAP) + _CELL_WIDTH / 2
        parts.append(_text(middle, 20, name, "head mid"))
    top = 44.0
    for row in rows:
        heatmaps = heatmaps_of(row)
        for method, heatmap in heatmaps.items():
            drawing[method] = heatmap.drawing
        drawn, height = _row(row, heatmaps, columns, top, width)
        parts += drawn
        top += height
    lines = wrap(meaning_of(columns, drawing), 13, width, 4)
    parts += [_text(0, top + 14 + 18 * k, line, "faint") for k, line in enumerate(lines)]
    height = top + 18 * len(lines)
    whole = width + 2 * _MARGIN, height + 2 * _MARGIN
    names = ", ".join(find_method(m).title for m in columns)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]:g} {whole[1]:g}" '
        f'width="{whole[0]:g}" height="{whole[1]:g}" role="img" '
        f"aria-label={quoteattr(f'Photos and their maps: {names}')}>"
        f"<style>{_STYLE}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<g transform="translate({_MARGIN} {_MARGIN})">{"".join(parts)}</g></svg>\n'
    )


def _row(
    row: PanelRow, heatmaps: dict[str, Heatmap], columns: Sequence[str], top: float, width: int
) -> tuple[list[str], float]:
    """The caption, the photo and the maps of one row, and how high all of it is."""
    size = fit(row.view.size, _CELL_WIDTH, _CELL_HEIGHT)
    dense = size[0] * _DENSITY, size[1] * _DENSITY
    caption = wrap(row.caption, 16, width, 2, row.keep)
    parts = [_text(0, top + 16 + 22 * k, line, "row") for k, line in enumerate(caption)]
    top += 22 * len(caption) + 6
    indent = (_CELL_WIDTH - size[0]) / 2
    photo = row.view.convert("RGB").resize(dense, Image.Resampling.LANCZOS)
    parts.append(_image(indent, top, size, photo))
    notes = 0
    for column, method in enumerate(columns, start=1):
        if method not in heatmaps:
            continue
        heatmap, left = heatmaps[method], column * (_CELL_WIDTH + _GAP)
        parts.append(_image(left + indent, top, size, blend(row.view, heatmap, dense)))
        lines = wrap(
            "; ".join(filter(None, [row.notes.get(method, ""), *heatmap.findings])),
            13,
            _CELL_WIDTH,
            3,
        )
        parts += _scale(heatmap, left, top + size[1] + 8, lines)
        notes = max(notes, len(lines))
    return parts, 22 * len(caption) + 6 + size[1] + 44 + 17 * notes + 18


def _scale(heatmap: Heatmap, left: float, top: float, notes: Sequence[str]) -> Iterator[str]:
    """The bar of colours, its numbers, and what there is to say below."""
    yield _image(left, top, (_CELL_WIDTH, 10), bar(heatmap, (_CELL_WIDTH * _DENSITY, 1)))
    places = (0, ""), (_CELL_WIDTH / 2, "mid"), (_CELL_WIDTH, "end")
    for text, (place, anchor) in zip(scale_texts(heatmap, ("", "")), places, strict=True):
        if text:
            yield _text(left + place, top + 25, text, f"scale {anchor}")
    for k, line in enumerate(notes):
        yield _text(left, top + 44 + 17 * k, line, "faint")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind.strip()}">{escape(text)}</text>'


def _image(x: float, y: float, size: tuple[int, int], picture: Image.Image) -> str:
    file = io.BytesIO()
    save_png(picture, file)
    content = base64.b64encode(file.getvalue()).decode()
    return (
        f'<image x="{x:g}" y="{y:g}" width="{size[0]}" height="{size[1]}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{content}"/>'
    )
