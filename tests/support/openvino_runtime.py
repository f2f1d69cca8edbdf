"""What OpenVINO makes of a file, in float32 on the CPU."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import pytest


def openvino() -> Any:
    """OpenVINO itself; skips where it is not installed."""
    return pytest.importorskip("openvino", reason="openvino is not installed")


def run_openvino(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name. Arithmetic of the CPU plugin in float32, as ONNX Runtime's."""
    ov = openvino()

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    read = core.read_model(io.BytesIO(model.SerializeToString()))
    compiled = core.compile_model(read, "CPU", settings)
    found = compiled(feeds)
    names = [value.name for value in model.graph.output]
    return {name: np.asarray(found[name]) for name in names}
