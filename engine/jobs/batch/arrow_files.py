"""What an Arrow file says of its record batches, read before any of them is unpacked.

Arrow's own reader tells how many rows a batch has once all of it is unpacked, however large the
file says that it becomes. The file's footer and each batch's head are flatbuffers: tables of
fields, each of which lies at an offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# "ARROW1" stands at both ends; before the last one stands how long the footer is.
_MAGIC = b"ARROW1"
# Fields by their places in the schema of the format.
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3
_MESSAGE_HEAD, _DICTIONARY_DATA = 2, 1
_BATCH_ROWS, _BATCH_BUFFERS, _BATCH_COMPRESSION = 0, 2, 3
_BLOCK, _BUFFER = struct.Struct("<qi4xq"), struct.Struct("<qq")
_CONTINUES = b"\xff\xff\xff\xff"


class Batch(NamedTuple):
    """A record batch: its rows, the bytes that it takes in the file, and those unpacked."""

    rows: int
    stored: int
    unpacked: int


def batches_of(file: memoryview | bytes) -> tuple[list[Batch], list[Batch]]:
    """What each record batch holds, as the file has it, and each list of texts that they share.

    Raises:
        ValueError: it is no Arrow file, or its parts lie outside of it.
    """
    try:
        batches = [_batch(file, *block) for block in _blocks(file, _FOOTER_BATCHES)]
        shared = [_batch(file, *block, True) for block in _blocks(file, _FOOTER_DICTIONARIES)]
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"its parts lie outside of it ({error})") from None
    return batches, shared


def _blocks(file: memoryview | bytes, kind: int) -> Iterator[tuple[int, int, int]]:
    """Where each batch of a kind lies: offset, bytes of its head, bytes of its body."""
    if bytes(file[: len(_MAGIC)]) != _MAGIC or bytes(file[-len(_MAGIC) :]) != _MAGIC:
        raise ValueError("it does not begin and end as an Arrow file does")
    end = len(file) - len(_MAGIC) - 4
    size = _number(file, "<i", end)
    if not 0 < size <= end:
        raise ValueError("its parts lie outside of it")
    footer = file[end - size : end]
    yield from _BLOCK.iter_unpack(_vector(footer, _table(footer, 0), kind, _BLOCK.size))


def _batch(
    file: memoryview | bytes, offset: int, head: int, body: int, shared: bool = False
) -> Batch:
    if min(offset, head, body) < 0 or offset + head + body > len(file):
        raise ValueError("its parts lie outside of it")
    begin = offset + (8 if bytes(file[offset : offset + 4]) == _CONTINUES else 4)
    message = file[begin : offset + head]
    content = file[offset + head : offset + head + body]
    batch = _follow(message, _table(message, 0), _MESSAGE_HEAD)
    if shared:
        batch = _follow(message, batch, _DICTIONARY_DATA)
    rows = _number(message, "<q", _field(message, batch, _BATCH_ROWS), 0)
    buffers = list(_BUFFER.iter_unpack(_vector(message, batch, _BATCH_BUFFERS, _BUFFER.size)))
    if rows < 0 or any(min(at, size) < 0 or at + size > body for at, size in buffers):
        raise ValueError("its parts lie outside of it")
    packed = _field(message, batch, _BATCH_COMPRESSION) is not None
    return Batch(rows, body, sum(_unpacked(content, buffers)) if packed else body)


def _unpacked(content: memoryview | bytes, buffers: Sequence[tuple[int, int]]) -> Iterator[int]:
    """How large each packed buffer becomes, which its first eight bytes say; -1: it is not."""
    for at, size in buffers:
        length = _number(content, "<q", at) if size >= 8 else size
        if length < -1:
            raise ValueError("a part of it has a negative size")
        yield size if length == -1 else length


def _table(data: memoryview | bytes, at: int) -> int:
    """Where a table lies that is pointed at."""
    return at + _number(data, "<I", at)


def _field(data: memoryview | bytes, table: int, place: int) -> int | None:
    """Where a table's field lies; None where it has its default."""
    known = table - _number(data, "<i", table)
    slot = 4 + 2 * place
    if slot + 2 > _number(data, "<H", known):
        return None
    offset = _number(data, "<H", known + slot)
    return table + offset if offset else None


def _follow(data: memoryview | bytes, table: int, place: int) -> int:
    field = _field(data, table, place)
    if field is None:
        raise ValueError("a part of it is missing")
    return _table(data, field)


def _vector(data: memoryview | bytes, table: int, place: int, size: int) -> memoryview | bytes:
    """The bytes of a table's list of structures."""
    field = _field(data, table, place)
    if field is None:
        return b""
    begin = _table(data, field)
    count = _number(data, "<I", begin)
    found = data[begin + 4 : begin + 4 + count * size]
    if len(found) != count * size:
        raise ValueError("its parts lie outside of it")
    return found


def _number(data: memoryview | bytes, kind: str, at: int | None, default: int = 0) -> int:
    if at is None:
        return default
    if at < 0:
        raise ValueError("its parts lie outside of it")
    return struct.unpack_from(kind, data, at)[0]
