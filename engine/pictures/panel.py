"""A figure of several images and methods: for each image its maps side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from ... import InvalidInputError
from ...graph_passes.methods import find_method
from .heatmap import FAINT, INK, MARGIN, PAPER, Heatmap, blend, colour_bar, fit, heatmap_of
from .lettering import wrap, write, write_lines

_SIGNED = "red {}, striped blue {}"
_UNSIGNED = "bright is most evidence, the line is around half of it and more"
_CELL_WIDTH, _CELL_HEIGHT, _GAP = 264, 320, 16

# Lays (map, method, whether it is a difference) over a view.
Draw = Callable[[np.ndarray, str, bool], Heatmap]


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel: a photo, and what the methods say about it.

    - view: what the model sees of the photo, as `image_to_tensor` returns it.
    - caption: the line above the row, such as the label and the score.
    - attributions: for each method its map, [H, W] of a photo, or with channels.
    - notes: for each method a short line under its map, such as its delta; may lack any.
    - channel_axis: the axis of the channels in maps of three axes, over a photo.
    - what: the view shows, in a word.
    - draw: lays (a map, a method, whether it is a difference) over the view; None: over a photo.
    - keep: the caption's end, which is always there in full.
    - difference: whether the maps are differences between two, drawn around zero.
    """

    view: Image.Image
    caption: str
    attributions: dict[str, np.ndarray]
    notes: dict[str, str]
    channel_axis: int | None = None
    keep: str = ""
    difference: bool = False
    draw: Draw | None = None
    what: str = "Photo"


def panel(rows: Sequence[PanelRow]) -> Image.Image:
    """Draw one figure: for each row the photo and its maps side by side, with a scale under each.

    The columns are the methods that any row has. Under the figure stand the meaning of the colours
    and how the maps were drawn.

    Raises InvalidInputError when there is no row, or an attribution's shape is not a map's.
    """
    columns = columns_of(rows)
    width = (1 + len(columns)) * (_CELL_WIDTH + _GAP) - _GAP
    heading = Image.new("RGB", (width, 34), PAPER)
    draw = ImageDraw.Draw(heading)
    for column, name in enumerate([rows[0].what, *(find_method(m).title for m in columns)]):
        middle = column * (_CELL_WIDTH + _GAP) + _CELL_WIDTH // 2
        text = (wrap(name, 19, _CELL_WIDTH, 1) or [""])[0]
        write(draw, (middle, 0), text, 19, INK, 0.5)
    strips, drawing = [heading], dict[str, Sequence[str]]()
    for row in rows:
        heatmaps = heatmaps_of(row)
        strips.append(_panel_row(row, heatmaps, columns, width))
        for method, heatmap in heatmaps.items():
            drawing[method] = heatmap.drawing
    lines = wrap(meaning_of(columns, drawing), 14, width, 4)
    legend = Image.new("RGB", (width, 19 * len(lines)), PAPER)
    write_lines(ImageDraw.Draw(legend), (0, 0), lines, 14, FAINT, 19)
    strips.append(legend)
    canvas_size = width + 2 * MARGIN, sum(strip.height for strip in strips) + 2 * MARGIN
    canvas = Image.new("RGB", canvas_size, PAPER)
    top = MARGIN
    for strip in strips:
        canvas.paste(strip, (MARGIN, top))
        top += strip.height
    return canvas


def columns_of(rows: Sequence[PanelRow]) -> list[str]:
    """The methods that any row has a map of.

    Raises InvalidInputError when there is no row.
    """
    if not rows:
        raise InvalidInputError("panel: expected at least one row, got none")
    present = dict.fromkeys(method for row in rows for method in row.attributions)
    return sorted(present, key=lambda name: (find_method(name).place, name))


def heatmaps_of(row: PanelRow) -> dict[str, Heatmap]:
    """A row's maps, ready to be drawn, by method."""
    draw = row.draw or partial(_over_a_photo, row.channel_axis)
    return {m: draw(values, m, row.difference) for m, values in row.attributions.items()}


def _over_a_photo(
    channel_axis: int | None, values: np.ndarray, method: str, difference: bool
) -> Heatmap:
    return heatmap_of(values, method, channel_axis, difference)


# Pixels on the longer side of the photos that panels and pages are drawn from.
VIEW = 640


def small_view(view: Image.Image, side: int) -> Image.Image:
    """A copy of a view with at most so many pixels on its longer side."""
    small = view.copy()
    small.thumbnail((side, side))
    return small


def meaning_of(columns: Sequence[str], drawing: Mapping[str, Sequence[str]]) -> str:
    """What the colours of these methods mean, and how each one's maps were drawn.

    Methods of which the same is to be said are named together.
    """
    said: dict[str, list[str]] = {}
    for name in columns:
        method = find_method(name)
        low, high = method.sign
        colours = _SIGNED.format(high, low) if method.signed else _UNSIGNED
        text = ", ".join([colours, *drawing.get(name, ())])
        said.setdefault(text, []).append(method.title)
    meanings = [f"{', '.join(titles)}: {text}" for text, titles in said.items()]
    return "; ".join(["Each map has its own scale", *meanings]) + "."


def _panel_row(
    row: PanelRow, heatmaps: dict[str, Heatmap], columns: Sequence[str], width: int
) -> Image.Image:
    """Draw the caption, the photo and the maps of one row, [width] pixels wide."""
    size = fit(row.view.size, _CELL_WIDTH, _CELL_HEIGHT)
    caption = wrap(row.caption, 16, width, 2, row.keep)
    texts = {}
    for method, heatmap in heatmaps.items():
        parts = [row.notes.get(method, ""), *heatmap.findings]
        texts[method] = wrap("; ".join(filter(None, parts)), 13, _CELL_WIDTH, 3)
    most_lines = max([len(lines) for lines in texts.values()], default=0)
    top = 22 * len(caption) + 4
    strip = Image.new("RGB", (width, top + size[1] + 42 + 17 * most_lines + 20), PAPER)
    draw = ImageDraw.Draw(strip)
    write_lines(draw, (0, 0), caption, 16, INK, 22)
    indent = (_CELL_WIDTH - size[0]) // 2
    photo = row.view.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    strip.paste(photo, (indent, top))
    for column, method in enumerate(columns, start=1):
        if method not in heatmaps:
            continue
        left = column * (_CELL_WIDTH + _GAP)
        strip.paste(blend(row.view, heatmaps[method], size), (left + indent, top))
        below = top + size[1] + 8
        colour_bar(strip, (left, below), (_CELL_WIDTH, 10), heatmaps[method], 13, ("", ""))
        write_lines(draw, (left, below + 34), texts[method], 13, FAINT, 17)
    return strip
