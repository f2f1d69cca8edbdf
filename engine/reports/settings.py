"""Settings and versions as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .page import Table
from .words import title_of


def number_text(value: float | None, form: str = ".4g", none: str = "-") -> str:
    """A number as it stands in tables."""
    return none if value is None or np.isnan(value) else format(value, form)


def value_text(value: Any) -> str:
    """A setting's value in words."""
    if value is None:
        return "default"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def model_table(files: Sequence[tuple[str, str]], more: Sequence[tuple[str, Any]] = ()) -> Table:
    """Each model's file and hash, and further settings of the whole, as (name, value) pairs."""
    rows = [pair for path, sha256 in files for pair in (("Model", path), ("Its SHA-256", sha256))]
    rows += [(name, value_text(value)) for name, value in more]
    return Table("What was asked", ["What", "Value"], rows)


def options_table(methods: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each option of each method."""
    rows = [
        [title_of(method), name, value_text(value)]
        for method, options in methods.items()
        for name, value in options.items()
    ]
    return Table("Options of each method", ["Method", "Option", "Value"], rows)


def versions_table(versions: Mapping[str, str]) -> Table:
    """Of onnxplain and of what it computes with."""
    return Table("Versions", ["Package", "Version"], list(versions.items()))
