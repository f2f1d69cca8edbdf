"""Explainers from pickles: built once in each process that gets them."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from ..running.given import check_unchanged
from ..running.process import BUILDING, Kept

# A pool pickles an explainer for every task; building it takes a hundred times what a task takes.
_kept = Kept(2)


def restored(
    make: Callable[..., Any], model: str | bytes, digest: str, arguments: dict[str, Any]
) -> Any:
    """An explainer as it was pickled, or the one that was made of an equal pickle here.

    Args:
        make: `Explainer`.
        model: a path, or bytes.
        digest: the model's SHA-256.
        arguments: what the explainer was given else.

    Raises:
        UnsupportedModelError: the file is gone or has changed.
    """
    check_unchanged(model, digest)
    path = model if isinstance(model, str) else None
    key = hashlib.sha256(pickle.dumps((make, path, digest, arguments))).hexdigest()
    with BUILDING:
        return _kept.get(key, lambda: make(model, **arguments))
