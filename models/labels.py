"""The names of a model's classes: reading them, and finding the class that a text names."""

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import InvalidInputError
from .files import read_text
from .text import counted


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the labels in a file: text, one a line, or JSON, as `labels_of` takes it.

    Empty lines at the end of a text do not count.

    Raises InvalidInputError when it cannot be read, is not UTF-8 text, or holds no label.
    """
    text = read_text(path, "labels file").rstrip()
    if not text:
        raise InvalidInputError(f"labels file {path}: expected one label a line, but it is empty")
    if text.lstrip()[:1] in ("[", "{") and Path(path).suffix.lower() != ".txt":
        try:
            return labels_of(json.loads(text))
        except (InvalidInputError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"labels file {path}: {error}") from None
    return tuple(line.strip() for line in text.split("\n"))


def labels_of(given: Any) -> tuple[str, ...]:
    """The classes' names, in the order of the scores.

    given: the path of a file for `read_labels`; a list of texts; or a dictionary of them by index,
    or of indices by them, itself or under "id2label" or "label2id" (as Hugging Face's
    `config.json` has it) or "names" (as Ultralytics has it).

    Raises InvalidInputError when it is none of these, or an index is missing.
    """
    if isinstance(given, str | os.PathLike):
        return read_labels(given)
    if isinstance(given, Mapping):
        inner = next((given[k] for k in ("id2label", "names", "label2id") if k in given), given)
        return labels_of(inner) if isinstance(inner, list) else _by_index(inner)
    if isinstance(given, Iterable) and not isinstance(given, bytes):
        names = list(given)
        if names and all(isinstance(name, str) for name in names):
            return tuple(names)
    raise InvalidInputError(
        "labels: expected a list of texts, a dictionary of texts by index, or the path of a file"
    )


def _by_index(given: Any) -> tuple[str, ...]:
    """{"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}, complete."""
    found: dict[int, str] = {}
    for key, value in given.items() if isinstance(given, Mapping) else ():
        index, name = (
            (value, key) if isinstance(key, str) and isinstance(value, int) else (key, value)
        )
        try:
            found[int(index)] = str(name)
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"labels: expected a class's index, got {str(index)[:40]!r}"
            ) from None
    missing = next((k for k in range(len(found)) if k not in found), None)
    if not found or missing is not None:
        raise InvalidInputError(
            f"labels: expected a name for each index from 0 on, got none for {missing or 0}"
        )
    return tuple(found[k] for k in range(len(found)))


def find_label(labels: Sequence[str] | None, text: str) -> int:
    """Return the index of the class that `text` names.

    A label equal to `text` wins, then one equal but for upper and lower case, then one that has
    `text` among its comma-separated parts ("tabby, tabby cat").

    Raises InvalidInputError when no label or several match; the message suggests the nearest ones.
    """
    if not labels:
        raise InvalidInputError(
            f"target {text!r}: expected a class index, because no labels are known "
            "(give --labels FILE, or a model card)"
        )
    wanted = text.strip().lower()
    ways = (
        lambda label: label == text,
        lambda label: label.lower() == wanted,
        lambda label: wanted in [part.strip().lower() for part in label.split(",")],
    )
    for matches in ways:
        found = [index for index, label in enumerate(labels) if matches(label)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"{index} ({labels[index]})" for index in found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise InvalidInputError(
                f"label {text!r} names several classes: {several}{more}; give the index instead"
            )
    raise InvalidInputError(f"no label is {text!r}{_suggestion(labels, wanted)}")


def _suggestion(labels: Sequence[str], wanted: str) -> str:
    """Return '; did you mean ...?' with up to five labels, those that hold `wanted` first."""
    lowered = {label.lower(): label for label in labels}
    holding = [key for key in lowered if wanted and wanted in key]
    holding.sort(key=lambda key: wanted not in key.replace(",", " ").split())
    close = difflib.get_close_matches(wanted, list(lowered), n=5, cutoff=0.6)
    nearest = list(dict.fromkeys([*holding[:5], *close]))[:5]
    if not nearest:
        return f" among {counted(len(labels), 'label')} (the first is {labels[0]!r})"
    return f"; did you mean {', '.join(repr(lowered[key]) for key in nearest)}?"
