"""Weights that are not numbers are refused at load by name; masks of infinities are explained."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.small import f32, node, small, value

import onnxplain
from onnxplain import Explainer, UnsupportedModelError

X, Y = value("x", ["N", 3]), value("y", ["N", 3])
INF, NAN = float("inf"), float("nan")


def square(bad: float, kind: type = np.float32) -> np.ndarray:
    weights = np.arange(9, dtype=kind).reshape(3, 3) / 10
    weights[1, 2] = bad
    return weights


def model_of(body: list, weights: dict) -> onnx.ModelProto:
    return small([*body, node("MatMul", ["h", "last"], ["y"])], [X], [Y],
                 {**weights, "last": np.eye(3, dtype=np.float32) + 0.1})  # fmt: skip


def half(kind: str) -> list:
    to = {"half": onnx.TensorProto.FLOAT16, "double": onnx.TensorProto.DOUBLE}[kind]
    return [
        node("Cast", ["x"], ["c"], to=to),
        node("MatMul", ["c", "bad"], ["m"]),
        node("Cast", ["m"], ["h"], to=onnx.TensorProto.FLOAT),
    ]


def branch(name: str, weights: np.ndarray) -> onnx.GraphProto:
    held = [numpy_helper.from_array(weights, name)]
    body = [node("MatMul", ["x", name], [f"{name}_h"])]
    return onnx.helper.make_graph(body, name, [], [value(f"{name}_h", ["N", 3])], held)


def conditional(bad: float) -> onnx.ModelProto:
    chosen = node("If", ["c"], ["h"], then_branch=branch("fine", square(0.5)),
                  else_branch=branch("bad", square(bad)))  # fmt: skip
    mean = [node("ReduceMean", ["x"], ["r"], keepdims=0), node("Greater", ["r", "zero"], ["c"])]
    return model_of([*mean, chosen], {"zero": np.float32(0)})


def refused(bad: float) -> dict[str, onnx.ModelProto]:
    constant = node("Constant", [], ["bad"], value=numpy_helper.from_array(square(bad)))
    norm = ["x", "one", "zero", "zero", "bad"]
    three = {"one": f32(1, 1, 1), "zero": f32(0, 0, 0)}
    product = node("MatMul", ["x", "bad"], ["h"])
    return {
        "MatMul": model_of([product], {"bad": square(bad)}),
        "Gemm": model_of([node("Gemm", ["x", "bad"], ["h"])], {"bad": square(bad)}),
        "Gemm's bias": model_of(
            [node("Gemm", ["x", "fine", "bad"], ["h"])], {"fine": square(1), "bad": f32(0, bad, 0)}
        ),
        "Transpose before": model_of(
            [node("Transpose", ["bad"], ["t"]), node("MatMul", ["x", "t"], ["h"])],
            {"bad": square(bad)},
        ),
        "half": model_of(half("half"), {"bad": square(bad, np.float16)}),
        "double": model_of(half("double"), {"bad": square(bad, np.float64)}),
        "Constant": model_of([constant, product], {}),
        "If": conditional(bad),
        "BatchNormalization": model_of(
            [node("BatchNormalization", norm, ["h"])], {**three, "bad": f32(1, bad, 1)}
        ),
    }


@pytest.mark.parametrize("bad", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("name", refused(NAN))
def test_refused_by_name(name, bad):
    for method in ("integrated-gradients", "deeplift"):
        with pytest.raises(UnsupportedModelError) as error:
            Explainer(refused(bad)[name], method)
        text = str(error.value)
        assert "\n" not in text and ("NaN" if np.isnan(bad) else "infinity") in text, text
        assert "'bad'" in text or "'t'" in text, text


def test_refused_in_external_data(tmp_path):
    path = tmp_path / "model.onnx"
    made = refused(NAN)["MatMul"]
    onnx.save(made, path, save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(UnsupportedModelError, match="'bad' holds NaN"):
        onnxplain.Explainer(path, "deeplift")


@pytest.mark.parametrize("body", [
    [node("Add", ["x", "bad"], ["h"])],
    [node("Mul", ["x", "bad"], ["h"])],
    [node("Max", ["x", "bad"], ["h"])],
], ids=["Add", "Mul", "Max"])  # fmt: skip
def test_nan_beside_products(body):
    with pytest.raises(UnsupportedModelError, match="'bad' holds NaN"):
        Explainer(model_of(body, {"bad": f32(0, NAN, 0)}), "integrated-gradients")


def surviving() -> dict[str, onnx.ModelProto]:
    mask, chosen = f32(0, 0, -INF), np.array([True, True, False])
    softmax = node("Softmax", ["m"], ["h"], axis=-1)
    return {
        "mask by Add": model_of([node("Add", ["x", "mask"], ["m"]), softmax], {"mask": mask}),
        "mask by Where": model_of(
            [node("Where", ["chosen", "x", "mask"], ["m"]), softmax],
            {"chosen": chosen, "mask": np.float32(-INF)},
        ),
        "NaN not taken": model_of(
            [
                node("Where", ["chosen", "x", "bad"], ["w"]),
                node("Where", ["other", "w", "x"], ["h"]),
            ],
            {"chosen": chosen, "other": chosen, "bad": np.float32(NAN)},
        ),
        "Clip without an end": model_of(
            [node("Clip", ["x", "low", "high"], ["h"])],
            {"low": np.float32(0), "high": np.float32(INF)},
        ),
        "Max with -inf": model_of([node("Max", ["x", "low"], ["h"])], {"low": np.float32(-INF)}),
    }


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
@pytest.mark.parametrize("name", surviving())
def test_masks_are_explained(name, method):
    x = f32([0.3, 1.2, 0.7])
    e = Explainer(surviving()[name], method, baseline=0.0)(x, 1)
    assert np.isfinite(e.attribution).all() and np.abs(e.attribution).max() > 1e-3
    gap = float((e.score - e.baseline_score)[0])
    assert abs(float(e.attribution.sum()) - gap) < 0.01 * abs(gap) + 1e-5
