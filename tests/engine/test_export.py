"""Exported files: a process with only onnxruntime and numpy gets the library's numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from support import zoo
from support.folders import TESTS
from support.often import NIGHTLY

import onnxplain

PLAIN = TESTS / "support" / "plain_runtime.py"
METHODS = ["grad-cam", "integrated-gradients", "deeplift"]
# Fixed and symbolic batch, channels last, two outputs, segmentation, attention, half precision.
MODELS = [
    "demo",
    "resnet-dynamo",
    "mobilenet_v3-torchscript17-dynamic",
    "vit-dynamo-dynamic",
    "unet-torchscript17-dynamic",
    "jax_digits",
    "pnet",
    "nhwc_transposes",
    "light_shufflenet-batch1",
]
BY_NIGHT = set() if NIGHTLY else {"demo", "nhwc_transposes"}
CASES = [(name, method) for name in MODELS if name not in BY_NIGHT for method in METHODS]


class Export(NamedTuple):
    """One exported file, what it was fed, what it returned, and what the library says."""

    model: onnx.ModelProto
    outputs: dict[str, np.ndarray]
    expected: onnxplain.Explanation


def options_of(method: str) -> dict[str, Any]:
    # Not a multiple of any chunk, so that the last one is filled up.
    return {"steps": 7} if method == "integrated-gradients" else {}


def start_of(name: str) -> np.ndarray:
    """A baseline with a value for each channel, in the layout of the model's input."""
    shape = list(zoo.example(name).shape)
    channels = shape[1] if shape[1] <= 4 else shape[-1]
    values = np.linspace(0.05, 0.2, channels, dtype=np.float32)
    return values.reshape([1, -1, 1, 1] if shape[1] <= 4 else [1, 1, 1, -1])


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> dict[tuple[str, str, str], Export]:
    """Every case thrice: top1; given targets; given targets and a baseline as an input."""
    folder = tmp_path_factory.mktemp("exports")
    jobs, expected = [], {}
    for name, method in CASES:
        explainer = zoo.explainer(name, method, **options_of(method))
        x = zoo.example(name)
        top = explainer(x)
        assert isinstance(top.target, np.ndarray)
        given = (top.target + 1) % 2  # a class that every model has
        kinds = {
            "top1": (np.full(len(x), -1), None),
            "given": (given, None),
            "baseline": (given, start_of(name)),
        }
        for kind, (target, start) in kinds.items():
            if method == "grad-cam" and kind == "baseline":
                continue
            key = (name, method, kind)
            path = folder / ("-".join(key) + ".onnx")
            explainer.export(path, baseline_input=start is not None)
            feeds = zoo.feeds(name) | {"target": target}
            if start is not None:
                feeds["baseline"] = start
            np.savez(path.with_suffix(".in.npz"), **feeds)
            files = {"model": path, "inputs": path.with_suffix(".in.npz")}
            files["outputs"] = path.with_suffix(".out.npz")
            jobs.append({key: str(value) for key, value in files.items()})
            expected[key] = explainer(x, None if kind == "top1" else given, baseline=start)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-I", str(PLAIN), str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = {}
    for job, (key, explanation) in zip(jobs, expected.items(), strict=True):
        with np.load(job["outputs"]) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        results[key] = Export(onnx.load(job["model"]), found, explanation)
    return results


def keys() -> list[tuple[str, str, str]]:
    return [
        (name, method, kind)
        for name, method in CASES
        for kind in ("top1", "given", "baseline")
        if method != "grad-cam" or kind != "baseline"
    ]


@pytest.mark.parametrize("key", keys(), ids="-".join)
def test_the_file_has_the_librarys_numbers(key: tuple[str, str, str], exports):
    export = exports[key]
    found, expected = export.outputs, export.expected
    largest = np.abs(expected.attribution).max()
    # Nothing may speak for a class that was picked at random, and then Grad-CAM is zero.
    assert largest > 0 or key[1:] == ("grad-cam", "given")
    assert np.abs(found["attribution"] - expected.attribution).max() <= 1e-5 * largest
    assert found["attribution"].dtype == np.float32
    assert found["attribution"].shape == expected.attribution.shape
    for name, value in expected.outputs.items():
        assert zoo.relative_error(found[name], value) < 1e-5
    if expected.delta is not None:
        scale = np.abs(expected.score) + np.abs(expected.baseline_score) + 1
        assert (np.abs(found["delta"] - expected.delta) < 1e-5 * scale).all()


@pytest.mark.parametrize("key", keys(), ids="-".join)
def test_the_file_keeps_the_contract(key: tuple[str, str, str], exports):
    """Names and types; plain required inputs; standard operators; checked."""
    name, method, kind = key
    model, original = exports[key].model, zoo.model(name)
    weights = {tensor.name for tensor in original.graph.initializer}
    own = [value.name for value in original.graph.input if value.name not in weights]
    inputs = [value.name for value in model.graph.input]
    assert sorted(inputs) == sorted([*own, "target", *["baseline"] * (kind == "baseline")])
    outputs = [value.name for value in model.graph.output]
    extra = ["attribution"] if method == "grad-cam" else ["attribution", "delta"]
    assert outputs == [*(value.name for value in original.graph.output), *extra]
    target = next(value for value in model.graph.input if value.name == "target")
    assert target.type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert len(target.type.tensor_type.shape.dim) == 1
    assert not {tensor.name for tensor in model.graph.initializer} & set(inputs)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    for node in all_nodes(model.graph):
        assert node.domain in ("", "ai.onnx"), node.op_type
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["onnxplain"])["method"] == method


def all_nodes(graph: onnx.GraphProto):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_nodes(attribute.g)


@pytest.mark.parametrize("name", ["vit-dynamo-dynamic", "unet-torchscript17-dynamic"])
@pytest.mark.parametrize("method", METHODS)
def test_a_symbolic_file_takes_any_batch(name: str, method: str, tmp_path: Path):
    explainer = zoo.explainer(name, method, **options_of(method))
    model = explainer.export(tmp_path / "explained.onnx")
    session = zoo.session((tmp_path / "explained.onnx").read_bytes())
    assert model.SerializeToString() == (tmp_path / "explained.onnx").read_bytes()
    for count in (1, 3):
        x = np.concatenate([zoo.example(name)] * 2)[:count] * 0.8
        targets = np.arange(count)
        (found,) = session.run(["attribution"], {"input": x, "target": targets})
        expected = explainer(x, targets.tolist()).attribution
        if expected.any():
            assert zoo.relative_error(found, expected) < 1e-5


def test_an_unwritable_file_raises(tmp_path: Path):
    with pytest.raises(OSError, match="missing"):
        zoo.explainer("pnet", "grad-cam").export(tmp_path / "missing" / "file.onnx")
