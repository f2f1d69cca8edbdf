"""Which images are meant, by files, folders and patterns, and how they are gone through."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.methods import methods
from ..files.writing import reason_of
from ..inputs import files_of_a_kind, things_in
from ..records.journal import JOURNAL_FILE, RESULTS_FILE
from ..records.keys import real_path
from ..running.stopping import check_stopped
from ..running.workers import side_by_side

Progress = Callable[[str, float], None]
T = TypeVar("T")
# Pictures and arrays that onnxplain has written, where a folder has its records.
_METHODS = "|".join(map(re.escape, methods()))
_OWN = re.compile(rf".*\.({_METHODS})\.[0-9-]+(\.[0-9a-f]{{6,64}})?\.(png|npz)|panel\.png")


class Found(NamedTuple):
    """An image, or what was given in vain: its path, and why there is no image."""

    path: str
    problem: str | None = None


def find_images(given: Sequence[str], recursive: bool = False) -> list[Found]:
    """The images that are meant, each once, in the order given; those of a folder sorted.

    Args:
        given: for each a file; a folder, which stands for the images in it, or for its arrays where
            it has no image; or a pattern with *, ? or [...], and ** for any folders. Hidden files
            and what onnxplain has written are not taken from folders and patterns. What exists is
            itself, whatever its name; what does not, and fits nothing, is given back. A file of
            several things, as a table, stands for all of them; `table.csv#3` is one.
        recursive: take folders inside folders, too.
    """
    found: dict[str, Found] = {}
    for text in given:
        if os.path.isdir(text):
            images = _in_folder(text, recursive)
        elif os.path.lexists(text) or not glob.has_magic(text):
            images = [Found(text)]
        else:
            images = [Found(path) for path in find_pattern(text)]
        for image in images or [Found(text)]:
            for path in [image.path] if image.problem else things_in(image.path):
                found.setdefault(real_path(path), Found(path, image.problem))
    return list(found.values())


def _in_folder(folder: str, recursive: bool) -> list[Found]:
    try:
        paths = _walk(folder, recursive)
    except OSError as error:
        return [Found(folder, f"{error.filename or folder}: {error.strerror or error}")]
    if not paths:
        more = "" if recursive else " (-r looks into the folders in it, too)"
        return [Found(folder, f"folder {folder}: no image files in it{more}")]
    return [Found(path) for path in paths]


def _walk(folder: str, recursive: bool) -> list[str]:
    found = []
    for path, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) * recursive
        found += image_names(path, names)
    return found


def _raise(error: OSError) -> None:
    raise error


def find_pattern(pattern: str) -> list[str]:
    """What fits a pattern: files that end as images' do, or any file where none does."""
    files = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
    by_folder: dict[str, list[str]] = {}
    for path in files:
        by_folder.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    found = [path for folder, names in by_folder.items() for path in image_names(folder, names)]
    return sorted(found or files)


def image_names(folder: str, names: Sequence[str]) -> list[str]:
    """Those of a folder's files that are images by name, sorted, but for hidden and own ones."""
    place = Path(folder)
    own = any((place / name).exists() for name in (JOURNAL_FILE, RESULTS_FILE))
    taken = [
        name for name in names if not name.startswith(".") and not (own and _OWN.fullmatch(name))
    ]
    paths = [os.path.join(folder, name) for name in sorted(files_of_a_kind(taken))]
    return [path for path in paths if os.path.isfile(path)]


def one_by_one(
    images: Sequence[Found],
    do: Callable[[str], T],
    tell: Progress,
    part: float = 1.0,
    keep: Callable[[T], object] = lambda made: None,
    at_once: int = 1,
) -> list[dict[str, str]]:
    """Do something with every image; one that fails stops no other.

    Args:
        images: what was found.
        do: takes an image's path; several at once, each in a thread of its own.
        tell: called with a text and the part of the work that is done.
        part: of the work that this is.
        keep: takes what `do` returned, one after the other in the images' order.
        at_once: see `side_by_side`.

    Returns:
        For each image that failed its path and the error.
    """

    def made(image: Found) -> tuple[T] | str:
        check_stopped()
        try:
            if image.problem is not None:
                raise InvalidInputError(image.problem)
            return (do(image.path),)
        except OnnxplainError as error:
            return str(error)
        except OSError as error:
            return reason_of(error)

    failed = []
    if images:
        tell(Path(images[0].path).name, 0.0)
    results = side_by_side((partial(made, image) for image in images), at_once)
    for place, (image, found) in enumerate(zip(images, results, strict=True), start=1):
        if isinstance(found, str):
            failed.append({"image": image.path, "error": found})
        else:
            keep(found[0])
        tell(Path(image.path).name, part * place / len(images))
    return failed
