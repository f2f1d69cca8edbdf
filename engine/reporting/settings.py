"""Settings and versions as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def settings_rows(methods: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for each option of each method."""
    return [
        [title_of(method), name, value_text(value)]
        for method, options in methods.items()
        for name, value in options.items()
    ]


def versions_table(versions: Mapping[str, str]) -> Table:
    """Of onnxplain and of what it computes with."""
    return Table("Versions", ["Package", "Version"], list(versions.items()))
