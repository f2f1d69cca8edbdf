"""Exported files that take a photo, return a picture, or are in another opset."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from support.digits import write_photo
from support.often import thinned
from support.small import node, small, value

import onnxplain
from onnxplain.engine.inputs import kind_of_arrays, read_array, read_input
from onnxplain.engine.pictures.heatmap import blend, fit
from onnxplain.graph_passes.finish.look import WITHIN
from onnxplain.graph_passes.methods import find_method

IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PLAIN = {"resize": "crop", "layout": "NCHW", "channels": "RGB", **IMAGENET}
# How photos become the input of a model of 48 x 64 pixels.
CARDS = {
    "crop": {"crop_fraction": 0.875, "interpolation": "bicubic"},
    "stretch": {"resize": "stretch"},
    "pad": {"resize": "pad", "pad_color": [114, 114, 114]},
    "pad at the right": {"resize": "pad", "pad_position": "top-left", "channels": "BGR"},
    "channels last": {"layout": "NHWC"},
    "gray": {"channels": "GRAY", "layout": "NHWC", "mean": 0.5, "std": 0.5},
    "half": {"dtype": "float16"},
}
FEW = {"samples": 3, "steps": 3, "window": 16, "stride": 16}
# No attention is in the models here.
METHODS = [name for name in onnxplain.methods() if name not in ("attention-rollout", "chefer")]


@cache
def network(layout="NCHW", channels=3, dtype=TensorProto.FLOAT, free=False) -> onnx.ModelProto:
    """Two convolutions, the mean of each map, and a layer: [N, 3, 48, 64] -> [N, 5]."""
    random = np.random.default_rng(0)
    kinds = helper.tensor_dtype_to_np_dtype(dtype)
    weights = {
        "k1": random.normal(0, 0.3, (6, channels, 3, 3)).astype(kinds),
        "k2": random.normal(0, 0.3, (8, 6, 3, 3)).astype(kinds),
        "w": random.normal(0, 1, (8, 5)).astype(kinds),
    }
    sizes = ["height", "width"] if free else [48, 64]
    shape = ["N", channels, *sizes] if layout == "NCHW" else ["N", *sizes, channels]
    turned = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []
    nodes = [
        *turned,
        node("Conv", ["t" if turned else "x", "k1"], ["c"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "k2"], ["d"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["d"], ["s"]),
        node("ReduceMean", ["s"], ["m"], axes=[2, 3], keepdims=0),
        node("MatMul", ["m", "w"], ["y"]),
    ]
    inputs, outputs = [value("x", shape, dtype)], [value("y", ["N", 5], dtype)]
    return small(nodes, inputs, outputs, weights)


def explainer_of(method="grad-cam", free=False, **facts) -> onnxplain.Explainer:
    facts = {"size": [48, 64], **PLAIN, **facts}
    half = facts.get("dtype") == "float16"
    model = network(
        facts["layout"],
        1 if facts["channels"] == "GRAY" else 3,
        TensorProto.FLOAT16 if half else TensorProto.FLOAT,
        free,
    )
    few = {name: number for name, number in FEW.items() if find_method(method).takes(name)}
    return onnxplain.Explainer(model, method, card=facts, providers="cpu", threads=1, **few)


def photo_of(height, width, seed=0) -> np.ndarray:
    """Smooth colours with some noise, as photos have them."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def session_of(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # It would take longer than a run here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(file, **feeds) -> dict[str, Any]:
    session = file if isinstance(file, onnxruntime.InferenceSession) else session_of(file)
    named = [output.name for output in session.get_outputs()]
    return dict(zip(named, session.run(None, feeds), strict=True))


def drawn(explainer, e, row, view) -> np.ndarray:
    """What the command line lays over the photo."""
    heatmap = kind_of_arrays(explainer.into).draw(e.attribution[row], explainer.into, e.method)
    return np.asarray(blend(view, heatmap, fit(view.size, *WITHIN)))


