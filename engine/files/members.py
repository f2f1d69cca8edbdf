"""One thing of a file that holds several: the third row of a table, as `table.csv#3`."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MEMBER = re.compile(r"(.*[^#/\\]\.[A-Za-z0-9]+)#([0-9]{1,9})", re.DOTALL)


def member_of(path: str) -> tuple[str, int | None]:
    """The file of a path, and which of its things is meant, from 1; None: all, or the only one.

    A file that is called so itself is that file.
    """
    found = _MEMBER.fullmatch(path)
    if found is None or os.path.lexists(path):
        return path, None
    return found[1], int(found[2])


def file_of(path: str) -> str:
    """The file that a path's thing lies in."""
    return member_of(path)[0]


def stem_of(path: str) -> str:
    """What a thing is called without its file's ending: "table-3" of `table.csv#3`."""
    file, number = member_of(path)
    return Path(file).stem if number is None else f"{Path(file).stem}-{number}"
