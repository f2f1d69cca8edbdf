"""Text that comes from a file, made harmless to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# Control characters (ESC begins a terminal's commands), halves of characters, other ends of lines,
# and what turns the direction of writing around, so that a name reads as another.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def counted(count: Any, noun: str = "image") -> str:
    """So many, in words: "1 image", "2 images", "N classes", "2 axes"."""
    if count in (1, "1"):
        return f"1 {noun}"
    if noun.endswith("is"):
        return f"{count} {noun[:-2]}es"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{count} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}s"


_WORDS = "No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"


def few(count: int, noun: str = "image") -> str:
    """A sentence where results rest on few: "Three images are few: add more.", or ""."""
    if count >= len(_WORDS):
        return ""
    verb = "is" if count == 1 else "are"
    return f"{_WORDS[count]} {counted(count, noun).split(' ', 1)[1]} {verb} few: add more."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def few_of(names: Sequence[str], most: int = 5) -> str:
    """Names on one line, the first of many: "'a', 'b' and 7 more"."""
    first = [f"'{shown(name[:40])}'" for name in names[:most]]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(first) + more


def shown(text: str) -> str:
    r"""The text on one line, its control characters as escapes: ESC is `\x1b`, a line end `\n`."""
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def shown_json(text: str) -> str:
    """A JSON text that means the same, its control characters as JSON's own escapes."""
    return _UNSEEN.sub(
        lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text
    )


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def part_text(part: float) -> str:
    """A part in percent as people read it: "84 %", "0.9 %", "< 0.01 %"."""
    if abs(part) < 1e-4:
        return "0 %" if part == 0 else "< 0.01 %"
    return f"{100 * part:.0f} %" if abs(part) >= 0.0995 else f"{100 * part:.2g} %"