def check_picture(found, expected):
    assert found.dtype == np.uint8 and found.shape == expected.shape
    off = np.abs(found.astype(int) - expected)
    assert off.mean() < 0.5 and np.percentile(off, 99) <= 3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_photo(method, tmp_path):
    """What `explain` answers for the photo, and the picture that the command line draws."""
    explainer, photo = explainer_of(method), photo_of(90, 133)
    path = tmp_path / "photo.onnx"
    file = explainer.export(path, preprocess=True, picture=True)
    onnx.checker.check_model(file, full_check=True)
    e = explainer.explain(photo)
    found = run(path, x=photo, target=np.array([-1]))
    size = np.abs(e.attribution).max()
    np.testing.assert_allclose(found["attribution"], e.attribution, rtol=1e-3, atol=1e-5 * size)
    np.testing.assert_allclose(found["y"], e.outputs["y"], rtol=1e-5, atol=1e-6)
    view = read_input(photo, explainer.into).view()
    assert found["picture"].shape[0] == 1
    check_picture(found["picture"][0], drawn(explainer, e, 0, view))


@pytest.mark.parametrize("method", ["layercam", "occlusion", "deeplift", "guided-grad-cam", "rise"])
def test_several_arrays(method, tmp_path):
    explainer = explainer_of(method)
    path = tmp_path / "arrays.onnx"
    explainer.export(path, picture=True)
    x = np.concatenate([explainer.preprocess(photo_of(60, 80, seed)) for seed in range(2)])
    e = explainer(x, [1, 3])
    found = run(path, x=x, target=np.array([1, 3]))
    for row in range(2):
        view = read_array(x[row : row + 1], explainer.into).view()
        check_picture(found["picture"][row], drawn(explainer, e, row, view))


@pytest.mark.parametrize(
    ("card", "method"), thinned(product(CARDS, ["grad-cam", "input-x-gradient"]), 3)
)
def test_every_card(card, method, tmp_path):
    explainer = explainer_of(method, **CARDS[card])
    path = tmp_path / "photo.onnx"
    explainer.export(path, preprocess=True, picture=True, target="top1")
    session = session_of(path)
    for height, width in ((75, 100), (31, 20), (31, 260)):
        photo = photo_of(height, width)
        e, found = explainer.explain(photo), run(session, x=photo)
        np.testing.assert_allclose(found["y"], e.outputs["y"], rtol=1e-5, atol=1e-6)
        view = read_input(photo, explainer.into).view()
        check_picture(found["picture"][0], drawn(explainer, e, 0, view))


def test_arrays_of_any_size(tmp_path):
    """A model that leaves the size open: the picture follows the array's."""
    for method in ("grad-cam", "input-x-gradient"):
        explainer = explainer_of(method, free=True)
        path = tmp_path / "arrays.onnx"
        explainer.export(path, picture=True)
        session = session_of(path)
        for height, width in ((48, 64), (70, 40)):
            x = np.random.default_rng(1).normal(size=(1, 3, height, width)).astype(np.float32)
            e, found = explainer(x), run(session, x=x, target=np.array([-1]))
            view = read_array(x, explainer.into).view()
            check_picture(found["picture"][0], drawn(explainer, e, 0, view))


def test_a_map_without_evidence(tmp_path):
    """Zeros are drawn as the photo, by either kind of map."""
    for method in ("grad-cam", "input-x-gradient"):
        explainer = explainer_of(method, mean=0, std=1)
        path = tmp_path / "arrays.onnx"
        explainer.export(path, picture=True)
        x = np.zeros((1, 3, 48, 64), np.float32)
        e, found = explainer(x), run(path, x=x, target=np.array([-1]))
        assert not e.attribution.any()
        view = read_array(x, explainer.into).view()
        check_picture(found["picture"][0], drawn(explainer, e, 0, view))


