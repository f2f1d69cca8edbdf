"""The lock on an output folder, one file for all that is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

# What holds the lock, beside the results.
LOCK_FILE = ".onnxplain.lock"
FolderLock: TypeAlias = FileLock


class LockedError(OSError):
    """Another process has the folder."""


def folder_lock(folder: Path, patience: float = 0.0) -> FolderLock:
    """A lock on a folder, which waits so many seconds for others; see `taken`."""
    return FileLock(folder / LOCK_FILE, timeout=patience)


def taken(lock: FolderLock) -> FolderLock:
    """The lock, taken.

    Raises:
        LockedError: another process has it, for longer than the lock waits.
        OSError: the folder cannot be locked.
    """
    try:
        lock.acquire()
    except Timeout:
        raise LockedError("another process is writing to it") from None
    except NotImplementedError as error:
        raise OSError(str(error)) from error
    return lock
