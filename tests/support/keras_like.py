"""What keras2onnx and tf2onnx emit: NHWC inputs, Transposes, auto_pad, broadcast PRelu slopes.

Built by hand with random weights. `pnet` and `rnet` repeat, operator for operator, keras2onnx's
exports of MTCNN's first two networks; `nhwc_transposes` is what tf2onnx makes of a Keras network
before its optimiser merges the Transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def pnet(seed: int = 0) -> onnx.ModelProto:
    """input_1 [N, H, W, 3] (any size from 12) -> conv2d_4 [N, h, w, 4], softmax [N, h, w, 2]."""
    graph = _Graph(seed)
    x = graph.node("Transpose", ["input_1"], "adjusted_input4", perm=TO_NCHW)
    x = graph.convolution(x, "conv2d", 3, 10, (3, 3), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu", [1, 10, 1, 1])
    x = graph.max_pool(x, (2, 2), (2, 2), auto_pad="SAME_UPPER", ceil_mode=0)
    x = graph.convolution(x, "conv2d_1", 10, 16, (3, 3), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu_1", [1, 16, 1, 1])
    x = graph.convolution(x, "conv2d_2", 16, 32, (3, 3), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu_2", [1, 32, 1, 1])
    boxes = graph.convolution(x, "conv2d_4", 32, 4, (1, 1), auto_pad="VALID")
    faces = graph.convolution(x, "conv2d_3", 32, 2, (1, 1), auto_pad="VALID")
    graph.node("Transpose", [boxes], "conv2d_4", perm=TO_NHWC)
    faces = graph.node("Transpose", [faces], "push_transpose_out_2", perm=TO_NHWC)
    graph.node("Softmax", [faces], "softmax", axis=3)
    outputs: dict[str, Shape] = {"conv2d_4": ["N", "M3", "M4", 4], "softmax": ["N", "M5", "M6", 2]}
    return graph.model({"input_1": ["N", "M1", "M2", 3]}, outputs, opset=12, ir_version=7)


def rnet(seed: int = 0) -> onnx.ModelProto:
    """input_2 [N, 24, 24, 3] -> dense_2 [N, 4], softmax_1 [N, 2]."""
    graph = _Graph(seed)
    x = graph.node("Transpose", ["input_2"], "adjusted_input2", perm=TO_NCHW)
    x = graph.convolution(x, "conv2d_5", 3, 28, (3, 3), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu_3", [1, 28, 1, 1])
    x = graph.max_pool(x, (3, 3), (2, 2), auto_pad="SAME_UPPER", ceil_mode=0)
    x = graph.convolution(x, "conv2d_6", 28, 48, (3, 3), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu_4", [1, 48, 1, 1])
    x = graph.max_pool(x, (3, 3), (2, 2), auto_pad="VALID", ceil_mode=0)
    x = graph.convolution(x, "conv2d_7", 48, 64, (2, 2), auto_pad="VALID")
    x = graph.prelu(x, "p_re_lu_5", [1, 64, 1, 1])
    x = graph.node("Transpose", [x], "push_transpose_out_11", perm=TO_NHWC)
    x = graph.node("Flatten", [x], "flatten/Reshape:0", axis=1)
    x = graph.dense(x, "dense", 576, 128, "biased_tensor_name2")
    x = graph.prelu(x, "p_re_lu_6", [128])
    graph.dense(x, "dense_2", 128, 4, "dense_2")
    faces = graph.dense(x, "dense_1", 128, 2, "biased_tensor_name1")
    graph.node("Softmax", [faces], "softmax_1", axis=1)
    outputs: dict[str, Shape] = {"dense_2": ["N", 4], "softmax_1": ["N", 2]}
    return graph.model({"input_2": ["N", 24, 24, 3]}, outputs, opset=12, ir_version=7)


def nhwc_transposes(seed: int = 0) -> onnx.ModelProto:
    """images [N, H, W, 3] -> probabilities [N, 10], a Transpose pair around each Conv and pooling.

    As a Keras MobileNet: ZeroPadding2D on the right and bottom, then a strided VALID convolution;
    biases added in NHWC; ReLU6 as Clip; SAME padding; pooling by ReduceMean; opset 13.
    """
    graph = _Graph(seed)

    def nhwc(x: str, function: Any, *arguments: Any, **attributes: Any) -> str:
        inner = graph.node("Transpose", [x], f"{arguments[0]}/to_nchw", perm=TO_NCHW)
        inner = function(inner, *arguments, **attributes)
        return graph.node("Transpose", [inner], f"{arguments[0]}/to_nhwc", perm=TO_NHWC)

    def biased(x: str, name: str, channels: int) -> str:
        bias = graph.constant(f"{name}/bias", graph.normal([channels], 0.2))
        x = graph.node("Add", [x, bias], f"{name}/BiasAdd")
        low = graph.constant(f"{name}/low", np.float32(0))
        high = graph.constant(f"{name}/high", np.float32(6))
        return graph.node("Clip", [x, low, high], f"{name}/Relu6")

    pads = graph.constant("paddings", np.array([0, 0, 0, 0, 0, 1, 1, 0], dtype=np.int64))
    x = graph.node("Pad", ["images", pads], "zero_padding2d", mode="constant")
    strided = {"strides": [2, 2], "auto_pad": "VALID"}
    x = nhwc(x, graph.convolution, "stem", 3, 8, (3, 3), bias=False, **strided)
    x = biased(x, "stem", 8)
    same = {"auto_pad": "SAME_UPPER"}
    x = nhwc(x, graph.convolution, "depthwise", 1, 8, (3, 3), bias=False, group=8, **same)
    x = biased(x, "depthwise", 8)
    x = nhwc(x, graph.max_pool_named, "pool", (3, 3), (2, 2), **same)
    x = nhwc(x, graph.convolution, "last", 8, 16, (1, 1), bias=False, **same)
    x = biased(x, "last", 16)
    x = graph.node("ReduceMean", [x], "mean", axes=[1, 2], keepdims=0)
    x = graph.dense(x, "logits", 16, 10, "logits/BiasAdd")
    graph.node("Softmax", [x], "probabilities", axis=-1)
    inputs: dict[str, Shape] = {"images": ["N", "H", "W", 3]}
    return graph.model(inputs, {"probabilities": ["N", 10]}, opset=13, ir_version=7)


class _Graph:
    """Nodes and random initializers in the making; each method returns its output's name."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def normal(self, shape: Sequence[int], deviation: float) -> np.ndarray:
        return (self.random.standard_normal(shape) * deviation).astype(np.float32)

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(
        self,
        x: str,
        name: str,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        *,
        bias: bool = True,
        **attributes: Any,
    ) -> str:
        deviation = (2 / (inputs * kernel[0] * kernel[1])) ** 0.5
        weight = self.normal([outputs, inputs, *kernel], deviation)
        operands = [x, self.constant(f"{name}/kernel:0", weight)]
        if bias:
            operands.append(self.constant(f"{name}/bias:0", self.normal([outputs], 0.2)))
        defaults = {"kernel_shape": kernel, "strides": [1, 1], "dilations": [1, 1], "group": 1}
        return self.node("Conv", operands, f"{name}/convolution_output", **(defaults | attributes))

    def prelu(self, x: str, name: str, shape: Sequence[int]) -> str:
        slope = self.random.uniform(-0.1, 0.4, shape).astype(np.float32)
        return self.node("PRelu", [x, self.constant(f"{name}_slope", slope)], f"{name}/add:0")

    def max_pool(
        self, x: str, kernel: tuple[int, int], strides: tuple[int, int], **attributes: Any
    ) -> str:
        return self.max_pool_named(x, x, kernel, strides, **attributes)

    def max_pool_named(
        self, x: str, name: str, kernel: tuple[int, int], strides: tuple[int, int], **more: Any
    ) -> str:
        output = f"{name}_pooling0"
        return self.node("MaxPool", [x], output, kernel_shape=kernel, strides=strides, **more)

    def dense(self, x: str, name: str, inputs: int, outputs: int, result: str) -> str:
        weight = self.constant(f"{name}/kernel:0", self.normal([inputs, outputs], inputs**-0.5))
        bias = self.constant(f"{name}/bias:0", self.normal([outputs], 0.2))
        x = self.node("MatMul", [x, weight], f"{name}0")
        return self.node("Add", [x, bias], result)

    def model(
        self, inputs: dict[str, Shape], outputs: dict[str, Shape], opset: int, ir_version: int
    ) -> onnx.ModelProto:
        def describe(shapes: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
            float32 = TensorProto.FLOAT
            return [helper.make_tensor_value_info(n, float32, s) for n, s in shapes.items()]

        graph = helper.make_graph(
            self.nodes, "keras", describe(inputs), describe(outputs), self.initializers
        )
        imports = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
        onnx.checker.check_model(model, full_check=True)
        return model
