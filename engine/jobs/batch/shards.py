"""Shards: rows as Parquet files, each whole or not there, and a manifest that says of what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .... import InvalidInputError
from ...files.writing import to_json
from ...records.row import NUMBERS, Row
from .question import Question

METADATA_KEY = "onnxplain"
# What a file is written in at once: so much memory do rows take until they are written.
_MOST_BYTES, _MOST_ROWS = 2**23, 4096


def failures_in(path: Path) -> int:
    """How many rows of a shard are errors, as its statistics say.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        metadata = pq.read_metadata(path)
        place = metadata.schema.names.index("error")
        groups = [metadata.row_group(k).column(place) for k in range(metadata.num_row_groups)]
        return metadata.num_rows - sum(group.statistics.null_count for group in groups)
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"shard {path}: damaged, {' '.join(str(error).split())}") from error


def schema_of(question: Question, facts: Mapping[str, Any]) -> pa.Schema:
    """The columns of a batch's rows; the metadata hold `facts`."""
    index = pa.list_(pa.int64()) if question.tuples else pa.int64()
    fields = [
        pa.field("image", pa.string(), nullable=False),
        pa.field("method", pa.string()),
        pa.field("target_index", index),
        pa.field("target_label", pa.string()),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
        pa.field("steps", pa.int64()),
        # Corners of an explained box in the photo's pixels.
        pa.field("box", pa.list_(pa.float64())),
    ]
    if question.form.attributions:
        fields.append(pa.field("attribution", _attribution_type(question)))
    fields.append(pa.field("error", pa.string()))
    return pa.schema(fields, {METADATA_KEY: to_json(facts).decode()})


def _attribution_type(question: Question) -> pa.DataType:
    """A tensor where all methods have one shape, else a list; its shape is in the metadata."""
    number = pa.from_numpy_dtype(np.dtype(question.form.dtype))
    shapes = set(question.shapes.values())
    shape = shapes.pop()
    if shapes or shape is None:
        return pa.list_(number)
    return pa.fixed_shape_tensor(number, list(shape))


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table."""
    columns = []
    for field in schema:
        values = [getattr(row, field.name) for row in rows]
        if field.name == "attribution":
            columns.append(_attributions(values, field.type))
            continue
        if pa.types.is_string(field.type):
            values = [None if value is None else _text(value) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: str) -> str:
    """What UTF-8 can hold: a file name's bytes that are no text stand as escapes."""
    return value.encode("utf-8", "backslashreplace").decode()


def _attributions(values: Sequence[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    absent = np.array([value is None for value in values])
    if isinstance(kind, pa.FixedShapeTensorType):
        dtype, size = kind.value_type.to_pandas_dtype(), math.prod(kind.shape)
        flat = np.zeros([len(values), size], dtype)
        for row, value in enumerate(values):
            if value is not None:
                flat[row] = value.reshape(-1)
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(flat.reshape(-1)), size, mask=pa.array(absent)
        )
        return pa.ExtensionArray.from_storage(kind, lists)
    dtype = kind.value_type.to_pandas_dtype()
    parts = [np.zeros(0, dtype) if value is None else value.reshape(-1) for value in values]
    ends = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int32)
    numbers = pa.array(np.concatenate([np.zeros(0, dtype), *parts]))
    return pa.ListArray.from_arrays(pa.array(ends), numbers, type=kind, mask=pa.array(absent))


def write_shard(file: BinaryIO, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Write rows as they come; the bytes depend on the rows and the schema alone."""
    with pq.ParquetWriter(file, schema, **parquet_options(schema)) as writer:
        for group in _groups(rows):
            writer.write_table(table_of(group, schema), row_group_size=len(group))


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How rows are packed.

    Maps of Grad-CAM's kind, 224 x 224 float32 as 201 kB, take 180 kB by snappy, 133 by zstd, and
    103 by zstd with the bytes of a number apart (1.2 ms of CPU time for each).
    """
    names = [name for name in schema.names if name in ("image", "method", "target_label", "error")]
    apart = ["attribution.list.element"] if "attribution" in schema.names else False
    return {"compression": "zstd", "use_dictionary": names, "use_byte_stream_split": apart}


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows by as many as are held in memory and packed at once."""
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += 0 if row.attribution is None else row.attribution.nbytes
        if size >= _MOST_BYTES or len(group) >= _MOST_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group
