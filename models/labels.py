"""The names of a model's classes: reading them, and finding the class that a text names."""

import difflib
import os
from collections.abc import Sequence

from .. import InvalidInputError
from .files import read_text


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the labels in a text file, one a line; empty lines at its end do not count.

    Raises InvalidInputError when it cannot be read, is not UTF-8 text, or holds no label.
    """
    text = read_text(path, "labels file").rstrip()
    if not text:
        raise InvalidInputError(f"labels file {path}: expected one label a line, but it is empty")
    return tuple(line.strip() for line in text.split("\n"))


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
        return f" among the {len(labels)} labels (the first is {labels[0]!r})"
    return f"; did you mean {', '.join(repr(lowered[key]) for key in nearest)}?"
