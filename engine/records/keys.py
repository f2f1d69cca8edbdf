"""What tells one record from all others: hashes of what was asked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ..targets.recorded import target_of_json

FAILED = "failed"


def question_of(
    image: str, model_sha256: str, method: str, output: str, options: Mapping[str, Any]
) -> str:
    """What was asked about an image, but for the target: a hash.

    Args:
        image: its path; links to one file are one image.
        model_sha256: of the model.
        method: its name.
        output: the explained output's name.
        options: what shaped the method's numbers.
    """
    return digest(json_bytes([real_path(image), model_sha256, method, output, options]), 32)


def key_of(question: str, target: str) -> str:
    """What tells a record from all others: a question and the key of the target it came to."""
    return f"{question}/{target}"


def question_in(key: str) -> str:
    """The question of a key."""
    return key.rpartition("/")[0]


def failure_key(image: str, model: str) -> str:
    """The key of an image's failure with a model: its SHA-256, or else its path."""
    return key_of(digest(json_bytes([real_path(image), model]), 32), FAILED)


def key_of_json(record: Mapping[str, Any]) -> str:
    """The key of a record in a results.json that has lost its journal, or never had one."""
    image = str(record.get("image"))
    if "error" in record:
        return failure_key(image, str(record.get("model")))
    target = record.get("target")
    target = target_of_json(target if isinstance(target, dict) else {})
    facts = [record.get("model_sha256"), record.get("method")]
    sha256, method = map(str, facts)
    question = question_of(image, sha256, method, target.output, record.get("options") or {})
    return key_of(question, target.key)


def short_hash(key: str, digits: int = 6) -> str:
    """A part of a file's name that another key hardly has."""
    return digest(key.encode(), digits)


def real_path(path: str) -> str:
    """A path without links, absolute; what is no path at all is given back."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def json_bytes(value: Any) -> bytes:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True).encode()


def digest(content: bytes, digits: int = 12) -> str:
    """The beginning of a SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()[:digits]
