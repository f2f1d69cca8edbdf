"""Tables: `.csv` and `.tsv` files with a header and a row for each sample, drawn as bars.

Columns are found by their names, where the model's card or metadata has `feature_names`; else all
of them count, in the file's order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.methods.method import nearest
from ...graph_passes.select.features import Features
from ...models.files import check_regular, while_unchanged
from ...models.plain_card import Card, sequence
from ...models.text import counted, few_of, shown
from ..files.members import member_of
from ..pictures.arrays import named_bars, named_bars_map
from ..pictures.heatmap import Heatmap, Picture
from . import array
from .kind import InputKind, ModelInput, Named, Reading, Shape, check_keys, described

KEYS = ("feature_names",)
SUFFIXES = frozenset({".csv", ".tsv"})
# Bytes of a table, and tables that are kept while their rows are read one by one.
_MOST_BYTES, _KEPT = 2**28, 2
_SEPARATORS = ",;\t"


class Table(NamedTuple):
    """What a file holds: its header, and for each row the line it ends in and its cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


class Row(NamedTuple):
    """One sample: the model's features by name."""

    names: tuple[str, ...]
    values: np.ndarray


def _suffixes() -> frozenset[str]:
    return SUFFIXES


def _takes(into: ModelInput) -> bool:
    numbers = np.dtype(into.dtype).kind in "fiu"
    return numbers and into.shape is not None and len(into.shape) == 2


def _refuse(into: ModelInput) -> None:
    raise InvalidInputError(
        f"a table needs a model that takes [N, features], and its input {into.name!r} is "
        f"{described(into)}"
    )


def _members(path: str) -> Sequence[str]:
    count = len(_table_of(path).rows)
    return [f"{path}#{number + 1}" for number in range(count)] if count > 1 else [path]


def _read(given: Any, how: Reading, into: ModelInput) -> Row:
    """One row of a file, as `table.csv#3`, or of a file's bytes, that hold one.

    Raises:
        InvalidInputError: it cannot be read, or has not the model's columns.
    """
    if not _takes(into):
        _refuse(into)
    number, name = None, how.name
    if isinstance(given, bytes):
        table = _parsed(given, name)
    elif isinstance(given, str):
        path, number = member_of(given)
        table = _table_of(path)
    else:
        raise InvalidInputError(f"table {name}: expected a file, got {type(given).__name__}")
    count = len(table.rows)
    if number is None and count > 1:
        raise InvalidInputError(
            f"table {name}: expected one row, got {count}; {name}#1 names the first of them"
        )
    number = 1 if number is None else number
    if not 1 <= number <= count:
        raise InvalidInputError(f"table {name}: it has {counted(count, 'row')}, from 1")
    columns = _columns(table.header, into, name)
    line, cells = table.rows[number - 1]
    values = [_number(cells[k], table.header[k], line, name) for k in columns]
    return Row(tuple(table.header[k] for k in columns), np.array(values))


def _table_of(path: str) -> Table:
    check_regular(path, "table", _MOST_BYTES)
    return _kept(path)


@while_unchanged(_KEPT)
def _kept(path: str) -> Table:
    with open(path, "rb") as file:
        return _parsed(file.read(_MOST_BYTES), path)


