"""Masks are exact, also for the float32 neighbours of a bound."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.small import run

import onnxplain

CHANNELS = 16


def clipped_convolution(low: float, high: float) -> onnx.ModelProto:
    """An identity convolution and a Clip: what exporters make of ReLU6 and its kind."""
    weight = np.ones((CHANNELS, 1, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], group=CHANNELS),
        helper.make_node("Clip", ["z", "low", "high"], ["y"]),
    ]
    shape = ["n", CHANNELS, "h", "w_"]
    graph = helper.make_graph(
        nodes,
        "clipped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.float32(low), "low"),
            numpy_helper.from_array(np.float32(high), "high"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def neighbours(value: float) -> list[np.float32]:
    """A number and the normal float32 numbers right below and above it."""
    number = np.float32(value)
    if number == 0:
        smallest = np.finfo(np.float32).tiny
        return [-smallest, number, smallest]
    ends = (np.float32(-np.inf), np.float32(np.inf))
    return [np.nextafter(number, ends[0]), number, np.nextafter(number, ends[1])]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 6), (0, 1), (-1, 1), (-0.3, 0.7), (0.1, 100), (-6, -1e-3), (1e-20, 1e20)]
)
def test_mask_is_exact(low: float, high: float) -> None:
    smallest = np.finfo(np.float32).tiny
    middle = (low + high) / 2
    values = [*neighbours(low), *neighbours(high), middle, low + smallest, -1e30, 1e30, 0, smallest]
    x = np.resize(np.asarray(values, np.float32), (1, CHANNELS, 1, len(values)))
    model = onnxplain.vjp(clipped_convolution(low, high))
    assert "Greater" not in {node.op_type for node in model.graph.node}, "not the mask under test"
    found = run(model, {"x": x, "cotangent_y": np.ones_like(x)})["grad_x"]
    inside = (x > np.float32(low)) & (x < np.float32(high))
    np.testing.assert_array_equal(found, inside.astype(np.float32))
