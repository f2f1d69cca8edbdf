"""Integers divided by 0, or the least one by -1: an error, and all else as ONNX Runtime has it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from support.hostile_constants import parsed

import onnxplain
from onnxplain.engine.running.divisions import guarded
from onnxplain.engine.running.session import open_session

TYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def divided(op: str, kind: type, opset: int = 21, **attributes) -> onnx.ModelProto:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    values = [helper.make_tensor_value_info(n, number, ["K"]) for n in "ab"]
    graph = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["c"], **attributes)],
        "division",
        values,
        [helper.make_tensor_value_info("c", number, ["K"])],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("kind", TYPES)
def test_what_has_a_result_has_the_same(op: str, kind: type) -> None:
    """Also -1 as a divisor, the least number as a dividend, and the largest ones."""
    info = np.iinfo(kind)
    a = np.array([info.max, info.min + 1, 7, info.max, info.min], kind)
    b = np.array([info.max, 1 if info.min == 0 else -1, 3, 2, 3], kind)
    try:
        plain = onnx_runtime(divided(op, kind), a, b)
    except Exception:
        pytest.skip("ONNX Runtime does not divide these")
    found = open_session(divided(op, kind), "cpu").run({"a": a, "b": b})["c"]
    assert found.dtype == plain.dtype and (found == plain).all()


def onnx_runtime(model: onnx.ModelProto, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"a": a, "b": b})[0]


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("opset", [13, 21])
def test_what_has_none_is_an_error(op: str, kind: type, least: bool, opset: int) -> None:
    a = np.array([5, np.iinfo(kind).min if least else 5], kind)
    b = np.array([5, -1 if least else 0], kind)
    session = open_session(divided(op, kind, opset), "cpu")
    with pytest.raises(onnxplain.UnsupportedModelError, match="divides an integer by 0, or"):
        session.run({"a": a, "b": b})
    found = session.run({"a": a, "b": np.array([1, 1], kind)})["c"]
    assert (found == (a if op == "Div" else 0)).all()


def test_only_what_may_end_the_process_is_changed() -> None:
    weights = ", int64[1] two = {2}, int64[1] none = {0}, float[1] zero = {0}"
    of_floats = parsed("d = Div (x, zero) y = Relu (d)", weights)
    by_two = parsed(
        "s = Shape (x) d = Div (s, two) f = Cast <to = 1> (d) y = Add (x, one)", weights
    )
    by_none = parsed("s = Shape (x) d = Div (s, none) y = Relu (x)", weights)
    in_function = parsed(
        "s = Shape (x) d = own.f (s, none) y = Relu (x)",
        weights,
        '<domain: "own", opset_import: ["" : 21]> f (a, b) => (c) { c = Div (a, b) }',
    )
    in_body = parsed(
        "m = ReduceMax <keepdims = 0> (x) g = Less (m, one) s = Shape (x) r = If (g) "
        "<then_branch = t () => (int64[2] c) { c = Mod (s, none) }, "
        "else_branch = e () => (int64[2] o) { o = Identity (s) }> y = Relu (x)",
        weights,
    )
    for model in (of_floats, by_two):
        assert guarded(model) is model
    for model in (by_none, in_function, in_body):
        before = model.SerializeToString()
        changed = guarded(model)
        assert changed is not model and model.SerializeToString() == before
        onnx.checker.check_model(changed, full_check=True)


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("a, b", [(7, 0), (-(2**63), -1), (-(2**31), 0)])
def test_constants_are_refused_by_name(op: str, a: int, b: int) -> None:
    model = parsed(
        f"d = {op} (a, b) f = Cast <to = 1> (d) y = Add (x, f)",
        f", int64[1] a = {{{a}}}, int64[1] b = {{{b}}}",
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match=rf"{op} \(node 'd'\): a division"):
        onnxplain.inspect(model)


def test_an_input_that_is_divided_by() -> None:
    """The file and the graph that explains it end in one line."""
    body = "i = Cast <to = 7> (x) s = Cast <to = 7> (one) d = Div (s, i) f = Cast <to = 1> (d)"
    explainer = onnxplain.Explainer(
        parsed(f"{body} y = Add (x, f)").SerializeToString(), "saliency", providers="cpu"
    )
    with pytest.raises(onnxplain.OnnxplainError, match="divides an integer by 0"):
        explainer(np.zeros((1, 4), np.float32), 0)
    with pytest.raises(onnxplain.OnnxplainError, match="divides an integer by 0"):
        explainer.scores(np.zeros((1, 4), np.float32), 0)
    e = explainer(np.full((1, 4), 2, np.float32), 0)
    assert (e.attribution == [[1, 0, 0, 0]]).all()


def test_types_are_known_without_inference() -> None:
    """By what nodes read: an unknown one is no integer."""
    model = parsed(
        "s = Shape (x) r = Reshape (s, m) d = Div (m, r) y = Relu (x)", ", int64[1] m = {-1}"
    )
    assert guarded(model) is not model
