"""The arithmetic of sizes: against ONNX Runtime, and where some of the numbers are not known."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper
from support.small import run

from onnxplain.graph_passes.graph.operator_facts import Fact
from onnxplain.graph_passes.graph.operators import OPERATORS, has
from onnxplain.graph_passes.graph.sizes import COMPUTED, MOVING, compute, known_sizes, most_of

A, B = np.array([[2, -7, 0, 9], [5, 3, -4, 8]]), np.array([[3, 2, 1, -4]])
YES, NO = A > 2, B > 0
FLOATS = A * 0.75

# (operator, attributes, operands)
CASES = [
    *((op, {}, [A, B]) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *((op, {}, [FLOATS, B * 0.5]) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *((op, {}, [A, B]) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *((op, {}, [YES, NO]) for op in ("And", "Or")),
    ("Max", {}, [A, B, A - 1]),
    ("Not", {}, [YES]),
    ("Where", {}, [YES, A, B]),
    ("Identity", {}, [A]),
    ("Cast", {"to": onnx.TensorProto.FLOAT}, [A]),
    ("Cast", {"to": onnx.TensorProto.INT64}, [FLOATS]),
    ("Cast", {"to": onnx.TensorProto.BOOL}, [A]),
    ("Concat", {"axis": 1}, [A, np.array([[1], [2]])]),
    ("Concat", {"axis": -2}, [A, B]),
    ("Gather", {}, [A, np.array([1, 0, -1])]),
    ("Gather", {"axis": 1}, [A, np.array(2)]),
    ("Gather", {"axis": -1}, [A, np.array([[0], [-4]])]),
    ("Reshape", {}, [A, np.array([4, -1])]),
    ("Reshape", {}, [A, np.array([0, 2, 2])]),
    ("Reshape", {"allowzero": 1}, [A[:0], np.array([0, 4])]),
    ("Squeeze", {}, [B]),
    ("Squeeze", {}, [B, np.array([-2])]),
    ("Unsqueeze", {}, [A, np.array([0, -1])]),
    ("Slice", {}, [A, np.array([1]), np.array([100])]),
    ("Slice", {}, [A, np.array([0, 1]), np.array([2, -1])]),
    ("Slice", {}, [A, np.array([-3]), np.array([4]), np.array([1]), np.array([2])]),
    ("Slice", {}, [A, np.array([-1]), np.array([-(2**60)]), np.array([1]), np.array([-1])]),
    ("Slice", {}, [A, np.array([3]), np.array([0]), np.array([-1]), np.array([-2])]),
]


def made_by_runtime(op, attributes, operands):
    names = [f"x{k}" for k in range(len(operands))]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, operands, strict=True)
    ]
    node = helper.make_node(op, names, ["y"], **attributes)
    graph = helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    return run(model, dict(zip(names, operands, strict=True)))["y"]


@pytest.mark.parametrize("op, attributes, operands", CASES)
def test_as_the_runtime_has_it(op, attributes, operands):
    expected, found = made_by_runtime(op, attributes, operands), compute(op, attributes, operands)
    assert np.shape(found) == expected.shape
    assert np.asarray(found).dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    most = most_of(op, [x.shape for x in operands])
    assert most is not None and expected.size <= most


@pytest.mark.parametrize("op, attributes, operands", CASES)
def test_unknown_numbers_stay_unknown_and_hide_no_others(op, attributes, operands):
    """Whatever the number that is not known is: what is said all the same is so for each."""
    if operands[0].dtype.kind == "f" or not operands[0].size or op == "Cast":
        pytest.skip("sizes are whole numbers; a Cast leaves them as they are")
    hidden = operands[0].astype(object)
    hidden[0, 1] = None
    given = [hidden, *(x.astype(object) for x in operands[1:])]
    found = np.asarray(compute(op, attributes, given), dtype=object)
    fitting = (True, False) if operands[0].dtype == bool else (-7, 1, 40)
    for value in fitting:
        tried = operands[0].copy()
        tried[0, 1] = value
        expected = made_by_runtime(op, attributes, [tried, *operands[1:]])
        assert expected.shape == found.shape
        known = found != np.array(None)
        np.testing.assert_array_equal(found[known].astype(expected.dtype), expected[known])
    whole = compute(op, attributes, [x.astype(object) for x in operands])
    assert not any(x is None for x in np.ravel(whole))


def test_every_operator_has_cases():
    assert {op for op, _, _ in CASES} == COMPUTED.keys()


def test_a_whole_number_divided_by_zero_is_no_size():
    with pytest.raises(ZeroDivisionError):
        compute("Div", {}, [A, np.array([0])])


def test_what_moves_is_no_arithmetic():
    assert all(has(op, Fact.MOVES) for op in MOVING)
    assert all(OPERATORS[op].facts & Fact.EVALUATED for op in COMPUTED)


def test_sizes_of_a_graph_as_far_as_they_are_known():
    """[n, 3, 8, 8] read by Shape, halved, with one element in front: n stays unknown."""
    x = gs.Variable("x", np.float32, ["n", 3, 8, 8])
    read, part, half, joined = (gs.Variable(n, np.int64) for n in ("s", "p", "h", "j"))
    const = {k: gs.Constant(k, np.array(v, np.int64)) for k, v in
             {"from": [1], "to": [9], "two": 2, "front": [-1]}.items()}  # fmt: skip
    gs.Graph(
        [
            gs.Node("Shape", inputs=[x], outputs=[read]),
            gs.Node("Slice", inputs=[read, const["from"], const["to"]], outputs=[part]),
            gs.Node("Div", inputs=[part, const["two"]], outputs=[half]),
            gs.Node("Concat", "c", {"axis": 0}, [const["front"], half, read], [joined]),
        ],
        [x],
        [joined],
    )
    known = known_sizes(joined)
    assert known is not None and known.tolist() == [-1, 1, 4, 4, None, 3, 8, 8]
    assert known_sizes(x) is None
