"""Exported files that hold their target: they have the model's own inputs, and take its place."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from support import networks
from support.detectors import detector, without_raw
from support.digits import LABELS, digit, write_model
from support.embeddings import network

import onnxplain
from onnxplain.graph_passes.methods import find_method

X = np.concatenate([digit(k) for k in (3, 7, 8)])
METHODS = ("grad-cam", "integrated-gradients", "deeplift", "rise", "smoothgrad", "lrp")
FEW = {"samples": 4, "steps": 6}


def explained(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (found,) = session.run(["attribution"], {given.name: x})
    return found


def check(explainer, path, x, target, asked):
    """The file beside the library, for three inputs and for one."""
    file = explainer.export(path, target=target)
    onnx.checker.check_model(file, full_check=True)
    for rows in (x, x[:1]):
        expected = explainer(rows, asked).attribution
        size = float(np.abs(expected).max())
        np.testing.assert_allclose(explained(path, rows), expected, rtol=1e-3, atol=1e-5 * size)
    return file


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["top1", 7, "seven", "7"])
def test_of_classes(tmp_path, model, method, target):
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1, **few)
    asked = None if target == "top1" else 7
    file = check(explainer, tmp_path / "fixed.onnx", X, target, asked)
    (facts,) = [p.value for p in file.metadata_props if p.key == "onnxplain"]
    assert json.loads(facts)["target"] == ("top1" if asked is None else 7)


def test_of_a_place_and_of_pixels(tmp_path):
    x = networks.images([3, 3, 40, 48]).numpy()
    for exporter in ("dynamo", "torchscript"):
        model = networks.exported("unet", exporter, dynamic=True)
        for target, asked in (("top1", None), (1, 1)):
            explainer = onnxplain.Explainer(model, "saliency", providers="cpu")
            check(explainer, tmp_path / "fixed.onnx", x, target, asked)
    file = detector("yolov8").model
    explainer = onnxplain.Explainer(without_raw(file), "saliency", providers="cpu")
    image = np.random.default_rng(1).random((1, 3, 64, 64)).astype(np.float32)
    place = explainer(image, "box1").target
    check(explainer, tmp_path / "fixed.onnx", image, tuple(place), tuple(place))


def test_on_the_command_line(command, tmp_path):
    model, path = write_model(tmp_path), tmp_path / "fixed.onnx"
    status, out, err = command("export", model, "-m", "grad-cam", "-o", path, "-t", "seven")
    assert status == 0, err
    given = onnx.load(model).graph.input[0].name
    assert f"inputs {given};" in out
    expected = onnxplain.Explainer(model, "grad-cam")(X, LABELS.index("seven")).attribution
    np.testing.assert_allclose(explained(path, X), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", ["rank2", "not seven", "three - eight", "top5", "wolf", 10, -5])
def test_what_no_file_holds(command, tmp_path, target):
    status, _, err = command(
        "export", write_model(tmp_path), "-m", "grad-cam", "-o", tmp_path / "f.onnx", "-t", target
    )
    assert status == 2 and err.startswith("onnxplain: ") and err.count("\n") == 1, err
    assert not (tmp_path / "f.onnx").exists()


def test_of_an_embedding(tmp_path):
    explainer = onnxplain.Explainer(network("as it is"), "saliency")
    with pytest.raises(onnxplain.InvalidInputError, match="'versus'"):
        explainer.export(tmp_path / "f.onnx", target=1)
