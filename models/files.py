"""Files that are read: regular ones, of bounded size, and only where they may lie."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from .. import InvalidInputError, OnnxplainError

T = TypeVar("T")
logger = logging.getLogger("onnxplain")

MOST_TEXT = 10 * 2**20
"""Bytes of a card or of a file of labels, at most."""
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_regular(
    path: str | os.PathLike[str],
    what: str,
    most: int | None = None,
    error: type[OnnxplainError] = InvalidInputError,
) -> int:
    """Return the size of a regular file, following links; nothing is read.

    Args:
        path: of the file.
        what: what it is, in messages: "image", "model card".
        most: bytes allowed; None: any number.
        error: what is raised.

    Raises:
        error: no such file, something else than a file (a folder, a pipe, a device), or too large.
    """
    name = f"{what} {os.fspath(path)}"
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise error(f"{name}: no such file") from None
    except OSError as problem:
        raise error(f"{name}: cannot be read, {problem.strerror or problem}") from None
    except ValueError:  # a NUL, or characters that no file name here can hold
        raise error(f"{name}: no such file, for no file can have that name") from None
    if not stat.S_ISREG(status.st_mode):
        kind = next((text for test, text in _KINDS if test(status.st_mode)), "something else")
        regular = "" if stat.S_ISDIR(status.st_mode) else "regular "
        raise error(f"{name}: expected a {regular}file, got {kind}")
    if most is not None and status.st_size > most:
        raise error(f"{name}: expected at most {most:,} bytes, got {status.st_size:,}")
    return status.st_size


def while_unchanged(most: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """A reader that keeps the last few files that it read, as long as they are as they were.

    Args:
        most: how many.
    """

    def keeping(read: Callable[[str], T]) -> Callable[[str], T]:
        @lru_cache(most)
        def kept(path: str, size: int, changed: int) -> T:
            del size, changed
            return read(path)

        @wraps(read)
        def reader(path: str) -> T:
            status = os.stat(path)
            return kept(path, status.st_size, status.st_mtime_ns)

        return reader

    return keeping


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """The UTF-8 text of a regular file of at most `MOST_TEXT` bytes.

    Raises:
        InvalidInputError: it is none, or cannot be read.
    """
    check_regular(path, what, MOST_TEXT)
    try:
        with open(path, "rb") as file:
            return file.read(MOST_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{what} {path}: expected UTF-8 text, got other bytes") from None
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInputError(f"{what} {path}: cannot be read, {reason}") from None


def parse_json(text: str | bytes, what: str) -> Any:
    """What a JSON text says; `what` begins the message where it is none.

    Raises:
        InvalidInputError: it is none, is nested too deep, or has numbers of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{what}: expected JSON, but {error}") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{what}: expected JSON, got no UTF-8 text") from None
    except RecursionError:
        raise InvalidInputError(f"{what}: expected JSON that is nested less deep") from None
    except ValueError:
        raise InvalidInputError(f"{what}: expected JSON with numbers of fewer digits") from None
    except MemoryError:
        raise InvalidInputError(f"{what}: expected JSON that fits into memory") from None


def beside(folder: Path, name: str) -> Path | None:
    """A file that lies in a folder, as a model may name it; None where it would lead elsewhere.

    Absolute names and `..` lead elsewhere; so do links out of the folder, but for those of a model
    hub's cache, whose files are all links (`models--owner--name/snapshots/revision/model.onnx` to
    `models--owner--name/blobs/...`); that one of these is followed is said in the log.
    """
    location = Path(name)
    if not location.parts or location.is_absolute() or ".." in location.parts or "\0" in name:
        return None
    file, base = folder / location, folder.resolve()
    try:
        real = file.resolve()
    except (OSError, RuntimeError):
        # Links in a circle, or a name that is too long: reading it says what is wrong.
        return file
    if real.is_relative_to(base):
        return file
    blobs = _blobs_of(base)
    if blobs is None or not real.is_relative_to(blobs):
        return None
    _tell_of_link(file, real)
    return file


@cache
def _tell_of_link(file: Path, real: Path) -> None:
    """Once in each process, since every tensor that lies in the file asks for it."""
    logger.warning(f"{file} is a link into the model hub's cache, followed to {real}")


def _blobs_of(folder: Path) -> Path | None:
    """Where a model hub's cache keeps the files of a snapshot's folder."""
    for snapshots in folder.parents:
        repository = snapshots.parent
        if snapshots.name == "snapshots" and repository.name.startswith("models--"):
            return repository / "blobs"
    return None
