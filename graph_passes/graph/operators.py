"""Every operator of ONNX in one table: a row each, read by all passes.

What is a function (how a cotangent passes, where rows go) stands in a file of its own, registered
by the operator's name; what is a fact stands here. An operator without a row has no rule, and a
test holds the table against ONNX's own list.
"""

from __future__ import annotations

from functools import cache

from .operator_facts import Fact, Operator, row
from .tensors import Node, operator_name

F = Fact
# A function of one element, and one of several that are aligned.
_FUNCTION = F.ALIGNS | F.EVALUATED | F.TOTAL
_COMPARISON = _FUNCTION | F.COMPARES | F.SAME_SHAPE
_NUMBERS = F.ALIGNS | F.EVALUATED
_COPY = F.COPIES | F.KEEPS_PLACES | F.ALIGNS
_MOVE = F.MOVES | F.EVALUATED
_RESHAPE = _MOVE | F.KEEPS_SIGN | F.PERMUTES | F.RESHAPES
_REDUCTION = F.REDUCES | F.ONE_OPERAND | F.EVALUATED
_IMAGES = F.BY_IMAGE | F.CHANNELS_SECOND | F.FOLDED

_ROWS = (
    # Arithmetic.
    row("Add", _NUMBERS, F.CARRIED, F.ARITHMETIC, F.SUMS, F.TOTAL, F.SAME_SHAPE),
    row("Sub", _NUMBERS, F.CARRIED, F.ARITHMETIC, F.SUMS, F.TOTAL, F.SAME_SHAPE),
    row("Mul", _NUMBERS, F.CARRIED, F.ARITHMETIC, F.KEEPS_SIGNS, F.TOTAL, F.SAME_SHAPE),
    row("Div", _NUMBERS, F.ARITHMETIC, F.KEEPS_SIGNS, F.TOTAL, F.SAME_SHAPE, pole=1),
    row("Mod", _NUMBERS),
    row("Max", _NUMBERS, F.TOTAL),
    row("Min", _NUMBERS, F.LEAST, F.KEEPS_SIGNS, F.TOTAL),
    row("Sum", _FUNCTION, F.SUMS),
    row("Mean", F.ALIGNS, F.EVALUATED, F.SUMS, F.KEEPS_SIGNS),
    row("Pow", _FUNCTION, pole=0),
    row("Neg", _FUNCTION, F.MOVES, F.KEEPS_PLACES, F.SAME_SHAPE),
    # Functions of one element.
    row("Abs", _FUNCTION, F.REVEALED, F.RECTIFIES, F.NEVER_NEGATIVE, F.HOMOGENEOUS),
    row("Acos", _FUNCTION, F.STEEP_AT_ENDS),
    row("Acosh", _FUNCTION, F.STEEP_AT_ENDS),
    row("Asin", _FUNCTION, F.STEEP_AT_ENDS),
    row("Asinh", _FUNCTION, F.REVEALED),
    row("Atan", _FUNCTION, F.REVEALED),
    row("Atanh", _FUNCTION, F.STEEP_AT_ENDS),
    row("Ceil", _FUNCTION, F.STEP),
    row("Celu", _FUNCTION, F.REVEALED),
    row("Clip", _FUNCTION, F.REVEALED, F.SAME_SHAPE),
    row("Cos", _FUNCTION, F.REVEALED),
    row("Cosh", _FUNCTION, F.POSITIVE),
    row("Elu", _FUNCTION, F.REVEALED),
    row("Erf", _FUNCTION, F.REVEALED),
    row("Exp", _FUNCTION, F.RECTIFIES, F.POSITIVE),
    row("Floor", _FUNCTION, F.STEP),
    row("Gelu", _FUNCTION, F.REVEALED),
    row("HardSigmoid", _FUNCTION, F.REVEALED, F.RECTIFIES, F.NEVER_NEGATIVE),
    row("HardSwish", _FUNCTION, F.REVEALED),
    row("LeakyRelu", _FUNCTION, F.REVEALED, F.HOMOGENEOUS),
    row("Log", _FUNCTION, pole=0),
    row("Mish", _FUNCTION, F.REVEALED),
    row("PRelu", F.ALIGNS, F.EVALUATED, F.KEEPS_PLACES, F.REVEALED, F.HOMOGENEOUS),
    row("Reciprocal", _FUNCTION, pole=0),
    row("Relu", _FUNCTION, F.REVEALED, F.RECTIFIES, F.NEVER_NEGATIVE, F.HOMOGENEOUS),
    row("Round", _FUNCTION),
    row("Selu", _FUNCTION, F.REVEALED),
    row("Shrink", _FUNCTION),
    row("Sigmoid", _FUNCTION, F.CLASSIFIES, F.REVEALED, F.RECTIFIES, F.POSITIVE),
    row("Sign", _FUNCTION, F.STEP),
    row("Sin", _FUNCTION, F.REVEALED),
    row("Sinh", _FUNCTION),
    row("Softplus", _FUNCTION, F.REVEALED, F.RECTIFIES, F.POSITIVE),
    row("Softsign", _FUNCTION, F.REVEALED),
    row("Sqrt", _FUNCTION, F.RECTIFIES, F.KEEPS_SIGN, pole=0),
    row("Swish", F.ALIGNS, F.REVEALED),
    row("Tan", _FUNCTION),
    row("Tanh", _FUNCTION, F.REVEALED),
    row("ThresholdedRelu", _FUNCTION),
    # Comparisons, logic, bits.
    row("And", _FUNCTION, F.SAME_SHAPE, result="bool"),
    row("BitShift", _FUNCTION),
    row("BitwiseAnd", _FUNCTION),
    row("BitwiseNot", _FUNCTION),
    row("BitwiseOr", _FUNCTION),
    row("BitwiseXor", _FUNCTION),
    row("Equal", _COMPARISON, result="bool"),
    row("Greater", _COMPARISON, result="bool"),
    row("GreaterOrEqual", _COMPARISON, result="bool"),
    row("IsInf", _FUNCTION, result="bool"),
    row("IsNaN", _FUNCTION, result="bool"),
    row("Less", _COMPARISON, result="bool"),
    row("LessOrEqual", _COMPARISON, result="bool"),
    row("Not", _FUNCTION, result="bool"),
    row("Or", _FUNCTION, result="bool"),
    row("Where", _NUMBERS, F.MOVES, F.TOTAL, F.SAME_SHAPE, typed_by=2),
    row("Xor", _FUNCTION, result="bool"),
    # Copies and types.
    row("Cast", _COPY, _MOVE, F.KEEPS_SIGN, F.CARRIED, F.TOTAL),
    row("CastLike", F.KEEPS_PLACES, F.ALIGNS, F.ONE_OPERAND, F.EVALUATED),
    row("Dropout", _COPY, F.FOLDED),
    row("Identity", _COPY, _MOVE, F.KEEPS_SIGN, F.TOTAL),
    # Movement.
    row("Col2Im", F.BY_IMAGE, F.BY_INDEX),
    row("Compress", _MOVE, F.DROPS, F.BY_INDEX, F.BY_VALUES),
    row("Concat", _MOVE, F.KEEPS_SIGNS, F.KEEPS_AXES, F.CARRIED, F.TOTAL),
    row("DepthToSpace", _MOVE, F.BY_IMAGE, F.CHANNELS_SECOND),
    row("Expand", _MOVE, F.KEEPS_SIGN, F.ALIGNS, F.ONE_OPERAND, sizes=1),
    row("Flatten", _RESHAPE, F.TOTAL),
    row("Gather", _MOVE, F.KEEPS_SIGN, F.DROPS, F.ONE_OPERAND, F.CARRIED),
    row("GatherElements", _MOVE, F.DROPS, F.BY_INDEX, F.KEEPS_AXES, indices=1),
    row("GatherND", _MOVE, F.DROPS, F.BY_INDEX, indices=1),
    row("MaxUnpool", F.BY_IMAGE, F.BY_INDEX),
    row("Pad", _MOVE, F.DROPS, F.FILLS, F.KEEPS_AXES, F.ONE_OPERAND, added=2),
    row("Reshape", _RESHAPE, F.ONE_OPERAND, sizes=1),
    row("Resize", F.KEEPS_AXES, F.ONE_OPERAND, F.FOLDED),
    row("ReverseSequence", F.KEEPS_AXES, F.BY_INDEX, F.EVALUATED),
    row("ScatterElements", F.KEEPS_AXES, F.BY_INDEX, F.EVALUATED, indices=1),
    row("ScatterND", F.KEEPS_AXES, F.BY_INDEX, F.EVALUATED, indices=1),
    row("Slice", _MOVE, F.KEEPS_SIGN, F.DROPS, F.KEEPS_AXES, F.ONE_OPERAND, F.CARRIED),
    row("SpaceToDepth", _MOVE, F.BY_IMAGE, F.CHANNELS_SECOND),
    row("Split", _MOVE, F.KEEPS_SIGN, F.DROPS, F.KEEPS_AXES, F.ONE_OPERAND),
    row("Squeeze", _RESHAPE, F.ONE_OPERAND, F.CARRIED),
    row("Tile", _MOVE, F.KEEPS_SIGN, F.KEEPS_AXES, F.ONE_OPERAND, sizes=1),
    row("Transpose", _MOVE, F.KEEPS_SIGN, F.PERMUTES, F.TOTAL),
    row("Trilu", _MOVE, F.KEEPS_PLACES, F.KEEPS_AXES, F.FILLS),
    row("Unsqueeze", _RESHAPE, F.ONE_OPERAND, F.CARRIED),
    # Along axes.
    row("ArgMax", F.EVALUATED, result="int64"),
    row("ArgMin", F.EVALUATED, result="int64"),
    row("CumProd", F.ALONG_AXIS, F.KEEPS_AXES),
    row(
        "CumSum",
        *(F.ALONG_AXIS, F.AVERAGES, F.KEEPS_PLACES, F.KEEPS_AXES, F.ONE_OPERAND, F.EVALUATED),
    ),
    row("Hardmax", F.ALONG_AXIS, F.STEP, F.KEEPS_AXES, F.FOLDED),
    row("LogSoftmax", F.ALONG_AXIS, F.CLASSIFIES, F.KEEPS_PLACES, F.KEEPS_AXES, F.FOLDED, F.TOTAL),
    row("LpNormalization", F.ALONG_AXIS, F.KEEPS_AXES, F.FOLDED),
    row("ReduceL1", _REDUCTION, F.NEVER_NEGATIVE, F.HOMOGENEOUS, F.MEASURES),
    row("ReduceL2", _REDUCTION, F.NEVER_NEGATIVE, F.HOMOGENEOUS, F.MEASURES),
    row("ReduceLogSum", _REDUCTION, pole=0),
    row("ReduceLogSumExp", _REDUCTION),
    row("ReduceMax", _REDUCTION, F.KEEPS_SIGN, F.TOTAL),
    row("ReduceMean", _REDUCTION, F.AVERAGES, F.KEEPS_SIGN, F.TOTAL),
    row("ReduceMin", _REDUCTION, F.LEAST, F.KEEPS_SIGN, F.TOTAL),
    row("ReduceProd", _REDUCTION, F.KEEPS_SIGN),
    row("ReduceSum", _REDUCTION, F.AVERAGES, F.KEEPS_SIGN, F.TOTAL),
    row("ReduceSumSquare", _REDUCTION, F.NEVER_NEGATIVE, F.MEASURES),
    row(
        "Softmax",
        *(F.ALONG_AXIS, F.CLASSIFIES, F.RECTIFIES, F.NEVER_NEGATIVE),
        *(F.KEEPS_PLACES, F.KEEPS_AXES, F.FOLDED, F.TOTAL),
    ),
    row("TopK", F.ALONG_AXIS, F.EVALUATED, F.HOMOGENEOUS),
    # Products.
    row("Conv", _IMAGES, F.WEIGHTED, F.CONVOLVES, F.TOTAL, added=2),
    row("ConvInteger", F.FOLDED),
    row("ConvTranspose", _IMAGES, F.WEIGHTED, F.CONVOLVES, added=2),
    row("DeformConv"),
    row("Det", F.FOLDED),
    row("DFT", F.FOLDED),
    row("Einsum", F.WEIGHTED, F.FOLDED),
    row("Gemm", F.WEIGHTED, F.DENSE, F.FOLDED, F.TOTAL, added=2),
    row("MatMul", F.WEIGHTED, F.DENSE, F.FOLDED, F.TOTAL),
    row("MatMulInteger", F.FOLDED),
    row("STFT", F.FOLDED),
    # Windows and pictures.
    row("AveragePool", _IMAGES, F.POOLS, F.AVERAGES, F.TOTAL),
    row("GlobalAveragePool", _IMAGES, F.POOLS_ALL, F.AVERAGES, F.TOTAL),
    row("GlobalLpPool", F.BY_IMAGE, F.POOLS_ALL, F.FOLDED, F.HOMOGENEOUS),
    row("GlobalMaxPool", _IMAGES, F.POOLS_ALL),
    row("GridSample", F.BY_IMAGE, F.BY_INDEX, F.FOLDED),
    row("LpPool", _IMAGES, F.POOLS, F.HOMOGENEOUS),
    row("MaxPool", _IMAGES, F.POOLS, F.TOTAL),
    row("MaxRoiPool", F.CHANNELS_SECOND),
    row("RoiAlign", F.BY_INDEX),
    row("Upsample", F.FOLDED),
    # Normalisations.
    row("BatchNormalization", _IMAGES, F.KEEPS_AXES, F.TOTAL),
    row("GroupNormalization", F.BY_IMAGE, F.FOLDED),
    row("InstanceNormalization", _IMAGES),
    row("LRN", _IMAGES, F.KEEPS_AXES),
    row("LayerNormalization", F.KEEPS_PLACES, F.KEEPS_AXES, F.FOLDED, F.TOTAL),
    row("MeanVarianceNormalization", F.KEEPS_AXES, F.FOLDED),
    row("RMSNormalization", F.KEEPS_AXES, F.FOLDED),
    # What makes numbers of none, or of sizes.
    row("BlackmanWindow", F.FOLDED),
    row("Constant", F.EVALUATED, F.TOTAL),
    row("ConstantOfShape", F.NO_DATA, F.EVALUATED, sizes=0),
    row("EyeLike", F.NO_DATA, F.EVALUATED),
    row("HammingWindow", F.FOLDED),
    row("HannWindow", F.FOLDED),
    row("MelWeightMatrix", F.FOLDED),
    row("NonMaxSuppression", F.BY_VALUES, F.FOLDED),
    row("NonZero", F.BY_VALUES, F.EVALUATED, result="int64"),
    row("OneHot", F.EVALUATED, typed_by=2),
    row("RandomNormal", F.RANDOM),
    row("RandomNormalLike", F.RANDOM),
    row("RandomUniform", F.RANDOM),
    row("RandomUniformLike", F.RANDOM),
    row("Range", F.NO_DATA, F.EVALUATED),
    row("Shape", F.SIZES, F.NO_DATA, F.EVALUATED, F.TOTAL, result="int64"),
    row("Size", F.SIZES, F.NO_DATA, F.EVALUATED, result="int64"),
    row("Unique", F.BY_VALUES, F.FOLDED),
    # Recurrent networks and control flow.
    row("GRU", F.RECURS),
    row("If"),
    row("LSTM", F.RECURS),
    row("Loop"),
    row("RNN", F.RECURS),
    row("Scan"),
    # Written in simpler ones, or refused.
    row("AffineGrid"),
    row("Attention"),
    row("Bernoulli", F.RANDOM),
    row("BitCast"),
    row("CausalConvWithState"),
    row("CenterCropPad", F.FOLDED),
    row("DequantizeLinear"),
    row("DynamicQuantizeLinear"),
    row("ImageDecoder"),
    row("LinearAttention"),
    row("Multinomial", F.RANDOM),
    row("NegativeLogLikelihoodLoss"),
    row("QLinearConv", F.FOLDED),
    row("QLinearMatMul", F.FOLDED),
    row("QuantizeLinear"),
    row("RotaryEmbedding"),
    row("Scatter"),
    row("SoftmaxCrossEntropyLoss"),
    row("SwiGLU"),
    row("TensorScatter"),
    # Sequences, optional values, texts.
    row("ConcatFromSequence"),
    row("Optional"),
    row("OptionalGetElement"),
    row("OptionalHasElement"),
    row("RegexFullMatch"),
    row("SequenceAt"),
    row("SequenceConstruct"),
    row("SequenceEmpty"),
    row("SequenceErase"),
    row("SequenceInsert"),
    row("SequenceLength"),
    row("SequenceMap"),
    row("SplitToSequence"),
    row("StringConcat"),
    row("StringNormalizer"),
    row("StringSplit"),
    row("TfIdfVectorizer"),
)

OPERATORS = {one.name: one for one in _ROWS}
_UNKNOWN = Operator("", Fact(0))


def operator(name: str) -> Operator:
    """The row of an operator; one without facts where there is none, as in other domains."""
    return OPERATORS.get(name, _UNKNOWN)


def facts_of(node: Node) -> Operator:
    """The row of a node's operator."""
    return operator(operator_name(node))


def has(node: Node | str, fact: Fact) -> bool:
    """Whether one of these facts is true of a node's operator, or of one by its name."""
    name = node if isinstance(node, str) else operator_name(node)
    return bool(operator(name).facts & fact)


@cache
def operators(fact: Fact) -> frozenset[str]:
    """The operators of which one of these facts is true."""
    return frozenset(one.name for one in _ROWS if one.facts & fact)
