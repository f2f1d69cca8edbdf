"""8-bit weights stay 8-bit in exported files, whatever a method needs them as, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from support.often import often
from support.small import node, run, small, value

import onnxplain
from onnxplain.graph_passes.finish.compact import compact, quantised_of
from onnxplain.graph_passes.methods import find_method

METHODS = ("grad-cam", "saliency", "deeplift", "integrated-gradients", "lrp", "occlusion")
FEW = {"steps": 5, "window": 4, "stride": 4}
CHANNELS = 96


def scales(kind: str, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Scale and zero of a weight: one, or one for each channel; whole numbers with and without."""
    count = () if kind == "one" else (CHANNELS,)
    found = {"scale": random.uniform(0.001, 0.003, count).astype(np.float32)}
    if kind == "uint8":
        found["zero"] = random.integers(100, 150, count).astype(np.uint8)
    elif kind != "no zero":
        found["zero"] = np.zeros(count, np.int8)
    return found


def network(kind: str) -> onnx.ModelProto:
    """Three convolutions of weights behind DequantizeLinear, and a linear layer."""
    random = np.random.default_rng(0)
    inputs, weights = 3, {}
    nodes, last = [], "x"
    for layer in range(3):
        shape = (CHANNELS, inputs, 3, 3)
        unsigned = kind == "uint8"
        low, high, dtype = (0, 256, np.uint8) if unsigned else (-127, 128, np.int8)
        weights[f"w{layer}"] = random.integers(low, high, shape).astype(dtype)
        own = {f"{k}{layer}": v for k, v in scales(kind, random).items()}
        weights |= own
        nodes += [
            node("DequantizeLinear", [f"w{layer}", *own], [f"f{layer}"], axis=0),
            node("Conv", [last, f"f{layer}"], [f"c{layer}"]),
            node("Relu", [f"c{layer}"], [f"r{layer}"]),
        ]
        inputs, last = CHANNELS, f"r{layer}"
    weights["g"] = random.integers(-127, 128, (CHANNELS, 10)).astype(np.int8)
    weights["gs"] = np.float32(0.01)
    nodes += [
        node("GlobalAveragePool", [last], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("DequantizeLinear", ["g", "gs"], ["gf"]),
        node("MatMul", ["f", "gf"], ["y"]),
    ]
    return small(nodes, [value("x", ["N", 3, 12, 12])], [value("y", ["N", 10])], weights)


KINDS = ("one", "channels", "no zero", "uint8")
CASES = often(
    [*itertools.product(METHODS, ["uint8"]), *itertools.product(["saliency"], KINDS[:3])],
    list(itertools.product(METHODS, KINDS)),
)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_no_larger_than_the_source(tmp_path, method, kind):
    model = network(kind)
    few = {name: number for name, number in FEW.items() if find_method(method).takes(name)}
    explainer = onnxplain.Explainer(model, method, baseline=0.0, providers="cpu", **few)
    made = explainer.export(tmp_path / "file.onnx", target="top1")
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    kept = sum(len(t.raw_data) for t in made.graph.initializer)
    kept += sum(len(a.t.raw_data) for n in made.graph.node for a in n.attribute)
    assert kept <= 1.1 * weights
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    whole = explainer.model
    feeds = {"x": x, "target": np.full(2, -1)}
    if find_method(method).takes("baseline"):
        feeds["baseline"] = np.zeros((1, 3, 12, 12), np.float32)
    held = compact(whole, quantised_of(model))
    onnx.checker.check_model(held, full_check=True)
    before, behind = run(whole, feeds), run(held, feeds)
    for name, numbers in before.items():
        np.testing.assert_array_equal(behind[name], numbers)


def test_what_a_dequantizer_makes_is_known():
    for kind in KINDS:
        model = network(kind)
        taken = model.graph.node[0]
        alone = small([taken], [], [value("f0", None)], {})
        alone.graph.initializer.extend(
            t for t in model.graph.initializer if t.name in set(taken.input)
        )
        first = quantised_of(model)[0]
        np.testing.assert_array_equal(run(alone, {})["f0"], first.numbers)
        assert len(quantised_of(model)) == 4


def test_whole_numbers_and_the_sign_of_zero():
    """Whole numbers of 8 bits are kept as such; a -0 is none."""
    whole = np.arange(-128, 128, dtype=np.float32).reshape(16, 16)
    signed = whole.copy()
    signed[8, 0] = -0.0
    for weights, kind in ((whole, np.int8), (signed, np.float16), (whole * 2, np.float16)):
        model = small(
            [node("MatMul", ["x", "w"], ["y"])],
            [value("x", [2, 16])],
            [value("y", [2, 16])],
            {"w": weights},
        )
        made = compact(model)
        (stored,) = made.graph.initializer
        assert onnx.helper.tensor_dtype_to_np_dtype(stored.data_type) == kind
        x = np.random.default_rng(2).normal(size=(2, 16)).astype(np.float32)
        np.testing.assert_array_equal(run(made, {"x": x})["y"], run(model, {"x": x})["y"])
