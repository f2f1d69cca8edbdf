"""What a record's files are called: the newest run has the clean name, and no two images share one.

A record whose name is wanted by a newer one makes way: its files get a short hash of its key behind
their name. Whenever that breaks off, each record that is there has its own files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ..files.members import file_of, stem_of
from ..inputs.stdin import STDIN
from ..records.journal import Journal
from ..records.keys import real_path
from ..records.record import Record

# File systems take 255 bytes, less what may be added: a hash and the kind.
_LONGEST_NAME = 180


def names_of(images: Sequence[str]) -> dict[str, str]:
    """What each image's files begin with: its name, and what tells it from others of that name.

    "x" for a/x.png; where b/x.png is among the images, too, "a-x" and "b-x"; beside a/x.jpg "x-png"
    and "x-jpg". Names that differ in case only are the same to some file systems.
    """
    alike: dict[str, dict[str, str]] = {}
    for image in images:
        alike.setdefault(_stem(image).casefold(), {}).setdefault(real_path(image), image)
    found = {}
    for stem, paths in alike.items():
        others = alike.keys() - {stem}
        plain = next((name for name in _NAMES if _tells(name, paths.values(), others)), _stem)
        found |= {image: plain(image) for image in paths.values()}
    same = {real_path(image): name for image, name in found.items()}
    return {image: same[real_path(image)] for image in images}


def file_base(record: Record, stem: str | None = None) -> str:
    """What the record's files are called: `<image>.<method>.<target>`.

    Args:
        record: whose files they are.
        stem: what stands for the image, as `names_of` gives it.
    """
    end = f".{record.method}.{record.target.key}"
    stem = _stem(record.image) if stem is None else stem
    room = _LONGEST_NAME - len(os.fsencode(end))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + end


def make_way(journal: Journal, key: str, base: str) -> None:
    """Give the files of a name to their record under another one; call it while locked.

    The record's files are there under both names when the journal gets its line, so that there is
    no moment at which it speaks of files that are gone.

    Args:
        journal: of the folder.
        key: of the record that wants the name; whose the name is already stays where it is.
        base: the name, without the kind at the end.

    Raises:
        OSError: a file cannot be written, or the journal; the record is as it was.
    """
    owner = journal.owner(base)
    old = journal.entry(owner) if owner is not None and owner != key else None
    if owner is None or old is None or old.record is None:
        return
    other = journal.name_behind(owner, base)
    files = {name: other + Path(name).suffix for name in old.record["files"] if _is_of(base, name)}
    made = [name for name in files if copied(journal.folder / name, journal.folder / files[name])]
    # Who holds the record, as this run's report does, sees it change.
    before = list(old.record["files"])
    old.record["files"][:] = [files.get(name, name) for name in before]
    try:
        journal.append(owner, replace(old))
    except BaseException:
        old.record["files"][:] = before
        for name in made:
            (journal.folder / files[name]).unlink(missing_ok=True)
        raise
    for name in files:
        (journal.folder / name).unlink(missing_ok=True)


def copied(path: Path, other: Path) -> bool:
    """Let a file be there under another name, too, wholly or not at all; False where it is gone.

    Raises:
        OSError: it cannot be written.
    """
    draft = other.with_name(f".onnxplain-{secrets.token_hex(8)}.tmp")
    try:
        try:
            os.link(path, draft)
        except FileNotFoundError:
            return False
        except (OSError, NotImplementedError):  # a file system without links
            shutil.copyfile(path, draft)
        os.replace(draft, other)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return True


def _stem(image: str) -> str:
    return "stdin" if image == STDIN else stem_of(image)


def _folder(image: str, up: int = 0) -> str:
    parents = Path(real_path(image)).parents
    return parents[up].name if up < len(parents) else ""


def _by_kind(image: str) -> str:
    return f"{_stem(image)}-{Path(file_of(image)).suffix[1:]}"


_NAMES: tuple[Callable[[str], str], ...] = (
    _stem,
    lambda image: f"{_folder(image)}-{_stem(image)}",
    _by_kind,
    lambda image: f"{_folder(image)}-{_by_kind(image)}",
    lambda image: f"{_folder(image, 1)}-{_folder(image)}-{_stem(image)}",
)


def _tells(name: Callable[[str], str], images: Collection[str], others: Collection[str]) -> bool:
    """Whether names tell these images apart, and from all others."""
    found = {name(image).casefold() for image in images}
    return len(found) == len(images) and found.isdisjoint(others)


def _is_of(base: str, name: str) -> bool:
    return Path(name).name == name and Path(name).stem.casefold() == base.casefold()
