"""Quantised and half-precision files of the demo model, made by ONNX Runtime's own quantiser."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from support import torch_runner
from support.often import by_day, by_night
from support.saturation import skip_where_saturated
from support.served import OF_ALL
from support.small import run

import onnxplain
from onnxplain.engine.inputs.image import image_to_tensor, read_image
from onnxplain.engine.model import opened
from onnxplain.models.card import black_image, find_card
from onnxplain.models.shipped import demo_model, demo_photos

KINDS = ("qdq", "qoperator", "dynamic")
TARGETS = (967, 282)
"""The photos' classes: espresso, tiger cat."""
MOSTLY = [("qdq-but-blocks", 0), ("qdq-but-blocks", 1), ("qoperator-but-blocks", 0)]
STEPS = 24  # with 50, the default, the correlations below are the same or higher by up to 0.05


@cache
def photos() -> tuple[np.ndarray, ...]:
    """The demo photos as the model takes them."""
    card = find_card(onnx.load(demo_model()), demo_model())
    assert card is not None
    return tuple(image_to_tensor(read_image(path), card)[0] for path in demo_photos())


@cache
def black() -> np.ndarray:
    card = find_card(onnx.load(demo_model()), demo_model())
    assert card is not None
    return black_image(card)


class Photos(CalibrationDataReader):
    """What the quantiser calibrates on."""

    def __init__(self):
        self.left = iter([{"input": x} for x in photos()])

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore
        return next(self.left, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The demo model quantised in several ways, per channel where ONNX Runtime offers it."""
    folder = tmp_path_factory.mktemp("quantised")
    kinds = ("float", "weights", "qdq-but-blocks", "qoperator-but-blocks", *KINDS)
    paths = {kind: folder / f"{kind}.onnx" for kind in kinds}
    model = gs.export_onnx(opened(demo_model()).graph())
    model.ir_version = 10
    onnx.save(model, paths["float"])
    early = first_blocks(model)
    signed = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    for kind, style, options in (
        ("qdq", QuantFormat.QDQ, signed),
        ("qoperator", QuantFormat.QOperator, {}),
        ("qdq-but-blocks", QuantFormat.QDQ, {**signed, "nodes_to_exclude": early}),
        ("qoperator-but-blocks", QuantFormat.QOperator, {"nodes_to_exclude": early}),
        ("weights", QuantFormat.QDQ, {"activation_type": QuantType.QUInt16}),
    ):
        options = {"quant_format": style, "per_channel": True, **options}
        quantize_static(paths["float"], paths[kind], Photos(), **options)
    quantize_dynamic(paths["float"], paths["dynamic"])
    return paths


def first_blocks(model: onnx.ModelProto) -> list[str]:
    """Nodes before the seventh convolution: the stem and two blocks, 0.2 % of the weights.

    The first depthwise convolution reaches 96 where ReLU6 keeps 0 to 6: rounding its weights opens
    and closes whole regions, and costs the map more than rounding those of all later blocks.
    """
    names = [node.name for node in model.graph.node]
    convolutions = [k for k, node in enumerate(model.graph.node) if node.op_type == "Conv"]
    return names[: convolutions[6]]


def deployed(path: Path, x: np.ndarray) -> np.ndarray:
    """The scores of the file itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": x})
    return logits


@cache
def grad_cam(file: Path) -> onnxplain.Explanation:
    """Of the first photo's top class."""
    return onnxplain.Explainer(file, "grad-cam", providers="cpu", threads=1)(photos()[0])


@pytest.mark.parametrize("kind", by_day(KINDS, ["qoperator"]))
def test_scores_are_the_deployed_models(files, kind: str) -> None:
    """They differ by no more than one step of the output's quantiser (0.12 here)."""
    skip_where_saturated()
    x = photos()[0]
    e = grad_cam(files[kind])
    assert np.abs(e.outputs["logits"] - deployed(files[kind], x)).max() < 0.13
    assert e.target.tolist() == [967]


@pytest.mark.parametrize("kind", by_day(KINDS, ["qoperator"]))
def test_deeplift_sums_to_delta(files, kind: str) -> None:
    explainer = onnxplain.Explainer(files[kind], "deeplift", baseline=black(), providers="cpu")
    e = explainer(photos()[0])
    assert e.relative_delta is not None
    assert e.relative_delta[0] < 1e-4


def smoothed(attribution: np.ndarray, sigma: int = 4) -> np.ndarray:
    """|attribution| summed over channels and blurred: where the evidence lies."""
    kernel = np.exp(-0.5 * (np.arange(-3 * sigma, 3 * sigma + 1) / sigma) ** 2)
    values = np.abs(attribution[0]).sum(0)
    for axis in (0, 1):
        values = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), axis, values)
    return values


