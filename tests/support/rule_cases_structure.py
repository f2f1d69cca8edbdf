"""Cases of the rules for linear layers, pooling, movement, reductions and normalisation."""

from __future__ import annotations

import numpy as np

from support.rule_cases import Fixed, add, floats, integers, normal, separated

image = normal(2, 4, 7, 9)


def kernel(*shape: int) -> np.ndarray:
    """A kernel whose size keeps outputs of order 1."""
    return normal(*shape, seed=1) / np.sqrt(np.prod(shape[1:]))


# Conv: every lowering (flipped, phases, transposed), asymmetric pads, residue, dilation, groups.
for options in (
    {},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 2, 1]},
    {"pads": [2, 0, 1, 2], "dilations": [2, 1]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"strides": [2, 2]},
    {"strides": [3, 3], "pads": [1, 2, 0, 1]},
    {"strides": [2, 1], "pads": [1, 0, 1, 0]},
    {"strides": [2, 3], "dilations": [2, 2], "pads": [1, 1, 1, 1]},
    {"pads": [3, 3, 3, 3]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID", "strides": [2, 2]},
):
    add("Conv", image, Fixed(kernel(6, 4, 3, 2)), Fixed(normal(6, seed=2)), step=1.0, **options)
    add("Conv", image, kernel(6, 4, 3, 2), normal(6, seed=2), kernel_shape=[3, 2], **options)
# Eight channels and more: a Conv for each phase, where fewer share one.
wide = normal(1, 8, 7, 6)
for options in (
    {"strides": [2, 2]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"strides": [3, 3], "pads": [1, 2, 0, 1]},
    {"strides": [4, 4], "pads": [1, 1, 1, 1]},
):
    add("Conv", wide, Fixed(kernel(3, 8, 3, 2)), step=1.0, **options)
    add("Conv", image, Fixed(kernel(3, 4, 1, 3)), step=1.0, **options)
add("Conv", image, Fixed(kernel(6, 2, 3, 3)), step=1.0, group=2, strides=[2, 2], pads=[1, 1, 1, 1])
add("Conv", image, Fixed(kernel(8, 1, 3, 3)), step=1.0, group=4, pads=[1, 1, 1, 1])
add(
    "Conv",
    image,
    kernel(8, 1, 3, 3),
    kernel_shape=[3, 3],
    group=4,
    strides=[2, 2],
    pads=[1, 0, 1, 2],
)
add("Conv", image, Fixed(kernel(5, 4, 1, 1)), step=1.0, strides=[2, 2])
add("Conv", image, Fixed(kernel(5, 4, 1, 1)), step=1.0, strides=[3, 3], pads=[1, 1, 0, 0])
add("Conv", normal(2, 3, 11), Fixed(kernel(4, 3, 3)), step=1.0, strides=[2], pads=[1, 0])
add("Conv", normal(2, 3, 11), kernel(4, 3, 3), kernel_shape=[3], pads=[1, 1], dilations=[2])
add("Conv", normal(1, 2, 5, 4, 6), Fixed(kernel(3, 2, 2, 3, 2)), step=1.0, strides=[2, 1, 2])

for options in (
    {},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"strides": [2, 3], "pads": [0, 1, 1, 0]},
    {"dilations": [2, 2], "strides": [2, 2], "output_padding": [1, 0]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
):
    weight, bias = kernel(4, 3, 3, 3), normal(3, seed=2)
    add("ConvTranspose", normal(2, 4, 5, 6), weight, bias, kernel_shape=[3, 3], **options)
add(
    "ConvTranspose",
    normal(2, 4, 5, 6),
    Fixed(kernel(4, 3, 3, 3)),
    step=1.0,
    group=2,
    oracle="torch",
)
add(
    "ConvTranspose",
    normal(2, 4, 5),
    kernel(4, 2, 3),
    kernel_shape=[3],
    group=2,
    strides=[2],
    oracle="torch",
)

