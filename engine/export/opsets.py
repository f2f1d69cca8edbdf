"""Exported files in the opset that somebody asks for."""

from __future__ import annotations

import onnx

from ... import InvalidInputError
from ...graph_passes.finish.opset import LEAST, MOST, at_opset, oldest_runtime
from ...graph_passes.prepare.reading import default_opset
from ..running.session import CPU, Session


def in_opset(model: onnx.ModelProto, opset: int | None) -> onnx.ModelProto:
    """A file in this opset; None: as it is.

    Raises:
        InvalidInputError: it is no opset that files are written in.
        UnsupportedModelError: the file cannot be written in it.
    """
    if opset is None:
        return model
    most = min(MOST, onnx.defs.onnx_opset_version())
    if type(opset) is not int or not LEAST <= opset <= most:
        raise InvalidInputError(f"opset: expected a number from {LEAST} to {most}, got {opset!r}")
    return at_opset(model, opset)


def check_loads(model: onnx.ModelProto) -> None:
    """Refuse a file that ONNX Runtime cannot load.

    Raises:
        UnsupportedModelError: saying what it cannot do.
    """
    Session(model, [CPU], 1)


def read_by(model: onnx.ModelProto) -> str:
    """Which opset a file is in, and which ONNX Runtime reads it, in words."""
    version = f"opset {default_opset(model)}, IR {model.ir_version}"
    return f"{version}: ONNX Runtime {oldest_runtime(model)} or newer"
