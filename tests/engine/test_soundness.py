"""The nets: what is wrong is raised or said, with the tensor's name, and never drawn."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
from support.digits import CARD, write_photo
from support.small import FLOAT, ask, f32, node, small, value

import onnxplain
from onnxplain.engine.explaining import soundness
from onnxplain.engine.jobs.explain import Options, explain_files
from onnxplain.graph_passes.backward import walk
from onnxplain.graph_passes.prepare.pipeline import prepare

RANDOM = np.random.default_rng(21)
W = RANDOM.standard_normal((3, 4)).astype(np.float32)
METHODS = ["integrated-gradients", "deeplift"]


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def tanh_model(*nodes, opset=17, batch="N", **weights):
    first = [node("MatMul", ["x", "w"], ["h"]), node("Tanh", ["h"], ["z"])]
    outputs = [value("y", None)]
    return small([*first, *nodes], [value("x", [batch, 3])], outputs, {"w": W, **weights}, opset)


TAILS = {
    "softmax, identity": (
        [node("Softmax", ["z"], ["s"], axis=-1), node("Identity", ["s"], ["y"])],
        {},
    ),
    "softmax, reshape": (
        [node("Softmax", ["z"], ["s"], axis=-1), node("Reshape", ["s", "sh"], ["y"])],
        {"sh": np.array([0, -1])},
    ),
    "softmax, two reshapes": (
        [
            node("Softmax", ["z"], ["s"], axis=-1),
            node("Unsqueeze", ["s", "one"], ["u"]),
            node("Squeeze", ["u", "one"], ["y"]),
        ],
        {"one": np.array([1])},
    ),
    "sigmoid, cast, identity": (
        [
            node("Sigmoid", ["z"], ["s"]),
            node("Cast", ["s"], ["c"], to=10),
            node("Cast", ["c"], ["d"], to=1),
            node("Identity", ["d"], ["y"]),
        ],
        {},
    ),
    "half behind a cast": ([node("Cast", ["z"], ["c"], to=10), node("Identity", ["c"], ["y"])], {}),
    "log softmax, dropout": (
        [node("LogSoftmax", ["z"], ["s"], axis=1), node("Dropout", ["s"], ["y"])],
        {},
    ),
    "written out": (
        [
            node("ReduceMax", ["z"], ["m"], axes=[-1]),
            node("Sub", ["z", "m"], ["d"]),
            node("Exp", ["d"], ["e"]),
            node("ReduceSum", ["e", "axis"], ["u"]),
            node("Div", ["e", "u"], ["y"]),
        ],
        {"axis": np.array([-1])},
    ),
    "written out, identity": (
        [
            node("ReduceMax", ["z"], ["m"], axes=[-1]),
            node("Sub", ["z", "m"], ["d"]),
            node("Exp", ["d"], ["e"]),
            node("ReduceSum", ["e", "axis"], ["u"]),
            node("Div", ["e", "u"], ["q"]),
            node("Identity", ["q"], ["y"]),
        ],
        {"axis": np.array([-1])},
    ),
}


@pytest.mark.parametrize("options", [{"steps": 200}, {}, {"tolerance": 0.001}])
@pytest.mark.parametrize("name", TAILS)
def test_what_stands_behind_the_final_activation(name, options, tmp_path):
    nodes, weights = TAILS[name]
    model = tanh_model(*nodes, **weights)
    x = normal(2, 3)
    explainer = onnxplain.Explainer(model, "integrated-gradients", **options)
    e = explainer(x, 2)
    np.testing.assert_allclose(e.score, np.tanh(x @ W)[:, 2], rtol=1e-5)
    assert e.attribution.any() and e.relative_delta.max() < 0.011
    file = ask(explainer.export(tmp_path / "e.onnx"), x=x, target=np.array([2, 2]))
    size = np.abs(e.attribution).max()
    np.testing.assert_allclose(file["attribution"], e.attribution, atol=0.02 * size)


def test_a_fused_product_with_its_activation():
    nodes = [
        node("FusedGemm", ["x", "w", "b"], ["y"], domain="com.microsoft", activation="Sigmoid")
    ]
    model = small(
        *(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], {"w": W, "b": W[0]}),
        domains=["com.microsoft"],
    )
    x = normal(1, 3)
    e = onnxplain.Explainer(model, "integrated-gradients")(x, 2)
    np.testing.assert_allclose(e.attribution, x * W[:, 2], rtol=1e-4)


@pytest.mark.parametrize(
    "tail", ["", "Identity", "Sigmoid", "Softmax", "Softmax, Cast", "Softmax, Transpose"]
)
@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_the_class_axis_of_a_map(layer, tail):
    """[N, H, W, classes] and [N, classes, H, W], whatever stands behind the last layer."""
    classes = normal(3, 5)
    if layer == "dense":
        nodes, weights, axis = [node("MatMul", ["x", "k"], ["h"])], {"k": classes}, 3
    else:
        nodes = [
            node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            node("Conv", ["t", "k"], ["h"]),
        ]
        weights, axis = {"k": np.ascontiguousarray(classes.T)[:, :, None, None]}, 1
    perm = [0, 3, 1, 2] if axis == 3 else [0, 2, 3, 1]
    behind = {
        "": [],
        "Identity": [node("Identity", ["h"], ["y"])],
        "Sigmoid": [node("Sigmoid", ["h"], ["y"])],
        "Softmax": [node("Softmax", ["h"], ["y"], axis=axis)],
        "Softmax, Cast": [
            node("Softmax", ["h"], ["s"], axis=axis),
            node("Cast", ["s"], ["y"], to=1),
        ],
        "Softmax, Transpose": [
            node("Softmax", ["h"], ["s"], axis=axis),
            node("Transpose", ["s"], ["y"], perm=perm),
        ],
    }[tail]
    last = "y" if behind else "h"
    model = small([*nodes, *behind], [value("x", ["N", 4, 6, 3])], [value(last, None)], weights)
    x = normal(1, 4, 6, 3)
    scores = x @ classes
    best = scores.argmax(-1)
    top = np.bincount(best.ravel(), minlength=5).argmax()
    e = onnxplain.Explainer(model, "deeplift")(x)
    assert e.target == [top]
    np.testing.assert_allclose(e.score, scores[..., top][best == top].sum(), rtol=1e-4)


# --- NaN and infinity


@pytest.mark.parametrize("method", METHODS)
def test_nan_is_named(method):
    """log(h - 100): the model's own tensor, in the forward pass."""
    nodes = [
        node("Sub", ["z", "much"], ["d"]),
        node("Log", ["d"], ["bad"]),
        node("Identity", ["bad"], ["y"]),
    ]
    model = tanh_model(*nodes, much=f32(100)[0])
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"is NaN.*first in 'bad'"):
        onnxplain.Explainer(model, method)(normal(1, 3), 0)


