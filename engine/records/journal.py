"""results.jsonl: every finished record at once, from which results.json is made.

One line a finished record, appended under the folder's lock in a single write:

    {"key": ..., "asked": [...], "image_stat": [size, mtime in ns], "record": {...}}

The last line of a key is what counts; one whose record is null takes the key's record away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import InvalidInputError
from ...models.files import parse_json
from ..files.writing import to_json, write_whole
from ..running.stopping import uninterrupted
from .keys import key_of_json, question_in, short_hash
from .lock import LOCK_FILE, LockedError, folder_lock, taken
from .record import Json

JOURNAL_FILE = "results.jsonl"
RESULTS_FILE = "results.json"
# Others hold the lock for as long as it takes to write a line, or results.json.
_PATIENCE = 60.0
# The part of a run's time that may go into writing results.json before the end.
_SHARE = 0.02
_BEGINNING = b'{"key": "'


class JournalError(OSError):
    """Nothing more can be put on record."""


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        record: the record, of any version; None takes it away.
        asked: the targets that led to it, as they were asked for: "281", "top1", "1-20-30".
        image_stat: size and time of the image's last change when it was read; None: not known.
    """

    record: Json | None
    asked: tuple[str, ...] = ()
    image_stat: list[int] | None = None


class Journal:
    """The records of an output folder, shared by all processes that write to it.

    Raises:
        InvalidInputError: the folder has a results.json or results.jsonl of something else.
        JournalError: the folder cannot be locked or written to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._path = folder / JOURNAL_FILE
        self._lock = folder_lock(folder, _PATIENCE)
        self._entries: dict[str, Entry] = {}
        self._owners: dict[str, str] = {}
        self._answers: dict[tuple[str, str], str] = {}
        self._reserved, self._own = set[str](), set[str]()
        self._read = 0
        self._began, self._spent = time.perf_counter(), 0.0
        with self.locked():
            if not self._entries:
                self._take_over()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out, and know what they have written until now.

        Raises:
            JournalError: the folder cannot be locked, or its journal not be read.
        """
        with uninterrupted():
            try:
                taken(self._lock)
            except LockedError:
                raise JournalError(
                    errno.EAGAIN,
                    f"locked by another process for {_PATIENCE:.0f} s",
                    os.fspath(self.folder / LOCK_FILE),
                ) from None
            except OSError as error:
                raise self._error(error) from error
            try:
                self._catch_up()
                yield
            finally:
                self._lock.release()

    def records(self) -> list[Json]:
        """Every record, in the order in which they first came."""
        return [entry.record for entry in self._entries.values() if entry.record is not None]

    def entry(self, key: str) -> Entry | None:
        """A key's entry."""
        return self._entries.get(key)

    def answer(self, question: str, asked: str) -> Entry | None:
        """The entry that a target of a question came to; see `Entry.asked`."""
        return self._entries.get(self._answers.get((question, asked), ""))

    def name(self, key: str, wanted: str) -> str:
        """The name that a new record's files take; call it while locked.

        It is `wanted`, also where an earlier run's record has it, which must make way then; or
        that with a short hash of the key behind it, where it is kept: this run has given it away.
        """
        owner = self.owner(wanted)
        kept = wanted.casefold() in self._reserved or owner in self._own
        return self.name_behind(key, wanted) if kept and owner != key else wanted

    def name_behind(self, key: str, wanted: str) -> str:
        """A name that no other record's files have: a short hash of the key behind `wanted`."""
        names = [f"{wanted}.{short_hash(key, n)}" for n in (6, 12, 64)]
        return next(
            n for n in names if self.owner(n) in (None, key) and n.casefold() not in self._reserved
        )

    def owner(self, base: str) -> str | None:
        """The key of the record whose files have this name."""
        return self._owners.get(base.casefold())

    def reserve(self, base: str) -> None:
        """Let no record that is still to come have files of this name."""
        self._reserved.add(base.casefold())

    def keep(self, key: str) -> None:
        """Let a record keep its name, as those do that this run has written."""
        self._own.add(key)

    def append(self, key: str, entry: Entry) -> None:
        """Put an entry on record; call it while locked.

        Raises:
            JournalError: it cannot be written; the journal is as it was.
        """
        line: Json = {"key": key}
        if entry.asked:
            line["asked"] = list(entry.asked)
        if entry.image_stat is not None:
            line["image_stat"] = entry.image_stat
        line["record"] = entry.record
        self._write(to_json(line) + b"\n")
        self._learn(key, entry)

    def write_results(self) -> None:
        """Write results.json: what all processes have put on record until now.

        Raises:
            JournalError: it cannot be written; the old one is still there, and the journal.
        """
        with self.locked():
            began = time.perf_counter()
            try:
                content = to_json(self.records(), indent=2) + b"\n"
                write_whole(self.folder / RESULTS_FILE, lambda file: file.write(content))
            except OSError as error:
                raise self._error(error, RESULTS_FILE) from error
            self._spent += time.perf_counter() - began

    def write_results_if_cheap(self) -> None:
        """The same, as long as it takes no more than a small part of the whole time."""
        if self._spent <= _SHARE * (time.perf_counter() - self._began):
            self.write_results()

    def _catch_up(self) -> None:
        """Read what has been appended since; half a line that a killed process left is cut off."""
        try:
            with open(self._path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                # Shorter than before: somebody has put another one in its place.
                self._read = self._read if self._read <= size else 0
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            self._read = 0
            return
        except OSError as error:
            raise self._error(error) from error
        whole = new.rfind(b"\n") + 1
        found = [_parsed(line) for line in new[:whole].split(b"\n") if line.strip()]
        strange = bool(found) and not any(found) and not self._entries
        if strange or not _BEGINNING.startswith(new[whole:][: len(_BEGINNING)]):
            raise InvalidInputError(f"{self._path} is not onnxplain's: give another folder (-o)")
        for key, entry in filter(None, found):
            self._learn(key, entry)
        self._read += whole
        if whole < len(new):
            with contextlib.suppress(OSError):
                os.truncate(self._path, self._read)

    def _take_over(self) -> None:
        """Begin with the records of a results.json without a journal."""
        path = self.folder / RESULTS_FILE
        try:
            records = parse_json(path.read_bytes(), RESULTS_FILE)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error(error, RESULTS_FILE) from error
        except InvalidInputError:
            records = None
        if not isinstance(records, list) or not all(map(_is_record, records)):
            raise InvalidInputError(
                f"{path} is not onnxplain's, or damaged: move it away, or give another folder (-o)"
            )
        entries = {key_of_json(record): Entry(record) for record in records}
        lines = [to_json({"key": key, "record": e.record}) for key, e in entries.items()]
        if lines:
            self._write(b"\n".join(lines) + b"\n")
        for key, entry in entries.items():
            self._learn(key, entry)

    def _write(self, content: bytes) -> None:
        """Append to the journal, wholly or not at all."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self._path, flags, 0o666)
            try:
                before = os.fstat(descriptor).st_size
                try:
                    written = os.write(descriptor, content)
                    while written < len(content):  # Where the disk is full, the next one says so.
                        written += os.write(descriptor, content[written:])
                except BaseException:
                    os.ftruncate(descriptor, before)
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error(error) from error
        self._read = before + len(content)

    def _learn(self, key: str, entry: Entry) -> None:
        old = self._entries.get(key)
        for base in _bases(old.record if old else None):
            self._owners.pop(base.casefold(), None)
        if entry.record is None:
            self._entries.pop(key, None)
            return
        self._entries[key] = entry
        for base in _bases(entry.record):
            self._owners[base.casefold()] = key
        for asked in entry.asked:
            self._answers[question_in(key), asked] = key

    def _error(self, error: Exception, name: str = JOURNAL_FILE) -> JournalError:
        path = getattr(error, "filename", None) or os.fspath(self.folder / name)
        number = getattr(error, "errno", None) or errno.EIO
        return JournalError(number, getattr(error, "strerror", None) or str(error), path)


def _bases(record: Json | None) -> Sequence[str]:
    """What a record's files are called, without the kind at the end."""
    files = record.get("files") if record else None
    names = files if isinstance(files, list) else []
    return list(dict.fromkeys(Path(name).stem for name in names if isinstance(name, str)))


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("image"), str)


def _parsed(line: bytes) -> tuple[str, Entry] | None:
    """A line's key and entry; None for what is neither."""
    try:
        content = parse_json(line, JOURNAL_FILE)
    except InvalidInputError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("key"), str):
        return None
    record, asked = content.get("record"), content.get("asked")
    if record is not None and not _is_record(record):
        return None
    stat = content.get("image_stat")
    names = (
        tuple(name for name in asked if isinstance(name, str)) if isinstance(asked, list) else ()
    )
    return content["key"], Entry(record, names, stat if isinstance(stat, list) else None)
