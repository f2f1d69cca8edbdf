"""Tables in: a column of images, as files' bytes or as paths, of Parquet and Arrow files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from .... import InvalidInputError
from ....models.files import check_regular
from ...inputs import input_suffixes
from .arrow_files import batches_of
from .items import Item, Source, SourceLostError, beside

# Rows that are unpacked at once: one may be as large as a table.
_AT_ONCE = 1
# Bytes of an image file in a table, and of a record batch of a small file that is unpacked.
MOST_OF_A_CELL, _MOST_UNPACKED = 2**27, 2**30
# The end of a file, which in both formats says where its parts lie and how long they are.
_END = 2**20
_BYTES = "bytes"
# Bytes, a text, nothing, or how large it is where that is too large.
Cell = bytes | str | int | None


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
    counts, columns, digest = [], [], hashlib.sha256()
    found = _find_column(paths[0], column)
    for path in paths:
        try:
            schema, count = _facts(path)
            field = schema.field(found.name)
            problem = (
                f"expected images' bytes or paths in column {field.name!r} of table {path}, "
                f"got {field.type}"
            )
            columns.append(_possible(field) or problem)
        except InvalidInputError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError, MemoryError) as error:
            raise InvalidInputError(f"table {path}: {_reason(error)}") from error
        counts.append(count)
        digest.update(f"{path}\0{count}\0{os.path.getsize(path)}\0{found}".encode(errors="replace"))
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _END))
            digest.update(file.read())

    def read(start: int) -> Iterator[Item]:
        number = 0
        for path, own, count in zip(paths, columns, counts, strict=True):
            skipped = max(0, start - number)
            if skipped < count:
                yield from _items(path, own, count, skipped, number)
            number += count

    return Source(given, sum(counts), digest.hexdigest(), tuple(paths), read)


def column_of(path: str, column: str | None) -> str:
    """The name of a table's column of images; see `source_of_tables`."""
    return _find_column(path, column).name


def _facts(path: str) -> tuple[pa.Schema, int]:
    """A table's schema and how many rows it has.

    Raises:
        pa.ArrowException, OSError, ValueError: it is none, or becomes far larger than it is.
    """
    check_regular(path, "table")
    if _is_parquet(path):
        with pq.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    with pa.memory_map(path) as memory:
        found, shared = batches_of(memoryview(memory.read_buffer()))
        for batch in [*found, *shared]:
            if batch.unpacked > max(_MOST_UNPACKED, 4 * batch.stored):
                raise ValueError(
                    f"expected record batches of at most {_MOST_UNPACKED:,} bytes, "
                    f"got {batch.unpacked:,}"
                )
        memory.seek(0)
        with pa.ipc.open_file(memory) as file:
            if file.num_record_batches != len(found):
                raise ValueError("its record batches are not those of its footer")
            return file.schema, sum(batch.rows for batch in found)


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _arrays(path: str, column: str, start: int) -> Iterator[tuple[int, pa.Array]]:
    """A column's values from a row on, in parts, each with the number of its first row."""
    if not _is_parquet(path):
        with pa.memory_map(path) as memory:
            place = pa.ipc.open_file(memory).schema.get_field_index(column)
            only = pa.ipc.IpcReadOptions(included_fields=[place])
            memory.seek(0)
            with pa.ipc.open_file(memory, options=only) as file:
                first = 0
                for k in range(file.num_record_batches):
                    values = file.get_batch(k).column(0)
                    low = min(max(0, start - first), len(values))
                    if low < len(values):
                        yield first + low, values.slice(low)
                    first += len(values)
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        first, skipped = 0, 0
        while skipped < len(groups) and first + groups[skipped] <= start:
            first += groups[skipped]
            skipped += 1
        rest = list(range(skipped, len(groups)))
        for batch in file.iter_batches(_AT_ONCE, row_groups=rest, columns=[column]):
            low = min(max(0, start - first), batch.num_rows)
            if low < batch.num_rows:
                yield first + low, batch.column(0).slice(low)
            first += batch.num_rows


def _values(path: str, column: _Column, start: int) -> Iterator[tuple[int, Cell]]:
    """The value of each row from one on.

    Raises:
        pa.ArrowException, OSError, ValueError: the table cannot be read.
    """
    for first, array in _arrays(path, column.name, start):
        values: Any = array
        if column.field is not None:
            values = field_of(values, column.field)
        yield from enumerate(cells(values), first)


def field_of(values: pa.StructArray, name: str) -> pa.Array:
    """A field of structs, once it is known that it is as long as they are."""
    values.validate()
    # What is missing as a whole has no fields, whatever lies in its place.
    return values.flatten()[values.type.get_field_index(name)]


def cells(values: Any) -> Iterator[Cell]:
    """The bytes or texts of an array; of what is larger than any image only how large it is.

    Where each of them lies is looked at before one is read. A text that is no UTF-8 is a file's
    name all the same.
    """
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if text:
        large = pa.types.is_large_string(values.type)
        values = values.cast(pa.large_binary() if large else pa.binary())
    values.validate(full=True)
    for value in values:
        size = value.as_buffer().size if value.is_valid else 0
        if size > MOST_OF_A_CELL:
            yield size
        else:
            content = value.as_py()
            yield os.fsdecode(content) if text and content is not None else content


def too_large(size: int) -> str:
    """Why a cell is not read."""
    return f"expected at most {MOST_OF_A_CELL:,} bytes, got {size:,}"


def _items(path: str, column: _Column | str, count: int, start: int, before: int) -> Iterator[Item]:
    """The images of one table from a row on; `before`: how many other tables have before it.

    column: why there are no images in it, or where they are.
    """
    folder, table = os.path.dirname(path), os.path.basename(path)
    if isinstance(column, str):
        for row in range(start, count):
            yield Item(before + row, f"{table}#{row}", None, column)
        return
    try:
        for row, value in _values(path, column, start):
            name = f"{table}#{row}"
            if isinstance(value, int):
                yield Item(before + row, name, None, too_large(value))
            elif isinstance(value, str):
                yield Item(before + row, value, beside(value, folder))
            else:
                yield Item(before + row, name, value)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise SourceLostError(f"table {path}: cannot be read on, {_reason(error)}") from error


def _find_column(path: str, wanted: str | None) -> _Column:
    try:
        schema, _ = _facts(path)
        names = ", ".join(repr(field.name) for field in schema)
        possible = {field.name: one for field in schema if (one := _possible(field)) is not None}
    except InvalidInputError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InvalidInputError(f"table {path}: expected a table, {_reason(error)}") from error
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
    try:
        chosen = of_bytes or [one for one in possible.values() if _holds_paths(path, one)]
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InvalidInputError(f"table {path}: cannot be read, {_reason(error)}") from error
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
    for _, value in _values(path, column, 0):
        if value:
            name = value if isinstance(value, str) else ""
            return os.path.splitext(name)[1].lower() in input_suffixes()
    return False


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
