"""Quantised operators in the body of a Scan or Loop: the numbers of the steps written out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.saturation import skip_where_saturated
from support.small import ask, model_of

import onnxplain

FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8
STEPS, WIDTH = 4, 6
RANDOM = np.random.default_rng(3)
WEIGHTS = {
    "scale": np.float32(0.02),
    "zero": np.int8(3),
    "w_scale": np.float32(0.01),
    "w": RANDOM.integers(-100, 100, (WIDTH, WIDTH)).astype(np.int8),
    "start": np.zeros((1, WIDTH), np.float32),
    "v": RANDOM.standard_normal((WIDTH, 3)).astype(np.float32),
}
METHODS = ("integrated-gradients", "deeplift", "saliency")
X = RANDOM.standard_normal((1, STEPS, WIDTH)).astype(np.float32)
node = helper.make_node


def qdq(x: str, state: str, to: str, tag: str = "") -> list[onnx.NodeProto]:
    """state' = tanh(Q(x) W + state), Q and W through 8 bits."""
    return [
        node("QuantizeLinear", [x, "scale", "zero"], [f"q{tag}"]),
        node("DequantizeLinear", [f"q{tag}", "scale", "zero"], [f"f{tag}"]),
        node("DequantizeLinear", ["w", "w_scale"], [f"wf{tag}"]),
        node("MatMul", [f"f{tag}", f"wf{tag}"], [f"m{tag}"]),
        node("Add", [f"m{tag}", state], [f"s{tag}"]),
        node("Tanh", [f"s{tag}"], [to]),
    ]


def dynamic(x: str, state: str, to: str, tag: str = "") -> list[onnx.NodeProto]:
    """The same with the range found at run time and whole numbers multiplied."""
    return [
        node("DynamicQuantizeLinear", [x], [f"q{tag}", f"qs{tag}", f"qz{tag}"]),
        node("MatMulInteger", [f"q{tag}", "w", f"qz{tag}"], [f"sum{tag}"]),
        node("Cast", [f"sum{tag}"], [f"c{tag}"], to=FLOAT),
        node("Mul", [f"qs{tag}", "w_scale"], [f"k{tag}"]),
        node("Mul", [f"c{tag}", f"k{tag}"], [f"m{tag}"]),
        node("Add", [f"m{tag}", state], [f"s{tag}"]),
        node("Tanh", [f"s{tag}"], [to]),
    ]


def contrib(x: str, state: str, to: str, tag: str = "") -> list[onnx.NodeProto]:
    """With operators of ONNX Runtime's own domain."""
    own = dict(domain="com.microsoft")
    return [
        node("QuantizeLinear", [x, "scale", "zero"], [f"q{tag}"], **own),
        node("DequantizeLinear", [f"q{tag}", "scale", "zero"], [f"f{tag}"], **own),
        node("DequantizeLinear", ["w", "w_scale"], [f"wf{tag}"]),
        node("FusedMatMul", [f"f{tag}", f"wf{tag}"], [f"m{tag}"], alpha=1.0, **own),
        node("Add", [f"m{tag}", state], [f"s{tag}"]),
        node("Tanh", [f"s{tag}"], [to]),
    ]


def whole(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    rows = node("Transpose", ["rows"], ["x"], perm=[1, 0, 2])
    nodes = [rows, *nodes, node("MatMul", ["last", "v"], ["scores"])]
    inputs = [("rows", FLOAT, [1, STEPS, WIDTH])]
    model = model_of(nodes, inputs, [("scores", FLOAT, [1, 3])], WEIGHTS)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def value(name: str, shape, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def scanned(step) -> onnx.ModelProto:
    body = helper.make_graph(
        [*step("row", "before", "after"), node("Identity", ["after"], ["seen"])],
        "body",
        [value("before", [1, WIDTH]), value("row", [1, WIDTH])],
        [value("after", [1, WIDTH]), value("seen", [1, WIDTH])],
    )
    scan = node("Scan", ["start", "x"], ["last", "all"], body=body, num_scan_inputs=1)
    return whole([scan])


def looped(step) -> onnx.ModelProto:
    nodes = [
        node("Gather", ["x", "i"], ["row"], axis=0),
        *step("row", "before", "after"),
        node("Identity", ["going"], ["goes"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [
            value("i", [], TensorProto.INT64),
            value("going", [], TensorProto.BOOL),
            value("before", [1, WIDTH]),
        ],
        [value("goes", [], TensorProto.BOOL), value("after", [1, WIDTH])],
    )
    count = node("Constant", [], ["count"], value_int=STEPS)
    return whole([count, node("Loop", ["count", "", "start"], ["last"], body=body)])


def written_out(step) -> onnx.ModelProto:
    nodes, state = [], "start"
    for k in range(STEPS):
        to = "last" if k == STEPS - 1 else f"state{k}"
        index = node("Constant", [], [f"i{k}"], value_int=k)
        nodes += [index, node("Gather", ["x", f"i{k}"], [f"row{k}"], axis=0)]
        nodes += step(f"row{k}", state, to, str(k))
        state = to
    return whole(nodes)


def explained(model: onnx.ModelProto, method: str) -> onnxplain.Explanation:
    options = {"baseline": np.full_like(X, 0.1), "steps": 20} if method != "saliency" else {}
    if method == "deeplift":
        options.pop("steps")
    return onnxplain.Explainer(model, method, **options)(X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loop", [scanned, looped])
@pytest.mark.parametrize("step", [qdq, dynamic, contrib])
def test_as_written_out(step, loop, method: str) -> None:
    if step is dynamic:
        skip_where_saturated()
    model = loop(step)
    e, expected = explained(model, method), explained(written_out(step), method)
    np.testing.assert_allclose(e.outputs["scores"], ask(model, rows=X)["scores"], atol=1e-5)
    np.testing.assert_allclose(e.score, expected.score, rtol=1e-6)
    assert np.abs(expected.attribution).max() > 1e-3
    np.testing.assert_allclose(e.attribution, expected.attribution, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_eight_bits_that_go_into_the_loop(method: str) -> None:
    """Quantised before the Scan, and floats again only inside its body."""
    inner = [
        node("DequantizeLinear", ["row", "scale", "zero"], ["f"]),
        node("Add", ["f", "before"], ["s"]),
        node("Tanh", ["s"], ["after"]),
        node("Identity", ["row"], ["seen"]),
    ]
    body = helper.make_graph(
        inner,
        "body",
        [value("before", [1, WIDTH]), value("row", [1, WIDTH], INT8)],
        [value("after", [1, WIDTH]), value("seen", [1, WIDTH], INT8)],
    )
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("Scan", ["start", "q"], ["last", "all"], body=body, num_scan_inputs=1),
    ]

    def step(x, state, to, tag=""):
        return [
            node("QuantizeLinear", [x, "scale", "zero"], [f"q{tag}"]),
            node("DequantizeLinear", [f"q{tag}", "scale", "zero"], [f"f{tag}"]),
            node("Add", [f"f{tag}", state], [f"s{tag}"]),
            node("Tanh", [f"s{tag}"], [to]),
        ]

    e, expected = explained(whole(nodes), method), explained(written_out(step), method)
    np.testing.assert_allclose(e.attribution, expected.attribution, atol=1e-6)


def test_a_loop_of_unknown_length_is_refused_by_name() -> None:
    model = scanned(qdq)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "steps"
    with pytest.raises(onnxplain.UnsupportedModelError, match="Scan"):
        onnxplain.Explainer(model, "deeplift", baseline=0)