@cache
def integrated(file: Path, photo: int = 0) -> np.ndarray:
    """Integrated Gradients of a photo's class as the package gives them."""
    options = {"steps": STEPS, "baseline": black(), "providers": "cpu", "threads": 1}
    explainer = onnxplain.Explainer(file, "integrated-gradients", **options)
    return explainer(photos()[photo], TARGETS[photo]).attribution


def integrated_by_torch(model: onnx.ModelProto) -> np.ndarray:
    """The same of the first photo by PyTorch's gradients, with nothing of the package."""
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    score = torch.zeros(1, 1000)
    score[0, TARGETS[0]] = 1
    difference, total = photos()[0] - black(), np.zeros_like(photos()[0])
    for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = {"input": torch.from_numpy(black() + np.float32(alpha) * difference)}
        found = torch_runner.gradients(model, point, {"logits": score}, ["input"], torch.float32)
        total += np.float32(weight) * found["input"].numpy()
    return difference * total


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, by pixel and channel: nothing summed, blurred or clipped."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize(
    ("kind", "photo"),
    by_day(MOSTLY, MOSTLY[1:]),
)
def test_maps_follow_the_float_files(files, kind: str, photo: int) -> None:
    """Two early blocks left in float, a usual choice: the maps agree, pixel by pixel."""
    maps = [integrated(file, photo) for file in (demo_model(), files[kind])]
    assert correlation(*maps) > 0.9  # 0.945 to 0.949; 0.966 and more with 50 steps


@pytest.mark.parametrize("kind", by_day(["qdq", "qoperator"], ["qoperator"]))
def test_regions_of_wholly_quantised_files(files, kind: str) -> None:
    """All of it in 8 bits: the regions agree, the pixels less (the next two tests say why)."""
    maps = [integrated(file) for file in (demo_model(), files[kind])]
    assert correlation(*maps) > 0.45  # 0.52; 0.57 with 50 steps
    assert correlation(*(smoothed(values) for values in maps)) > 0.9
    cams = [grad_cam(file) for file in (demo_model(), files[kind])]
    assert correlation(*(cam.attribution for cam in cams)) > 0.99


def test_wholly_quantised_file_against_torch(files) -> None:
    """PyTorch's straight-through gradients of the file give the same map, as far from float's.

    Not closer than 0.98: a sum that another order of addition moves by 1e-7 rounds to the other
    side, and the layers after it carry that on. PyTorch's float32 and float64 are as far apart.
    """
    expected = integrated_by_torch(onnx.load(files["qdq"]))
    found = integrated(files["qdq"])
    assert correlation(found, expected) > 0.97
    exact = integrated(demo_model())
    assert abs(correlation(found, exact) - correlation(expected, exact)) < 0.02


@by_night
def test_eight_bit_weights_alone_change_the_map(files) -> None:
    """No rule for quantisers can mend it: with weights in 8 bits, it is another function.

    The float file with rounded weights has no quantiser on the path, and PyTorch's autograd of it
    gives 0.76; the package gives the same map (0.999) of a file with 16-bit activations.
    """
    expected = integrated_by_torch(rounded_weights(onnx.load(files["float"])))
    found = integrated(files["weights"])
    assert correlation(found, expected) > 0.99
    assert correlation(expected, integrated(demo_model())) < 0.8


