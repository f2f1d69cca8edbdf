"""Which images a batch is of: those of a folder, a pattern, a list, or a column of tables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

import numpy as np

from .... import InvalidInputError
from ...files.members import file_of
from ...inputs import things_in
from ..sources import find_pattern, image_names
from .items import TABLES, Item, Source, beside


def find_source(given: str, column: str | None = None, output: str | None = None) -> Source:
    """The images that are meant.

    Args:
        given: a folder, which stands for the images in it and in folders in it, or for the tables
            where it has no image; a pattern; a .txt file, one path a line; an image; or a Parquet
            or Arrow (IPC, Feather) file, whose rows are image files' bytes or paths.
        column: of a table.
        output: a folder whose files are none of the source's.

    Raises:
        InvalidInputError: there is no such thing, or no image in it.
    """
    if os.path.isdir(given):
        source = _of_paths(given, _walk(given, output), (given,))
        tables = [] if source.count else sorted(_tables_in(given, output))
    elif os.path.isfile(file_of(given)):
        if given.lower().endswith(".txt"):
            return _checked(_of_list(given))
        source = _of_paths(given, [given], (given,))
        tables = [given] if given.lower().endswith(TABLES) else []
    else:
        paths = [p for p in find_pattern(given) if not _is_inside(p, output)]
        if not paths:
            raise InvalidInputError(f"source {given}: no such file or folder, and no file fits it")
        tables = paths if all(p.lower().endswith(TABLES) for p in paths) else []
        source = _of_paths(given, paths, (os.path.dirname(given.split("*")[0]) or ".",))
    if tables:
        # An extra: asked for only where there are tables.
        from .tables import source_of_tables

        return _checked(source_of_tables(given, tables, column))
    if column is not None:
        raise InvalidInputError(f"column {column!r}: {given} is no table")
    return _checked(source)


def _checked(source: Source) -> Source:
    if not source.count:
        raise InvalidInputError(f"source {source.name}: no images in it")
    return source


def _of_paths(given: str, paths: Iterable[str], roots: tuple[str, ...]) -> Source:
    """Images by their paths, which are kept as one text: a million take 60 MB instead of 150."""
    text, ends, digest = bytearray(), [0], hashlib.sha256()
    for path in (thing for file in paths for thing in things_in(file)):
        name = os.fsencode(path)
        text += name
        digest.update(len(name).to_bytes(8, "big") + name)
        ends.append(len(text))
    places = np.array(ends, np.int64)

    def read(start: int) -> Iterator[Item]:
        for k in range(start, len(places) - 1):
            path = os.fsdecode(bytes(text[places[k] : places[k + 1]]))
            yield Item(k, path, path)

    return Source(given, len(places) - 1, digest.hexdigest(), roots, read)


def _of_list(given: str) -> Source:
    source = _of_paths(given, _lines(given), (given,))
    folder = os.path.dirname(given)

    def read(start: int) -> Iterator[Item]:
        for item in source.read(start):
            yield item._replace(content=beside(item.name, folder))

    return Source(given, source.count, source.digest, source.roots, read)


def _lines(path: str) -> Iterator[str]:
    """The lines of a text file, which may be of any length, that are not empty."""
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            text = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line)
            if text.strip():
                yield text.rstrip("\r\n")


def _walk(folder: str, output: str | None) -> Iterator[str]:
    for path, folders, names in _folders(folder, output):
        del folders
        yield from image_names(path, names)


def _tables_in(folder: str, output: str | None) -> Iterator[str]:
    for path, _, names in _folders(folder, output):
        yield from (os.path.join(path, n) for n in names if n.lower().endswith(TABLES))


def _folders(folder: str, output: str | None) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like os.walk, in order; without hidden folders and the output's."""

    def fail(error: OSError) -> None:
        raise InvalidInputError(f"source {error.filename or folder}: {error.strerror or error}")

    for path, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _is_inside(os.path.join(path, name), output)
        )
        if not _is_inside(path, output):
            yield path, folders, names


def _is_inside(path: str, folder: str | None) -> bool:
    if folder is None:
        return False
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder + os.sep)
