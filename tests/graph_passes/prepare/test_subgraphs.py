"""If and Loop that read tensors of the graph around them, and cutting such graphs in two."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.small import model_of

import onnxplain
from onnxplain.graph_passes.finish.split import split

METHODS = ("integrated-gradients", "deeplift")

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(6)
WEIGHTS = {"zero": np.float32(0), "v": RANDOM.standard_normal((5, 3)).astype(np.float32)}


def choosing(read: str, other: str = "Neg") -> onnx.ModelProto:
    """x + (read or other(read)), as the sum of a second input decides, times a matrix."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, [read], [op])],
            op,
            [],
            [helper.make_tensor_value_info(op, FLOAT, None)],
        )
        for name, op in (("then", "Identity"), ("else", other))
    }
    nodes = [
        helper.make_node("Tanh", ["x"], ["inner"]),
        helper.make_node("Exp", ["y"], ["other"]),
        helper.make_node("ReduceSum", ["y"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["chosen"], name="choice", **branches),
        helper.make_node("Add", ["inner", "chosen"], ["both"]),
        helper.make_node("MatMul", ["both", "v"], ["scores"]),
    ]
    inputs = [("x", FLOAT, ["n", 5]), ("y", FLOAT, ["n", 5])]
    return model_of(nodes, inputs, [("scores", FLOAT, ["n", 3])], WEIGHTS)


@pytest.mark.parametrize("method", METHODS)
def test_a_branch_that_reads_what_depends_on_the_input_is_refused(method):
    """Its share of the score would be missing, and delta 0 all the same."""
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"If .*'choice'.* reads 'inner'"):
        onnxplain.Explainer(choosing("inner", "ReduceMax"), method, input="x", providers="cpu")


def test_vjp_names_it():
    with pytest.raises(onnxplain.UnsupportedModelError, match="subgraph reads 'inner'"):
        onnxplain.vjp(choosing("inner", "ReduceMax"), inputs=["x"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", [1, [0, 1, 2]])
def test_a_branch_that_reads_another_input_stands_still(method, sign, target):
    x, y = RANDOM.standard_normal((2, 1, 5)).astype(np.float32)
    y = sign * np.abs(y)
    e = onnxplain.Explainer(choosing("other"), method, input="x", steps=50, providers="cpu")(
        {"x": x, "y": y}, target
    )
    expected = np.tanh(x) * WEIGHTS["v"][:, np.atleast_1d(target)].T
    np.testing.assert_allclose(e.attribution, expected, atol=1e-4)


@pytest.mark.parametrize("typed", [True, False])
def test_both_parts_give_what_the_whole_gives(typed):
    """Also where nobody knows the type of what one part would hand to the other."""
    model = choosing("other")
    if typed:
        model = onnx.shape_inference.infer_shapes(model)
    first, second = split(model, {"x"})
    feeds = dict(zip("xy", RANDOM.standard_normal((2, 3, 5)).astype(np.float32), strict=True))

    def run(part: onnx.ModelProto) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(
            part.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        taken = {value.name: feeds[value.name] for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, taken), strict=True))

    (expected,) = run(model).values()
    assert bool(first.graph.output) == typed
    if typed:
        feeds |= run(first)
    (found,) = run(second).values()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
