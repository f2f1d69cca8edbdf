"""Prepared graphs, kept by content: three methods on one model prepare it once."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ...graph_passes import rules  # noqa: F401  (registers the rules)
from ...graph_passes.graph.limits import in_force
from ...graph_passes.prepare.pipeline import prepare
from .given import blamed_on_file
from .process import BUILDING, Kept
from .stopwatch import phase

_kept = Kept(2)


def prepared(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    loaded: Callable[[], onnx.ModelProto],
    digest: str,
) -> gs.Graph:
    """The model in the canonical dialect, within the limits in force; the caller may change it.

    Args:
        model: path, bytes or onnx.ModelProto.
        loaded: gives what `load` made of it.
        digest: its SHA-256.

    Raises:
        UnsupportedModelError: the model cannot be prepared.
    """

    def made() -> gs.Graph:
        with phase("build"), np.errstate(all="ignore"), blamed_on_file(model):
            return prepare(loaded())

    with BUILDING:
        return _kept.get((digest, in_force()), made).copy()
