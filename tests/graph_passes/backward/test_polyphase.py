"""Strided convolutions that run phase by phase give what they gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import zoo

import onnxplain
from onnxplain.graph_passes.backward import polyphase
from onnxplain.graph_passes.backward.polyphase import in_phases
from onnxplain.graph_passes.graph.lowering import lowered_for
from onnxplain.graph_passes.heads import along
from onnxplain.graph_passes.prepare.pipeline import prepare

FEW, MANY = 3, 8
X = np.random.default_rng(1).standard_normal((2, FEW, 12, 18)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_activations_too(monkeypatch):
    monkeypatch.setattr(polyphase, "_WORTH", 0)


def block(
    strided: dict[str, Any], kernel: tuple[int, int] = (3, 3), between: str = "Clip", size=(12, 18)
) -> onnx.ModelProto:
    """Pointwise Conv, activation, strided depthwise Conv, and the sum of its outputs."""
    random = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    group = strided.get("group", MANY)
    bounds = [numpy_helper.from_array(np.float32(v), n) for n, v in (("low", -0.5), ("high", 1.5))]
    amounts = [
        numpy_helper.from_array(np.array(v), n)
        for n, v in (("amounts", [0, 0, 1, 1]), ("axes", [2, 3]))
    ]
    activation = {
        "Clip": [helper.make_node("Clip", ["h", "low", "high"], ["a"])],
        "Swish": [
            helper.make_node("Mul", ["h", "scale"], ["scaled"]),
            helper.make_node("Sigmoid", ["scaled"], ["gate"]),
            helper.make_node("Mul", ["scaled", "gate"], ["a"]),
        ],
        "nothing": [],
        # As Keras does it: zeros around the pixels first, then a Conv without pads.
        "Pad": [
            helper.make_node("Relu", ["h"], ["positive"]),
            helper.make_node("Pad", ["positive", "amounts", "", "axes"], ["a"]),
        ],
        "Softmax": [helper.make_node("Softmax", ["h"], ["a"], axis=3)],
    }[between]
    last = "a" if activation else "h"
    nodes = [
        helper.make_node("Conv", ["x", "widen", "bias"], ["h"]),
        *activation,
        helper.make_node("Conv", [last, "stride", "bias"], ["y"], **{"group": group, **strided}),
        helper.make_node("Tanh", ["y"], ["t"]),
        helper.make_node("GlobalAveragePool", ["t"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    weights = [
        constant("widen", MANY, FEW, 1, 1),
        constant("bias", MANY),
        constant("scale", MANY, 1, 1),
        constant("stride", MANY, MANY // group, *kernel),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEW, *size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [*weights, *bounds, *amounts],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The prepared model before and after."""
    graph = prepare(model)
    before = gs.export_onnx(graph, do_type_check=False)
    in_phases(graph, {"x", "scores"})
    return before, gs.export_onnx(graph, do_type_check=False)


def strides(model: onnx.ModelProto) -> set[int]:
    found = set()
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Conv" and attribute.name == "strides":
                found.update(attribute.ints)
    return found - {1}


def scores(model: onnx.ModelProto) -> np.ndarray:
    model.ir_version = 10
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["scores"], {"x": X})[0])


TAKEN = [
    ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, (3, 3)),
    ({"strides": [2, 2], "pads": [0, 0, 1, 1]}, (3, 3)),
    ({"strides": [2, 2], "pads": [2, 2, 2, 2]}, (5, 5)),
    ({"strides": [3, 2], "pads": [1, 3, 2, 0]}, (4, 5)),
    ({"strides": [1, 3], "pads": [1, 0, 1, 2]}, (3, 2)),
    ({"strides": [2, 2]}, (1, 1)),
    ({"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 1}, (3, 3)),
    ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (3, 3)),
]


@pytest.mark.parametrize("between", ["Clip", "Swish", "nothing"])
@pytest.mark.parametrize(("strided", "kernel"), TAKEN)
def test_scores_stay(strided, kernel, between):
    before, after = rewritten(block(strided, kernel, between))
    assert strides(before) and not strides(after)
    np.testing.assert_allclose(scores(after), scores(before), rtol=1e-5, atol=1e-6)


def test_zeros_around_the_pixels_belong_to_the_convolution():
    model = block({"strides": [2, 2], "pads": [0, 1, 0, 0]}, between="Pad")
    before, after = rewritten(model)
    assert "Pad" not in {node.op_type for node in after.graph.node}
    assert strides(before) and not strides(after)
    for changed in (before, after):
        np.testing.assert_allclose(scores(changed), scores(model), rtol=1e-5, atol=1e-6)


LEFT = {
    "no stride": block({"pads": [1, 1, 1, 1]}),
    "dilated": block({"strides": [2, 2], "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "pixels that meet": block({"strides": [2, 2]}, between="Softmax"),
    "odd": block({"strides": [2, 2], "pads": [1, 1, 1, 1]}, size=(11, 18)),
    "unknown size": block({"strides": [2, 2], "pads": [1, 1, 1, 1]}, size=("h", "w")),
    # No window reaches the last pixel of some phases.
    "cropped": block({"strides": [2, 2]}),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_it_leaves_alone(name):
    before, after = rewritten(LEFT[name])
    left = [node.op_type for node in before.graph.node]
    assert [node.op_type for node in after.graph.node] == left


def test_small_activations_are_not_worth_it(monkeypatch):
    monkeypatch.setattr(polyphase, "_WORTH", 2 * X[0, 0].size * MANY)
    before, after = rewritten(block(TAKEN[0][0]))
    assert strides(after) == strides(before) == {2}


def test_on_a_gpu_nothing_changes():
    with lowered_for(gpu=True):
        before, after = rewritten(block(TAKEN[0][0]))
    assert strides(after) == strides(before) == {2}


def test_tensors_that_others_want_stay():
    model = block(TAKEN[0][0])
    model.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    before, after = rewritten(model)
    assert strides(after) == strides(before) == {2}


def test_integrated_gradients_stay(monkeypatch):
    """The whole way, of a network with inverted residuals, beside the same without phases."""
    name, found = "mobilenet_v3-dynamo", []
    for _ in range(2):
        explainer = onnxplain.Explainer(
            zoo.model(name), "integrated-gradients", steps=6, providers="cpu"
        )
        body = next(n for n in explainer.model.graph.node if n.op_type == "Loop").attribute[0].g
        splits = sum(node.op_type == "Split" for node in body.node)
        found.append((explainer(zoo.example(name), 3).attribution, splits))
        monkeypatch.setattr(along, "in_phases", lambda *_: None)
    assert found[0][1] > found[1][1]
    assert zoo.relative_error(found[0][0], found[1][0]) < 1e-5
