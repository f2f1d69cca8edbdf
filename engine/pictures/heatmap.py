"""A map that is ready to be drawn: its scale, its colours, and what they mean."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, TypeAlias

import numpy as np
from cmap import Colormap
from PIL import Image, ImageDraw

from ... import InvalidInputError
from ...graph_passes.finish import look
from ...graph_passes.methods import find_method
from ...models.text import counted
from .lettering import write

# Its dark part hides the photo: from orange on.
_SEQUENTIAL, _FROM = "matplotlib:inferno", 0.62
_DIVERGING = "colorbrewer:RdBu_r"
INK, FAINT, PAPER = (24, 24, 28), (104, 104, 112), (255, 255, 255)
MARGIN = 20
_ROUNDED = [max(255 - 4 * round((255 - value) / 4), 0) for value in range(256)] * 3
_RUNS_ONLY = 3  # zlib's Z_RLE
# How what has a number for each element is drawn, the first by default.
DETAILS = REGIONS, _PIXELS = "regions", "pixels"

# A picture in memory, which only pictures/ and inputs/ look into.
Picture: TypeAlias = Image.Image


@dataclass(frozen=True)
class Heatmap:
    """A map that is ready to be drawn.

    values: [H, W]; limit: the value at the end of its colours; signed: whether they run around
    zero; drawing: how it is drawn; findings: what is odd about it; placed: (view) -> what it is
    drawn over in the view's place, as large, and the values in its geometry; where one depends on
    the other, as bars in the order of their strength do, and the colours of words.
    """

    values: np.ndarray
    limit: float
    signed: bool
    drawing: tuple[str, ...]
    findings: tuple[str, ...]
    placed: Callable[[Picture], tuple[Picture, np.ndarray]] | None = None


def save_png(picture: Image.Image, file: BinaryIO) -> None:
    """Write a picture as PNG, each of its colours rounded to a multiple of 4 below white.

    By at most 2 of 255, which nobody sees, as smooth gradients in a photo's noise show no steps.
    Deflate at level 1 for runs only, on PNG's filtered lines, then does best. Measured on the
    demo's two photos, a map of each kind: 17 to 23 ms and 204 to 281 kB, where Pillow's default
    takes 108 to 142 ms and 345 to 467 kB.
    """
    picture.point(_ROUNDED).save(file, "PNG", compress_level=1, compress_type=_RUNS_ONLY)


def heatmap_of(
    attribution: np.ndarray,
    method: str,
    channel_axis: int | None,
    difference: bool = False,
    smooth: float | None = None,
    detail: str = REGIONS,
) -> Heatmap:
    """Sum the channels, bring what is too fine to read to regions, and choose the scale.

    difference: whether it is one between two maps, which has both signs whatever the method.
    smooth: positive evidence only, blurred by this sigma: where there is some, not which pixels.
    detail: of methods with a number for each element: "regions", whose net evidence is drawn, or
    "pixels".
    """
    values, findings = finite(_summed(attribution, channel_axis))
    if smooth is not None:
        return _blob(values, smooth, tuple(findings))
    found = find_method(method)
    # Saliency keeps its signs where it is asked to.
    own = not found.per_location and bool((values < 0).any())
    signed = found.signed or difference or own
    if found.per_location:
        values, drawing = _between_cells(values if signed else np.maximum(values, 0.0))
        limit = float(np.abs(values).max())
    else:
        values, drawing, part = _readable(values, detail)
        limit = float(np.percentile(np.abs(values), part))
        drawing += [f"colours end at the {part:g}th percentile"] if limit > 0.0 else []
        limit = limit or float(np.abs(values).max())
    if limit == 0.0:
        findings.append("no evidence: the map is zero everywhere")
    return Heatmap(values, limit, signed, tuple(drawing), tuple(findings))


def check_detail(detail: str) -> str:
    """Refuse what is no way to draw a map.

    Raises InvalidInputError.
    """
    if detail not in DETAILS:
        raise InvalidInputError(f"detail: expected {' or '.join(DETAILS)}, got {detail!r}")
    return detail


def _summed(attribution: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """The attribution as [H, W], its channels summed."""
    values = np.asarray(attribution, dtype=np.float64)
    has_axis = channel_axis is not None and -values.ndim <= channel_axis < values.ndim
    if 0 in values.shape or not (values.ndim == 2 or (values.ndim == 3 and has_axis)):
        raise InvalidInputError(
            "attribution: expected [H, W], or three axes and which of them holds the channels, got "
            f"shape {list(values.shape)} and channel axis {channel_axis}"
        )
    if values.ndim == 2:
        return values
    with np.errstate(invalid="ignore"):
        return values.sum(axis=channel_axis)


def finite(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Values with 0 for what is not finite, and a word on that."""
    finite = np.isfinite(values)
    if finite.all():
        return values, []
    count = int(np.count_nonzero(~finite))
    return np.where(finite, values, 0.0), [f"not finite, drawn as 0: {counted(count, 'value')}"]


