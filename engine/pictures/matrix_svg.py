"""A matrix as a drawing: cells whose colour and number say the same."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from cmap import Colormap

from .lettering import wrap

_COLOURS = "colorbrewer:RdBu_r"
_CELL, _TALL, _LEFT, _TOP = 104, 46, 190, 44
# Luminance from which on black letters are easier to read than white ones (WCAG 2.2).
_LIGHT = 0.179


def matrix_svg(names: Sequence[str], values: np.ndarray) -> str:
    """A square matrix of correlations.

    Args:
        names: of rows and columns.
        values: [M, M] in -1..1; NaN is written as a dash.
    """
    width, height = _LEFT + _CELL * len(names) + 10, _TOP + _TALL * len(names) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="14">'
    ]
    for place, name in enumerate(names):
        x, y = _LEFT + (place + 0.5) * _CELL, _TOP + (place + 0.5) * _TALL
        for line, text in enumerate(wrap(name, 14, _CELL - 4, 2)):
            parts.append(_text(x, 16 + 17 * line, text, "middle"))
        parts.append(_text(_LEFT - 10, y + 5, (wrap(name, 14, _LEFT - 14, 1) or [""])[0], "end"))
    for row, line in enumerate(values):
        parts += [_cell(row, column, float(value)) for column, value in enumerate(line)]
    return "".join([*parts, "</svg>"])


def _cell(row: int, column: int, value: float) -> str:
    left, top = _LEFT + column * _CELL, _TOP + row * _TALL
    colour = Colormap(_COLOURS)(0.5 if np.isnan(value) else 0.5 + value / 2)
    number = "-" if np.isnan(value) else f"{value:.2f}"
    letters = "dark" if _luminance(colour.rgba[:3]) > _LIGHT else "light"
    return (
        f'<g class="cell"><rect x="{left + 1}" y="{top + 1}" width="{_CELL - 2}" '
        f'height="{_TALL - 2}" rx="4" fill="{colour.hex}"/>'
        f'<text class="{letters}" x="{left + _CELL / 2}" y="{top + _TALL / 2 + 5}" '
        f'text-anchor="middle">{number}</text></g>'
    )


def _luminance(rgb: Sequence[float]) -> float:
    """0.2126 R + 0.7152 G + 0.0722 B of linear parts, as WCAG 2.2 has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
