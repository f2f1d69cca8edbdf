"""Quantised and half-precision files of the demo model, made by ONNX Runtime's own quantiser."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_rules import run

import onnxplain
from onnxplain.engine.images import image_to_tensor, read_image
from onnxplain.engine.prepared import prepared_graph
from onnxplain.models.card import black_image, find_card
from onnxplain.models.shipped import demo_model, demo_photos

KINDS = ("qdq", "qoperator", "dynamic")
STEPS = 50


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


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The demo model quantised in three ways, per channel where ONNX Runtime offers it."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    folder = tmp_path_factory.mktemp("quantised")
    source = folder / "float.onnx"
    model = gs.export_onnx(prepared_graph(demo_model()))
    model.ir_version = 10
    onnx.save(model, source)

    class Photos:
        """What the quantiser calibrates on."""

        def __init__(self):
            self.left = iter([{"input": x} for x in photos()])

        def get_next(self):
            return next(self.left, None)

    paths = {kind: folder / f"{kind}.onnx" for kind in KINDS}
    signed = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    for kind, style, more in (
        ("qdq", QuantFormat.QDQ, signed),
        ("qoperator", QuantFormat.QOperator, {}),
    ):
        reader = Photos()
        quantize_static(source, paths[kind], reader, quant_format=style, per_channel=True, **more)
    quantize_dynamic(source, paths["dynamic"])
    return paths


def deployed(path: Path, x: np.ndarray) -> np.ndarray:
    """The scores of the file itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": x})
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_deployed_models(files, kind: str) -> None:
    """They differ by no more than one step of the output's quantiser (0.12 here)."""
    x = photos()[0]
    e = onnxplain.Explainer(files[kind], "grad-cam", providers="cpu")(x)
    assert np.abs(e.outputs["logits"] - deployed(files[kind], x)).max() < 0.13
    assert e.target.tolist() == [967]


@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("kind", ["qdq", "qoperator"])
def test_maps_resemble_the_float_files(files, kind: str, capsys) -> None:
    """Straight-through gradients point where the float file's do."""
    options = {"steps": STEPS, "baseline": black(), "providers": "cpu"}
    x = photos()[0]
    maps = {
        path: onnxplain.Explainer(path, "integrated-gradients", **options)(x, 967).attribution
        for path in (demo_model(), files[kind])
    }
    pixels = np.corrcoef(*(values.ravel() for values in maps.values()))[0, 1]
    regions = np.corrcoef(*(smoothed(values).ravel() for values in maps.values()))[0, 1]
    with capsys.disabled():
        print(f"\n{kind}: IG correlates {pixels:.2f} by pixel, {regions:.2f} by region")
    assert pixels > 0.5
    assert regions > 0.9
    cams = [onnxplain.Explainer(path, "grad-cam")(x, 967).attribution.ravel() for path in maps]
    assert np.corrcoef(*cams)[0, 1] > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_tells_the_rule(files, kind: str) -> None:
    found = onnxplain.inspect(files[kind])
    assert found.quantisation is not None and "straight-through" in found.quantisation
    assert not any(found.unsupported.values())


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
    """Ties round to even, ends saturate; inside the range the gradient is 1, outside 0."""
    model = quantiser(np.asarray(zero), 0.5)
    limits = np.iinfo(zero.dtype)
    low, high = (0.5 * (float(limit) - float(zero)) for limit in (limits.min, limits.max))
    x = np.asarray([low - 9, low + 1, -0.25, 0.25, 0.75, 1.3, high - 1, high + 9], np.float32)
    expected = run(model, {"x": x})["y"]
    found = run(onnxplain.vjp(model), {"x": x, "cotangent_y": np.ones_like(x)})
    np.testing.assert_array_equal(found["y"], expected)
    inside = (x > low) & (x < high)
    np.testing.assert_array_equal(found["grad_x"], inside.astype(np.float32))


def test_blocks_are_refused() -> None:
    """Block quantisation is named, not guessed."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], block_size=2, axis=1),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], block_size=2, axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        [numpy_helper.from_array(np.ones((3, 2), np.float32), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(onnxplain.UnsupportedModelError, match="block"):
        onnxplain.vjp(model)