@pytest.mark.parametrize("method", METHODS)
def test_nan_at_the_baseline_is_named(method):
    nodes = [node("Log", ["x"], ["bad"]), node("MatMul", ["bad", "w"], ["y"])]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], {"w": W})
    x = np.abs(normal(2, 3)) + 1
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"baseline.*'bad'"):
        onnxplain.Explainer(model, method)(x, 0)
    assert np.isfinite(onnxplain.Explainer(model, method, baseline=0.5)(x, 0).attribution).all()


def test_an_infinite_slope_is_named():
    """sqrt at 0, with nothing before it that would select."""
    nodes = [node("Sqrt", ["x"], ["root"], name="the_root"), node("MatMul", ["root", "w"], ["y"])]
    model = small(nodes, [value("x", ["N", 3])], [value("y", ["N", 4])], {"w": W})
    explainer = onnxplain.Explainer(model, "integrated-gradients", quadrature="left", steps=4)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"attribution is.*the_root"):
        explainer(np.abs(normal(1, 3)), 0)


def test_masks_of_infinity_are_no_fault():
    nodes = [
        node("Add", ["z", "mask"], ["m"]),
        node("Softmax", ["m"], ["s"], axis=1),
        node("MatMul", ["s", "v"], ["y"]),
    ]
    model = tanh_model(*nodes, mask=f32(0, -np.inf, 0, -np.inf), v=normal(4, 2))
    for method in METHODS:
        e = onnxplain.Explainer(model, method)(normal(2, 3), 0)
        assert np.isfinite(e.attribution).all() and e.relative_delta.max() < 0.011


# --- arrival, warnings, verification


