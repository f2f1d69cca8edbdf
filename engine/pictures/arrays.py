"""Grounds of inputs that are no photos, and their maps in the same geometry.

A ground is what a photo is to a map: the names and values of bars, the lines of a signal. A map of
such an input is laid out as its ground is, so that whatever draws a map over a photo draws it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from ...graph_passes.methods import find_method
from .heatmap import INK, PAPER, Heatmap, finite, smoothed
from .lettering import text_width, wrap, write

# Twice the width of a picture's body, so that lines and letters stay sharp in it.
WIDTH = 1160
_RULE = (196, 196, 202)
# More elements than this have thin bars without names.
MOST_NAMED = 24
# Of more elements with names so many are shown, and all others as one bar.
STRONGEST = 20
_BARS_OF = "onnxplain: bars"
_ROW, _TEXT, _GAP = 54, 32, 16
_NAMES = 470
_BARS, _VALUES = 420, 150
# Lanes of a signal, and how high one is.
MOST_LANES = 12
_LANE = (60, 240)
_LANES = 720
# Fewer values than this have no percentile to speak of: colours end at the largest.
_MANY = 1000


def laid_out(
    values: np.ndarray,
    method: str,
    lay: Callable[[np.ndarray, float], np.ndarray],
    *,
    difference: bool = False,
    smooth: float | None = None,
    detail: str = "regions",
    blurs: Sequence[int] = (),
    drawing: Sequence[str] = (),
) -> Heatmap:
    """A map with its scale, laid out as its ground is.

    Args:
        values: the map, of any axes.
        method: whose record says whether numbers have signs.
        lay: (values, the scale's end) -> [H, W] in the ground's geometry.
        difference: whether it is one between two maps, which has both signs whatever the method.
        smooth: positive evidence only, blurred by this sigma along `blurs`.
        detail: how fine a map is drawn; what is no picture is drawn as it is.
        blurs: the axes along which neighbours belong together.
        drawing: how it is drawn, in words.
    """
    del detail
    values, findings = finite(np.asarray(values, np.float64))
    found, said = find_method(method), list(drawing)
    own = not found.per_location and bool((values < 0).any())
    signed = smooth is None and (found.signed or difference or own)
    if smooth is not None:
        sigmas = tuple(smooth if axis in blurs else 0.0 for axis in range(values.ndim))
        values = smoothed(np.maximum(values, 0.0), sigmas)
        blurred = f", blurred (sigma {smooth:g})" if smooth and blurs else ""
        said.append(f"positive evidence only{blurred}")
    elif found.per_location and not signed:
        values = np.maximum(values, 0.0)
    sizes = np.abs(values)
    limit = float(np.percentile(sizes, 99)) if values.size > _MANY else 0.0
    if limit > 0.0:
        said.append("colours end at the 99th percentile")
    limit = limit or float(sizes.max(initial=0.0))
    if limit == 0.0:
        findings.append("no evidence: the map is zero everywhere")
    return Heatmap(lay(values, limit or 1.0), limit, signed, tuple(said), tuple(findings))


def picture(values: np.ndarray, scaled: bool = True) -> Image.Image:
    """Values [H, W], or [H, W, C], as a photo: the least is black and the largest white.

    Three or four channels are red, green and blue; of other numbers of them the mean is shown.
    `scaled`: False where they are pixels already, 0 to 255.
    """
    values = np.atleast_3d(np.asarray(values, np.float64))
    if values.shape[2] not in (1, 3, 4):
        values = values.mean(axis=2, keepdims=True)
    values, _ = finite(values)
    if scaled:
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / ((high - low) or 1.0))
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    pixels = pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels))


def resized(values: np.ndarray, size: tuple[int, int], *, between: bool = True) -> np.ndarray:
    """Values [H, W] brought to (width, height), interpolated between them or not."""
    how = Image.Resampling.BILINEAR if between else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.asarray(values, np.float32)).resize(size, how))


# Bars: a row of elements without an order.


def bars(x: np.ndarray, names: Sequence[str] | None = None) -> Image.Image:
    """The ground of bars: for each element [F] its name and value, or thin bars of the values."""
    if len(x) > MOST_NAMED:
        return _thin_ground(x)
    own = names or [f"[{place}]" for place in range(len(x))]
    return _named_ground(list(zip(own, [f" = {value:.4g}" for value in x.tolist()], strict=True)))


def _named_ground(texts: Sequence[tuple[str, str]]) -> Image.Image:
    """For each (name, what stands behind it) a row for a bar."""
    ground = Image.new("RGB", (WIDTH, len(texts) * _ROW + 2 * _GAP), PAPER)
    draw = ImageDraw.Draw(ground)
    for place, (name, number) in enumerate(texts):
        top = _GAP + place * _ROW
        room = int(_NAMES - 24 - text_width(number, _TEXT))
        (text,) = wrap(name, _TEXT, room, 1) or [""]
        write(draw, (_NAMES - 24, top + 8), text + number, _TEXT, INK, 1.0)
    middle = (_NAMES + WIDTH - _GAP) // 2
    bottom = ground.height - _GAP
    draw.line([(middle, _GAP), (middle, bottom)], fill=_RULE, width=2)
    for x0 in (_NAMES, WIDTH - _GAP):
        draw.line([(x0, _GAP), (x0, bottom)], fill=(232, 232, 236), width=2)
    return ground


def named_bars(x: np.ndarray, names: Sequence[str]) -> Image.Image:
    """The ground of bars with names; of many elements [F] the first ones, until a map chooses."""
    if len(x) <= MOST_NAMED:
        return bars(x, names)
    ground = _chosen_ground(x.tolist(), names, range(STRONGEST))
    ground.info[_BARS_OF] = tuple(x.tolist()), tuple(names)
    return ground


def named_bars_map(values: np.ndarray, method: str, **how) -> Heatmap:
    """Evidence [F] as bars; of many elements the strongest, and the sum of all others."""
    if len(values) <= MOST_NAMED:
        return laid_out(values, method, bars_map, **how)
    order = np.argsort(-np.abs(values), kind="stable")
    first, rest = order[:STRONGEST], order[STRONGEST:]
    how["drawing"] = [f"the strongest {STRONGEST} of {len(values)}", *how.get("drawing", ())]
    shown = np.append(values[first], values[rest].sum())
    drawn = laid_out(shown, method, bars_map, **how)
    order = tuple(first.tolist())
    return replace(drawn, placed=partial(_in_order, order=order, values=drawn.values))


def _in_order(
    view: Image.Image, order: Sequence[int], values: np.ndarray
) -> tuple[Image.Image, np.ndarray]:
    known = view.info.get(_BARS_OF)
    if known is None:
        return view, values
    x, names = known
    return _chosen_ground(x, names, order), values


def _chosen_ground(
    values: Sequence[float], names: Sequence[str], order: Sequence[int]
) -> Image.Image:
    texts = [(names[k], f" = {values[k]:.4g}") for k in order]
    return _named_ground([*texts, (f"the other {len(values) - len(order)} together", "")])


def bars_map(values: np.ndarray, limit: float) -> np.ndarray:
    """Evidence [F] as bars: to the right of the middle what speaks for the target."""
    if len(values) > MOST_NAMED:
        return _thin_map(values, limit)
    found = np.zeros((len(values) * _ROW + 2 * _GAP, WIDTH), np.float32)
    middle, reach = (_NAMES + WIDTH - _GAP) // 2, (WIDTH - _GAP - _NAMES) // 2
    for place, value in enumerate(values.tolist()):
        long = round(min(abs(value) / limit, 1.0) * reach)
        left, right = (middle, middle + long) if value > 0 else (middle - long, middle)
        top = _GAP + place * _ROW
        _bar(found, (left, top + 6, right, top + _ROW - 6), value, limit)
    return found


def _bar(found: np.ndarray, box: tuple[int, int, int, int], value: float, limit: float) -> None:
    """One bar in the evidence's colour; its edge in the colour's strongest, so that it is seen."""
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return
    found[top:bottom, left:right] = np.sign(value) * limit
    found[top + 2 : bottom - 2, left + 2 : right - 2] = value


def _edges(count: int, width: int = WIDTH) -> np.ndarray:
    """Where each of so many columns begins, and the last one ends."""
    return np.rint(np.linspace(0, width, count + 1)).astype(int)


def _strongest(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many columns: of several elements in one, that with the largest magnitude."""
    if len(values) <= most:
        return values
    parts = np.array_split(values, most)
    return np.array([part[np.argmax(np.abs(part))] for part in parts])


def _thin_ground(x: np.ndarray) -> Image.Image:
    ground = Image.new("RGB", (WIDTH, _BARS + _VALUES + 60), PAPER)
    draw = ImageDraw.Draw(ground)
    draw.line([(0, _BARS // 2), (WIDTH, _BARS // 2)], fill=_RULE, width=2)
    values, edges = _strongest(x.astype(np.float64), WIDTH // 2), None
    values, _ = finite(values)
    edges = _edges(len(values))
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    tall = _VALUES / ((high - low) or 1.0)
    zero = _BARS + 16 + high * tall
    for value, left, right in zip(values.tolist(), edges[:-1], edges[1:], strict=True):
        top, bottom = sorted((zero - value * tall, zero))
        draw.rectangle([left, top, max(right - 2, left), bottom], fill=(150, 150, 158))
    write(draw, (4, _BARS + 10), "input", 24, INK)
    for part in np.linspace(0, 1, 5):
        index = round(part * (len(x) - 1))
        write(draw, (part * (WIDTH - 8) + 4, ground.height - 38), str(index), 24, INK, part)
    return ground


def _thin_map(values: np.ndarray, limit: float) -> np.ndarray:
    found = np.zeros((_BARS + _VALUES + 60, WIDTH), np.float32)
    shown, reach = _strongest(values, WIDTH // 2), _BARS // 2 - 8
    edges = _edges(len(shown))
    for value, left, right in zip(shown.tolist(), edges[:-1], edges[1:], strict=True):
        tall = round(min(abs(value) / limit, 1.0) * reach)
        top, bottom = sorted((_BARS // 2, _BARS // 2 - int(np.sign(value)) * tall))
        _bar(found, (left, top, max(right - 1, left + 1), bottom), value, limit)
    return found


# Lanes: one line for each channel of a signal, over time.


def _lane_height(count: int) -> int:
    return int(np.clip(_LANES // count, *_LANE))


def lanes(x: np.ndarray, names: Sequence[str] | None = None) -> Image.Image:
    """The ground of lanes: each channel of [C, T] as a line of its own scale."""
    count, length = x.shape
    tall = _lane_height(count)
    ground = Image.new("RGB", (WIDTH, tall * count + 44), PAPER)
    draw = ImageDraw.Draw(ground)
    middles = (np.arange(length) + 0.5) * (WIDTH / length)
    for place in range(count):
        line, _ = finite(x[place].astype(np.float64))
        low, high = float(line.min()), float(line.max())
        part = (line - low) / (high - low) if high > low else np.full(length, 0.5)
        top = place * tall
        heights = top + tall - 10 - part * (tall - 20)
        points = list(zip(middles.tolist(), heights.tolist(), strict=True))
        if length == 1:
            points = [(0.0, points[0][1]), (float(WIDTH), points[0][1])]
        draw.line(points, fill=INK, width=3, joint="curve")
        draw.line([(0, top + tall), (WIDTH, top + tall)], fill=_RULE, width=2)
        name = names[place] if names else f"channel {place}"
        text = f"{name}: {low:.3g} to {high:.3g}"
        size = 28 if tall >= 90 else 20
        write(draw, (6, top + 4), (wrap(text, size, WIDTH - 12, 1) or [""])[0], size, INK)
    for part in np.linspace(0, 1, 5):
        write(draw, (part * (WIDTH - 8) + 4, tall * count + 8), str(round(part * (length - 1))), 24,
              INK, part)  # fmt: skip
    return ground


def lanes_map(values: np.ndarray, count: int) -> np.ndarray:
    """Evidence [C, T], or [T] for all channels, behind the lines of so many channels."""
    tall = _lane_height(count)
    values = np.broadcast_to(values, (count, values.shape[-1]))
    found = np.zeros((tall * count + 44, WIDTH), np.float32)
    for place in range(count):
        line = resized(values[place : place + 1], (WIDTH, 1), between=values.shape[1] > 200)
        found[place * tall : (place + 1) * tall] = line
    return found


# A strip: rows of numbers of which no more is known.


def _strip_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height): a cell is a square, if the strip is then neither flat nor high."""
    rows, columns = shape
    return WIDTH, int(np.clip(WIDTH * rows / columns, 160, WIDTH))


def strip(rows: np.ndarray) -> Image.Image:
    """The ground of a strip: values [rows, columns] in grey."""
    return picture(rows).resize(_strip_size(rows.shape), Image.Resampling.NEAREST)


def strip_map(values: np.ndarray, limit: float) -> np.ndarray:
    """Evidence [rows, columns], cell by cell."""
    del limit
    return resized(values, _strip_size(values.shape), between=False)
