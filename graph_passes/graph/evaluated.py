"""What may be computed while a graph is prepared: a list of operators, and what each makes.

Anything else stays in the graph as a node: its values are then known to nobody but the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ELEMENTWISE = {
    *("Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift"),
    *("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu"),
    *("Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater"),
    *("GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu"),
    *("Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or"),
    *("PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin"),
    *("Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu"),
    *("Where", "Xor"),
}
_MOVING = {
    *("Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements"),
    *("GatherND", "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice"),
    *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze"),
}
_MAKING = {"Constant", "ConstantOfShape", "EyeLike", "NonZero", "OneHot", "Range", "Shape", "Size"}
_REDUCING = {
    *("ArgMax", "ArgMin", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"),
    *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
    "TopK",
}

SHAPE_ARITHMETIC = frozenset(_ELEMENTWISE | _MOVING | _MAKING | _REDUCING)
"""What sizes, indices and masks are computed by; ONNX's reference implementation may run it."""

FOLDED = SHAPE_ARITHMETIC | {
    *(
        "AveragePool",
        "BatchNormalization",
        "BlackmanWindow",
        "CenterCropPad",
        "Conv",
        "ConvInteger",
    ),
    *("ConvTranspose", "DFT", "Det", "Dropout", "Einsum", "Gemm", "GlobalAveragePool"),
    *("GlobalLpPool", "GlobalMaxPool", "GridSample", "GroupNormalization", "HammingWindow"),
    *("HannWindow", "Hardmax", "InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax"),
    *("LpNormalization", "LpPool", "MatMul", "MatMulInteger", "MaxPool", "MelWeightMatrix"),
    *("MeanVarianceNormalization", "NonMaxSuppression", "QLinearConv", "QLinearMatMul"),
    *("RMSNormalization", "Resize", "STFT", "Softmax", "Unique", "Upsample"),
}
"""What ONNX Runtime may compute of constants, once its size and work are held to the limits."""

OF_VALUES = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
"""How many elements these make depends on values; some few times those that go in, at the most."""

# Where the indices of these stand among their operands.
_INDICES = {"GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1}


def indices_fit(kind: str, operands: Sequence[Any]) -> bool:
    """Whether the indices lie within what they are of, as far as its longest axis goes.

    ONNX's reference implementation counts a larger one down, one length at a time.

    Args:
        kind: the operator.
        operands: arrays, None for an omitted one.
    """
    place = _INDICES.get(kind)
    if place is None or len(operands) <= place or operands[place] is None:
        return True
    longest = max(np.shape(operands[0]), default=1)
    indices = np.asarray(operands[place])
    return not indices.size or bool(-longest <= indices.min() and indices.max() < longest)


def most_made(inputs: Sequence[Sequence[int]]) -> int:
    """Elements that one of `OF_VALUES` makes at most, by its operands' shapes: 8 for each."""
    return 8 * sum(math.prod(shape) for shape in inputs)


def work_of(kind: str, attrs: Mapping[str, Any], inputs: Sequence[Sequence[int]], made: int) -> int:
    """Multiplications that an operator takes, about: at least one for each element it touches.

    Args:
        kind: the operator.
        attrs: its attributes.
        inputs: shapes of its operands, those that are known.
        made: elements of its outputs.
    """
    read = sum(math.prod(shape) for shape in inputs)
    longest = max((max(shape, default=1) for shape in inputs), default=1)
    if kind in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul") and inputs:
        return read + made * max(inputs[0], default=1)
    if kind in ("Conv", "ConvInteger", "QLinearConv"):
        weight = inputs[3 if kind == "QLinearConv" and len(inputs) > 3 else 1]
        return read + made * math.prod(weight[1:])
    if kind == "ConvTranspose":
        return read + math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if "kernel_shape" in attrs:
        return read + made * math.prod(attrs["kernel_shape"])
    if kind == "LRN":
        return read + made * min(int(attrs.get("size", 1)), longest)
    if kind in ("Einsum", "NonMaxSuppression"):
        return math.prod(max(math.prod(shape), 1) for shape in inputs[:3])
    if kind in ("DFT", "STFT", "Det"):
        products = math.prod(max(math.prod(shape), 1) for shape in inputs[:3])
        return (products + made) * longest
    return read + made
