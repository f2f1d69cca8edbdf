"""Exported files that find what they explain: the strongest box, the mask of the top class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from support import networks
from support.detectors import FORMS, NAMES, ONE_CLASS, detector, without_raw
from support.often import thinned
from support.openvino_runtime import openvino, run_openvino

import onnxplain
from onnxplain.engine.export.held_targets import Strongest, held_target
from onnxplain.graph_passes.methods import find_method

ASSETS = Path(__file__).parents[3] / "shared" / "assets" / "dev"
# (subtracted, divided by) of their pixels.
REAL = {
    "yolox_nano": (0, 1),
    "ultraface_rfb320": (127, 128),
    "yunet_n_320": (0, 1),
    "deimv2_atto": (0, 255),
    "ddddocr_common_det": (0, 1),
}
METHODS = ("grad-cam", "layercam", "integrated-gradients", "deeplift", "occlusion", "rise", "lrp")
FEW = {"samples": 4, "steps": 6, "window": 32, "stride": 32}


def pictures(count: int = 1, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)


def run(path, x: np.ndarray | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = x if isinstance(x, dict) else {session.get_inputs()[0].name: x}
    assert [given.name for given in session.get_inputs()] == [*feeds]
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def check_box(explainer, path, x: np.ndarray | dict[str, np.ndarray], target: object) -> None:
    """The file's map, box, class, chance and score beside the library's."""
    e, found = explainer(x, target), run(path, x)
    for row, chosen in enumerate(e.targets):
        expected, size = e.attribution[row], float(np.abs(e.attribution[row]).max())
        assert size > 0, "the case must have a map"
        assert np.allclose(found["attribution"][row], expected, rtol=0, atol=1e-4 * size)
        assert np.allclose(found["explained_box"][row], chosen.box, rtol=1e-5, atol=1e-3)
        assert found["explained_chance"][row] == pytest.approx(chosen.chance, abs=1e-6)
        assert found["explained_score"][row] == pytest.approx(e.score[row], rel=1e-4, abs=1e-5)
        label = int(found["explained_class"][row])
        labels = explainer.about.labels
        assert chosen.label == (labels[label] if labels else f"class {label}")


@pytest.mark.parametrize("form", thinned(FORMS, 2))
def test_every_form_of_head(form, tmp_path):
    labels = None if form in ONE_CLASS else list(NAMES)
    model = without_raw(detector(form).model)
    explainer = onnxplain.Explainer(model, "saliency", labels=labels, providers="cpu", threads=1)
    for target in ("box1", 0):
        file = explainer.export(tmp_path / "f.onnx", target=target)
        onnx.checker.check_model(file, full_check=True)
        assert [value.name for value in file.graph.input] == ["images"]
        for seed in (1, 2, 3):
            check_box(explainer, tmp_path / "f.onnx", pictures(seed=seed), target)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, tmp_path):
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    model = without_raw(detector("yolox").model)
    explainer = onnxplain.Explainer(
        model, method, labels=list(NAMES), providers="cpu", threads=1, **few
    )
    explainer.export(tmp_path / "f.onnx", target="person")
    check_box(explainer, tmp_path / "f.onnx", pictures(3), "person")


@pytest.mark.parametrize("name", REAL)
def test_published_detectors(name, tmp_path):
    path = ASSETS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    given, *_ = onnx.load(path).graph.input
    lengths = [d.dim_value for d in given.type.tensor_type.shape.dim[1:]]
    shapes = None if all(lengths) else {given.name: [None, 3, 320, 320]}
    explainer = onnxplain.Explainer(path, "grad-cam", providers="cpu", shapes=shapes)
    explainer.export(tmp_path / "f.onnx", target="top1")
    height, width = (length or 320 for length in lengths[1:])
    shift, scale = REAL[name]
    for photo in ("astronaut.png", "camera.png"):
        image = Image.open(ASSETS / photo).convert("RGB").resize((width, height))
        x = (np.asarray(image, np.float32).transpose(2, 0, 1)[None] - shift) / scale
        own = {"orig_target_sizes": np.array([[width, height]])} if name == "deimv2_atto" else {}
        check_box(explainer, tmp_path / "f.onnx", {given.name: x} | own, "box1")


def test_static_in_openvino(tmp_path):
    openvino()
    model = without_raw(detector("yolov8").model)
    explainer = onnxplain.Explainer(model, "grad-cam", labels=list(NAMES), providers="cpu")
    file = explainer.export(tmp_path / "f.onnx", target="box1", static=True)
    x = pictures()
    check_box(explainer, tmp_path / "f.onnx", x, "box1")
    mine, theirs = run(tmp_path / "f.onnx", x), run_openvino(file, {"images": x})
    for name in ("attribution", "explained_box", "explained_class", "explained_chance"):
        assert np.allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-4)


def test_several_methods_share_the_choice(tmp_path):
    model = without_raw(detector("yolov8").model)
    first, other = (onnxplain.Explainer(model, name) for name in ("saliency", "grad-cam"))
    file = first.export(tmp_path / "f.onnx", target="box1", also=[other])
    names = [value.name for value in file.graph.output]
    assert [name for name in names if name.startswith("explained_")] == [
        "explained_box", "explained_class", "explained_chance", "explained_score",
    ]  # fmt: skip
    x, found = pictures(), run(tmp_path / "f.onnx", pictures())
    for explainer, name in ((first, "attribution_saliency"), (other, "attribution_grad_cam")):
        assert np.allclose(found[name], explainer(x).attribution, atol=1e-5)


@pytest.mark.parametrize("target", ["box2", "person#2", "top3", "all", "box:1,2,30,40", 99])
def test_what_no_file_holds_of_a_detector(target, tmp_path):
    explainer = onnxplain.Explainer(detector("yolov8").model, "saliency")
    with pytest.raises(onnxplain.InvalidInputError) as caught:
        explainer.export(tmp_path / "f.onnx", target=target)
    assert "\n" not in str(caught.value) and not (tmp_path / "f.onnx").exists()


def test_of_a_size_that_is_open(tmp_path):
    model = without_raw(detector("yolov8").model)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    explainer = onnxplain.Explainer(model, "saliency")
    with pytest.raises(onnxplain.InvalidInputError, match=r"--shape images=1,3,640,640"):
        explainer.export(tmp_path / "f.onnx", target="box1")


def test_the_objectness_of_the_strongest_box(tmp_path):
    model = without_raw(detector("yolox").model)
    explainer = onnxplain.Explainer(model, "saliency", score="objectness", labels=list(NAMES))
    explainer.export(tmp_path / "f.onnx", target="box1")
    x, found = pictures(), run(tmp_path / "f.onnx", pictures())
    e = explainer(x, "box1")
    assert np.allclose(found["attribution"], e.attribution, atol=1e-5)
    assert found["explained_score"][0] == pytest.approx(e.score[0], abs=1e-4)
    boxes = onnxplain.Explainer(model, "saliency", score="box")
    with pytest.raises(onnxplain.InvalidInputError, match="four scores"):
        boxes.export(tmp_path / "b.onnx", target="box1")


@pytest.mark.parametrize("method", ["saliency", "grad-cam", "deeplift", "occlusion"])
@pytest.mark.parametrize("target", ["top1", 1])
def test_masks(method, target, tmp_path):
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    model = networks.exported("unet", "dynamo", dynamic=True)
    shapes = {"input": [None, 3, 40, 48]}
    explainer = onnxplain.Explainer(model, method, providers="cpu", shapes=shapes, **few)
    explainer.export(tmp_path / "f.onnx", target=target)
    x = networks.images([2, 3, 40, 48]).numpy()
    e, found = explainer(x, target), run(tmp_path / "f.onnx", x)
    for row, chosen in enumerate(e.targets):
        assert np.array_equal(found["explained_mask"][row], chosen.region)
        assert found["explained_class"][row] == chosen.index
        assert found["explained_score"][row] == pytest.approx(e.score[row], rel=1e-4)
    size = float(np.abs(e.attribution).max())
    assert np.allclose(found["attribution"], e.attribution, rtol=0, atol=1e-4 * size)


def test_a_label_is_held_by_its_number():
    model = without_raw(detector("yolov8").model)
    explainer = onnxplain.Explainer(model, "saliency", labels=list(NAMES))
    assert held_target("dog", explainer) == Strongest(2, "2")
    assert held_target("top1", explainer) == held_target(-1, explainer) == Strongest(None, "box1")