def _parsed(content: bytes, name: str) -> Table:
    """The table in a file's bytes.

    Raises:
        InvalidInputError: it has no header or no rows, or rows of other lengths.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"table {name}: expected UTF-8 text, got other bytes") from None
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, tuple(row)) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise InvalidInputError(f"table {name}: line {reader.line_num}: {error}") from None
    if len(rows) < 2:
        what = "a header alone" if rows else "nothing"
        raise InvalidInputError(f"table {name}: expected a header and rows of numbers, got {what}")
    header = tuple(cell.strip() for cell in rows[0][1])
    if _is_numbers(header):
        raise InvalidInputError(
            f"table {name}: expected names of columns in the first line, got numbers"
        )
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise InvalidInputError(
                f"table {name}: line {line}: expected {counted(len(header), 'cell')}, as the "
                f"header has, got {len(cells)}"
            )
    return Table(header, tuple(rows[1:]))


def _is_numbers(header: Sequence[str]) -> bool:
    """Whether a first line is no header; columns that are numbered from 0 or 1 are one."""
    try:
        found = [float(cell) for cell in header]
    except ValueError:
        return False
    return not any(found == [*range(k, k + len(found))] for k in (0, 1)) or len(found) == 1


def _columns(header: Sequence[str], into: ModelInput, name: str) -> list[int]:
    """Which columns are the model's features, in its order."""
    wanted = _names_known(into)
    length = None if into.shape is None else into.shape[1]
    count = length if isinstance(length, int) and length > 0 else None
    if wanted is None:
        if count not in (None, len(header)):
            raise InvalidInputError(
                f"table {name}: expected {counted(count, 'column')}, as the model's input "
                f"{into.name!r} has, got {len(header)}: {few_of(header)}; 'feature_names' in the "
                "model card say which columns count"
            )
        return [*range(len(header))]
    if count not in (None, len(wanted)):
        raise InvalidInputError(
            f"feature_names: expected {counted(count, 'name')}, as the model's input "
            f"{into.name!r} has, got {len(wanted)}"
        )
    missing = [one for one in wanted if one not in header]
    if missing:
        close = nearest(missing[0], tuple(header)) if len(missing) == 1 else ""
        raise InvalidInputError(
            f"table {name}: expected the columns {few_of(wanted)}; missing: "
            f"{few_of(missing)}{close}"
        )
    twice = [one for one in wanted if header.count(one) > 1]
    if twice:
        raise InvalidInputError(f"table {name}: two columns are called '{shown(twice[0])}'")
    return [header.index(one) for one in wanted]


def _names_known(into: ModelInput) -> tuple[str, ...] | None:
    """The features' names as the card or the file's metadata has them."""
    settings = {} if into.card is None else into.card.settings
    return sequence(settings.get("feature_names") or settings.get("names")) or None


def _number(cell: str, column: str, line: int, name: str) -> float:
    try:
        found = float(cell)
    except ValueError:
        found = float("nan")
    if not np.isfinite(found):
        raise InvalidInputError(
            f"table {name}: line {line}, column '{shown(column)}': expected a number, got "
            f"'{shown(cell[:40])}'"
        )
    return found


def _fit(thing: Row, into: ModelInput) -> np.ndarray:
    if np.dtype(into.dtype).kind in "iu" and (thing.values != np.rint(thing.values)).any():
        odd = int(np.flatnonzero(thing.values != np.rint(thing.values))[0])
        raise InvalidInputError(
            f"column '{shown(thing.names[odd])}': expected whole numbers, as the model's input "
            f"{into.name!r} is {into.dtype}, got {thing.values[odd]:g}"
        )
    return thing.values[None]


def _features(card: Card, shape: Shape) -> Features | None:
    del shape
    check_keys(card.settings, KEYS)
    names = card.settings.get("feature_names")
    given = sequence(names)
    if names is not None and not (given and all(isinstance(one, str) for one in given)):
        raise InvalidInputError(f"'feature_names': expected a list of texts, got {names!r}")
    return None


def _view(thing: Row, into: ModelInput) -> Picture:
    del into
    return named_bars(thing.values, thing.names)


def _named(thing: Row, values: np.ndarray) -> list[tuple[str, float]]:
    return list(zip(thing.names, values.reshape(-1).tolist(), strict=True))


def _draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    del into
    how["drawing"] = ["bars reach the edge at the end of the scale"]
    return named_bars_map(np.asarray(values, np.float64).reshape(-1), method, **how)


KIND = InputKind(
    name="table",
    title="a table",
    suffixes=_suffixes,
    takes=_takes,
    read=_read,
    fit=_fit,
    tensor=array.tensor,
    features=_features,
    view=_view,
    draw=_draw,
    baselines={"zeros": Named(array.zeros)},
    members=_members,
    named=_named,
    refuse=_refuse,
    # Behind arrays, which any model takes, and which nobody's file is.
    place=95,
)
