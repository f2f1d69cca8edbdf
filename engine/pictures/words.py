"""A text as a ground: its tokens where they stand, and maps that colour them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ...models.text import counted
from .arrays import WIDTH, laid_out
from .heatmap import FAINT, INK, PAPER, Heatmap
from .lettering import text_width, write

_SIZE, _LINE, _PAD, _EDGE = 34, 62, 5, 12
# Lines that are shown of a long text.
_MOST_LINES = 40
# Letters of a token.
_LONGEST = 40
# Part of the scale from which on letters are light; pixels around dark ones without a colour.
_STRONG, _HALO = 0.6, 5
_PLACES = "onnxplain: tokens"


class Token(NamedTuple):
    """One token as it is shown.

    Attributes:
        text: its part of the text, or its name, as "[CLS]".
        joined: whether no space stands ahead of it.
        special: whether it is no part of the text.
        word: the number of the word that it is of; None: of none.
    """

    text: str
    joined: bool = False
    special: bool = False
    word: int | None = None


def words(tokens: Sequence[Token], padding: int = 0) -> Image.Image:
    """The ground of a text, and of so many tokens of padding behind it as one.

    Where each token stands is kept with it.
    """
    if padding:
        tokens = [*tokens, Token(f"[{padding} x padding]", special=True)]
    tokens = [one._replace(text=_shortened(one.text)) for one in tokens]
    places, shown = _places(tokens)
    lines = 1 + max((line for line, _, _ in places), default=0)
    more = len(tokens) - shown
    size = WIDTH, (lines + bool(more)) * _LINE + 2 * _EDGE
    written = tuple(
        (token.text, left, _EDGE + line * _LINE, width, token.joined, token.special)
        for token, (line, left, width) in zip(tokens, places, strict=False)
    )
    ground = _written(written, size, more, ())
    ground.info[_PLACES] = written, size, more, padding
    return ground


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _written(
    written: Sequence[tuple], size: tuple[int, int], more: int, light: Collection[int]
) -> Image.Image:
    """The tokens on paper; some of them light, to be read on strong colours."""
    ground = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(ground)
    for k, (text, left, top, _, _, special) in enumerate(written):
        colour = PAPER if k in light else FAINT if special else INK
        write(draw, (left, top + 10), text, _SIZE, colour)
    if more:
        line = f"... and {counted(more, 'more token')}"
        write(draw, (_EDGE, size[1] - _LINE), line, 28, FAINT)
    return ground


def _letters(written: Sequence[tuple], size: tuple[int, int], light: Collection[int]) -> np.ndarray:
    """How much of each pixel letters cover, dark ones with a halo: [H, W]."""
    masks = [Image.new("RGB", size) for _ in range(2)]
    draws = [ImageDraw.Draw(mask) for mask in masks]
    for k, (text, left, top, *_) in enumerate(written):
        write(draws[k in light], (left, top + 10), text, _SIZE, (255, 255, 255))
    dark, bright = (mask.convert("L") for mask in masks)
    dark = dark.filter(ImageFilter.MaxFilter(_HALO))
    return np.maximum(np.asarray(dark), np.asarray(bright)).astype(np.float32) / 255


def _places(tokens: Sequence[Token]) -> tuple[list[tuple[int, float, float]], int]:
    """(line, left, width) of each token that fits; words stay whole where a line holds them."""
    space = text_width("a a", _SIZE) - text_width("aa", _SIZE) + 2 * _PAD
    widths: list[float] = []
    found: list[tuple[int, float, float]] = []
    line, left = 0, float(_EDGE)
    for k, token in enumerate(tokens):
        if not token.joined or k == 0:
            end = next((j for j in range(k + 1, len(tokens)) if not tokens[j].joined), len(tokens))
            widths += [text_width(one.text, _SIZE) + 2 for one in tokens[k:end]]
            left += space if left > _EDGE else 0
            if left > _EDGE and left + sum(widths[k:end]) > WIDTH - _EDGE:
                line, left = line + 1, float(_EDGE)
        elif left + widths[k] > WIDTH - _EDGE:
            line, left = line + 1, float(_EDGE)
        if line >= _MOST_LINES:
            return found, k
        found.append((line, left, min(widths[k], WIDTH - 2 * _EDGE)))
        left += widths[k]
    return found, len(tokens)


def words_map(values: np.ndarray, method: str, **how) -> Heatmap:
    """Evidence [T] as the colours of tokens, which are placed once the ground is there."""
    drawn = laid_out(values, method, _as_row, **how)
    shown = tuple(drawn.values[0].tolist())
    return replace(drawn, placed=Placed(shown, drawn.limit, drawn.signed))


def _as_row(values: np.ndarray, limit: float) -> np.ndarray:
    del limit
    return values[None].astype(np.float32)


class Placed(NamedTuple):
    """Evidence of tokens, on a ground that `words` drew."""

    values: tuple[float, ...]
    limit: float
    signed: bool

    def __call__(self, view: Image.Image) -> tuple[Image.Image, np.ndarray]:
        """The ground with letters that can be read on it, and the colours around them."""
        known = view.info.get(_PLACES)
        if known is None:
            return view, np.array([self.values], np.float32)
        written, size, more, padding = known
        found = np.zeros(size[::-1], np.float32)
        text = len(self.values) - padding
        values = [*self.values[:text], *([sum(self.values[text:])] if padding else [])]
        light = set()
        for k, (value, one) in enumerate(zip(values, written, strict=False)):
            _, left, top, width, joined, _ = one
            # Boxes of a word's parts meet; others keep their distance.
            begin = max(round(left) - _PAD * (not joined), 0)
            found[top + 2 : top + _LINE - 8, begin : round(left + width)] = value
            if self.signed and abs(value) > _STRONG * self.limit:
                light.add(k)
        # No colour on the letters themselves.
        return _written(written, size, more, light), found * (1 - _letters(written, size, light))
