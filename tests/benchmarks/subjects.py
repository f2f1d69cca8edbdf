"""The networks of the tables, each as an ONNX file and as the PyTorch module that Captum takes."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import shapes as drawn
from support import zoo  # the tests' folder is on the path from here on

from onnxplain.models.shipped import demo_model


class Network(NamedTuple):
    """One network.

    Attributes:
        name: for the tables.
        model: the path or the bytes of the ONNX file.
        module: the same in PyTorch.
        layer: the module whose output is Grad-CAM's feature map.
        x: images, float32 [5, 3, height, width].
        baseline: what the paths start from, float32 [1, 3, height, width].
    """

    name: str
    model: str | bytes
    module: nn.Module
    layer: nn.Module
    x: np.ndarray
    baseline: np.ndarray


def photos() -> np.ndarray:
    """The two shipped photos, one mirrored, and a part of each, enlarged."""
    first, second = zoo.photo(0), zoo.photo(1)
    close = [zoo.photo(i, 320)[:, :, 48:272, 60:284] for i in (0, 1)]
    return np.concatenate([first, second, first[..., ::-1], *close])


def lite0() -> Network:
    """EfficientNet-Lite0, trained: the demo model."""
    module = Lite0(onnx.load(demo_model())).eval()
    x = photos()
    baseline = np.full_like(x[:1], -127 / 128)
    return Network("EfficientNet-Lite0", str(demo_model()), module, module.last, x, baseline)


def resnet50() -> Network:
    """ResNet-50 with random weights, by PyTorch's exporter."""
    torch.manual_seed(0)
    module = ResNet50().eval()
    x = photos()
    # Batch statistics of these images keep the signal alive through fifty layers.
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()(torch.from_numpy(x))
    module.eval()
    return _of_module("ResNet-50", module, x)


def shapes() -> Network:
    """ResNet-50 of a quarter of the width, trained on drawn shapes (two minutes, once)."""
    torch.manual_seed(0)
    module = ResNet50(16, len(drawn.SHAPES))
    # Every block starts as its shortcut: so deep a network learns in fewer steps.
    for part in module.modules():
        if isinstance(part, Bottleneck):
            nn.init.zeros_(part.body[-1].weight)
    drawn.train(module)
    x = drawn.held_out()[0][:5]
    return _of_module("ResNet-50, a quarter as wide, trained on shapes", module, x)


def _of_module(name: str, module: ResNet50, x: np.ndarray) -> Network:
    """By PyTorch's exporter; its baseline is zero."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.from_numpy(x[:1]),),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )
    baseline = np.zeros_like(x[:1])
    return Network(name, buffer.getvalue(), module, module.stages, x, baseline)


class Sum(nn.Module):
    """Both inputs' sum."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


class Lite0(nn.Module):
    """The demo file's nodes as modules, so that Captum's hooks find its activations."""

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Cast" and node.input[0] in weights:
                weights[node.output[0]] = weights[node.input[0]].astype(np.float32)
        self.nodes: list[tuple[str, list[str], str]] = []
        self.parts = nn.ModuleDict()
        self.source, self.result = model.graph.input[0].name, model.graph.output[0].name
        for node in model.graph.node:
            inputs = [name for name in node.input if name not in weights]
            if not inputs:
                continue
            name = f"node{len(self.nodes)}"
            arrays = [torch.from_numpy(weights[n].copy()) for n in node.input if n in weights]
            if node.op_type == "Conv":
                part = _convolution(node, *arrays)
            elif node.op_type == "Gemm":
                part = nn.Linear(arrays[0].shape[1], arrays[0].shape[0])
                part.weight.data, part.bias.data = arrays
            elif node.op_type == "Clip":
                part = nn.ReLU6()
                self.last = part
            elif node.op_type == "ReduceMean":
                part = nn.AdaptiveAvgPool2d(1)
            elif node.op_type == "Reshape":
                part = nn.Flatten()
            else:
                assert node.op_type == "Add", node.op_type
                part = Sum()
            self.parts[name] = part
            self.nodes.append((name, inputs, node.output[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self.source: x}
        for name, inputs, output in self.nodes:
            given = [values[i] for i in inputs]
            values[output] = self.parts[name](*given)
        return values[self.result]


def _convolution(node: onnx.NodeProto, weight: torch.Tensor, bias: torch.Tensor) -> nn.Module:
    facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    top, left, bottom, right = facts["pads"]
    even = top == bottom and left == right
    groups = facts["group"]
    convolution = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        tuple(facts["strides"]),
        (top, left) if even else 0,
        groups=groups,
    )
    convolution.weight.data, convolution.bias.data = weight, bias
    if even:
        return convolution
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), convolution)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *[nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()],
            *[nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()],
            *[nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)],
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.end = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """He et al. 2015, table 1, with the stride in the 3x3 convolution; `width` is the stem's."""

    def __init__(self, width: int = 64, classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks, inputs = [], width
        for stage, count in enumerate((3, 4, 6, 3)):
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                blocks.append(Bottleneck(inputs, width * 2**stage, stride))
                inputs = 4 * width * 2**stage
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(x)))


NETWORKS = {"lite0": lite0, "resnet50": resnet50, "shapes": shapes}
