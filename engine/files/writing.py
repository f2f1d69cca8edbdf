"""Files are written beside their place and renamed into it: each is whole, or is not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...models.text import shown_json

try:
    import fcntl
except ImportError:  # Windows, which lets nobody remove a file that is open
    fcntl = None

_PREFIX, _SUFFIX = ".onnxplain-", ".tmp"
# A full disk, a full share of it, and a file over the largest that is allowed: nothing more can be
# written, whatever it is.
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class Draft(NamedTuple):
    """A whole file beside the place where it belongs; its open descriptor keeps it from `sweep`."""

    path: Path
    descriptor: int


def reason_of(error: OSError) -> str:
    """The path and what is wrong with it, in one line."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no room: a full disk or quota, a file over the limit."""
    return error.errno in _FULL


def write_draft(folder: Path, write: Callable[[BinaryIO], object]) -> Draft:
    """Write a new file in a folder, under a name of its own that says nothing.

    Args:
        folder: where.
        write: writes the content to the binary file that it is given.

    Raises:
        OSError: it cannot be written, with the folder as its file name; nothing is left behind.
    """
    draft = _new_draft(folder)
    try:
        with open(draft.descriptor, "wb", closefd=False) as file:
            write(file)
    except OSError as error:
        drop(draft)
        raise OSError(error.errno, error.strerror or str(error), os.fspath(folder)) from error
    except BaseException:
        drop(draft)
        raise
    return draft


def place(draft: Draft, path: Path) -> None:
    """Put a draft into its place, over whatever file is there.

    Raises:
        OSError: it cannot be put there, which its file name says; the draft is gone.
    """
    try:
        if fcntl is None:
            os.close(draft.descriptor)
            draft = draft._replace(descriptor=-1)
        os.replace(draft.path, path)
        if draft.descriptor >= 0:
            os.close(draft.descriptor)
    except OSError as error:
        drop(draft)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        drop(draft)
        raise


def drop(draft: Draft) -> None:
    """Remove a draft."""
    with contextlib.suppress(OSError):
        if draft.descriptor >= 0:
            os.close(draft.descriptor)
    with contextlib.suppress(OSError):
        draft.path.unlink()


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that at any moment there is the old one or the whole new one.

    It keeps an existing file's permissions, follows links, and is on the disk before it stands in
    its place. What is no regular file (a pipe, a terminal, /dev/stdout) is written to directly.

    Args:
        path: the file.
        write: writes the content to the binary file that it is given.

    Raises:
        OSError: it cannot be written, with `path` as its file name; what was there still is, and
            nothing else is left behind.
    """
    try:
        if _is_special(path):
            with open(path, "wb") as file:
                write(file)
            return
        # Where a link leads to is replaced, not the link.
        _replace(Path(os.path.realpath(path)), write)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def sweep(folder: Path, alone: bool = False) -> None:
    """Remove the drafts in a folder that ended processes left behind.

    Args:
        folder: where.
        alone: whether nobody else writes to the folder, so that all drafts in it are left behind,
            also one that a signal's exception has cut off from whom it belonged to.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                path = Path(entry.path)
                if alone:
                    path.unlink(missing_ok=True)
                else:
                    _remove_if_abandoned(path)


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    mode = None
    if path.exists():
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mode = stat.S_IMODE(path.stat().st_mode)

    def write_and_sync(file: BinaryIO) -> None:
        write(file)
        file.flush()
        os.fsync(file.fileno())

    draft = write_draft(path.parent, write_and_sync)
    if mode is not None:
        with contextlib.suppress(OSError):
            os.chmod(draft.path, mode)
    place(draft, path)


def _is_special(path: str | os.PathLike[str]) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _new_draft(folder: Path) -> Draft:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        descriptor = os.open(path, flags, 0o666)
        # Before it is held, somebody else's `sweep` may have taken it for abandoned.
        if _hold(descriptor) and (fcntl is None or os.fstat(descriptor).st_nlink):
            return Draft(path, descriptor)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_if_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        if fcntl is None:
            path.unlink()
            return
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Keep others from taking the file for abandoned; False where one of them just does."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # no locks on this file system: there, nothing is ever taken for abandoned
    return True


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if missing and tried.

    Raises:
        InvalidInputError: it cannot be made or written to.
    """
    directory = Path(folder)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        drop(write_draft(directory, lambda file: None))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            f"cannot write to the output folder {directory}: {reason}"
        ) from error
    return directory


def utf8(text: str) -> bytes:
    """A text for a file; what is no character (of a file's name that is no UTF-8) is an escape."""
    return text.encode("utf-8", "backslashreplace")


def to_json(value: Any, indent: int | None = None) -> bytes:
    """JSON as UTF-8; control characters, and a file name's bytes that are no text, are escapes."""
    return shown_json(json.dumps(value, indent=indent, ensure_ascii=False)).encode()


def plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, records as objects, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    names: Any = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    if names is not None:
        return plain({name: getattr(value, name) for name in names})
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
