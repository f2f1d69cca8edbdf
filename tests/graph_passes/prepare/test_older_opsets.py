"""Files of older opsets: what is prepared is the model that ONNX Runtime runs from the file."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import INT64, ask, f32, node, small, value

import onnxplain

RANDOM = np.random.default_rng(8)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def check_linear(model, x, exact=1e-5):
    """The forward pass is the file's, and for a linear model sum(y g) = sum(x J^T g)."""
    y = ask(model, x=x)["y"]
    g = RANDOM.standard_normal(y.shape).astype(np.float32)
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=g)
    np.testing.assert_allclose(found["y"], y, atol=exact)
    np.testing.assert_allclose((x * found["grad_x"]).sum(), (y * g).sum(), rtol=1e-3, atol=1e-3)


SCALES = [(2, 2), (1.3, 1.3), (0.7, 0.7), (2, 0.5), (0.5, 3), (1, 1.7), (3, 1)]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("op, opset", [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_resizing_until_opset_10(op, opset, scales, mode, dynamic):
    if op == "Upsample" and min(scales) < 1:
        pytest.skip("Upsample only enlarges")
    factors = f32(1, 1, *scales)
    if opset == 7:
        nodes = [node(op, ["x"], ["y"], mode=mode, scales=factors.tolist())]
    else:
        nodes = [node(op, ["x", "s"], ["y"], mode=mode)]
    shape = ["N", 2, "h", "w"] if dynamic else [1, 2, 6, 5]
    weights = {} if opset == 7 else {"s": factors}
    model = small(nodes, [value("x", shape)], [value("y", ["N", 2, "a", "b"])], weights, opset)
    model.ir_version = 4
    check_linear(model, normal(1, 2, 6, 5))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_scales_that_are_computed(mode):
    """From the input's own size, as exporters write it."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Cast", ["shape"], ["sizes"], to=1),
        node("Div", ["double", "sizes"], ["scales"]),
        node("Upsample", ["x", "scales"], ["y"], mode=mode),
    ]
    weights = {"double": f32(1, 2, 12, 9)}
    model = small(nodes, [value("x", [1, 2, 6, 3])], [value("y", [1, 2, 12, 9])], weights, 9)
    check_linear(model, normal(1, 2, 6, 3))


def forms():
    """Operators whose words changed between opsets: (nodes, weights, opset, the input's shape)."""
    x4 = (2, 3, 6, 5)
    yield "Softmax 11, axes together", [node("Softmax", ["x"], ["y"], axis=1)], {}, 11, x4
    yield "LogSoftmax 9", [node("LogSoftmax", ["x"], ["y"], axis=2)], {}, 9, x4
    yield "Softmax 7, default axis", [node("Softmax", ["x"], ["y"])], {}, 7, x4
    yield "Clip 6", [node("Clip", ["x"], ["y"], min=-0.3, max=0.8)], {}, 7, x4
    yield "Clip 6, one bound", [node("Clip", ["x"], ["y"], min=0.0)], {}, 9, x4
    yield "Pad 2", [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)], {}, 9, x4
    yield (
        "Pad 2, reflect",
        [node("Pad", ["x"], ["y"], pads=[0] * 6 + [2, 1], mode="reflect")],
        {},
        10,
        x4,
    )
    yield (
        "Slice 1",
        [node("Slice", ["x"], ["y"], starts=[1, -3], ends=[9, -1], axes=[1, 3])],
        {},
        9,
        x4,
    )
    yield (
        "Squeeze 1",
        [node("Unsqueeze", ["x"], ["u"], axes=[0, 3]), node("Squeeze", ["u"], ["y"], axes=[3])],
        {},
        11,
        x4,
    )
    yield "Split 2", [node("Split", ["x"], ["a", "y"], axis=3, split=[2, 3])], {}, 11, x4
    yield "ReduceSum 11", [node("ReduceSum", ["x"], ["y"], axes=[1, -1], keepdims=0)], {}, 11, x4
    yield "ReduceMean 13", [node("ReduceMean", ["x"], ["y"], axes=[-2], keepdims=1)], {}, 13, x4
    yield "TopK 1", [node("TopK", ["x"], ["y", "i"], k=2, axis=3)], {}, 9, x4
    yield "Dropout 7", [node("Dropout", ["x"], ["y"], ratio=0.5)], {}, 9, x4
    yield "Dropout 10", [node("Dropout", ["x"], ["y"], ratio=0.9)], {}, 10, x4
    yield (
        "Gemm 7",
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"])],
        {"w": np.ones((90, 2), np.float32)},
        7,
        x4,
    )
    bn = {k: np.abs(RANDOM.standard_normal(3)).astype(np.float32) for k in "sbmv"}
    yield "BatchNormalization 7", [node("BatchNormalization", ["x", *"sbmv"], ["y"])], bn, 7, x4
    yield "BatchNormalization 9", [node("BatchNormalization", ["x", *"sbmv"], ["y"])], bn, 9, x4
    pool = dict(kernel_shape=[3, 2], strides=[2, 2])
    yield "AveragePool 7", [node("AveragePool", ["x"], ["y"], pads=[1, 0, 1, 1], **pool)], {}, 7, x4
    yield (
        "AveragePool 10",
        [node("AveragePool", ["x"], ["y"], pads=[1, 0, 1, 1], count_include_pad=1, **pool)],
        {},
        10,
        x4,
    )
    yield "MaxPool 8", [node("MaxPool", ["x"], ["y"], auto_pad="SAME_LOWER", **pool)], {}, 8, x4
    yield "Elu 7", [node("Elu", ["x"], ["y"], alpha=0.7)], {}, 7, x4
    yield (
        "PRelu 7",
        [node("PRelu", ["x", "a"], ["y"])],
        {"a": f32([[0.2]], [[0.3]], [[0.4]])},
        7,
        x4,
    )
    yield "HardSigmoid 7", [node("HardSigmoid", ["x"], ["y"])], {}, 7, x4
    yield "LRN 7", [node("LRN", ["x"], ["y"], size=3)], {}, 7, x4
    yield (
        "Resize 11, tf_half_pixel_for_nn",
        [
            node(
                "Resize",
                ["x", "e", "s"],
                ["y"],
                mode="nearest",
                coordinate_transformation_mode="tf_half_pixel_for_nn",
            )
        ],
        {"e": f32()[:0].reshape(0), "s": f32(1, 1, 2, 1.5)},
        11,
        x4,
    )
    for place in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        for mode in ("nearest", "linear", "cubic"):
            attributes = dict(mode=mode, coordinate_transformation_mode=place)
            for opset in (11, 13, 18):
                yield (
                    f"Resize {opset} {mode} {place}",
                    [node("Resize", ["x", "e", "s"], ["y"], **attributes)],
                    {"e": np.zeros(0, np.float32), "s": f32(1, 1, 1.5, 0.8)},
                    opset,
                    x4,
                )
    yield (
        "GridSample 16",
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            node("Slice", ["t", "zero", "two", "last"], ["g"]),
            node("GridSample", ["x", "g"], ["y"], mode="bicubic"),
        ],
        {"zero": np.array([0]), "two": np.array([2]), "last": np.array([3])},
        16,
        x4,
    )
    roi = {"r": f32([0, 0, 4, 3], [1, 1, 3, 5]), "b": np.array([0, 1])}
    for opset in (10, 16):
        yield (
            f"RoiAlign {opset}",
            [
                node(
                    "RoiAlign",
                    ["x", "r", "b"],
                    ["y"],
                    output_height=2,
                    output_width=2,
                    sampling_ratio=2,
                )
            ],
            roi,
            opset,
            x4,
        )
    yield (
        "DFT 17",
        [node("Unsqueeze", ["x", "last"], ["u"]), node("DFT", ["u"], ["y"], axis=2)],
        {"last": np.array([4])},
        17,
        x4,
    )
    yield (
        "ArgMax 11 off the path",
        [
            node("ArgMax", ["x"], ["i"], axis=3),
            node("Cast", ["i"], ["c"], to=1),
            node("Mul", ["x", "c"], ["y"]),
        ],
        {},
        11,
        x4,
    )
    yield "CumSum 11", [node("CumSum", ["x", "a"], ["y"], exclusive=1)], {"a": np.array(3)}, 11, x4


FORMS = {name: rest for name, *rest in forms()}


@pytest.mark.parametrize("name", FORMS)
def test_operators_whose_words_changed(name):
    """Prepared or refused, but never another model."""
    nodes, weights, opset, shape = FORMS[name]
    outputs = [value("y", None)]
    model = small(nodes, [value("x", list(shape))], outputs, weights, opset)
    model.ir_version = 6
    x = normal(*shape)
    if "GridSample" in name:
        x = np.tanh(normal(2, 3, 6, 6))[:, :, :, :5]
    try:
        y = ask(model, x=x)["y"]
    except Exception as error:  # ONNX Runtime's own
        pytest.skip(f"ONNX Runtime does not run it: {error}")
    try:
        prepared = onnxplain.vjp(model)
    except onnxplain.UnsupportedModelError as error:
        assert "Resize" in name and "tf_half_pixel_for_nn" in name, error
        return
    found = ask(prepared, x=x, cotangent_y=np.ones_like(y))
    np.testing.assert_allclose(found["y"], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller", "stretch"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("sizes", [(7, 9), (10, 5), (3, 2), (5, 4), (4, 13)])
@pytest.mark.parametrize("named", [[2, 3], [3, 2], None])
def test_resize_that_keeps_the_aspect_ratio(policy, mode, sizes, named):
    asked = list(sizes) if named == [2, 3] else list(sizes[::-1]) if named else [1, 2, *sizes]
    if named is None and policy != "stretch":
        asked = [1 * 3, 2 * 3, 5 * 3, 4 * 3]
    attributes = {"axes": named} if named else {}
    nodes = [
        node(
            "Resize",
            ["x", "", "", "z"],
            ["y"],
            mode=mode,
            keep_aspect_ratio_policy=policy,
            **attributes,
        )
    ]
    model = small(nodes, [value("x", [1, 2, 5, 4])], [value("y", None)], {"z": np.array(asked)}, 18)
    x = normal(1, 2, 5, 4)
    try:
        ask(model, x=x)
    except Exception as error:
        pytest.skip(f"ONNX Runtime does not run it: {error}")
    check_linear(model, x)


POOLS = [
    (length, kernel, stride, pad)
    for length in (3, 5, 6, 7)
    for kernel, stride, pad in ((2, 2, 1), (2, 3, 0), (3, 2, 1), (2, 2, 0), (3, 3, 1), (2, 1, 1))
    if length + 2 * pad >= kernel
]


@pytest.mark.parametrize("opset", [10, 12, 19, 22])
@pytest.mark.parametrize("op, include", [("MaxPool", 0), ("AveragePool", 0), ("AveragePool", 1)])
@pytest.mark.parametrize("length, kernel, stride, pad", POOLS)
def test_ceil_mode(length, kernel, stride, pad, op, include, opset):
    """Behind it stands what depends on the pool's shape: a mean, a Flatten."""
    attributes = {"count_include_pad": include} if op == "AveragePool" else {}
    nodes = [
        node(
            op,
            ["x"],
            ["p"],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            ceil_mode=1,
            **attributes,
        ),
        node("Sigmoid", ["p"], ["s"]),
        node("GlobalAveragePool", ["s"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    model = small(nodes, [value("x", ["N", 2, length, length])], [value("y", ["N", 2])], {}, opset)
    # Far apart, so that no difference crosses from one largest element to another.
    x = RANDOM.permutation(4 * length**2).reshape(2, 2, length, length).astype(np.float32) / 20
    try:
        y = ask(model, x=x)["y"]
    except Exception as error:
        pytest.skip(f"ONNX Runtime does not run it: {error}")
    g = normal(2, 2)
    found = ask(onnxplain.vjp(model), x=x, cotangent_y=g)
    np.testing.assert_allclose(found["y"], y, atol=1e-5)
    v, h = normal(*x.shape), 1e-3
    rise = (ask(model, x=x + h * v)["y"].astype(np.float64) - ask(model, x=x - h * v)["y"]) / (
        2 * h
    )
    slope = float((found["grad_x"].astype(np.float64) * v).sum())
    assert abs(slope - (g * rise).sum()) < 2e-2 * np.abs(found["grad_x"] * v).sum() + 1e-3
    assert INT64 == 7


def test_two_pools_in_a_row():
    """The second one's size follows from the first one's true size."""
    pool = dict(kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4, ceil_mode=1)
    nodes = [
        node("MaxPool", ["x"], ["p"], **pool),
        node("AveragePool", ["p"], ["q"], **pool),
        node("Tanh", ["q"], ["t"]),
        node("GlobalAveragePool", ["t"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    model = small(nodes, [value("x", [1, 2, 5, 5])], [value("y", [1, 2])])
    x = normal(1, 2, 5, 5)
    e = onnxplain.Explainer(model, "deeplift")(x, 1)
    np.testing.assert_allclose(e.outputs["y"], ask(model, x=x)["y"], atol=1e-5)
    assert e.relative_delta[0] < 1e-4