add("MatMul", normal(3, 4), normal(4, 5, seed=1))
add("MatMul", normal(2, 3, 4), normal(4, 5, seed=1))
add("MatMul", normal(2, 1, 3, 4), normal(3, 4, 5, seed=1))
add("MatMul", normal(3, 4), normal(2, 4, 5, seed=1))
add("MatMul", normal(2, 3, 4), Fixed(normal(4, 5, seed=1)), step=1.0)
add("MatMul", normal(4), normal(4, 5, seed=1))
add("MatMul", normal(2, 3, 4), normal(4, seed=1))
add("MatMul", normal(4), normal(4, seed=1))
for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
    left, right = normal(*((4, 3) if a else (3, 4))), normal(*((5, 4) if b else (4, 5)), seed=1)
    add("Gemm", left, right, normal(5, seed=2), transA=a, transB=b, alpha=0.7, beta=1.3)
add("Gemm", normal(3, 4), Fixed(normal(4, 5)), Fixed(normal(3, 1)), step=1.0)

# Pooling. Linear pools take step 1; max-like ones well-separated inputs.
pool = {"kernel_shape": [3, 2]}
for options in (
    {},
    {"strides": [2, 2]},
    {"strides": [2, 2], "pads": [1, 0, 1, 1]},
    {"strides": [2, 3], "ceil_mode": 1},
    {"strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"dilations": [2, 2]},
    {"strides": [3, 3]},
):
    oracle = "torch" if options.get("auto_pad") == "SAME_LOWER" else "reference"
    add("MaxPool", separated(2, 3, 7, 8), oracle=oracle, **pool, **options)
    add("AveragePool", normal(2, 3, 7, 8), step=1.0, **pool, **options)
    add("AveragePool", normal(2, 3, 7, 8), step=1.0, count_include_pad=1, **pool, **options)
add("MaxPool", separated(2, 3, 9), kernel_shape=[3], strides=[2])
add("MaxPool", separated(1, 2, 5, 4, 6), kernel_shape=[2, 2, 2], strides=[2, 2, 2])
add("AveragePool", normal(1, 2, 5, 4, 6), step=1.0, kernel_shape=[2, 2, 2])
add("GlobalAveragePool", normal(2, 3, 4, 5), step=1.0)
add("GlobalAveragePool", normal(2, 3, 4), step=1.0)
add("GlobalMaxPool", separated(2, 3, 4, 5))

# Movement.
add("Reshape", normal(2, 3, 4), integers(4, -1), step=1.0)
add("Reshape", normal(2, 3, 4), integers(0, 12), step=1.0)
add("Flatten", normal(2, 3, 4), step=1.0)
add("Flatten", normal(2, 3, 4), step=1.0, axis=-1)
add("Squeeze", normal(2, 1, 4, 1), integers(1, -1), step=1.0)
add("Unsqueeze", normal(2, 4), integers(0, -1), step=1.0)
add("Transpose", normal(2, 3, 4), step=1.0)
add("Transpose", normal(2, 3, 4), step=1.0, perm=[1, 2, 0])
add("Concat", normal(2, 3), normal(2, 1, seed=1), normal(2, 2, seed=2), step=1.0, axis=-1)
add("Concat", normal(2, 3), Fixed(normal(1, 3)), normal(2, 3, seed=2), step=1.0, axis=0)
add("Split", normal(2, 6), integers(1, 3, 2), step=1.0, outputs=3, axis=1)
add("Split", normal(2, 7), step=1.0, outputs=3, axis=-1, num_outputs=3)
add("Slice", normal(5, 6), integers(1, -4), integers(4, -1), step=1.0)
add("Slice", normal(5, 6), integers(-3), integers(100), integers(1), step=1.0)
add(
    "Slice",
    normal(5, 6),
    integers(0, 5),
    integers(5, -7),
    integers(0, 1),
    integers(2, -2),
    step=1.0,
)
add("Slice", normal(5, 6), integers(-1), integers(-100), integers(-1), integers(-1), step=1.0)
add("Slice", normal(5, 6), integers(-100), integers(3), integers(-2), step=1.0)
add("Gather", normal(4, 3), Fixed(np.array([[0, -1], [2, 0]])), step=1.0)
add("Gather", normal(2, 4, 3), Fixed(np.array(1)), step=1.0, axis=1)
add("GatherElements", normal(3, 4), Fixed(np.array([[0, -1, 2, 0], [0, 1, 1, 1]])), step=1.0)
add("GatherElements", normal(3, 4), Fixed(np.array([[3, -4, 3]] * 3)), step=1.0, axis=1)
add("GatherND", normal(2, 3, 4), Fixed(np.array([[0, 1], [-1, 2], [0, 1]])), step=1.0)
add("GatherND", normal(2, 3, 4), Fixed(np.array([[1], [-1]])), step=1.0, batch_dims=1)
add("Expand", normal(3, 1), integers(2, 3, 4), step=1.0)
add("Expand", normal(2, 3), integers(2, 1), step=1.0)
add("Tile", normal(2, 3), integers(2, 3), step=1.0)
add("Compress", normal(3, 4), Fixed(np.array([True, False, True])), step=1.0, axis=0)
add("Compress", normal(3, 4), Fixed(np.array([True, False, True, True])), step=1.0)
add("Pad", normal(3, 4), integers(1, 0, 2, 1), step=1.0)
add("Pad", normal(3, 4), integers(1, 2), Fixed(np.asarray(0.5)), integers(-1), step=1.0)
add("Pad", normal(3, 4), integers(-1, 0, 2, -1), step=1.0, oracle="torch")
for mode in ("reflect", "edge", "wrap"):
    add("Pad", normal(3, 4), integers(1, 2, 2, 1), step=1.0, mode=mode)
add("DepthToSpace", normal(2, 8, 3, 2), step=1.0, blocksize=2)
add("DepthToSpace", normal(2, 8, 3, 2), step=1.0, blocksize=2, mode="CRD")
add("SpaceToDepth", normal(2, 3, 4, 6), step=1.0, blocksize=2)
add("Trilu", normal(2, 4, 5), step=1.0)
add("Trilu", normal(2, 4, 5), Fixed(np.array(-1)), step=1.0, upper=0)
add("CumSum", normal(3, 4), Fixed(np.array(1)), step=1.0)
add("CumSum", normal(3, 4), Fixed(np.array(-2)), step=1.0, exclusive=1, reverse=1)

# Resize: modes, coordinate transformations, by scales and by sizes, up and down.
for mode in ("nearest", "linear", "cubic"):
    for how in (
        "half_pixel",
        "asymmetric",
        "align_corners",
        "pytorch_half_pixel",
        "half_pixel_symmetric",
    ):
        options = {"mode": mode, "coordinate_transformation_mode": how}
        even = normal(2, 4, 6, 8)
        add("Resize", even, None, floats(1, 1, 2, 1.5), step=1.0, **options)
        add("Resize", even, None, None, integers(2, 4, 5, 13), step=1.0, **options)
add("Resize", image, None, floats(0.5, 2), step=1.0, mode="linear", axes=[2, 3])
add("Resize", image, None, None, integers(4, 5), step=1.0, mode="linear", axes=[2, 3], antialias=1)
empty = floats()  # what tf2onnx puts in the place of an omitted input
add("Resize", image, empty, empty, integers(2, 4, 5, 13), step=1.0, mode="linear")
crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
region = Fixed(np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.2]))
add("Resize", image, region, None, integers(2, 4, 5, 6), step=1.0, extrapolation_value=3.0, **crop)

