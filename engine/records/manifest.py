"""The manifest of a folder of shards: what they are of, and how many are there.

As the journal is for records: a run of the same question goes on behind what is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import InvalidInputError
from ...models.files import MOST_TEXT, check_regular, parse_json
from ...models.text import counted
from ..files.writing import to_json, write_whole
from .lock import FolderLock, LockedError, folder_lock, taken

# Readers of folders of Parquet files pass over names that begin so.
MANIFEST = "_manifest.json"


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard is."""
    return folder / f"part-{number:05}.parquet"


def locked(folder: Path) -> FolderLock:
    """A lock on the folder, taken.

    Raises:
        InvalidInputError: another process has it.
    """
    try:
        return taken(folder_lock(folder))
    except LockedError as error:
        raise InvalidInputError(f"{folder}: {error}") from None
    except OSError as error:
        raise InvalidInputError(f"{folder}: cannot be locked, {error}") from error


def agree(folder: Path, facts: Mapping[str, Any], resume: bool) -> int:
    """Say in the folder's manifest what its shards are of, or find that it says the same.

    Args:
        folder: of the shards.
        facts: what is asked, of what; JSON.
        resume: whether shards may be there.

    Returns:
        How many shards are there.

    Raises:
        InvalidInputError: shards of another question or source, or any, and `resume` is False.
        OSError: the manifest cannot be written.
    """
    path = folder / MANIFEST
    wanted = json.loads(to_json(facts))
    found = _manifest(path)
    shards = {shard.name for shard in folder.glob("part-*.parquet")}
    if found is None and shards:
        raise InvalidInputError(f"{folder} holds Parquet files of something else: give another -o")
    if found is not None:
        names = sorted({*found, *wanted})
        other = [name for name in names if found.get(name) != wanted.get(name)]
        if other and (shards or resume):
            raise InvalidInputError(
                f"{folder} holds shards of another question ({', '.join(other)} differ): give "
                "another folder (-o)"
            )
        if shards and not resume:
            raise InvalidInputError(
                f"{folder} holds {counted(len(shards), 'shard')} of this question: "
                "add --resume, or give another folder (-o)"
            )
    if found is None or not resume:
        write_whole(path, lambda file: file.write(to_json(wanted, indent=2) + b"\n"))
    done = 0
    while shard_path(folder, done).name in shards:
        done += 1
    return done


def _manifest(path: Path) -> dict[str, Any] | None:
    if not os.path.lexists(path):
        return None
    try:
        check_regular(path, "manifest", MOST_TEXT)
        found = parse_json(path.read_bytes(), "manifest")
    except (InvalidInputError, OSError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} is not onnxplain's, or damaged: give another folder (-o)")
    return found
