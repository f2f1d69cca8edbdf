"""Files in other opsets: the same numbers, or one line on which operator needs what."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.small import ask, f32, node, small, value

import onnxplain
from onnxplain.graph_passes.finish.opset import LEAST, MOST, at_opset, oldest_runtime

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
AXES = {"axes": np.asarray([1, -1])}
INTEGERS = np.asarray([[3, -1, 4], [1, -5, 9]])
# name -> (nodes from x to y, weights); each is written in another way in an older opset.
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    **{
        op: ([node(op, ["x", "axes"], ["y"], keepdims=0)], AXES)
        for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1")
    },
    **{op: ([node(op, ["x", "axes"], ["y"])], AXES) for op in ("ReduceL2", "ReduceSumSquare")},
    "all axes": ([node("ReduceMax", ["x"], ["y"])], {}),
    "no axes": (
        [node("ReduceMean", ["x", "e"], ["y"], noop_with_empty_axes=1)],
        {"e": AXES["axes"][:0]},
    ),
    "Unsqueeze": ([node("Unsqueeze", ["x", "axes"], ["y"])], AXES),
    "Squeeze": (
        [node("Unsqueeze", ["x", "axes"], ["u"]), node("Squeeze", ["u", "axes"], ["y"])],
        AXES,
    ),
    "Squeeze of all": ([node("ReduceMax", ["x"], ["m"]), node("Squeeze", ["m"], ["y"])], {}),
    "Split of sizes": (
        [node("Split", ["x", "s"], ["a", "y"], axis=-1)],
        {"s": np.asarray([1, 3])},
    ),
    "Split, the last smaller": ([node("Split", ["x"], ["a", "y"], axis=1, num_outputs=2)], {}),
    "part of a shape": (
        [node("Shape", ["x"], ["s"], start=-2, end=2), node("Cast", ["s"], ["y"], to=1)],
        {},
    ),
    "Softmax": ([node("Softmax", ["x"], ["y"])], {}),
    "Softmax of channels": ([node("Softmax", ["x"], ["y"], axis=1)], {}),
    "LogSoftmax of rows": ([node("LogSoftmax", ["x"], ["y"], axis=0)], {}),
    "Gelu": ([node("Gelu", ["x"], ["y"])], {}),
    "HardSwish": ([node("HardSwish", ["x"], ["y"])], {}),
    "Mish": ([node("Mish", ["x"], ["y"])], {}),
    "LayerNormalization": (
        [node("LayerNormalization", ["x", "g", "b"], ["y"])],
        {"g": f32(1, 2, 3, 4), "b": f32(0, 1, 0, 2)},
    ),
    "at least": (
        [node("GreaterOrEqual", ["x", "zero"], ["c"]), node("Cast", ["c"], ["y"], to=1)],
        {"zero": f32(0)},
    ),
    "at most": (
        [node("LessOrEqual", ["x", "zero"], ["c"]), node("Cast", ["c"], ["y"], to=1)],
        {"zero": f32(0)},
    ),
    "integers": (
        [
            node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            node("Max", ["i", "k"], ["m"]),
            node("Min", ["m", "k2"], ["n"]),
            node("Cast", ["n"], ["y"], to=1),
        ],
        {"k": np.asarray(0), "k2": np.asarray(1)},
    ),
    "Reshape": ([node("Reshape", ["x", "s"], ["y"], allowzero=1)], {"s": np.asarray([6, 4])}),
    "nothing changed": ([node("Relu", ["x"], ["y"])], {}),
}


def model_of(name: str) -> onnx.ModelProto:
    nodes, weights = CASES[name]
    made = small(nodes, [value("x", ["N", 3, 4])], [value("y", None)], weights, opset=21)
    made.ir_version = 10
    shape = made.graph.output[0].type.tensor_type.shape
    shape.SetInParent()
    for size in ask(made, x=X)["y"].shape:
        shape.dim.add().dim_param = f"d{size}"
    return made


@pytest.mark.parametrize("name", CASES)
def test_an_operator(name):
    model = model_of(name)
    for opset in (LEAST, 12, 13, 17, 20, 23, MOST):
        made = at_opset(model, opset)
        onnx.checker.check_model(made, full_check=True)
        assert [o.version for o in made.opset_import if not o.domain] == [opset]
        assert made.ir_version == helper.find_min_ir_version_for(list(made.opset_import))
        np.testing.assert_allclose(ask(made, x=X)["y"], ask(model, x=X)["y"], rtol=1e-5, atol=1e-6)


def test_inside_a_loop():
    """What a body is written with has names that nothing around it has."""
    body = helper.make_graph(
        [
            node("Split", ["h"], ["a", "b"], axis=1, num_outputs=2),
            node("Concat", ["b", "a"], ["c"], axis=1),
            node("ReduceSum", ["c", "axes"], ["s"]),
            node("Sub", ["c", "s"], ["next"]),
            node("Identity", ["go"], ["on"]),
        ],
        "body",
        [value("k", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("h", [2, 4])],
        [value("on", [], TensorProto.BOOL), value("next", [2, 4])],
    )
    nodes = [
        node("ReduceSum", ["x", "axes"], ["t"], keepdims=0),
        node("Loop", ["times", "", "t"], ["y"], body=body),
    ]
    weights = {"axes": np.asarray([1]), "times": np.asarray(3)}
    model = small(nodes, [value("x", ["N", 3, 4])], [value("y", [2, 4])], weights, opset=21)
    model.ir_version = 10
    made = at_opset(model, LEAST)
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(ask(made, x=X)["y"], ask(model, x=X)["y"], rtol=1e-5)


@pytest.mark.parametrize(
    "nodes, weights, opset, said",
    [
        (
            [node("Reshape", ["x", "s"], ["y"], allowzero=1)],
            {"s": np.asarray([0, 4])},
            13,
            "Reshape as it is used needs 14",
        ),
        ([node("Trilu", ["x"], ["y"])], {}, 11, "Trilu as it is used needs 14"),
        (
            [node("ReduceSum", ["x", "a"], ["y"]), node("Shape", ["x"], ["a"], end=1)][::-1],
            {},
            11,
            "ReduceSum as it is used needs 13",
        ),
        (
            [node("Cast", ["x"], ["h"], to=TensorProto.BFLOAT16), node("Cast", ["h"], ["y"], to=1)],
            {},
            11,
            "Cast as it is used needs 13",
        ),
    ],
    ids=["a length of 0", "an operator that is newer", "axes that are computed", "a newer type"],
)
def test_what_an_older_opset_has_not(nodes, weights, opset, said):
    model = small(nodes, [value("x", ["N", 3, 4])], [value("y", None)], weights, opset=21)
    with pytest.raises(onnxplain.UnsupportedModelError, match=f"opset {opset}: .*{said}") as raised:
        at_opset(model, opset)
    assert "\n" not in str(raised.value)


def test_the_oldest_runtime():
    """By ONNX Runtime's own table of versions."""
    for opset, release in ((11, "1.0"), (13, "1.6"), (17, "1.12"), (19, "1.16"), (21, "1.18")):
        assert oldest_runtime(at_opset(model_of("nothing changed"), opset)) == release
