"""Static files: the same numbers with every length fixed and nothing decided while they run."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.detectors import detector
from support.digits import write_model
from support.embeddings import network as embedding
from support.networks import example, exported
from support.often import often, thinned
from support.one_question import FEW, FILES, METHODS, images, source
from support.openvino_runtime import run_openvino
from support.small import FLOAT, INT64, node, run, small, value

import onnxplain
from onnxplain.graph_passes.methods import find_method
from onnxplain.models.shipped import demo_model

# Methods that no static file can be of -> why. A new method is static, or stands here.
REFUSED: dict[str, str] = {}
NEVER = {
    *("Loop", "If", "Scan", "Shape", "Size", "NonZero", "ConstantOfShape", "Range", "Unique"),
    *("NonMaxSuppression", "Compress", "RandomNormal", "RandomNormalLike", "RandomUniform"),
    *("SequenceConstruct", "SequenceAt", "SplitToSequence", "ConcatFromSequence", "Optional"),
}


def asked_of(method: str) -> dict[str, int]:
    few = {**FEW, "steps": 20}
    return {name: number for name, number in few.items() if find_method(method).takes(name)}


def check_static(model: onnx.ModelProto) -> None:
    """Every value has a declared shape of numbers, and nothing is decided while it runs."""
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    declared = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    for one in graph.node:
        assert one.op_type not in NEVER, one.op_type
        assert not any(attribute.HasField("g") for attribute in one.attribute)
        assert not (one.op_type == "HardSigmoid" and one.attribute[0].f > 1e6)
        for name in filter(None, one.output):
            assert name in declared, f"{one.op_type}: no shape of {name!r} is declared"
    for told in declared.values():
        kind = told.type.tensor_type
        assert kind.HasField("shape") and kind.elem_type != onnx.TensorProto.DOUBLE, told.name
        assert all(dim.HasField("dim_value") for dim in kind.shape.dim), told.name


def check(folder: Path, explainer, feeds: dict[str, np.ndarray], **how) -> onnx.ModelProto:
    """The static file's numbers are the other one's to 1e-5."""
    plain = explainer.export(folder / "plain.onnx", **how)
    model = explainer.export(folder / "static.onnx", static=True, **how)
    check_static(model)
    assert [v.name for v in model.graph.input] == [v.name for v in plain.graph.input]
    expected, found = run(plain, feeds), run(model, feeds)
    assert list(found) == list(expected)
    for name, numbers in expected.items():
        size = np.abs(numbers.astype(np.float64)).max()
        if name.startswith("delta"):
            # A difference of two scores, which a static file makes in float32.
            size = max(size, *(np.abs(v).max() for v in expected.values()))
        elif name.startswith("attribution"):
            assert size > 0
        # Of a picture one grey level: it was rounded.
        within = 1 if numbers.dtype == np.uint8 else 1e-5 * size
        close = np.abs(found[name].astype(np.float64) - numbers) <= within
        assert close.all(), f"{name}: {(~close).mean():.1%} of the numbers differ"
    return model


def fed(model: onnx.ModelProto, x: np.ndarray, target=None) -> dict[str, np.ndarray]:
    given = np.full(len(x), -1) if target is None else np.asarray(target)
    return {model.graph.input[0].name: x, "target": given}


@pytest.mark.parametrize(("method", "file"), thinned(itertools.product(METHODS, FILES), 3))
def test_every_method_on_every_file(tmp_path, method, file):
    model = source(file, method)
    explainer = onnxplain.Explainer(
        model, method, providers="cpu", threads=1, baseline=0.1, **asked_of(method)
    )
    if method in REFUSED:
        with pytest.raises(onnxplain.UnsupportedModelError, match=REFUSED[method]):
            explainer.export(tmp_path / "static.onnx", static=True)
        return
    x = images(model, file)
    rows = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    made = check(tmp_path, explainer, fed(model, x[:rows]))
    assert len(made.graph.node) < 1500


def test_the_refused_are_methods():
    assert set(REFUSED) <= set(METHODS)


HOW = [
    {"target": "top1"},
    {"target": 3},
    {"target": (3,)},
    {"opset": 13},
    {"opset": 17},
    {"target": "top1", "opset": 11},
]


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("method", often(["grad-cam"], ["grad-cam", "deeplift", "smoothgrad"]))
def test_what_else_is_asked(tmp_path, method, how):
    model = source("digits", method)
    explainer = onnxplain.Explainer(
        model, method, providers="cpu", threads=1, baseline=0.1, **asked_of(method)
    )
    made = check(tmp_path, explainer, fed(model, images(model, "digits")[:1]), **how)
    assert ("target" in [v.name for v in made.graph.input]) == ("target" not in how)
    assert made.opset_import[0].version == how.get("opset", model.opset_import[0].version)


@pytest.mark.parametrize("method", ["deeplift", "integrated-gradients", "expected-gradients"])
def test_with_a_baseline_as_input(tmp_path, method):
    model = source("digits", method)
    x = images(model, "digits")[:1]
    baseline = np.full_like(x, 0.1)
    explainer = onnxplain.Explainer(
        model, method, providers="cpu", threads=1, baseline=0.0, **asked_of(method)
    )
    feeds = {**fed(model, x), "baseline": baseline}
    made = check(tmp_path, explainer, feeds, baseline_input=True)
    (shape,) = [v.type.tensor_type.shape for v in made.graph.input if v.name == "baseline"]
    assert [dim.dim_value for dim in shape.dim] == [1, 8, 8, 1]


def test_a_set_of_baselines_as_input(tmp_path):
    model = source("digits", "expected-gradients")
    x = images(model, "digits")[:1]
    own = [np.full_like(x, share) for share in (0.0, 0.1, 0.3)]
    explainer = onnxplain.Explainer(
        model, "expected-gradients", providers="cpu", samples=6, baseline=own
    )
    feeds = {**fed(model, x), "baseline": np.concatenate(own)}
    made = check(tmp_path, explainer, feeds, baseline_input=True)
    (shape,) = [v.type.tensor_type.shape for v in made.graph.input if v.name == "baseline"]
    assert [dim.dim_value for dim in shape.dim] == [3, 8, 8, 1]


def test_several_methods(tmp_path):
    model = source("digits", "grad-cam")
    first, second = (onnxplain.Explainer(model, m, baseline=0.1) for m in ("grad-cam", "deeplift"))
    check(tmp_path, first, fed(model, images(model, "digits")[:1]), also=[second])


@pytest.mark.parametrize("method", ["grad-cam", "saliency", "deeplift"])
@pytest.mark.parametrize("target", [-1, 1])
def test_a_score_for_each_pixel(tmp_path, method, target):
    """The places of the predicted class depend on the picture: the mask itself is read."""
    model = exported("unet", "dynamo", None, True)
    explainer = onnxplain.Explainer(
        model, method, providers="cpu", baseline=0.1, shapes={"input": [None, 3, 40, 48]}
    )
    check(tmp_path, explainer, fed(model, example("unet", 1).numpy(), [target]))


@pytest.mark.parametrize("form", ["yolov8", "yolox", "detr"])
def test_a_detectors_box(tmp_path, form):
    model = detector(form).model
    x = np.random.default_rng(3).normal(size=(1, 3, 64, 64)).astype(np.float32)
    explainer = onnxplain.Explainer(model, "saliency", providers="cpu")
    check(tmp_path, explainer, fed(model, x, [[5, 0]]))


def test_an_embedding(tmp_path):
    model = embedding("torch")
    x = np.random.default_rng(4).normal(size=(1, 3, 12, 12)).astype(np.float32)
    versus = np.linspace(-1, 1, 5, dtype=np.float32)[None]
    explainer = onnxplain.Explainer(model, "saliency", score="cosine", providers="cpu")
    check(tmp_path, explainer, {"x": x, "versus": versus})


def test_a_picture(tmp_path, demo):
    made = check(tmp_path, onnxplain.Explainer(demo[0], providers="cpu"), demo[1], picture=True)
    assert made.graph.output[-1].name == "picture"


@pytest.fixture(scope="module")
def demo():
    from onnxplain.models.shipped import demo_model, demo_photos

    explainer = onnxplain.Explainer(demo_model(), providers="cpu")
    return demo_model(), {
        "input": explainer.preprocess(demo_photos()[0]),
        "target": np.array([-1]),
    }


# What cannot be static is refused by name.


def refused(model: onnx.ModelProto, folder: Path, method: str = "saliency", **how) -> str:
    explainer = onnxplain.Explainer(model, method, providers="cpu", **how.pop("of", {}))
    with pytest.raises(onnxplain.OnnxplainError) as caught:
        explainer.export(folder / "static.onnx", **{"static": True, **how})
    assert not (folder / "static.onnx").exists()
    return str(caught.value)


def test_open_lengths_are_asked_for(tmp_path):
    message = refused(exported("unet", "dynamo", None, True), tmp_path)
    assert message.startswith("static: 'input' is [") and "--shape input=" in message


def test_points_that_are_chosen_on_the_way(tmp_path):
    message = refused(source("digits", "saliency"), tmp_path, "integrated-gradients")
    assert message.startswith("static: the points of integrated-gradients cannot be chosen")


@pytest.mark.parametrize("size", [None, (31, 44), (90, 20)])
def test_photos_of_one_size(size, tmp_path):
    """A photo goes in: the library's answer to it, and its picture within one grey level."""
    photo = np.random.default_rng(2).integers(0, 256, (*(size or (8, 8)), 3), np.uint8)
    explainer = onnxplain.Explainer(write_model(tmp_path), "saliency")
    how = {"preprocess": True, "picture": True, "static": True, "target": "top1"}
    file = explainer.export(tmp_path / "f.onnx", image_size=size, **how)
    check_static(file)
    (given,) = file.graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [*photo.shape]
    found, e = run(file, {given.name: photo}), explainer.explain(photo)
    largest = np.abs(e.attribution).max()
    assert np.allclose(found["attribution"], e.attribution, rtol=0, atol=1e-4 * largest)
    explainer.export(tmp_path / "any.onnx", preprocess=True, picture=True, target="top1")
    other = run(onnx.load(tmp_path / "any.onnx"), {given.name: photo})["picture"]
    assert np.abs(found["picture"].astype(float) - other).mean() < 0.1
    if importlib.util.find_spec("openvino") is not None:
        theirs = run_openvino(file, {given.name: photo})
        assert np.allclose(found["attribution"], theirs["attribution"], atol=1e-4 * largest)
        assert np.abs(found["picture"].astype(float) - theirs["picture"]).mean() < 0.1


