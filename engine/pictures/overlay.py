"""One picture: an attribution over the photo, with its scale and what it says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...graph_passes.finish.look import WITHIN
from ...graph_passes.methods import find_method
from .heatmap import (
    FAINT,
    INK,
    MARGIN,
    PAPER,
    REGIONS,
    Heatmap,
    blended,
    colour_bar,
    fit,
    heatmap_of,
)
from .lettering import wrap, write_lines
from .outlines import with_box, with_region

_PICTURE_WIDTH, _PICTURE_HEIGHT = WITHIN
_LINE = "the line is at half of the most"
_MAP_WORDS, _ELEMENT_WORDS = ("no evidence", "most evidence"), ("no influence", "most influence")


def overlay(
    view: Image.Image,
    attribution: np.ndarray,
    *,
    method: str,
    title: str,
    subtitle: str,
    keep: str = "",
    answer: str = "",
    evidence: str = "",
    channel_axis: int | None = None,
    smooth: float | None = None,
    detail: str = REGIONS,
) -> Image.Image:
    """Draw an attribution over the photo, with title, subtitle and colour bar, 620 pixels wide.

    view: what the model sees of the photo, any size or aspect; the map is stretched to it.
    attribution: [H, W], or [C, H, W] or [H, W, C] with `channel_axis`, over which it is summed.
    method: its record says how it is drawn: from 0, or around zero where numbers have signs.
    title, subtitle: each on two lines at most; too long, they end in dots.
    keep: the title's end, which is always there in full.
    answer: what the model answered; on two lines at most.
    evidence: what a test of the map found; on two lines at most, below it.
    detail: of what has a number for each element the net evidence by "regions", or "pixels".
    smooth: draw the positive evidence only, blurred by this sigma in pixels of the attribution.

    Raises InvalidInputError when the attribution's shape is none of these.
    """
    heatmap = heatmap_of(attribution, method, channel_axis, smooth=smooth, detail=detail)
    words = scale_words(heatmap, method, smooth)
    texts = Texts(title, subtitle, keep, answer, evidence)
    return framed(view, heatmap, texts, words)


class Texts(NamedTuple):
    """What stands around a picture, and the box that is framed in it; see `overlay`."""

    title: str
    subtitle: str
    keep: str = ""
    answer: str = ""
    evidence: str = ""
    box: Sequence[float] | None = None


def framed(
    view: Image.Image,
    heatmap: Heatmap,
    texts: Texts,
    words: tuple[str, str],
    region: np.ndarray | None = None,
) -> Image.Image:
    """Draw a map over its ground, with title, subtitle and colour bar; see `overlay`.

    view: photo, or the ground that a kind of input draws.
    words: what the two ends of the colours mean.
    region: bool [H, W] over all of the view, whose outline is drawn.
    """
    title, subtitle, keep, answer, evidence, box = texts
    size = fit(view.size, _PICTURE_WIDTH, _PICTURE_HEIGHT)
    picture, lined = blended(view, heatmap, size)
    picture = picture if box is None else with_box(picture, box)
    picture = picture if region is None else with_region(picture, region)
    title_lines = wrap(title, 25, _PICTURE_WIDTH, 2, keep)
    answer_lines = wrap(answer, 17, _PICTURE_WIDTH, 2) if answer else []
    subtitle_lines = wrap(subtitle, 15, _PICTURE_WIDTH, 2)
    test_lines = wrap(evidence, 15, _PICTURE_WIDTH, 2) if evidence else []
    notes = [*heatmap.findings, *heatmap.drawing, *([_LINE] if lined else [])]
    note_lines = wrap("; ".join(notes), 13, _PICTURE_WIDTH, 3)
    below_picture = 54 + 20 * len(test_lines) + (4 + 17 * len(note_lines) if note_lines else 0)
    above_picture = 31 * len(title_lines) + 23 * len(answer_lines) + 20 * len(subtitle_lines) + 4
    height = 2 * MARGIN - 4 + above_picture + picture.height + below_picture
    canvas = Image.new("RGB", (_PICTURE_WIDTH + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    top = write_lines(draw, (MARGIN, MARGIN - 6), title_lines, 25, INK, 31)
    top = write_lines(draw, (MARGIN, top), answer_lines, 17, INK, 23)
    top = write_lines(draw, (MARGIN, top), subtitle_lines, 15, FAINT, 20) + 10
    canvas.paste(picture, (MARGIN + (_PICTURE_WIDTH - picture.width) // 2, top))
    top += picture.height + 14
    colour_bar(canvas, (MARGIN, top), (_PICTURE_WIDTH, 14), heatmap, 15, words)
    top = write_lines(draw, (MARGIN, top + 45), test_lines, 15, INK, 20)
    write_lines(draw, (MARGIN, top), note_lines, 13, FAINT, 17)
    return canvas


def scale_words(heatmap: Heatmap, method: str, smooth: float | None = None) -> tuple[str, str]:
    """What the two ends of a map's colours mean."""
    if smooth is not None:
        return _MAP_WORDS
    found = find_method(method)
    if heatmap.signed:
        return found.sign
    return _MAP_WORDS if found.per_location else _ELEMENT_WORDS
