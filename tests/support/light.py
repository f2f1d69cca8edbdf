"""The onnx package's nine `light_*` networks (Caffe2 exports, opset 9), with random weights.

The files have the real graphs of AlexNet, VGG-19, ResNet-50 and the others, but every weight is a
ConstantOfShape of 0.02. Here each becomes an initializer, as in the original model zoo, drawn at
random and calibrated on a few images, layer by layer, so that no signal dies or explodes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from support.networks import images
from support.torch_runner import run_node

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT: dict[str, str] = {
    "alexnet": "light_bvlc_alexnet",
    "densenet121": "light_densenet121",
    "inception_v1": "light_inception_v1",
    "inception_v2": "light_inception_v2",
    "resnet50": "light_resnet50",
    "shufflenet": "light_shufflenet",
    "squeezenet": "light_squeezenet",
    "vgg19": "light_vgg19",
    "zfnet512": "light_zfnet512",
}
"""name -> file. All take [N, 3, size, size].

They return [N, 1000] probabilities; squeezenet [N, 1000, 1, 1]; densenet121 [N, 1000, 1, 1] logits.
"""

CLASSES = 1000
FULL_SIZE = 224
REDUCED_SIZE = 96
REDUCED_HIDDEN = 256  # instead of fully connected layers of 4096 or 1024


def light_model(
    name: str, seed: int = 0, size: int = REDUCED_SIZE, batch: int | str = 1
) -> onnx.ModelProto:
    """Build one of `LIGHT` with random weights: a fresh copy at every call, cached by process.

    At any size below 224 (a multiple of 32 for shufflenet), what depends on the size is adapted:
    Reshape's targets, the kernel of the last pooling, and the width of hidden linear layers. A
    batch other than 1, or a name for a symbolic one, makes the Reshapes copy the batch axis.
    """
    return onnx.load_from_string(_light_model(name, seed, size, batch))


def light_example(
    name: str, batch: int = 1, size: int = REDUCED_SIZE, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Feeds for `light_model(name, ..., size)`: its input's name and random images."""
    return {_data_input(_load(name)): images([batch, 3, size, size], seed)}


@functools.cache
def _light_model(name: str, seed: int, size: int, batch: int | str) -> bytes:
    return _Calibration(_load(name), seed, size).rebuild(batch).SerializeToString()


def _load(name: str) -> onnx.ModelProto:
    return onnx.load(FOLDER / f"{LIGHT[name]}.onnx")


def _data_input(model: onnx.ModelProto) -> str:
    constants = {initializer.name for initializer in model.graph.initializer}
    (data,) = (entry.name for entry in model.graph.input if entry.name not in constants)
    return data


