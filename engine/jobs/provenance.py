"""What shaped an image's numbers: the options of a method, and the image's own file."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...graph_passes.methods import find_method
from ...models.card import card_to_json
from ...models.plain_card import Card
from ..explaining.baselines import black_of
from ..files.members import file_of
from ..inputs.baselines import Choice, baseline_arrays, is_file, is_of_each
from ..inputs.kind import ModelInput
from ..inputs.stdin import STDIN, stdin_bytes
from ..records.keys import digest, json_bytes


def options_of(method: str, asked: Mapping[str, Any], card: Card) -> dict[str, Any]:
    """What shaped a method's numbers, as it was asked for.

    Args:
        method: its name.
        asked: options by name; None, or none of that name, means the default.
        card: how images become inputs; `card` in the result is a digest of it, and
            `baseline_sha256` one of a baseline's file.
    """
    options = {}
    for option in find_method(method).options:
        if option.command_line:
            given = asked.get(option.name)
            options[option.name] = option.default if given is None else given
    if "baseline" in options:
        default = "zeros" if black_of(card) is None else "black"
        options["baseline"] = options["baseline"] or default
    baseline = options.get("baseline")
    if isinstance(baseline, str) and is_file(baseline):
        options["baseline_sha256"] = digest(Path(baseline).read_bytes())
    elif isinstance(baseline, list):
        contents = [Path(one).read_bytes() if is_file(one) else b"" for one in baseline]
        options["baseline_sha256"] = [digest(content) for content in contents]
    content = json.loads(card_to_json(card))
    content.pop("labels", None)
    options["card"] = digest(json_bytes(content))
    return options


def common_baseline(
    choice: Choice, card: Card, into: ModelInput
) -> np.ndarray | list[np.ndarray] | float | None:
    """What all images are compared with; None: each has its own."""
    if choice is None:
        black = black_of(card)
        return 0.0 if black is None else black
    return None if is_of_each(choice) else baseline_arrays(choice, into)


def options_of_all(
    asked: Mapping[str, Mapping[str, Any]], card: Card, more: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What shaped each method's numbers; see `options_of`.

    Args:
        asked: for each method its options.
        card: how images become inputs.
        more: what all have in common; what is empty is left out.
    """
    said = {name: value for name, value in more.items() if value}
    return {name: {**options_of(name, own, card), **said} for name, own in asked.items()}


def image_stat(path: str) -> list[int] | None:
    """Size in bytes and time of change in ns, which say whether it is still the same; or None.

    Of standard input its size and a checksum.
    """
    if path == STDIN:
        return [len(stdin_bytes()), zlib.crc32(stdin_bytes())]
    try:
        found = os.stat(file_of(path))
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]