# Reductions.
for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"):
    x = separated(2, 3, 4)
    step = 1.0 if op in ("ReduceSum", "ReduceMean") else 1e-4
    add(op, x, step=step)
    add(op, x, step=step, keepdims=0)
    add(op, x, integers(-1, 0), step=step)
    add(op, x, integers(1), step=step, keepdims=0)
    add(op, x, step=step, noop_with_empty_axes=1)

# Normalisation.
for axis in (-1, 1):
    add("Softmax", normal(2, 3, 4), axis=axis)
    add("LogSoftmax", normal(2, 3, 4), axis=axis)
    shape = (3, 4) if axis == 1 else (4,)
    scale, bias = normal(*shape, seed=1), normal(*shape, seed=2)
    add("LayerNormalization", normal(2, 3, 4), scale, bias, axis=axis)
add("LayerNormalization", normal(2, 3, 4), Fixed(normal(4, seed=1)), epsilon=0.1)
add("LRN", normal(2, 7, 3, 4), size=3, alpha=0.3, beta=0.6, bias=1.5, oracle="torch")
add("LRN", normal(2, 6, 3, 2), size=5, alpha=0.5, oracle="torch")
statistics = [Fixed(normal(3, seed=k)) for k in (1, 2, 3)]
add("BatchNormalization", normal(2, 3, 4), *statistics, Fixed(np.array([0.5, 1, 2])), step=1.0)

