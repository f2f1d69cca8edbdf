"""What ONNX Runtime's own optimiser makes of a model, as a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from ... import UnsupportedModelError


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as ONNX Runtime would run it on a CPU, its fusions included, as it would save it.

    Without the optimisations that depend on the machine (blocked layouts).

    Raises:
        UnsupportedModelError: ONNX Runtime cannot load the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        try:
            providers = ["CPUExecutionProvider"]
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
            return onnx.load(path)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise UnsupportedModelError(
                f"ONNX Runtime cannot optimise the model: {reason}"
            ) from error