class _Calibration:
    """One walk over the graph with real images, choosing each weight when it is first used."""

    def __init__(self, model: onnx.ModelProto, seed: int, size: int):
        self.model, self.size = model, size
        self.generator = torch.Generator().manual_seed(seed)
        self.nodes = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
        self.consumers = {key: node for node in self.nodes for key in node.input}
        self.relus = {node.output[0] for node in self.nodes if node.op_type == "Relu"}
        self.shapes: dict[str, list[int]] = {}  # of the weights to choose
        self.constants: dict[str, torch.Tensor] = {}  # what becomes an initializer
        arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "ConstantOfShape":
                self.shapes[node.output[0]] = arrays.pop(node.input[0]).tolist()
        for key, array in arrays.items():
            if array.dtype == np.float32 and key in self.consumers:
                self.shapes[key] = list(array.shape)
            else:  # Reshape's targets, and a queue that nobody reads
                self.constants[key] = torch.from_numpy(array.copy())
        self.data = _data_input(model)
        self.values = {self.data: images([8, 3, size, size], seed + 99)}

    def rebuild(self, batch: int | str) -> onnx.ModelProto:
        """Choose all weights and return the finished model."""
        with torch.no_grad():
            for node in self.nodes:
                self._visit(node)
        graph, describe = self.model.graph, onnx.helper.make_tensor_value_info
        inputs = [describe(self.data, onnx.TensorProto.FLOAT, [batch, 3, self.size, self.size])]
        initializers = []
        for key, value in self.constants.items():
            if batch == 1 and value.dtype == torch.int64 and value[0] == 0:
                value[0] = 1  # as in the original
            initializers.append(numpy_helper.from_array(value.numpy(), key))
            # IR version 3 wants every initializer among the inputs, and so had the originals.
            inputs.append(describe(key, initializers[-1].data_type, list(value.shape)))
        outputs = [
            describe(
                output.name, onnx.TensorProto.FLOAT, [batch, *self.values[output.name].shape[1:]]
            )
            for output in graph.output
        ]
        new = onnx.helper.make_graph(self.nodes, graph.name, inputs, outputs, initializers)
        return onnx.helper.make_model(new, ir_version=3, opset_imports=self.model.opset_import)

    def _visit(self, node: onnx.NodeProto) -> None:
        """Choose the node's weights, adapt it to the size, and compute its outputs."""
        adapt = {
            "Conv": self._weights,
            "Gemm": self._weights,
            "BatchNormalization": self._statistics,
            "Unsqueeze": self._scale_or_shift,
            "Reshape": self._target,
            "AveragePool": self._last_pooling,
        }.get(node.op_type)
        if adapt:
            adapt(node)
        self.values.update(zip(node.output, self._run(node), strict=False))

    def _run(self, node: onnx.NodeProto) -> Sequence[torch.Tensor]:
        return run_node(node, [self._value(key) for key in node.input], 9, torch.float32)

    def _value(self, key: str) -> torch.Tensor:
        return self.constants[key] if key in self.constants else self.values[key]

    def _normal(self, shape: Sequence[int], deviation: float) -> torch.Tensor:
        return torch.randn(list(shape), generator=self.generator) * deviation

    def _uniform(self, shape: Sequence[int], low: float, high: float) -> torch.Tensor:
        return torch.rand(list(shape), generator=self.generator) * (high - low) + low

    def _weights(self, node: onnx.NodeProto) -> None:
        """He-scaled normals, then rescaled: outputs of unit variance around a random bias."""
        data, weight, *bias = node.input
        if weight in self.shapes:
            shape = self.shapes[weight]
            if node.op_type == "Gemm" and self.size < FULL_SIZE:
                shape = [min(shape[0], REDUCED_HIDDEN) if shape[0] != CLASSES else CLASSES]
                shape.append(self.values[data].shape[1])
            self.constants[weight] = self._normal(shape, (2 / np.prod(shape[1:])) ** 0.5)
        channels = self._value(weight).shape[0]
        if bias:
            self.constants[bias[0]] = torch.zeros(channels)
        y = self._run(node)[0]
        others = [axis for axis in range(y.ndim) if axis != 1]
        spread = y.std(others).mean()
        self._value(weight).div_(spread)  # in place: it may be a reshaped view of the initializer
        if bias:
            self.constants[bias[0]] = self._normal([channels], 0.2) - y.mean(others) / spread

    def _statistics(self, node: onnx.NodeProto) -> None:
        """BatchNormalization as if trained: about the true statistics, and a random affine map."""
        data, scale, bias, mean, variance = node.input
        x = self.values[data]
        shape = [x.shape[1]]
        consumer = self.consumers[node.output[0]]
        # A residual branch adds little, or 16 blocks would amplify rounding a thousandfold.
        branch = consumer.op_type == "Sum" and any(key in self.relus for key in consumer.input)
        self.constants[scale] = self._uniform(shape, 0.7, 1.3) * (0.3 if branch else 1.0)
        self.constants[bias] = self._normal(shape, 0.2)
        self.constants[mean] = x.mean([0, 2, 3]) + self._normal(shape, 0.1)
        self.constants[variance] = x.var([0, 2, 3]) * self._uniform(shape, 0.8, 1.25) + 1e-3

    def _scale_or_shift(self, node: onnx.NodeProto) -> None:
        """Caffe's Scale layer after its BatchNorm: an unsqueezed factor and an unsqueezed term."""
        key, shape = node.input[0], self.shapes[node.input[0]]
        factor = self.consumers[node.output[0]].op_type == "Mul"
        self.constants[key] = self._uniform(shape, 0.7, 1.3) if factor else self._normal(shape, 0.2)

    def _target(self, node: onnx.NodeProto) -> None:
        """Let Reshape copy the batch axis, and fit the rest of its target to the size."""
        data, key = node.input
        if data in self.shapes:  # a linear layer's weight, stored as [1, 1, outputs, inputs]
            shape = self.shapes[data]
            self.constants[data] = self._normal(shape, (2 / shape[-1]) ** 0.5)
            return
        target = self.constants[key]
        target[0] = 0
        if len(target) == 2:
            target[1] = self.values[data][0].numel()
        else:  # ShuffleNet's channel shuffle
            target[-2:] = torch.tensor(self.values[data].shape[-2:])

    def _last_pooling(self, node: onnx.NodeProto) -> None:
        """Let the pooling before the classifier cover all of its smaller input."""
        kernel = next(attribute for attribute in node.attribute if attribute.name == "kernel_shape")
        if list(kernel.ints) == [7, 7] and self.size < FULL_SIZE:
            pads = [a.ints for a in node.attribute if a.name == "pads"] or [[0] * 4]
            extents = self.values[node.input[0]].shape[2:]
            kernel.ints[:] = [size + pads[0][i] + pads[0][i + 2] for i, size in enumerate(extents)]
