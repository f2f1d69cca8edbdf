"""Curves as an SVG: a small panel for each curve, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

# Okabe and Ito's colours, which people who see fewer colours tell apart, and dashes beside them.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5200", "#444444")
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_WIDE, _TALL, _LEFT, _TOP, _GAP = 250, 180, 58, 62, 74
_COLUMNS = 3
_AXES = {
    "deletion": ("most relevant features removed first", "lower is better"),
    "least relevant first": ("least relevant features removed first", "higher is better"),
    "insertion": ("most relevant features put in first", "higher is better"),
    "ROAD": ("most relevant pixels imputed first", "lower is better"),
    "randomised weights": ("part of the layers shuffled", "rank correlation, lower is better"),
}
_NOTES = (
    "Each line is a mean over images: of the class's probability, or of the score where the model",
    "gives no probability. Across: which part of the features (or of the layers), in percent.",
)

Curves = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]


def drawn_curves(curves: Curves) -> str:
    """An SVG text of the mean of each curve over its images.

    Args:
        curves: curve -> method -> {"places": [P], "values": [images, P]}.
    """
    methods = list(dict.fromkeys(method for of in curves.values() for method in of))
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    legend = _legend(methods)
    width = max(columns * (_WIDE + _GAP) + _LEFT, 560)
    start = 30 + 20 * -(-len(methods) // 3)
    height = start + rows * (_TALL + _TOP + 44) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *legend,
    ]
    for number, (name, of) in enumerate(curves.items()):
        row, column = divmod(number, columns)
        left = _LEFT + column * (_WIDE + _GAP)
        top = start + _TOP - 20 + row * (_TALL + _TOP + 44)
        styles = [_style(methods.index(method)) for method in of]
        parts += _panel(name, of, styles, left, top)
    for number, text in enumerate(_NOTES):
        y = height - 24 + 15 * number
        parts.append(f'<text x="{_LEFT}" y="{y}" font-size="11" fill="#444">{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _style(number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    dash = _DASHES[number % len(_DASHES)]
    more = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{colour}" stroke-width="2" fill="none"{more}'


def _legend(methods: Sequence[str]) -> list[str]:
    """A short line and a name for each method, three in a row."""
    parts = []
    for number, method in enumerate(methods):
        row, column = divmod(number, 3)
        x, y = 20 + column * 190, 24 + row * 20
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 28}" y2="{y - 4}" {_style(number)}/>')
        parts.append(f'<text x="{x + 34}" y="{y}">{escape(method)}</text>')
    return parts


def _panel(
    name: str,
    of: Mapping[str, Mapping[str, np.ndarray]],
    styles: Sequence[str],
    left: int,
    top: int,
) -> list[str]:
    """One curve's axes and lines, its upper left corner at (left, top)."""
    means = {m: np.nanmean(np.asarray(c["values"]), axis=0) for m, c in of.items()}
    low, high = _limits(np.concatenate(list(means.values())))
    across, better = _AXES.get(name, ("part", ""))
    counts = sorted({len(c["values"]) for c in of.values()})
    images = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    plural = "image" if images == "1" else "images"
    parts = [
        f'<text x="{left}" y="{top - 24}" font-size="14" font-weight="bold">{escape(name)}</text>',
        f'<text x="{left}" y="{top - 8}" fill="#444">{better}, {images} {plural}</text>',
        f'<rect x="{left}" y="{top}" width="{_WIDE}" height="{_TALL}" fill="none" stroke="#888"/>',
        f'<text x="{left + _WIDE / 2}" y="{top + _TALL + 36}" text-anchor="middle">{across}</text>',
    ]
    for part in (0.0, 0.5, 1.0):
        x, y = left + part * _WIDE, top + (1 - part) * _TALL
        value = low + part * (high - low)
        parts.append(f'<text x="{x}" y="{top + _TALL + 18}" text-anchor="middle">{part:.0%}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
        parts.append(f'<path d="M{left} {y}h{_WIDE}" stroke="#ddd"/>')
    for style, (method, curve) in zip(styles, of.items(), strict=True):
        x = left + np.asarray(curve["places"]) * _WIDE
        y = top + (high - means[method]) / (high - low) * _TALL
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline points="{points}" {style}/>')
    return parts


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The scale of the values: 0 to 1 where they fit, else as far as they go."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)
