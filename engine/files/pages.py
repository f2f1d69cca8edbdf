"""The one place where what lies below asks for what lies above: a result that is to be saved.

Results are plain: pages import them, and they import no page. That a result can `save` itself is a
promise to whoever calls onnxplain, so that the writers are looked up here, by name, when one is
saved; nobody else asks so.
"""

from __future__ import annotations

import os
from importlib import import_module


def write_result_pages(result: object, folder: str | os.PathLike[str]) -> list[str]:
    """Write a result's report, tables and numbers; see `reports.saving.write_files_of`.

    Args:
        result: a `Comparison`, `Drift` or `Evaluation`.
        folder: made if missing.

    Returns:
        The files' names.

    Raises:
        InvalidInputError: the folder cannot be written to.
        OSError: a file cannot be written.
    """
    return import_module("...reports.saving", __name__).write_files_of(result, folder)
