"""Small torch networks, each with its original's structure, and their export to ONNX.

`NETWORKS[name]` says how a network is built and fed; `network(name)` builds it, `example(name)`
makes an input for it and `exported(name, ...)` exports it, once for all runs of the same sources.
Everything is seeded.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib.metadata
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
import torch
from torch import nn

from support import network_modules as modules
from support.folders import ROOT

# Networks this small gain nothing from threads, and lose much where cores are few or busy.
torch.set_num_threads(1)

Exporter = Literal["dynamo", "torchscript"]
_KEPT = ROOT / ".pytest_cache" / "exports"
BATCH_AND_SIZE = {0: "batch", 2: "height", 3: "width"}


class Network(NamedTuple):
    """How a network is built, what it is fed, and which of its input's axes may vary."""

    factory: Callable[[], nn.Module]
    input_shape: tuple[int, ...] = (2, 3, 40, 48)
    dynamic_axes: dict[int, str] = BATCH_AND_SIZE
    smooth: bool = False  # no kinks anywhere, so finite differences hold at every step


_FIXED_SIZE = {0: "batch"}

NETWORKS: dict[str, Network] = {
    "resnet": Network(modules.ResNet),
    "mobilenet_v2": Network(modules.MobileNetV2),
    "mobilenet_v3": Network(modules.MobileNetV3),
    "efficientnet": Network(modules.EfficientNet, smooth=True),
    "convnext": Network(modules.ConvNeXt, smooth=True),
    "unet": Network(modules.UNet),
    "vit": Network(modules.VisionTransformer, (2, 3, 32, 24), _FIXED_SIZE, smooth=True),
    "conv_head": Network(modules.ConvHead),
    "densenet": Network(modules.DenseNet),
    "odd_shapes": Network(modules.OddShapes, (2, 4, 37, 46)),
    "captum_relu": Network(modules.captum_relu, (2, 3, 32, 40), _FIXED_SIZE),
    "captum_smooth": Network(modules.captum_smooth, (2, 3, 32, 40), _FIXED_SIZE, smooth=True),
    "captum_dense": Network(modules.captum_dense, (2, 12), _FIXED_SIZE),
}
"""name -> how to build and feed it. Every output is [N, 10], unet's is [N, 10, H, W]."""


@functools.cache
def network(name: str) -> nn.Module:
    """Build the network, float32, in eval mode, parameters frozen. Shared: do not change it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETWORKS[name].factory().eval()
        modules.randomise(module, example(name, batch=16, seed=99))
    return module.requires_grad_(False)


@functools.cache
def network64(name: str) -> nn.Module:
    """Copy the network in float64, for reference gradients. Shared: do not change it."""
    return copy.deepcopy(network(name)).double()


def example(
    name: str, batch: int | None = None, seed: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """A random input of the network, with values in [0, 1)."""
    default, *shape = NETWORKS[name].input_shape
    return images([batch or default, *shape], seed).to(dtype)


def images(shape: Sequence[int], seed: int = 1) -> torch.Tensor:
    """Smooth blobs plus noise in [0, 1), as images have them: [N, C, H, W]; else noise alone."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(list(shape), generator=generator)
    if len(shape) != 4:
        return noise
    coarse = torch.rand([*shape[:2], 5, 4], generator=generator)
    blobs = nn.functional.interpolate(coarse, size=list(shape[2:]), mode="bilinear")
    return 0.7 * blobs + 0.3 * noise


def export(
    module: nn.Module,
    example: torch.Tensor,
    exporter: Exporter = "dynamo",
    opset: int | None = None,
    dynamic_axes: dict[int, str] | None = None,
) -> onnx.ModelProto:
    """Export a module of one input and one output, named "input" and "output", quietly.

    `opset` None is the exporter's own default; `dynamic_axes` names the input's symbolic axes.
    """
    axes = dynamic_axes or {}
    buffer = io.BytesIO()
    names: Any = {"input_names": ["input"], "output_names": ["output"]}
    with _silence():
        if exporter == "dynamo":
            shapes = ({axis: torch.export.Dim.DYNAMIC for axis in axes},) if axes else None
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=shapes,
                verbose=False,
                **names,
            )
            assert program is not None
            return program.model_proto
        torch.onnx.export(
            module,
            (example,),
            buffer,  # pyright: ignore[reportArgumentType]  # documented for dynamo=False
            dynamo=False,
            opset_version=opset,
            dynamic_axes={"input": axes} if axes else None,
            **names,
        )
    return onnx.load_from_string(buffer.getvalue())


@functools.cache
def _exported(name: str, exporter: Exporter, opset: int | None, dynamic: bool) -> bytes:
    """Kept on disk, too: else every process of a run, and every run, exports anew."""
    asked = repr((name, exporter, opset, dynamic))
    path = _KEPT / f"{hashlib.sha256((_made_by() + asked).encode()).hexdigest()}.onnx"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    axes = NETWORKS[name].dynamic_axes if dynamic else None
    content = export(network(name), example(name), exporter, opset, axes).SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
    return content


@functools.cache
def _made_by() -> str:
    """What an export follows from: these modules' sources, and the exporters' versions."""
    files = Path(__file__), Path(modules.__file__)
    sources = [path.read_text(encoding="utf-8") for path in files]
    versions = [importlib.metadata.version(name) for name in ("torch", "onnx", "onnxscript")]
    return repr((sources, versions))


def exported(
    name: str, exporter: Exporter = "dynamo", opset: int | None = None, dynamic: bool = False
) -> onnx.ModelProto:
    """Export a network of `NETWORKS`: once per process, as a fresh copy at every call."""
    return onnx.load_from_string(_exported(name, exporter, opset, dynamic))


@contextlib.contextmanager
def _silence():
    """Keep the exporters' prints, warnings and log records out of the test output."""
    quietened = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in quietened]
    for logger in quietened:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(quietened, levels, strict=True):
            logger.setLevel(level)