def test_digits_on_the_command_line(command, model, tmp_path):
    """A photo of 8 x 8 pixels, its target and baseline inside the file, in an older opset."""
    path, photo = tmp_path / "photo.onnx", tmp_path / "seven.png"
    write_photo(photo, 7)
    options = ["--preprocess", "--picture", "--target", "seven", "--opset", 13]
    status, out, err = command("export", model, "-m", "deeplift", "-o", path, *options)
    assert status == 0, err
    assert "outputs" in out and "picture; opset 13, IR 7: ONNX Runtime 1.6 or newer" in out
    explainer = onnxplain.Explainer(model, "deeplift", providers="cpu")
    name = explainer.into.name
    colours = np.asarray(Image.open(photo).convert("RGB"))
    found, e = run(path, **{name: colours}), explainer.explain(colours, 7)
    np.testing.assert_allclose(found["attribution"], e.attribution, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["delta"], e.delta, atol=1e-5)
    view = read_input(colours, explainer.into).view()
    check_picture(found["picture"][0], drawn(explainer, e, 0, view))
    (facts,) = [p.value for p in onnx.load(path).metadata_props if p.key == "onnxplain"]
    assert json.loads(facts)["preprocess"] is json.loads(facts)["picture"] is True


def test_a_baseline_that_is_an_input(tmp_path):
    """It stays as the model takes it."""
    explainer, photo = explainer_of("integrated-gradients"), photo_of(50, 70)
    path = tmp_path / "photo.onnx"
    explainer.export(path, preprocess=True, baseline_input=True)
    start = np.full((1, 3, 48, 64), 0.2, np.float32)
    found = run(path, x=photo, target=np.array([2]), baseline=start)
    e = explainer.explain(photo, 2, baseline=start)
    size = np.abs(e.attribution).max()
    np.testing.assert_allclose(found["attribution"], e.attribution, atol=1e-4 * size)


@pytest.mark.parametrize(
    ("method", "opset"),
    thinned(product(["grad-cam", "integrated-gradients", "deeplift", "rise"], [11, 23]), 3),
)
def test_methods_in_other_opsets(method, opset, tmp_path):
    explainer, photo = explainer_of(method), photo_of(50, 70)
    how = {"preprocess": True, "picture": True, "target": "top1"}
    explainer.export(tmp_path / "default.onnx", **how)
    file = explainer.export(tmp_path / "other.onnx", opset=opset, **how)
    onnx.checker.check_model(file, full_check=True)
    expected = run(tmp_path / "default.onnx", x=photo)
    for name, found in run(tmp_path / "other.onnx", x=photo).items():
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], atol=1e-5 * size + (name == "picture"))


@pytest.mark.parametrize("opset", [10, 27, 0, -1])
def test_opsets_that_no_file_is_written_in(command, model, tmp_path, opset):
    out = ["-o", tmp_path / "f.onnx", "--opset", opset]
    status, _, err = command("export", model, "-m", "grad-cam", *out)
    assert status == 2 and err.count("\n") == 1
    assert f"opset: expected a number from 11 to 26, got {opset}" in err
    assert not (tmp_path / "f.onnx").exists()


def test_what_takes_no_photo(command, tmp_path):
    """One line, and exit status 2."""
    bare = small(
        [node("Gemm", ["x", "w"], ["y"])],
        [value("x", ["N", 6])],
        [value("y", ["N", 3])],
        {"w": np.ones((6, 3), np.float32)},
    )
    onnx.save(bare, tmp_path / "table.onnx")
    for option in ("--preprocess", "--picture"):
        out = ["-o", tmp_path / "f.onnx", option]
        status, _, err = command("export", tmp_path / "table.onnx", "-m", "saliency", *out)
        assert status == 2 and err.strip().splitlines()[-1].startswith(f"onnxplain: {option[2:]}: ")
    assert not (tmp_path / "f.onnx").exists()


def test_what_python_alone_can_make(tmp_path):
    explainer = onnxplain.Explainer(
        network(), "grad-cam", preprocess=lambda image: np.zeros((3, 48, 64), np.float32)
    )
    with pytest.raises(onnxplain.InvalidInputError, match="preprocess: a file cannot hold"):
        explainer.export(tmp_path / "f.onnx", preprocess=True)
    explainer = onnxplain.Explainer(network(), "grad-cam")
    with pytest.raises(onnxplain.InvalidInputError, match="picture: no model card says how"):
        explainer.export(tmp_path / "f.onnx", picture=True)