@pytest.mark.parametrize("size", [(0, 5), (5,), "5,5", (5, 1.5), (5, 99999)])
def test_sizes_that_no_photo_has(size, tmp_path):
    explainer = onnxplain.Explainer(write_model(tmp_path), "saliency")
    how = {"static": True, "preprocess": True}
    with pytest.raises(onnxplain.InvalidInputError, match="expected height and width"):
        explainer.export(tmp_path / "f.onnx", image_size=size, **how)
    with pytest.raises(onnxplain.InvalidInputError, match="for static=True and preprocess"):
        explainer.export(tmp_path / "f.onnx", image_size=(8, 8))


def test_as_small_as_the_source(tmp_path):
    """Weights stand once, in the type of the source, in whatever orders the graph needs them."""
    for method in ("grad-cam", "saliency", "deeplift"):
        explainer = onnxplain.Explainer(demo_model(), method)
        file = explainer.export(tmp_path / "f.onnx", static=True, target="top1")
        assert file.ByteSize() < 1.1 * demo_model().stat().st_size, method


def test_what_the_numbers_decide(tmp_path):
    """Further outputs of the model stay, so what they need stays, too."""
    model = small(
        [
            node("MatMul", ["x", "w"], ["y"]),
            node("Greater", ["y", "zero"], ["above"]),
            node("NonZero", ["above"], ["places"]),
        ],
        [value("x", ["N", 4])],
        [value("y", ["N", 3]), value("places", [2, "found"], INT64)],
        {"w": np.ones((4, 3), np.float32), "zero": np.float32(0)},
    )
    message = refused(model, tmp_path)
    assert message.startswith("no static file can be written: NonZero (node ")
    assert "the numbers decide how many results there are" in message and "\n" not in message


def test_a_loop_that_the_numbers_end(tmp_path):
    body = onnx.helper.make_graph(
        [
            node("Add", ["state", "one"], ["more"]),
            node("Less", ["more", "end"], ["on"]),
        ],
        "body",
        [
            value("number", [], INT64),
            value("before", [], onnx.TensorProto.BOOL),
            value("state", []),
        ],
        [value("on", [], onnx.TensorProto.BOOL), value("more", [])],
    )
    model = small(
        [
            node("MatMul", ["x", "w"], ["y"]),
            node("ReduceMax", ["y"], ["end"], keepdims=0),
            node("Loop", ["", "yes", "zero"], ["count"], body=body),
        ],
        [value("x", [1, 4])],
        [value("y", [1, 3]), value("count", [], FLOAT)],
        {
            "w": np.ones((4, 3), np.float32),
            "one": np.float32(1),
            "zero": np.float32(0),
            "yes": np.bool_(True),
        },
    )
    message = refused(model, tmp_path)
    assert "Loop (node " in message and "runs as often as the numbers decide" in message
