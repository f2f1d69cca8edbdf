"""Records of results.json: what was asked, what came out, and what tells one from another."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...graph_passes.methods import find_method
from ...models.card import card_to_json
from ...models.plain_card import Card
from ..baselines import black_of
from ..inputs.baselines import is_file
from ..inputs.stdin import STDIN, stdin_bytes
from ..targets.target import key_in

FAILED = "failed"


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
        options["baseline_sha256"] = _digest(Path(baseline).read_bytes())
    elif isinstance(baseline, list):
        contents = [Path(one).read_bytes() if is_file(one) else b"" for one in baseline]
        options["baseline_sha256"] = [_digest(content) for content in contents]
    content = json.loads(card_to_json(card))
    content.pop("labels", None)
    options["card"] = _digest(_bytes_of(content))
    return options


def question_of(
    image: str, model_sha256: str, method: str, output: str, options: dict[str, Any]
) -> str:
    """What was asked about an image, but for the target: a hash.

    Args:
        image: its path; links to one file are one image.
        model_sha256: of the model.
        method: its name.
        output: the explained output's name.
        options: as `options_of` gives them.
    """
    return _digest(_bytes_of([real_path(image), model_sha256, method, output, options]), 32)


def key_of(question: str, target: str) -> str:
    """What tells a record from all others: a question and the key of the target it came to."""
    return f"{question}/{target}"


def question_in(key: str) -> str:
    """The question of a key."""
    return key.rpartition("/")[0]


def failure_key(image: str, model_sha256: str) -> str:
    """The key of an image's failure with a model."""
    return key_of(_digest(_bytes_of([real_path(image), model_sha256]), 32), FAILED)


def key_of_record(record: dict[str, Any]) -> str:
    """The key of a record in a results.json that has lost its journal, or never had one."""
    image = str(record.get("image"))
    if "error" in record:
        return failure_key(image, str(record.get("model")))
    target = record.get("target")
    target = target if isinstance(target, dict) else {}
    facts = [record.get("model_sha256"), record.get("method"), target.get("output")]
    sha256, method, output = map(str, facts)
    options = record.get("options")
    question = question_of(image, sha256, method, output, options if options else {})
    return key_of(question, key_in(target))


def short_hash(key: str, digits: int = 6) -> str:
    """A part of a file's name that another key hardly has."""
    return _digest(key.encode(), digits)


def real_path(path: str) -> str:
    """A path without links, absolute; what is no path at all is given back."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def image_stat(path: str) -> list[int] | None:
    """Size in bytes and time of change in ns, which say whether it is still the same; or None.

    Of standard input its size and a checksum.
    """
    if path == STDIN:
        return [len(stdin_bytes()), zlib.crc32(stdin_bytes())]
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]


def finite(values: np.ndarray | None) -> float | None:
    """The first number, or None where there is none that JSON knows (NaN, infinity)."""
    return float(values[0]) if values is not None and math.isfinite(values[0]) else None


def _bytes_of(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes, digits: int = 12) -> str:
    return hashlib.sha256(content).hexdigest()[:digits]