def test_a_model_that_has_the_name_itself(tmp_path):
    made = onnx.ModelProto()
    made.CopyFrom(network())
    made.graph.output[0].name = made.graph.node[-1].output[0] = "picture"
    explainer = onnxplain.Explainer(made, "grad-cam", card={"size": [48, 64], **PLAIN})
    with pytest.raises(onnxplain.UnsupportedModelError, match="named 'picture'"):
        explainer.export(tmp_path / "f.onnx", picture=True)


def with_a_shift() -> onnx.ModelProto:
    """The network and a further input, which is added to its scores."""
    made = onnx.ModelProto()
    made.CopyFrom(network())
    made.graph.node[-1].output[0] = "before"
    made.graph.node.append(node("Add", ["before", "shift"], ["y"]))
    made.graph.input.append(value("shift", ["N", 5]))
    return made


def test_further_inputs_stay_as_they_are(tmp_path):
    card = {"size": [48, 64], **PLAIN}
    shift, photo = np.array([[0, 9, 0, 0, 0]], np.float32), photo_of(40, 50)
    for explained in (None, ["x", "shift"]):
        how = {"card": card, "providers": "cpu", "input": explained}
        explainer = onnxplain.Explainer(with_a_shift(), "deeplift", **how)
        file = explainer.export(tmp_path / "f.onnx", preprocess=True, picture=True)
        assert [i.name for i in file.graph.input] == ["x", "shift", "target"]
        found = run(tmp_path / "f.onnx", x=photo, shift=shift, target=np.array([-1]))
        e = explainer({"x": explainer.preprocess(photo), "shift": shift})
        maps = e.attribution if explained else {"": e.attribution}
        for name, expected in maps.items():
            own = found[f"attribution_{name}" if name else "attribution"]
            np.testing.assert_allclose(own, expected, atol=1e-5 * np.abs(expected).max())
        heatmap = kind_of_arrays(explainer.into).draw(
            maps["x" if explained else ""][0], explainer.into, "deeplift"
        )
        view = read_input(photo, explainer.into).view()
        check_picture(
            found["picture"][0], np.asarray(blend(view, heatmap, fit(view.size, *WITHIN)))
        )


def test_an_embedding_and_what_it_is_compared_with(tmp_path):
    card = {"size": [48, 64], "task": "embedding", **PLAIN}
    explainer = onnxplain.Explainer(network(), "grad-cam", card=card, providers="cpu")
    photo, vector = photo_of(40, 50), np.array([1, -2, 0.5, 3, 1], np.float32)
    explainer.export(tmp_path / "f.onnx", preprocess=True, picture=True, opset=17)
    found = run(tmp_path / "f.onnx", x=photo, versus=vector[None])
    e = explainer.explain(photo, versus=vector)
    np.testing.assert_allclose(found["attribution"], e.attribution, rtol=1e-4, atol=1e-6)
    view = read_input(photo, explainer.into).view()
    check_picture(found["picture"][0], drawn(explainer, e, 0, view))


def test_the_very_picture_that_the_command_line_writes(command, model, tmp_path):
    """Somewhere below its title, with colours rounded as its files have them."""
    photo, path = tmp_path / "seven.png", tmp_path / "photo.onnx"
    write_photo(photo, 7)
    for method in ("grad-cam", "deeplift"):
        how = [model, "-m", method]
        export = ["-o", path, "--target", "top1", "--preprocess", "--picture"]
        assert command("export", *how, *export)[0] == 0
        assert command("explain", how[0], photo, *how[1:], "-o", tmp_path)[0] == 0
        (file,) = tmp_path.glob(f"*{method}*.png")
        whole = np.asarray(Image.open(file).convert("RGB"), np.float64)
        (name,) = [i.name for i in onnx.load(path).graph.input]
        found = run(path, **{name: np.asarray(Image.open(photo).convert("RGB"))})["picture"][0]
        height, width = found.shape[:2]
        left = (whole.shape[1] - width) // 2
        off = [
            np.abs(whole[top : top + height, left : left + width : 9] - found[:, ::9]).mean()
            for top in range(whole.shape[0] - height + 1)
        ]
        assert min(off) < 2
