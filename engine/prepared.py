"""Prepared graphs, kept by content: three methods on one model prepare it once."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np
import onnx
import onnx_graphsurgeon as gs

import onnxplain.engine.session  # quietens ONNX Runtime while constants are folded
import onnxplain.graph_passes.rules  # noqa: F401  (registers the rules)
from onnxplain.engine.files import blamed_on_file
from onnxplain.engine.locks import BUILDING
from onnxplain.engine.stopwatch import phase
from onnxplain.graph_passes.limits import Limits, in_force
from onnxplain.graph_passes.prepare import prepare
from onnxplain.models.load import load, sha256

_MOST_KEPT = 2
_kept: OrderedDict[tuple[str, Limits], gs.Graph] = OrderedDict()


def prepared_graph(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    loaded: onnx.ModelProto | None = None,
    digest: str | None = None,
) -> gs.Graph:
    """The model in the canonical dialect, within the limits in force; the caller may change it.

    Args:
        model: path, bytes or onnx.ModelProto.
        loaded: what `load` made of it, where it is at hand.
        digest: its SHA-256, the same.

    Raises:
        UnsupportedModelError: the model is unreadable or cannot be prepared.
    """
    with phase("load"):
        key = (sha256(model) if digest is None else digest, in_force())
    with BUILDING:
        if key not in _kept:
            with phase("load"):
                loaded = load(model) if loaded is None else loaded
            with phase("build"), np.errstate(all="ignore"), blamed_on_file(model):
                _kept[key] = prepare(loaded)
            while len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
        return _kept[key].copy()
