"""Prepared graphs, kept by content: three methods on one model prepare it once."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ...graph_passes import rules  # noqa: F401  (registers the rules)
from ...graph_passes.graph.limits import Limits, in_force
from ...graph_passes.prepare.pipeline import prepare
from . import session  # noqa: F401  (quietens ONNX Runtime while constants are folded)
from .given import blamed_on_file
from .locks import BUILDING
from .stopwatch import phase

_MOST_KEPT = 2
_kept: OrderedDict[tuple[str, Limits], gs.Graph] = OrderedDict()


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
    key = digest, in_force()
    with BUILDING:
        if key not in _kept:
            with phase("build"), np.errstate(all="ignore"), blamed_on_file(model):
                _kept[key] = prepare(loaded())
            while len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
        return _kept[key].copy()