def test_a_gradient_that_gets_lost_is_an_error(monkeypatch):
    """A rule that passes nothing on where the score depends on its operand."""
    model = tanh_model(node("Identity", ["z"], ["y"]))
    lost = []
    collect = walk._collect

    def forgetful(emit, arrived, tensor):
        if tensor.name == "h" and not lost:
            lost.append(arrived.pop("h", None))
            return None
        return collect(emit, arrived, tensor)

    monkeypatch.setattr(walk, "_collect", forgetful)
    with pytest.raises(onnxplain.UnsupportedModelError, match="'x', but no gradient arrives"):
        onnxplain.vjp(model)


def test_fixed_points_that_miss_much_are_said(caplog):
    model = tanh_model(node("Identity", ["z"], ["y"]))
    x = normal(1, 3) * 30
    with caplog.at_level(logging.WARNING, "onnxplain"):
        fixed = onnxplain.Explainer(model, "integrated-gradients", quadrature="left", steps=2)
        e = fixed(x, 0)
    assert e.relative_delta[0] > 0.05 and "2 gradient passes leave" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "onnxplain"):
        e = onnxplain.Explainer(model, "integrated-gradients", baseline=0)(x, 0)
    assert e.relative_delta[0] <= 0.01 and e.steps <= 200 and not caplog.text


def test_an_empty_map_is_said(caplog):
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Relu", ["c"], ["a"]),
        node("GlobalAveragePool", ["a"], ["g"]),
        node("Neg", ["g"], ["n"]),
        node("Flatten", ["n"], ["y"]),
    ]
    model = small(
        nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 2])], {"k": normal(2, 3, 3, 3)}
    )
    with caplog.at_level(logging.WARNING, "onnxplain"):
        e = onnxplain.Explainer(model, "grad-cam")(normal(1, 3, 8, 8), 0)
    assert not e.attribution.any() and "empty" in caplog.text and "'a'" in caplog.text


@pytest.mark.parametrize("method", ["grad-cam", *METHODS])
def test_verify(method):
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Tanh", ["c"], ["a"]),
        node("GlobalAveragePool", ["a"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    model = small(
        nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 2])], {"k": normal(2, 3, 3, 3)}
    )
    explainer = onnxplain.Explainer(model, method)
    found = explainer.verify(normal(1, 3, 8, 8))
    assert found.outputs < 1e-5 and found.gradient < 0.02
    assert (found.delta is None) == (method == "grad-cam") and (found.delta or 0) <= 0.01
    with pytest.raises(onnxplain.InvalidInputError, match="one input"):
        explainer.verify(normal(2, 3, 8, 8))


def test_another_model_than_the_files_is_found(tmp_path, monkeypatch):
    """As if a pass had changed the model: every image fails, and nothing is drawn."""
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["y"])]
    weights = {"w": normal(64, 4)}
    model = small(nodes, [value("x", ["N", 8, 8, 1])], [value("y", ["N", 4])], weights)
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text(json.dumps({**CARD, "labels": list("abcd")}))
    other = onnx.ModelProto.FromString(model.SerializeToString())
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights["w"] * 1.5, "w"))
    monkeypatch.setattr("onnxplain.engine.model.prepared", lambda *_: prepare(other))
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"'y' differs from the file's own"):
        onnxplain.Explainer(tmp_path / "m.onnx", "deeplift").verify(normal(1, 8, 8, 1))
    photos = [str(write_photo(tmp_path / f"{k}.png", k)) for k in (3, 7)]
    report = explain_files(
        tmp_path / "m.onnx", photos, tmp_path / "out", Options(methods=("deeplift",))
    )
    assert len(report.failed) == 2 and "please report" in report.failed[1].error
    assert not list((tmp_path / "out").glob("*.png"))


def test_outputs_error():
    exact = {"y": f32(1, 2, -np.inf)}
    assert soundness.outputs_error(exact, exact, "float") == 0
    with pytest.raises(onnxplain.UnsupportedModelError):
        soundness.outputs_error({"y": f32(1, 2, np.nan)}, exact, "float")
    with pytest.raises(onnxplain.UnsupportedModelError):
        soundness.outputs_error({"y": f32(1, 2)}, exact, "quantised")
    assert FLOAT == 1
