"""Tables in: a column of images, as files' bytes or as paths, of Parquet and Arrow files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ... import InvalidInputError
from ..inputs.image import image_extensions
from .items import Item, Source, SourceLostError, beside

# Rows that are read at once, so that a table of any size takes the same memory.
_AT_ONCE = 32
# The end of a file, which in both formats says where its parts lie and how long they are.
_END = 2**20
_BYTES = "bytes"


class _Column(NamedTuple):
    """Where the images are: a column, and in a struct {bytes, path} its field of bytes."""

    name: str
    of_bytes: bool
    field: str | None = None


def source_of_tables(given: str, paths: Sequence[str], column: str | None) -> Source:
    """The rows of tables, in order.

    Args:
        given: what the user called them.
        paths: Parquet or Arrow files.
        column: its name; None: the only one that can be meant.

    Raises:
        InvalidInputError: a file is no table, or it is not clear which column is meant.
    """
    counts, digest = [], hashlib.sha256()
    found = _find_column(paths[0], column)
    for path in paths:
        try:
            schema, count = _facts(path)
            schema.field(found.name)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InvalidInputError(f"table {path}: {_reason(error)}") from error
        counts.append(count)
        digest.update(f"{path}\0{count}\0{os.path.getsize(path)}\0{found}".encode(errors="replace"))
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _END))
            digest.update(file.read())

    def read(start: int) -> Iterator[Item]:
        number = 0
        for path, count in zip(paths, counts, strict=True):
            skipped = max(0, start - number)
            if skipped < count:
                yield from _items(path, found, skipped, number)
            number += count

    return Source(given, sum(counts), digest.hexdigest(), tuple(paths), read)


def column_of(path: str, column: str | None) -> str:
    """The name of a table's column of images; see `source_of_tables`."""
    return _find_column(path, column).name


def _facts(path: str) -> tuple[pa.Schema, int]:
    """A table's schema and how many rows it has."""
    if _is_parquet(path):
        with pq.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    with pa.memory_map(path) as memory, pa.ipc.open_file(memory) as file:
        rows = (file.get_batch(k).num_rows for k in range(file.num_record_batches))
        return file.schema, sum(rows)


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _batches(path: str, column: _Column, start: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """A few rows at a time from a row on, with the number of the first."""
    if not _is_parquet(path):
        with pa.memory_map(path) as memory, pa.ipc.open_file(memory) as file:
            first = 0
            for k in range(file.num_record_batches):
                batch = file.get_batch(k).select([column.name])
                low = min(max(0, start - first), batch.num_rows)
                for row in range(low, batch.num_rows, _AT_ONCE):
                    yield first + row, batch.slice(row, _AT_ONCE)
                first += batch.num_rows
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        first, skipped = 0, 0
        while skipped < len(groups) and first + groups[skipped] <= start:
            first += groups[skipped]
            skipped += 1
        rest = list(range(skipped, len(groups)))
        for batch in file.iter_batches(_AT_ONCE, row_groups=rest, columns=[column.name]):
            low = min(max(0, start - first), batch.num_rows)
            if low < batch.num_rows:
                yield first + low, batch.slice(low)
            first += batch.num_rows


def _items(path: str, column: _Column, start: int, before: int) -> Iterator[Item]:
    """The images of one table from a row on; `before`: how many other tables have before it."""
    folder = os.path.dirname(path)
    try:
        for first, batch in _batches(path, column, start):
            values = batch.column(0)
            if column.field is not None:
                values = values.field(column.field)
            for row, value in enumerate(values.to_pylist(), first):
                name = f"{os.path.basename(path)}#{row}"
                content = value
                if isinstance(value, str):
                    name, content = value, beside(value, folder)
                yield Item(before + row, name, content)
    except (pa.ArrowException, OSError) as error:
        raise SourceLostError(f"table {path}: cannot be read on, {_reason(error)}") from error


def _find_column(path: str, wanted: str | None) -> _Column:
    try:
        schema, _ = _facts(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"table {path}: expected a table, {_reason(error)}") from error
    names = ", ".join(repr(field.name) for field in schema)
    possible = {field.name: one for field in schema if (one := _possible(field)) is not None}
    if wanted is not None:
        if wanted not in schema.names:
            raise InvalidInputError(f"table {path}: no column {wanted!r}, but {names}")
        if wanted not in possible:
            kind = schema.field(wanted).type
            raise InvalidInputError(
                f"table {path}: column {wanted!r}: expected images' bytes or paths, got {kind}"
            )
        return possible[wanted]
    of_bytes = [one for one in possible.values() if one.of_bytes]
    chosen = of_bytes or [one for one in possible.values() if _holds_paths(path, one)]
    if len(chosen) != 1:
        several = "several columns" if chosen else "no column"
        raise InvalidInputError(
            f"table {path}: {several} may hold the images; give --column, one of {names}"
        )
    return chosen[0]


def _possible(field: pa.Field) -> _Column | None:
    kind: Any = field.type
    if pa.types.is_struct(kind):
        known = {kind.field(k).name: kind.field(k).type for k in range(kind.num_fields)}
        return _Column(field.name, True, _BYTES) if _is_bytes(known.get(_BYTES)) else None
    if _is_bytes(kind):
        return _Column(field.name, True)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return _Column(field.name, False) if is_text else None


def _is_bytes(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_paths(path: str, column: _Column) -> bool:
    """Whether the first value in a column of texts ends as the name of an image does."""
    for _, batch in _batches(path, column, 0):
        for value in batch.column(0).to_pylist():
            if value:
                return os.path.splitext(value)[1].lower() in image_extensions()
    return False


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
