"""Pictures out: an attribution over the photo, with its scale, and whole figures of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from cmap import Colormap
from PIL import Image, ImageDraw

from ... import InvalidInputError
from ...graph_passes.methods import find_method, methods
from .lettering import wrap, write, write_lines

_SEQUENTIAL = "matplotlib:inferno"
_DIVERGING = "colorbrewer:RdBu_r"
_INK, _FAINT, _PAPER = (24, 24, 28), (104, 104, 112), (255, 255, 255)
_PICTURE_WIDTH, _PICTURE_HEIGHT, _MARGIN = 580, 640, 20
_ROUNDED = [max(255 - 4 * round((255 - value) / 4), 0) for value in range(256)] * 3
_RUNS_ONLY = 3  # zlib's Z_RLE
_SIGNED_WORDS = ("lowers the score", "raises the score")
_MAP_WORDS, _ELEMENT_WORDS = ("no evidence", "most evidence"), ("no influence", "most influence")
_CELL_WIDTH, _CELL_HEIGHT, _GAP = 264, 320, 16


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel: a photo, and what the methods say about it.

    - view: what the model sees of the photo, as `image_to_tensor` returns it.
    - caption: the line above the row, such as the label and the score.
    - attributions: for each method its map, [H, W], or with channels.
    - notes: for each method a short line under its map, such as its delta; may lack any.
    - channel_axis: the axis of the channels in maps of three axes.
    - keep: the caption's end, which is always there in full.
    """

    view: Image.Image
    caption: str
    attributions: dict[str, np.ndarray]
    notes: dict[str, str]
    channel_axis: int | None = None
    keep: str = ""


@dataclass(frozen=True)
class _Heatmap:
    """A map that is ready to be drawn.

    values: [H, W]; limit: the value at the end of its colours; signed: whether they run around
    zero; drawing: how it is drawn; findings: what is odd about it.
    """

    values: np.ndarray
    limit: float
    signed: bool
    drawing: tuple[str, ...]
    findings: tuple[str, ...]


