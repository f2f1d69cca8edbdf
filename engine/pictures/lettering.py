"""Text in pictures: which font has each letter, how wide a text is, and where it is broken."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...models.text import shown

_LONGEST_TEXT = 1000
# Pillow's own font, mostly ASCII, comes first; then these packages of Noto fonts, where installed.
_BASE = ("", "", 0)
_NOTO, _CJK = "manimgx_fonts", "noto_cjk_sans_otc"
_CJK_FILE = "NotoSansCJK-Regular.ttc"
# The same code points look different in each of these: the index of their font in the file.
_CJK_FACES = {"HIRAGANA": 0, "KATAKANA": 0, "HANGUL": 1, "CJK": 2, "BOPOMOFO": 3}
# Characters that neither font may have, and that have no base letter in Unicode's own tables.
_LOOKALIKES = {
    **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}\N{BULLET}\N{MIDDLE DOT}", "-"),
    **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    "\N{MULTIPLICATION SIGN}": "x",
    **{
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "ı": "i",
    },
}
_DOTS = "..."

# A package, a file in it and the index of a font in that file.
_Face = tuple[str, str, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def drawable(text: str) -> bool:
    """Whether some font has every letter of a text, or one that may stand for it."""
    return all(_nearest(character) is not None for character in _normal(text))


def text_width(text: str, size: int) -> float:
    """How many pixels wide a text is."""
    return sum(_font(face, size).getlength(part) for part, face in _runs(text))


def write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    size: int,
    fill: tuple[int, int, int],
    align: float = 0.0,
) -> None:
    """Write one line.

    Args:
        draw: the picture.
        corner: left and top, or with `align` 0.5 its middle, with 1.0 its right end, and top.
        text: what to write; what no font has becomes a question mark.
        size: of the font, in pixels.
        fill: colour.
        align: the part of the line that lies left of `corner`.
    """
    left, top = corner
    if align:
        left = round(left - align * text_width(text, size))
    base = _font(_BASE, size)
    # Letters of several fonts share the line that they stand on.
    line = top + (base.getmetrics()[0] if isinstance(base, ImageFont.FreeTypeFont) else size)
    for part, face in _runs(text):
        font = _font(face, size)
        anchored = isinstance(font, ImageFont.FreeTypeFont)
        place = (left, line if anchored else top)
        draw.text(place, part, fill=fill, font=font, anchor="ls" if anchored else None)
        left += font.getlength(part)


def write_lines(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    lines: Sequence[str],
    size: int,
    fill: tuple[int, int, int],
    leading: int,
) -> int:
    """Write lines below each other; returns the height where the next thing may begin."""
    left, top = corner
    for line in lines:
        write(draw, (left, top), line, size, fill)
        top += leading
    return top


def wrap(text: str, size: int, width: int, most_lines: int, keep: str = "") -> list[str]:
    """Break a text into lines.

    Args:
        text: where it is too long for the lines, it ends in dots.
        size: of the font, in pixels.
        width: of a line, in pixels.
        most_lines: at most so many.
        keep: what stands behind the text and is never cut off for it; broken at plain spaces only.
    """
    text = " ".join(shown(text[:_LONGEST_TEXT]).split())
    if not keep:
        return _wrapped(text, size, width, most_lines)

    def whole(count: int) -> list[str]:
        dots = "" if count == len(text) else _DOTS
        return _wrapped(f"{text[:count].rstrip()}{dots} {keep}", size, width, most_lines + 1)

    def too_long(count: int) -> bool:
        lines = whole(count)
        return len(lines) > most_lines or any(text_width(line, size) > width for line in lines)

    if not too_long(len(text)):
        return whole(len(text))
    fitting = bisect_right(range(len(text)), False, key=too_long)
    return whole(max(fitting - 1, 0))[:most_lines]


def _wrapped(text: str, size: int, width: int, most_lines: int) -> list[str]:
    words, lines = text.split(" ") if text else [], []
    while words and len(lines) < most_lines:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        line, words = " ".join(words[:count]), words[count:]
        is_last = len(lines) == most_lines - 1
        if text_width(line, size) > width or (is_last and words):
            line = _shorten(" ".join([line, *words]) if is_last else line, size, width)
            words = [] if is_last else words
        lines.append(line)
    return lines


def _shorten(text: str, size: int, width: int) -> str:
    fitting = bisect_right(
        range(1, len(text) + 1), width, key=lambda count: text_width(text[:count] + _DOTS, size)
    )
    return text[: max(fitting, 1)].rstrip() + _DOTS


@lru_cache(maxsize=2048)
def _runs(text: str) -> tuple[tuple[str, _Face], ...]:
    """A text in parts that one font has each; a word is in one font wherever one has all of it.

    Each part is shaped and ordered by its own script's rules, where Pillow has the library for it.
    """
    runs: list[tuple[str, _Face]] = []
    gap = ""
    for piece in re.findall(r"\s+|\S+", _normal(text)):
        if piece.isspace():
            gap = " " * len(piece)
            continue
        for part, face in _faces_of(piece):
            if runs and runs[-1][1] == face:
                runs[-1] = (runs[-1][0] + gap + part, face)
            else:
                runs += [(gap, _BASE)] if gap else []
                runs.append((part, face))
            gap = ""
    return tuple([*runs, (gap, _BASE)] if gap else runs)


def _faces_of(word: str) -> Iterable[tuple[str, _Face]]:
    for face in _candidates(word):
        if all(_has(face, character) for character in word):
            return [(word, face)]
    found = []
    for character in word:
        known = _nearest(character) or "?"
        found.append((known, _face(known) if len(known) == 1 else _BASE))
    return found


@lru_cache(maxsize=8192)
def _nearest(character: str) -> str | None:
    """The character where a font has it, else its base letter or what looks like it, else None."""
    for candidate in (character, unicodedata.normalize("NFKD", character)[:1]):
        if candidate.isspace() or _face(candidate) is not None:
            return candidate
    return _LOOKALIKES.get(character)


@lru_cache(maxsize=8192)
def _face(character: str) -> _Face | None:
    return next((face for face in _candidates(character) if _has(face, character)), None)


def _candidates(text: str) -> list[_Face]:
    """The fonts that may have a text, best first."""
    scripts = dict.fromkeys(unicodedata.name(c, "").split(" ")[0].split("-")[0] for c in text)
    found = [_BASE, (_NOTO, "NotoSans[wght].ttf", 0)]
    found += [(_NOTO, f"NotoSans{s.title()}[wght].ttf", 0) for s in scripts if s.isalpha()]
    east = [_CJK_FACES[script] for script in _CJK_FACES if script in scripts]
    found.append((_CJK, _CJK_FILE, east[0] if east else 2))
    found += [(_NOTO, f"Noto{kind}[wght].ttf", 0) for kind in ("SansSymbols", "Emoji")]
    return found


@lru_cache(maxsize=16384)
def _has(face: _Face, character: str) -> bool:
    # What only joins its neighbours or orders them has no letter of its own.
    if unicodedata.category(character) == "Cf":
        return face != _BASE
    if face != _BASE and _path(face) is None:
        return False
    # A font draws the same box for whatever it lacks, as for this code point, never assigned.
    return _glyph(face, character) != _glyph(face, "\U0010fffe")


@lru_cache(maxsize=256)
def _glyph(face: _Face, character: str) -> bytes:
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((8, 8), character, fill=255, font=_font(face, 16))
    return image.tobytes()


@lru_cache
def _path(face: _Face) -> Path | None:
    """Where a package's font lies; None where there is none."""
    spec = importlib.util.find_spec(face[0])
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / face[1]
        if path.is_file():
            return path
    return None


@lru_cache
def _font(face: _Face, size: int) -> Font:
    path = None if face == _BASE else _path(face)
    if path is None:
        return ImageFont.load_default(size=size)
    return ImageFont.truetype(path, size, index=face[2])


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", shown(text))