# Scattering: duplicates, negative indices, every reduction.
places = Fixed(np.array([[0, 1, -1], [2, 1, 0]]))
for reduction in ("none", "add", "mul", "min", "max"):
    options = {"reduction": reduction}
    x, updates = separated(3, 3) + 0.02, separated(2, 3, seed=1) + 0.01
    add("ScatterElements", x, places, updates, **options)
    add("ScatterND", x, Fixed(np.array([[0], [2]])), updates, **options)
add("ScatterElements", normal(2, 4), Fixed(np.array([[1], [-1]])), normal(2, 1), step=1.0, axis=1)
add(
    "ScatterND",
    normal(3, 4),
    Fixed(np.array([[0, 1], [0, 1], [2, -1]])),
    normal(3),
    reduction="add",
)
with_zeros = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [1.0, 0.5, 2.0]])
add("ReduceProd", with_zeros, integers(1))
add("ReduceProd", with_zeros, integers(0), keepdims=0)
add("ReduceProd", normal(2, 3, 4))
for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum"):
    x = np.abs(separated(2, 3, 4) + 0.02) + (0.1 if op == "ReduceLogSum" else 0)
    add(op, x, integers(-1))
    add(op, x, integers(0, 1), keepdims=0)
    add(op, x)
for p in (1, 2, 3):
    x = separated(2, 3, 7, 8) + 0.02
    add("LpPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], p=p)
add("LpNormalization", normal(2, 3, 4))
add("InstanceNormalization", normal(2, 3, 4, 5), normal(3, seed=1), normal(3, seed=2))
add("RMSNormalization", normal(2, 3, 4), normal(4, seed=1), opset=23)
add("TopK", separated(3, 5), integers(2), outputs=2, axis=1, integers=(1,))
add("DFT", normal(2, 5, 3, 2), None, Fixed(np.array(1)), step=1.0)
add("DFT", normal(2, 6, 3, 1), None, Fixed(np.array(1)), step=1.0, onesided=1)
add("DFT", normal(2, 6, 3, 2), Fixed(np.array(4)), Fixed(np.array(1)), step=1.0, inverse=1)
add("DFT", normal(2, 6, 3, 1), Fixed(np.array(8)), Fixed(np.array(1)), step=1.0)
add("STFT", normal(2, 16, 1), Fixed(np.array(4)), Fixed(np.hanning(8)), step=1.0)
add("Col2Im", normal(1, 12, 9), integers(4, 5), integers(2, 3), step=1.0)
add("Col2Im", normal(1, 8, 12), integers(4, 5), integers(2, 2), step=1.0, pads=[0, 0, 0, 0])
maxima = Fixed(np.array([[[[5, 7], [13, 15]]]]))
add("MaxUnpool", normal(1, 1, 2, 2), maxima, step=1.0, kernel_shape=[2, 2], strides=[2, 2])
for mode in ("linear", "nearest", "cubic"):
    for padding_mode in ("zeros", "border", "reflection"):
        grid = np.random.default_rng(5).uniform(-1.2, 1.2, (2, 3, 4, 2))
        options = {"mode": mode, "padding_mode": padding_mode}
        options["oracle"] = "runtime"
        add("GridSample", normal(2, 3, 5, 6), Fixed(grid), step=1.0, **options)
        add("GridSample", normal(2, 3, 5, 6), Fixed(grid), step=1.0, align_corners=1, **options)
weights = [normal(1, 12, 2, seed=1) / 2, normal(1, 12, 3, seed=2) / 2, normal(1, 24, seed=3) / 2]
add("LSTM", normal(4, 2, 2), *weights, hidden_size=3, outputs=3, static_only=True)
for op, size in (("GRU", 9), ("RNN", 3)):
    parts = [weights[0][:, :size], weights[1][:, :size], weights[2][:, : 2 * size]]
    add(op, normal(4, 2, 2), *parts, hidden_size=3, static_only=True)
add("Einsum", normal(2, 3, 4), normal(4, 5, seed=1), equation="bij,jk->bik")
add("Einsum", normal(2, 3), normal(3, 4, seed=1), normal(4, 2, seed=2), equation="ij,jk,kl->il")
add("CastLike", normal(2, 3), normal(1), step=1.0)
add("Hardmax", separated(3, 4), axis=1)
add("Einsum", normal(2, 3, 4), step=1.0, equation="...ij->...ji")
add("Einsum", normal(2, 3, 4), step=1.0, equation="ijk->ik")
# A letter twice in one operand, an ellipsis, an implied result, sides of 1 that are repeated.
for equation in ("ii->i", "ii->", "ii"):
    add("Einsum", normal(4, 4), step=1.0, equation=equation)
add("Einsum", normal(2, 3, 3), step=1.0, equation="bii->b")
add("Einsum", normal(3, 3, 3), step=1.0, equation="iii->i")
add("Einsum", normal(3, 3, 4), step=1.0, equation="iij->ji")
add("Einsum", normal(2, 4, 3, 3), step=1.0, equation="...ii->...i")
add("Einsum", normal(2, 3, 4), step=1.0, equation="i...->...")
for left, right, equation in (
    ((3, 3, 4), (4, 2), "iij,jk->ik"),
    ((2, 3, 3), (3, 3), "bii,ii->b"),
    ((2, 3, 4), (4, 5), "bij,jk"),
    ((2, 3), (2, 3), "ij,ij->"),
    ((2, 2, 3, 4), (2, 2, 4, 5), "...ij,...jk->...ik"),
    ((2, 3, 4), (4, 5), "... i j , j k -> ... i k"),
    ((2, 3, 4), (1, 4, 5), "...ij,...jk->...ik"),
    ((2, 3), (4, 5), "ij,...->i..."),
    ((3, 4), (1, 5), "ij,jk->ik"),
    ((3, 1), (4, 5), "ij,jk->ik"),
):
    add("Einsum", normal(*left), normal(*right, seed=1), equation=equation)
three = (normal(2, 3, 4), normal(2, 4, 5, seed=1), normal(5, 5, seed=2))
add("Einsum", *three, equation="...ij,...jk,kk->...i")
add("Einsum", normal(2, 3), normal(3, 4, seed=1), normal(4, 2, seed=2), equation="ij,jk,kl")
# RoiAlign: boxes inside, over the border and tiny; a fixed number of points, and an adaptive one.
boxes = Fixed(np.array([[0.7, 1.2, 5.1, 6.3], [-1.0, 2, 14, 5.5], [3, 3, 3.4, 3.2]]))
for options in (
    {"sampling_ratio": 2},
    {
        "sampling_ratio": 3,
        "spatial_scale": 0.5,
        "coordinate_transformation_mode": "output_half_pixel",
    },
    {},
    {"spatial_scale": 0.7, "coordinate_transformation_mode": "output_half_pixel"},
):
    size = {"output_height": 2, "output_width": 3}
    add("RoiAlign", image, boxes, integers(1, 0, 1), step=1.0, oracle="runtime", **size, **options)
    add("RoiAlign", 3 * image, boxes, integers(1, 0, 1), mode="max", **size, **options)
add("OneHot", Fixed(np.array([1, -1, 3, 9])), Fixed(np.array(4)), normal(2), step=1.0)
add("OneHot", Fixed(np.array([[0, 2]])), Fixed(np.array(3)), normal(2), step=1.0, axis=1)
add("ReverseSequence", normal(4, 3, 2), integers(1, 4, 2), step=1.0)
add("ReverseSequence", normal(3, 4, 2), integers(1, 4, 2), step=1.0, batch_axis=0, time_axis=1)
