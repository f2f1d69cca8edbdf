"""A network as a file, by either of PyTorch's exporters."""

from __future__ import annotations

import contextlib
import io
import warnings

import onnx
import onnxruntime
import torch

from breadth.network import Network

EXPORTERS = ("torchscript", "dynamo")
BATCHES = ("static", "dynamic")
# Rows of a dynamic batch when it is exported, and when it is explained.
_ROWS, ROWS = 3, {"static": 1, "dynamic": 2}


def rows_of(network: Network, count: int) -> torch.Tensor:
    """The example and its random fellows."""
    generator = torch.Generator().manual_seed(5)
    others = torch.randn((count - 1, *network.example.shape[1:]), generator=generator)
    return torch.cat([network.example, others])


def export(network: Network, exporter: str, batch: str, path: str) -> None:
    """Write the network with input `x` and output `y`; the exporter's own errors pass through."""
    dynamic = batch == "dynamic"
    example = rows_of(network, _ROWS if dynamic else 1)
    names = {"input_names": ["x"], "output_names": ["y"]}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            axes = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}} if dynamic else {}
            torch.onnx.export(network.module, (example,), path, dynamo=False, **names, **axes)
            return
        shapes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamic else {}
        torch.onnx.export(
            network.module,
            (example,),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            **names,
            **shapes,
        )


def session_of(model: str | onnx.ModelProto) -> onnxruntime.InferenceSession:
    """One thread, no chatter."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    given = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
