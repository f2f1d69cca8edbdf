"""Windows: what counts is what ONNX Runtime computes, whatever way the pads are said."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import numpy_helper
from support.differences import assert_vjp_fits
from support.often import often
from support.small import node, run, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare

RANDOM = np.random.default_rng(4)
X = {length: RANDOM.normal(size=(1, 2, length, 5)).astype(np.float32) for length in (6, 7)}
STEP = often(7, 1)
MODES = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def _model(op: str, length: int, attributes: dict, opset: int, symbolic: bool):
    """The operator alone, over fixed or over symbolic sizes."""
    kernel = attributes["kernel_shape"]
    shape = {"Conv": (3, 2), "ConvTranspose": (2, 3)}.get(op)
    weights = {}
    if shape is not None:
        weights["w"] = np.random.default_rng(5).normal(size=(*shape, *kernel)).astype(np.float32)
    dims = ["N", 2, "h", "w_"] if symbolic else [1, 2, length, 5]
    nodes = [node(op, ["x", *weights], ["p"], **attributes), node("Tanh", ["p"], ["y"])]
    return small(nodes, [value("x", dims)], [value("y", None)], weights, opset)


def _runs(model, x) -> np.ndarray | None:
    """What ONNX Runtime makes of the file; None where it refuses it."""
    try:
        return run(model, {"x": x})["y"]
    except Exception:
        return None


def _same(op: str, opset: int, **more) -> int:
    """Hold the prepared graph to the file over kernels, strides, dilations and modes."""
    tried = 0
    grid = itertools.product((6, 7), (1, 2, 3), (1, 2, 3), (1, 2), MODES, (False, True))
    # Every seventh: 7 has no factor with the sizes, so that each pair of values comes up.
    for length, kernel, stride, dilation, mode, symbolic in itertools.islice(grid, 0, None, STEP):
        attributes = {"kernel_shape": [kernel, 2], "strides": [stride, 1], "auto_pad": mode, **more}
        if dilation > 1:
            attributes["dilations"] = [dilation, 1]
        model = _model(op, length, attributes, opset, symbolic)
        expected = _runs(model, X[length])
        if expected is None:
            continue
        try:
            prepared = gs.export_onnx(prepare(model), do_type_check=False)
        except onnxplain.UnsupportedModelError:
            assert mode in ("SAME_UPPER", "SAME_LOWER") and more.get("ceil_mode")
            assert (symbolic and dilation > 1) or (op == "AveragePool" and kernel < stride)
            continue
        found = run(prepared, {"x": X[length]})["y"]
        assert found.shape == expected.shape, attributes
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(attributes))
        tried += 1
    return tried


GRID = [
    ("Conv", 17, {}),
    ("ConvTranspose", 17, {}),
    ("ConvTranspose", 17, {"output_padding": [1, 0]}),
    ("ConvTranspose", 17, {"output_shape": [12, 5]}),
    ("MaxPool", 17, {}),
    ("MaxPool", 17, {"ceil_mode": 1}),
    ("AveragePool", 19, {}),
    ("AveragePool", 19, {"ceil_mode": 1}),
    ("AveragePool", 19, {"ceil_mode": 1, "count_include_pad": 1}),
    ("AveragePool", 19, {"count_include_pad": 1}),
    ("LpPool", 18, {}),
    ("LpPool", 18, {"ceil_mode": 1}),
]


@pytest.mark.parametrize(("op", "opset", "more"), GRID, ids=str)
def test_the_graph_computes_what_the_file_computes(op, opset, more) -> None:
    assert _same(op, opset, **more) >= 20 // STEP


DILATED = [
    ("MaxPool", 17, {"dilations": [2, 2], "kernel_shape": [3, 3]}),
    ("AveragePool", 19, {"dilations": [2, 2], "kernel_shape": [3, 3]}),
    ("AveragePool", 19, {"dilations": [2, 1], "kernel_shape": [3, 2], "ceil_mode": 1}),
    ("LpPool", 18, {"dilations": [2, 2], "kernel_shape": [3, 3]}),
    ("ConvTranspose", 17, {"kernel_shape": [2, 2], "strides": [3, 3]}),
    ("ConvTranspose", 17, {"kernel_shape": [1, 1], "strides": [2, 2]}),
]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("op", "opset", "attributes"), DILATED, ids=str)
def test_gradients_behind_such_windows(op, opset, attributes, mode, symbolic) -> None:
    if symbolic and attributes.get("ceil_mode"):
        pytest.skip("refused: see the grid")
    model = _model(op, 6, {**attributes, "auto_pad": mode}, opset, symbolic)
    assert_vjp_fits(model, {"x": X[6]})


@pytest.mark.parametrize(("op", "opset", "attributes"), DILATED, ids=str)
def test_what_lies_behind_has_the_right_size(op, opset, attributes) -> None:
    """A mean over the sizes that ONNX's inference has wrong: one divides by their number."""
    model = _model(op, 6, {**attributes, "auto_pad": "SAME_UPPER"}, opset, False)
    channels = run(model, {"x": X[6]})["y"].shape[1]
    more = [node("GlobalAveragePool", ["y"], ["g"]), node("Flatten", ["g"], ["f"])]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights["v"] = RANDOM.normal(size=(channels, 3)).astype(np.float32)
    nodes = [*model.graph.node, *more, node("MatMul", ["f", "v"], ["z"])]
    whole = small(nodes, [value("x", [1, 2, 6, 5])], [value("z", [1, 3])], weights, opset)
    for method in ("saliency", "deeplift"):
        explainer = onnxplain.Explainer(whole, method)
        np.testing.assert_allclose(
            explainer(X[6], 1).score, run(whole, {"x": X[6]})["z"][:, 1], rtol=1e-4
        )
        explainer.verify(X[6], 1)
