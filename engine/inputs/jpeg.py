"""JPEG files whose data end too early or too late, which decoders pass over in silence.

Where the coded data end before all of the picture is there, libjpeg fills the rest with grey; where
a byte in them is another one, what follows is shifted, and the data mostly run out too early or are
left over. The file itself holds no check. So it is watched, while it decodes, when the last row of
the picture comes: not before the last bytes of the data are read, and not after them.
"""

from __future__ import annotations

import io
import re
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# A picture of several (MPO) is one, too: its first.
FORMATS = ["JPEG", "MPO"]
MAGIC = b"\xff\xd8\xff"
EARLY = "the file is damaged: its data end before all of the picture is there"
LATE = "the file is damaged: data are left over where the picture ends"
# A marker, after any number of fill bytes; FF 00 is a byte of the data.
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_SCAN, _PROGRESSIVE, _END = 0xDA, 0xC2, 0xD9
# Frames that are coded otherwise: arithmetically, without loss, or by differences.
_OTHERS = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
_RESTARTS = range(0xD0, 0xD8)
# What a decoder looks ahead, and what it finds there: bytes that are codes of no marker.
_AHEAD = bytes(range(0x35, 0x35 + 16))
# Bytes at the end of the data without which no decoder can have the last row.
_LAST = 3
# What the last row holds before it is decoded.
_NOT_YET = (1, 254, 3, 252, 5, 250, 7, 248)


class Layout(NamedTuple):
    """Where the coded data end, and how the picture is in them.

    Attributes:
        end: the place of the marker after them.
        in_order: whether its rows come in order, in one scan.
        complete: whether all of its scans are there.
    """

    end: int
    in_order: bool
    complete: bool


class Pieces(io.BytesIO):
    """A JPEG file that is read in pieces: what is decoded is looked at between them.

    Attributes:
        damage: what is wrong with it, once it is decoded; or None.
    """

    def __init__(self, content: bytes):
        self._content, self._layout = content, layout_of(content)
        self.damage: str | None = None
        # Until this many bytes are read the picture cannot be whole; then it must be.
        self._before, self._after = -1, -1
        self._image: Any = None
        self._reached = False
        if self._layout is not None and self._layout.in_order:
            end = self._layout.end
            content = content[:end] + _AHEAD + content[end:]
            self._before, self._after = end - _LAST, end + len(_AHEAD)
        super().__init__(content)

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file, but no further than where a look is due."""
        at = self.tell()
        if self._image is None or self._image.im is None:
            return super().read(size)
        if at < self._before:
            for place, mark in self._marks():
                self._image.im.putpixel(place, mark)
        elif at == self._before:
            self._reached = True
        elif at == self._after and all(
            self._image.im.getpixel(place) == mark for place, mark in self._marks()
        ):
            self.damage = EARLY
        due = next((stop for stop in (self._before, self._after) if stop > at), None)
        if due is not None and (size is None or size < 0 or at + size > due):
            size = due - at
        return super().read(size)

    def watch(self, image: Image.Image) -> None:
        """Decode the image, and find what is wrong with its data."""
        layout = self._layout
        if layout is not None and layout.in_order and image.width >= len(_NOT_YET):
            self._image = image
        image.load()
        if self._image is not None and not self._reached:
            self.damage = LATE
        elif layout is not None and not layout.in_order:
            self.damage = self._looked_at_again(image, layout)

    def _marks(self) -> list[tuple[tuple[int, int], Any]]:
        """What stands in the last row before it is decoded."""
        row, bands = self._image.height - 1, len(self._image.getbands())
        marks = [mark if bands == 1 else (mark,) * bands for mark in _NOT_YET]
        return [((column, row), mark) for column, mark in enumerate(marks)]

    def _looked_at_again(self, decoded: Image.Image, layout: Layout) -> str | None:
        """Of a picture whose rows come only with its last scan: bytes that it lacks change it."""
        if not layout.complete:
            return EARLY
        more = self._content[: layout.end] + _AHEAD * 64 + self._content[layout.end :]
        with Image.open(io.BytesIO(more), formats=FORMATS) as image:
            image.draft(decoded.mode, decoded.size)
            image.load()
            same = image.size != decoded.size or np.array_equal(
                np.asarray(image), np.asarray(decoded)
            )
        return None if same else EARLY


def layout_of(content: bytes) -> Layout | None:
    """Where the data of the first picture end; None where that cannot be told."""
    at, scans, progressive, end = 2, list[bytes](), False, None
    while (found := _MARKER.search(content, at)) is not None:
        kind, at = content[found.end() - 1], found.end()
        if kind in _RESTARTS:
            continue
        if scans:
            # The first marker after a scan's data that is none of their own.
            end = found.start()
        if kind in _OTHERS:
            return None
        if kind == _END:
            break
        progressive = progressive or kind == _PROGRESSIVE
        size = int.from_bytes(content[at : at + 2], "big")
        if kind == _SCAN:
            scans.append(content[at + 2 : at + size])
        at += size
    else:
        return None
    if end is None:
        return None
    return Layout(end, len(scans) == 1 and not progressive, not progressive or _refined(scans))


def _refined(scans: list[bytes]) -> bool:
    """Whether scans bring all coefficients of each component down to their last bits.

    A scan's head: how many components, two bytes for each, the first and the last coefficient, and
    in the lower half of the last byte how many bits are still missing.
    """
    missing: dict[tuple[int, int], int] = {}
    for head in scans:
        components = head[1 : 1 + 2 * head[0] : 2] if head else b""
        if len(head) < 4 + 2 * len(components):
            return False
        first, last, bits = head[1 + 2 * len(components) :][:3]
        for component in components:
            missing |= {(component, k): bits & 15 for k in range(first, min(last, 63) + 1)}
    known = {component for component, _ in missing}
    return all(missing.get((component, k)) == 0 for component in known for k in range(64))