def rounded_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each weight w becomes s round(w / s), s = max |w| / 127 of its output channel."""
    rows = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    for tensor in model.graph.initializer:
        if tensor.name in rows:
            w = numpy_helper.to_array(tensor)
            scale = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / 127
            scale = np.maximum(scale, np.finfo(np.float32).tiny)
            rounded = (np.round(w / scale) * scale).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_tells_the_rule(files, kind: str) -> None:
    found = onnxplain.inspect(files[kind])
    assert found.quantisation is not None and "straight-through" in found.quantisation
    # A scale that is computed is a divisor that AttnLRP cannot tell from attention's.
    refused = {name for name in OF_ALL if found.unsupported[name]}
    assert refused == ({"attn-lrp"} if kind == "dynamic" else set())


def quantiser(zero: np.ndarray, scale: float) -> onnx.ModelProto:
    """x through QuantizeLinear and DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantiser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [
            numpy_helper.from_array(np.float32(scale), "s"),
            numpy_helper.from_array(zero, "z"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(7), np.int8(-3)])
def test_quantiser_is_exact_and_straight_through(zero) -> None:
    """Ties round to even, ends saturate; inside the range the gradient is 1, outside 0.

    Outside begins at the range's end, not half a step later where rounding still gives the end: a
    quantiser that stands for ReLU passes nothing below 0.
    """
    model = quantiser(np.asarray(zero), 0.5)
    limits = np.iinfo(zero.dtype)
    low, high = (0.5 * (float(limit) - float(zero)) for limit in (limits.min, limits.max))
    ends = [low - 9, low - 0.2, low + 0.2, low + 1, high - 1, high - 0.2, high + 0.2, high + 9]
    x = np.asarray([*ends, -0.25, 0.25, 0.75, 1.3], np.float32)
    expected = run(model, {"x": x})["y"]
    found = run(onnxplain.vjp(model), {"x": x, "cotangent_y": np.ones_like(x)})
    np.testing.assert_array_equal(found["y"], expected)
    inside = (x > low) & (x < high)
    np.testing.assert_array_equal(found["grad_x"], inside.astype(np.float32))


def blocks(sizes: list) -> onnx.ModelProto:
    """A quantiser and its opposite with a step for each two places of a row."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], block_size=2, axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], block_size=2, axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [
            numpy_helper.from_array(np.float32([[0.5, 0.1, 2], [1, 0.3, 0.7]]), "s"),
            numpy_helper.from_array(np.uint8([[128, 0, 255], [7, 100, 50]]), "z"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_blocks_have_steps_of_their_own() -> None:
    """Also a last one that is not full."""
    model = blocks([2, 5])
    x = np.random.default_rng(0).uniform(-90, 90, (2, 5)).astype(np.float32)
    expected = run(model, {"x": x})["y"]
    found = run(onnxplain.vjp(model), {"x": x, "cotangent_y": np.ones_like(x)})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-6)
    scale = np.repeat([[0.5, 0.1, 2], [1, 0.3, 0.7]], 2, axis=1)[:, :5]
    zero = np.repeat([[128, 0, 255], [7, 100, 50]], 2, axis=1)[:, :5]
    inside = (x / scale + zero > 0) & (x / scale + zero < 255)
    assert inside.any() and not inside.all()
    np.testing.assert_array_equal(found["grad_x"], inside.astype(np.float32))


def test_blocks_of_an_unknown_length_are_refused() -> None:
    """They are named, not guessed."""
    model = blocks([2, "w"])
    with pytest.raises(onnxplain.UnsupportedModelError, match="block"):
        onnxplain.vjp(model)