def _readable(values: np.ndarray, detail: str) -> tuple[np.ndarray, list[str], float]:
    """Numbers of single elements as regions' net evidence, or as pixels that can be seen.

    Returns the values, how they are drawn, and the percentile that colours end at.
    """
    sigma = max(values.shape) / (look.REGION if check_detail(detail) == REGIONS else look.PIXEL)
    if sigma < look.LEAST_BLUR:
        return values, [], look.END_OF_ELEMENTS
    if detail == REGIONS:
        text = f"net evidence by region (blurred, sigma {sigma:.2g} pixels; sums are kept)"
        return smoothed(values, (sigma, sigma)), [text], look.END_OF_REGIONS
    text = f"smoothed for display (sigma {sigma:.2g} pixels)"
    return smoothed(values, (sigma, sigma)), [text], look.END_OF_ELEMENTS


def _between_cells(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A coarse map without the crosses and corners that linear interpolation draws between cells.

    Blurred by somewhat less than half a cell; a map that is not drawn between cells is left alone.
    """
    cells = [_cell(values, axis) for axis in (0, 1)]
    known = [cell for cell in cells if cell is not None]
    if len(known) < 2:
        return values, []
    height, width = (round(n / cell) for n, cell in zip(values.shape, known, strict=True))
    sigmas = tuple(look.BETWEEN * cell for cell in known)
    return smoothed(values, sigmas), [f"a map of {height} x {width} cells, smoothed between them"]


def _cell(values: np.ndarray, axis: int) -> float | None:
    """How far the knots of piecewise linear values lie apart along an axis; None: they are not.

    Between knots second differences are 0.
    """
    bends = np.abs(np.diff(values, 2, axis=axis)).max(axis=1 - axis, initial=0.0)
    straight = bends <= look.STRAIGHT * (np.abs(values).max() or 1.0)
    bent = np.flatnonzero(~straight)
    if len(bent) < 2 or straight.mean() < look.LEAST_STRAIGHT:
        return None
    # Two bends side by side are one knot, between two pixels.
    knots = [group.mean() for group in np.split(bent, np.flatnonzero(np.diff(bent) > 1) + 1)]
    gap = float(np.median(np.diff(knots))) if len(knots) > 1 else 0.0
    return gap if gap >= look.LEAST_CELL else None


def _blob(values: np.ndarray, sigma: float, findings: tuple[str, ...]) -> Heatmap:
    """The positive part, blurred, from 0 on."""
    values = np.maximum(values, 0.0)
    values = smoothed(values, (sigma, sigma)) if sigma > 0 else values
    limit = float(values.max())
    if limit == 0.0:
        findings = (*findings, "no evidence: nothing is positive")
    drawing = f"positive evidence only, blurred (sigma {sigma:g} pixels)"
    return Heatmap(values, limit, False, (drawing,), findings)


def smoothed(values: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    """Blur values with a Gaussian along each axis; mirrored at the edge, so that sums are kept.

    sigmas: one for each axis; 0 leaves it as it is.
    """
    for axis, sigma in enumerate(sigmas):
        if sigma == 0:
            continue
        radius = int(np.ceil(3 * sigma))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        weights /= weights.sum()
        padding = [(radius, radius) if axis == k else (0, 0) for k in range(values.ndim)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(values, padding, mode="symmetric"), len(weights), axis=axis
        )
        values = windows @ weights
    return values


def blend(view: Image.Image, heatmap: Heatmap, size: tuple[int, int]) -> Image.Image:
    """Lay the map's colours over the photo; size: (width, height)."""
    return blended(view, heatmap, size)[0]


def blended(view: Image.Image, heatmap: Heatmap, size: tuple[int, int]) -> tuple[Image.Image, bool]:
    """What `blend` draws, and whether there is a line around half of the evidence in it."""
    view, values = (view, heatmap.values) if heatmap.placed is None else heatmap.placed(view)
    photo = view.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    # A smoother interpolation would overshoot, and draw evidence against beside evidence for.
    level = Image.fromarray((values / (heatmap.limit or 1.0)).astype(np.float32))
    level = np.asarray(level.resize(size, Image.Resampling.BILINEAR))
    # Under two hues, only a pale gray photo leaves both readable; under one it keeps its colours.
    if not heatmap.signed:
        return _paint(level, np.asarray(photo, np.float32), signed=False)
    gray = np.asarray(photo.convert("L"), np.float32)[:, :, None]
    return _paint(level, look.GROUND + np.float32(look.OF_GRAY) * gray, signed=True)


def _paint(level: np.ndarray, ground: np.ndarray, *, signed: bool) -> tuple[Image.Image, bool]:
    """Cover the ground with colours, the denser the stronger the evidence; and draw the line.

    level: [H, W] in -1..1 (signed) or 0..1, beyond which it is cut; ground: [H, W, 3 or 1], 0..255.
    """
    level = striped(level) if signed else level
    colours, rest = paint_table(signed)
    top = np.float32(len(rest) - 1)
    # Half a step more, so that cutting the fraction off rounds.
    position = (level + 1) * (top / 2) if signed else level * top
    place = np.clip(position + np.float32(0.5), 0, top).astype(np.intp)
    blended = np.take(colours, place, axis=0)
    blended += np.take(rest, place)[:, :, None] * ground
    painted = blended.astype(np.uint8)
    if signed:
        return Image.fromarray(painted), False
    inside, outside = half_contour(level)
    painted[inside] = (1 - look.LINE) * painted[inside] + look.LINE * 255
    painted[outside] = (1 - look.LINE) * painted[outside]
    return Image.fromarray(painted), bool(inside.any())


def striped(level: np.ndarray) -> np.ndarray:
    """Levels whose negative side is drawn in fine stripes, which tell it from the other in grey.

    The two ends of the diverging colours are equally dark.
    """
    height, width = level.shape
    diagonal = np.add.outer(np.arange(height), np.arange(width))
    pale = (diagonal % look.STRIPES < look.STRIPES // 2) & (level < -look.STRIPED)
    return np.where(pale, look.PALE * np.maximum(level, -1), level).astype(np.float32)


def half_contour(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line around what has half of the strongest evidence, which grey shows on any photo.

    Its pixels inside, drawn light, and outside, drawn dark; none where it is a scribble.
    """
    strong = level >= look.CONTOUR
    inner, outer = strong.copy(), strong.copy()
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        inner[a] &= strong[b]
        inner[b] &= strong[a]
        outer[a] |= strong[b]
        outer[b] |= strong[a]
    inside, outside = strong & ~inner, outer & ~strong
    if inside.mean() > look.SCRIBBLE:
        return np.zeros_like(strong), np.zeros_like(strong)
    return inside, outside


@lru_cache
def paint_table(signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each level from the lowest to the highest: colour times density, and 1 - density.

    A pixel is then the first, [levels, 3] in 0..255 plus a half for rounding, plus the second,
    [levels], times the ground: as float32, it takes a third of the time of the whole formula.
    """
    colours, density = _colours(signed, look.LEVELS)
    covered = colours * density[:, None] + 0.5
    return covered.astype(np.float32), (1 - density).astype(np.float32)


def _colours(signed: bool, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of so many levels, the lowest first, its colour [count, 3] in 0..255 and density."""
    level = np.linspace(-1 if signed else 0, 1, count)
    strength = np.abs(level)
    if signed:
        # The middle of the diverging colours is white: there the ground stands in for it.
        position = 0.5 + np.sign(level) * (0.2 + 0.22 * strength)
        density = strength**1.2
    else:
        position = _FROM + (0.93 - _FROM) * strength
        density = 0.85 * strength**0.9
    table = Colormap(_DIVERGING if signed else _SEQUENTIAL)(np.linspace(0, 1, 511))
    colours = np.asarray(table)[:, :3] * 255
    return colours[np.rint(position * (len(colours) - 1)).astype(int)], density


def layer(heatmap: Heatmap, size: tuple[int, int]) -> Image.Image:
    """The map's colours alone, as RGBA of (width, height), to be laid over a photo.

    Over the ground that `blend` makes of the photo it is what `blend` draws, to rounding.
    """
    level = Image.fromarray((heatmap.values / (heatmap.limit or 1.0)).astype(np.float32))
    level = np.clip(np.asarray(level.resize(size, Image.Resampling.BILINEAR)), -1, 1)
    level = striped(level) if heatmap.signed else level
    colours, density = _colours(heatmap.signed, 255)
    place = np.rint((level + 1) * 127 if heatmap.signed else np.maximum(level, 0) * 254).astype(int)
    table = np.rint(np.concatenate([colours, 255 * density[:, None]], axis=1)).astype(np.uint8)
    drawn = table[place]
    if not heatmap.signed:
        for line, shade in zip(half_contour(level), (255, 0), strict=True):
            drawn[line] = _lined(drawn[line], shade)
    return Image.fromarray(drawn)


def _lined(pixels: np.ndarray, shade: int) -> np.ndarray:
    """RGBA pixels [N, 4] under a line of this shade: one translucent layer over another."""
    alpha = pixels[:, 3:] / 255.0
    whole = look.LINE + (1 - look.LINE) * alpha
    colour = (look.LINE * shade + (1 - look.LINE) * alpha * pixels[:, :3]) / whole
    return np.rint(np.concatenate([colour, 255 * whole], axis=1)).astype(np.uint8)


def bar(heatmap: Heatmap, size: tuple[int, int]) -> Image.Image:
    """The map's colours from the lowest to the highest, of (width, height).

    Painted as the map is, so that the bar shows the very colours that are seen there.
    """
    width, height = size
    level = np.linspace(-1.0 if heatmap.signed else 0.0, 1, width)
    ground = np.full((height, width, 1), 228 if heatmap.signed else 128, np.float32)
    return _paint(np.broadcast_to(level, (height, width)), ground, signed=heatmap.signed)[0]


def scale_texts(heatmap: Heatmap, words: tuple[str, str]) -> tuple[str, str, str]:
    """What stands under the bar, at its left end, its middle and its right end."""
    if heatmap.limit == 0.0:
        return "0", "", "0"
    number = _number(heatmap.limit)
    low, middle, high = ("0", "", number)
    if heatmap.signed:
        low, middle, high = f"-{number}", "0", f"+{number}"
    return f"{low}  {words[0]}".strip(), middle, f"{words[1]}  {high}".strip()


def colour_bar(
    canvas: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    heatmap: Heatmap,
    font_size: int,
    words: tuple[str, str],
) -> None:
    """Draw the bar of colours, the numbers at its ends, and the words that say what they mean."""
    draw = ImageDraw.Draw(canvas)
    (left, top), (width, height) = corner, size
    canvas.paste(bar(heatmap, size), corner)
    for text, align in zip(scale_texts(heatmap, words), (0.0, 0.5, 1.0), strict=True):
        write(draw, (left + align * width, top + height + 5), text, font_size, INK, align)


def _number(value: float) -> str:
    """Write a scale's end in three digits."""
    if value == 0.0:
        return "0"
    return f"{value:.3g}" if 1e-4 <= value < 1e5 else f"{value:.2e}"


def fit(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Scale (width, height) until it just fits into a box."""
    scale = min(width / size[0], height / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
