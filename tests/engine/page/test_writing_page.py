"""`export --page` and `serve`: what is written, what is refused, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from support.detectors import detector
from support.digits import CARD, LABELS, save, simple, write_model, write_photo
from support.small import node, small, value

import onnxplain
from onnxplain.engine.page.runtime import FILES
from onnxplain.engine.page.writing_page import RUNTIME_NAMES, STATIC


@pytest.fixture
def folder(tmp_path):
    """A folder that passes for onnxruntime-web."""
    own = tmp_path / "web"
    own.mkdir()
    for name in FILES:
        (own / name).write_text(name)
    return own


def test_what_a_page_consists_of(command, tmp_path, folder):
    model, site = write_model(tmp_path), tmp_path / "site"
    methods = ["-m", "grad-cam", "-m", "lrp:rule=epsilon", "-m", "deeplift"]
    status, out, err = command("export", model, *methods, "--page", site, "--runtime", folder)
    assert status == 0 and err == ""
    assert out == (
        f"{site}: a page with grad-cam, lrp, deeplift; serve the folder with any web server\n"
    )
    made = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}
    assert made == {
        *STATIC,
        "page.json",
        *(f"runtime/{name}" for name in RUNTIME_NAMES.values()),
        *(f"methods/{name}.onnx" for name in ("grad-cam", "lrp", "deeplift")),
        "samples/coffee.png",
        "samples/chelsea.png",
    }
    facts = json.loads((site / "page.json").read_text())
    assert facts["labels"] == [*LABELS] and facts["model"] == "digits.onnx"
    assert [one["delta"] for one in facts["methods"]] == [None, "delta", "delta"]
    photo = np.asarray(Image.open(write_photo(tmp_path / "7.png", 7)).convert("RGB"))
    for one in facts["methods"]:
        options = {"rule": "epsilon"} if one["name"] == "lrp" else {}
        explainer = onnxplain.Explainer(model, one["name"], **options)
        session = onnxruntime.InferenceSession(site / one["file"])
        assert [i.name for i in session.get_inputs()] == [facts["input"], "target"]
        names = [facts["output"], one["score"], "attribution"]
        feeds = {facts["input"]: photo, "target": np.array([2])}
        scores, score, attribution = session.run(names, feeds)
        e = explainer.explain(photo, 2)
        np.testing.assert_allclose(scores, e.outputs[facts["output"]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(score, e.score, rtol=1e-4)
        size = np.abs(e.attribution).max()
        np.testing.assert_allclose(attribution, e.attribution, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize(
    "method", [m for m in onnxplain.methods() if m not in ("chefer", "attention-rollout")]
)
def test_every_methods_file_says_its_score(tmp_path, method):
    from onnxplain.engine.export.exporting import export_for_page

    explainer = onnxplain.Explainer(write_model(tmp_path), method)
    model = export_for_page(explainer, tmp_path / "m.onnx")
    names = {value.name for value in model.graph.output}
    assert {"onnxplain/score", "picture", "view", "attribution"} <= names


def refused(command, *arguments):
    status, out, err = command(*arguments)
    assert status == 2 and out == "" and err.count("\n") == 1, err
    return err


def test_what_is_refused(command, tmp_path, folder):
    model, site = write_model(tmp_path), tmp_path / "site"
    page = ["--page", site, "--runtime", folder]
    export = ["export", model, "-m", "grad-cam"]
    both = "expected one of -o FILE and --page DIR"
    assert both in refused(command, *export)
    assert both in refused(command, *export, *page, "-o", tmp_path / "e.onnx")
    for option in (["--baseline-input"], ["-t", "top1"], ["--opset", "17"], ["--picture"]):
        assert "for -o FILE, not for --page" in refused(command, *export, *page, *option)
    file = ["-o", tmp_path / "e.onnx"]
    assert "--runtime is for --page" in refused(command, *export, *file, "--runtime", folder)
    assert "expected a folder with" in refused(command, *export, "--page", site, "--runtime", site)
    (tmp_path / "taken").write_text("")
    taken = refused(command, *export, "--page", tmp_path / "taken", "--runtime", folder)
    assert "cannot write to the output folder" in taken
    assert "port" in refused(command, "serve", model, "--port", "70000")


def two_inputs():
    nodes = [node("Add", ["x", "other"], ["s"]), node("Flatten", ["s"], ["f"])]
    nodes.append(node("MatMul", ["f", "w"], ["y"]))
    inputs = [value("x", ["N", 1, 8, 8]), value("other", ["N", 1, 8, 8])]
    return small(nodes, inputs, [value("y", ["N", 3])], {"w": np.eye(64, 3, dtype=np.float32)})


def test_what_is_no_classifier_of_photos(command, tmp_path, folder):
    """One line, before anything is fetched or written."""
    wanted = "the page shows models that take one photo and give it a score for each class"
    how = ["-m", "saliency", "--page", tmp_path / "site", "--runtime", tmp_path / "nowhere"]
    nodes = [("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]})]
    nodes += [("Conv", ["t", "k"], ["y"], {"pads": [1, 1, 1, 1]})]
    dense = save(simple(nodes, output=("N", 4, 8, 8)), tmp_path / "dense.onnx")
    assert wanted in refused(command, "export", dense, *how)
    boxes = tmp_path / "boxes.onnx"
    boxes.write_bytes(detector("yolov8").model.SerializeToString())
    assert wanted in refused(command, "export", boxes, *how)
    vector = small(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", ["N", 4])],
        [value("y", ["N", 3])],
        {"w": np.eye(4, 3, dtype=np.float32)},
    )
    (tmp_path / "vector.onnx").write_bytes(vector.SerializeToString())
    assert wanted in refused(command, "export", tmp_path / "vector.onnx", *how)
    several = two_inputs()
    (tmp_path / "several.onnx").write_bytes(several.SerializeToString())
    said = refused(command, "export", tmp_path / "several.onnx", *how)
    assert wanted in said and "further inputs: other" in said
    assert not (tmp_path / "site").exists()


def test_the_model_is_not_overwritten(command, tmp_path, folder):
    site = tmp_path / "site"
    (site / "methods").mkdir(parents=True)
    model = write_model(site / "methods").rename(site / "methods" / "grad-cam.onnx")
    card = tmp_path / "card.json"
    card.write_text(json.dumps(CARD))
    before = model.read_bytes()
    how = ["-m", "grad-cam", "--card", card, "--page", site, "--runtime", folder]
    assert "give another name" in refused(command, "export", model, *how)
    assert model.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="ends by a signal of POSIX")
def test_serve(tmp_path, folder):
    """The page is there until Ctrl-C, and nothing is left of it."""
    model = write_model(tmp_path)
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    arguments = ["serve", str(model), "-m", "grad-cam", "--port", "0", "--runtime", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxplain.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    (address,) = re.findall(r"^(http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)$", said)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert b"<h1>" in opener.open(address).read()
    assert json.loads(opener.open(f"{address}page.json").read())["model"] == "digits.onnx"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "onnxplain: interrupted\n")
    assert not list((tmp_path / "temporary").glob("onnxplain-page-*"))