def overlay(
    view: Image.Image,
    attribution: np.ndarray,
    *,
    method: str,
    title: str,
    subtitle: str,
    keep: str = "",
    channel_axis: int | None = None,
) -> Image.Image:
    """Draw an attribution over the photo, with title, subtitle and colour bar, 620 pixels wide.

    view: what the model sees of the photo, any size or aspect; the map is stretched to it.
    attribution: [H, W], or [C, H, W] or [H, W, C] with `channel_axis`, over which it is summed.
    method: its record says how it is drawn: from 0, or around zero where numbers have signs; and
    what has a number for each element is lightly smoothed and drawn up to the 99th percentile of
    the absolute values, which the caption says.
    title, subtitle: each on two lines at most; too long, they end in dots.
    keep: the title's end, which is always there in full.

    Raises InvalidInputError when the attribution's shape is none of these.
    """
    heatmap = _heatmap(attribution, method, channel_axis)
    picture = _blend(view, heatmap, _fit(view.size, _PICTURE_WIDTH, _PICTURE_HEIGHT))
    title_lines = wrap(title, 25, _PICTURE_WIDTH, 2, keep)
    subtitle_lines = wrap(subtitle, 15, _PICTURE_WIDTH, 2)
    note_lines = wrap("; ".join(heatmap.findings + heatmap.drawing), 13, _PICTURE_WIDTH, 3)
    below_picture = 54 + (4 + 17 * len(note_lines) if note_lines else 0)
    above_picture = 31 * len(title_lines) + 20 * len(subtitle_lines) + 4
    height = 2 * _MARGIN - 4 + above_picture + picture.height + below_picture
    canvas = Image.new("RGB", (_PICTURE_WIDTH + 2 * _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    top = write_lines(draw, (_MARGIN, _MARGIN - 6), title_lines, 25, _INK, 31)
    top = write_lines(draw, (_MARGIN, top), subtitle_lines, 15, _FAINT, 20) + 10
    canvas.paste(picture, (_MARGIN + (_PICTURE_WIDTH - picture.width) // 2, top))
    top += picture.height + 14
    words = _MAP_WORDS if find_method(method).per_location else _ELEMENT_WORDS
    words = _SIGNED_WORDS if heatmap.signed else words
    _colour_bar(canvas, (_MARGIN, top), (_PICTURE_WIDTH, 14), heatmap, 15, words)
    write_lines(draw, (_MARGIN, top + 45), note_lines, 13, _FAINT, 17)
    return canvas


def save_png(picture: Image.Image, file: BinaryIO) -> None:
    """Write a picture as PNG, each of its colours rounded to a multiple of 4 below white.

    By at most 2 of 255, which nobody sees, as smooth gradients in a photo's noise show no steps.
    Deflate at level 1 for runs only, on PNG's filtered lines, then does best. Measured on the
    demo's two photos, a map of each kind: 17 to 23 ms and 204 to 281 kB, where Pillow's default
    takes 108 to 142 ms and 345 to 467 kB.
    """
    picture.point(_ROUNDED).save(file, "PNG", compress_level=1, compress_type=_RUNS_ONLY)


def panel(rows: Sequence[PanelRow]) -> Image.Image:
    """Draw one figure: for each row the photo and its maps side by side, with a scale under each.

    The columns are the methods that any row has. Under the figure stand the meaning of the colours
    and how the maps were drawn.

    Raises InvalidInputError when there is no row, or an attribution's shape is not a map's.
    """
    if not rows:
        raise InvalidInputError("panel: expected at least one row, got none")
    present = dict.fromkeys(method for row in rows for method in row.attributions)
    columns = [name for name in methods() if name in present]
    width = (1 + len(columns)) * (_CELL_WIDTH + _GAP) - _GAP
    heading = Image.new("RGB", (width, 34), _PAPER)
    draw = ImageDraw.Draw(heading)
    for column, name in enumerate(["Photo", *(find_method(m).title for m in columns)]):
        middle = column * (_CELL_WIDTH + _GAP) + _CELL_WIDTH // 2
        text = (wrap(name, 19, _CELL_WIDTH, 1) or [""])[0]
        write(draw, (middle, 0), text, 19, _INK, 0.5)
    strips, drawing = [heading], {}
    for row in rows:
        heatmaps = {m: _heatmap(a, m, row.channel_axis) for m, a in row.attributions.items()}
        strips.append(_panel_row(row, heatmaps, columns, width))
        drawing.update(dict.fromkeys(note for h in heatmaps.values() for note in h.drawing))
    meaning = ["Each map has its own scale"]
    signed, unsigned = (
        ", ".join(find_method(m).title for m in columns if find_method(m).signed is sign)
        for sign in (True, False)
    )
    if unsigned:
        meaning.append(f"{unsigned}: bright is most evidence")
    notes = "".join(f", {note}" for note in drawing)
    if signed:
        meaning.append(f"{signed}: red raises the score, blue lowers it{notes}")
    elif notes:
        meaning.append(notes.removeprefix(", "))
    lines = wrap("; ".join(meaning) + ".", 14, width, 4)
    legend = Image.new("RGB", (width, 19 * len(lines)), _PAPER)
    write_lines(ImageDraw.Draw(legend), (0, 0), lines, 14, _FAINT, 19)
    strips.append(legend)
    canvas_size = width + 2 * _MARGIN, sum(strip.height for strip in strips) + 2 * _MARGIN
    canvas = Image.new("RGB", canvas_size, _PAPER)
    top = _MARGIN
    for strip in strips:
        canvas.paste(strip, (_MARGIN, top))
        top += strip.height
    return canvas


def _panel_row(
    row: PanelRow, heatmaps: dict[str, _Heatmap], columns: Sequence[str], width: int
) -> Image.Image:
    """Draw the caption, the photo and the maps of one row, [width] pixels wide."""
    size = _fit(row.view.size, _CELL_WIDTH, _CELL_HEIGHT)
    caption = wrap(row.caption, 16, width, 2, row.keep)
    texts = {}
    for method, heatmap in heatmaps.items():
        parts = [row.notes.get(method, ""), *heatmap.findings]
        texts[method] = wrap("; ".join(filter(None, parts)), 13, _CELL_WIDTH, 3)
    most_lines = max([len(lines) for lines in texts.values()], default=0)
    top = 22 * len(caption) + 4
    strip = Image.new("RGB", (width, top + size[1] + 42 + 17 * most_lines + 20), _PAPER)
    draw = ImageDraw.Draw(strip)
    write_lines(draw, (0, 0), caption, 16, _INK, 22)
    indent = (_CELL_WIDTH - size[0]) // 2
    photo = row.view.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    strip.paste(photo, (indent, top))
    for column, method in enumerate(columns, start=1):
        if method not in heatmaps:
            continue
        left = column * (_CELL_WIDTH + _GAP)
        strip.paste(_blend(row.view, heatmaps[method], size), (left + indent, top))
        below = top + size[1] + 8
        _colour_bar(strip, (left, below), (_CELL_WIDTH, 10), heatmaps[method], 13, ("", ""))
        write_lines(draw, (left, below + 34), texts[method], 13, _FAINT, 17)
    return strip


def _heatmap(attribution: np.ndarray, method: str, channel_axis: int | None) -> _Heatmap:
    """Sum the channels, smooth where pixels are spiky, and choose the scale."""
    values = np.asarray(attribution, dtype=np.float64)
    has_axis = channel_axis is not None and -values.ndim <= channel_axis < values.ndim
    if 0 in values.shape or not (values.ndim == 2 or (values.ndim == 3 and has_axis)):
        raise InvalidInputError(
            "attribution: expected [H, W], or three axes and which of them holds the channels, got "
            f"shape {list(values.shape)} and channel axis {channel_axis}"
        )
    drawing, findings = [], []
    finite = np.isfinite(values)
    if not finite.all():
        findings.append(f"{np.count_nonzero(~finite)} values are not finite, drawn as 0")
        values = np.where(finite, values, 0.0)
    if values.ndim == 3:
        values = values.sum(axis=channel_axis)
    found = find_method(method)
    if found.per_location and not found.signed:
        values = np.maximum(values, 0.0)
        limit = float(values.max())
        if limit == 0.0:
            findings.append("no evidence: the map is zero everywhere")
        return _Heatmap(values, limit, False, (), tuple(findings))
    sigma = max(values.shape) / 224
    if sigma >= 0.5:
        values = _smooth(values, sigma)
        drawing.append(f"smoothed for display (sigma {sigma:.2g} pixels)")
    magnitudes = np.abs(values)
    limit = float(np.percentile(magnitudes, 99))
    if limit > 0.0:
        drawing.append("colours end at the 99th percentile")
    limit = limit or float(magnitudes.max())
    if limit == 0.0:
        findings.append("no evidence: the attribution is zero everywhere")
    return _Heatmap(values, limit, found.signed, tuple(drawing), tuple(findings))


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blur [H, W] with a Gaussian; the edge is repeated outwards."""
    radius = int(np.ceil(3 * sigma))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if axis == padded else (0, 0) for padded in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(values, padding, mode="edge"), len(weights), axis=axis
        )
        values = windows @ weights
    return values


def _blend(view: Image.Image, heatmap: _Heatmap, size: tuple[int, int]) -> Image.Image:
    """Lay the map's colours over the photo; size: (width, height)."""
    photo = view.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    gray = np.asarray(photo.convert("L"), np.float32)[:, :, None]
    # A smoother interpolation would overshoot, and draw evidence against beside evidence for.
    level = Image.fromarray((heatmap.values / (heatmap.limit or 1.0)).astype(np.float32))
    level = np.asarray(level.resize(size, Image.Resampling.BILINEAR))
    # Under two hues, only a pale gray photo leaves both readable.
    if heatmap.signed:
        ground = 102 + np.float32(0.6) * gray
    else:
        ground = np.asarray(photo, np.float32)
        ground *= np.float32(0.25)
        ground += np.float32(0.75) * gray
    return _paint(level, ground, signed=heatmap.signed)


def _paint(level: np.ndarray, ground: np.ndarray, *, signed: bool) -> Image.Image:
    """Cover the ground with colours, the denser the stronger the evidence.

    level: [H, W] in -1..1 (signed) or 0..1, beyond which it is cut; ground: [H, W, 3 or 1], 0..255.
    """
    colours, rest = _paint_table(signed)
    top = np.float32(len(rest) - 1)
    # Half a step more, so that cutting the fraction off rounds.
    position = (level + 1) * (top / 2) if signed else level * top
    place = np.clip(position + np.float32(0.5), 0, top).astype(np.intp)
    blended = np.take(colours, place, axis=0)
    blended += np.take(rest, place)[:, :, None] * ground
    return Image.fromarray(blended.astype(np.uint8))


@lru_cache
def _paint_table(signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each level from the lowest to the highest: colour times density, and 1 - density.

    A pixel is then the first, [2001, 3] in 0..255 plus a half for rounding, plus the second,
    [2001], times the ground: as float32, it takes a third of the time of the whole formula.
    """
    level = np.linspace(-1 if signed else 0, 1, 2001)
    strength = np.abs(level)
    if signed:
        # The middle of the diverging colours is white: there the ground stands in for it.
        position = 0.5 + np.sign(level) * (0.2 + 0.22 * strength)
        density = strength**1.2
    else:
        position = strength
        density = 0.35 + 0.4 * strength
    table = Colormap(_DIVERGING if signed else _SEQUENTIAL)(np.linspace(0, 1, 511))
    colours = np.asarray(table)[:, :3] * 255
    colours = colours[np.rint(position * (len(colours) - 1)).astype(int)]
    covered = colours * density[:, None] + 0.5
    return covered.astype(np.float32), (1 - density).astype(np.float32)


def _colour_bar(
    canvas: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    heatmap: _Heatmap,
    font_size: int,
    words: tuple[str, str],
) -> None:
    """Draw the bar of colours, the numbers at its ends, and the words that say what they mean."""
    draw = ImageDraw.Draw(canvas)
    (left, top), (width, height) = corner, size
    # Painted as the map is, so that the bar shows the very colours that are seen there.
    level = np.linspace(-1.0 if heatmap.signed else 0.0, 1, width)
    ground = np.full((height, width, 1), 228 if heatmap.signed else 128, np.float32)
    bar = _paint(np.broadcast_to(level, (height, width)), ground, signed=heatmap.signed)
    canvas.paste(bar, corner)
    number = _number(heatmap.limit)
    low, middle, high = f"-{number}", "0", f"+{number}"
    if not heatmap.signed:
        low, middle, high = "0", "", number
    if heatmap.limit == 0.0:
        low, middle, high, words = "0", "", "0", ("", "")
    texts = (f"{low}  {words[0]}".strip(), middle, f"{words[1]}  {high}".strip())
    for text, align in zip(texts, (0.0, 0.5, 1.0), strict=True):
        write(draw, (left + align * width, top + height + 5), text, font_size, _INK, align)


def _number(value: float) -> str:
    """Write a scale's end in three digits."""
    if value == 0.0:
        return "0"
    return f"{value:.3g}" if 1e-4 <= value < 1e5 else f"{value:.2e}"


def _fit(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Scale (width, height) until it just fits into a box."""
    scale = min(width / size[0], height / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
