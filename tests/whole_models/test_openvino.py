"""Static files in OpenVINO: ONNX Runtime's numbers to 1e-4, every method on files of many kinds.

The table of docs/export.md says which methods need a static file there; by night it is held to
what OpenVINO makes of the other files.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from support.detectors import detector
from support.folders import ROOT
from support.keras_like import nhwc_transposes
from support.often import by_night, often
from support.one_question import FEW, METHODS, images, source
from support.openvino_runtime import openvino, run_openvino
from support.served import OF_ATTENTION
from support.small import run

import onnxplain
from onnxplain.graph_passes.methods import find_method
from onnxplain.models.shipped import demo_model, demo_photos

FILES = ("convolutions", "int8", "one at a time", "digits", "nhwc", "detector")
# By day every method on one of two files, and these few on the others.
FEW_METHODS = ("grad-cam", "integrated-gradients", "deeplift")
CASES = often(
    [
        *((method, FILES[number % 2]) for number, method in enumerate(METHODS)),
        *itertools.product(FEW_METHODS, FILES[2:]),
    ],
    list(itertools.product(METHODS, FILES)),
)


@pytest.fixture(autouse=True)
def _installed():
    openvino()


def question(method: str, file: str) -> tuple[onnx.ModelProto, dict, dict[str, np.ndarray]]:
    """A model, an explainer's options, and what the file is fed."""
    options: dict = {"baseline": 0.1, "providers": "cpu", "threads": 1}
    few = {**FEW, "steps": 20}
    options |= {name: number for name, number in few.items() if find_method(method).takes(name)}
    random, target = np.random.default_rng(1), np.array([-1])
    if file == "demo":
        options = {name: value for name, value in options.items() if name != "baseline"}
        x = onnxplain.Explainer(demo_model(), providers="cpu").preprocess(demo_photos()[0])
        return onnx.load(demo_model()), options, {"input": x, "target": target}
    if file == "nhwc":
        model, x = nhwc_transposes(), random.random((1, 32, 32, 3)).astype(np.float32)
        options["shapes"] = {"images": [1, 32, 32, 3]}
    elif file == "detector":
        model, x = detector("yolov8").model, random.normal(size=(1, 3, 64, 64)).astype(np.float32)
        target = np.array([[5, 0]])
    else:
        model = source(file, method)
        rows = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        x = images(model, file)[:rows]
        target = np.full(rows, -1)
    return model, options, {model.graph.input[0].name: x, "target": target}


def distances(found: dict, expected: dict) -> dict[str, float]:
    """The largest difference of each output, as a part of its largest number."""
    largest = {name: float(np.abs(value).max()) for name, value in expected.items()}
    if "delta" in largest:
        # A difference of scores.
        largest["delta"] = max(largest.values())
    return {
        name: float(np.abs(found[name].astype(np.float64) - value).max()) / (largest[name] or 1.0)
        for name, value in expected.items()
    }


@pytest.mark.parametrize(("method", "file"), CASES)
def test_every_method_on_every_file(tmp_path, method, file):
    if method in OF_ATTENTION and file in ("nhwc", "detector"):
        pytest.skip("no attention there")
    model, options, feeds = question(method, file)
    explainer = onnxplain.Explainer(model, method, **options)
    made = explainer.export(tmp_path / "static.onnx", static=True)
    expected = run(made, feeds)
    assert np.abs(expected["attribution"]).max() > 0
    found = distances(run_openvino(made, feeds), expected)
    assert max(found.values()) <= 1e-4, found


DEMO = ("grad-cam", "saliency", "lrp", "deeplift")


@pytest.mark.parametrize(
    "method", often(DEMO, [*DEMO, "guided-grad-cam", "occlusion", "rise", "smoothgrad", "ig"])
)
def test_the_demo(tmp_path, method):
    """Averages over many points cross many kinks, where rounding decides which side a number is on:

    ONNX Runtime itself, without its optimisations, is as far away.
    """
    few = {"samples": 16, "steps": 20}
    few = {name: number for name, number in few.items() if find_method(method).takes(name)}
    explainer = onnxplain.Explainer(demo_model(), method, providers="cpu", **few)
    made = explainer.export(tmp_path / "static.onnx", static=True, target="top1")
    feeds = {"input": explainer.preprocess(demo_photos()[0])}
    expected = run(made, feeds)
    found = distances(run_openvino(made, feeds), expected)
    assert found["logits"] <= 1e-5
    spread = distances(unoptimised(made, feeds), expected)["attribution"]
    assert found["attribution"] <= max(1e-4, 4 * spread), (found, spread)


def unoptimised(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The file's outputs, every node computed as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def told() -> dict[str, bool]:
    """Method -> whether the docs say that OpenVINO runs its other files as well."""
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    table = page.partition("| OpenVINO 2026.4 |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ((?:`[^|]+`)) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert all(static == "yes" for _, static, _ in rows)
    return {
        name: plain == "yes" for names, _, plain in rows for name in re.findall(r"`([^`]+)`", names)
    }


def test_the_table_names_every_method():
    assert set(told()) == set(METHODS)


@by_night
@pytest.mark.parametrize("method", METHODS)
def test_the_table_is_true(tmp_path, method):
    """A file that is not static runs as the docs say: everywhere, or not everywhere."""
    right = []
    for file in (*FILES, "demo"):
        if method in OF_ATTENTION and file in ("nhwc", "detector", "demo"):
            continue
        model, options, feeds = question(method, file)
        made = onnxplain.Explainer(model, method, **options).export(tmp_path / "plain.onnx")
        try:
            found = run_openvino(made, feeds)
        except RuntimeError:
            right.append(False)
            continue
        right.append(max(distances(found, run(made, feeds)).values()) <= 1e-4)
    assert all(right) == told()[method], right


@pytest.mark.parametrize("method", often(["saliency", "deeplift"], ["grad-cam", "lrp", "attn-lrp"]))
def test_a_transformer(tmp_path, method):
    """Where products stand between others, OpenVINO must not meet matrices turned by nodes."""
    model = source("convolutions", "chefer")
    x = images(model, "convolutions")
    explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1)
    made = explainer.export(tmp_path / "static.onnx", static=True)
    feeds = {model.graph.input[0].name: x, "target": np.full(len(x), -1)}
    found = distances(run_openvino(made, feeds), run(made, feeds))
    assert max(found.values()) <= 1e-4, found
