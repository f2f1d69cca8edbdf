"""`--versus`: the similarity of two photos, exactly as the command line asks for it."""

import json
import re

import numpy as np
import onnx
import pytest
from PIL import Image
from support.embeddings import LENGTH, SIDE, cosine, network
from support.small import run

import onnxplain


@pytest.fixture
def folder(tmp_path):
    """face.onnx with its card, two photos, and a vector."""
    onnx.save(network("torch"), tmp_path / "face.onnx")
    card = {"size": [SIDE, SIDE], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    card |= {"scale": 1 / 255, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (tmp_path / "face.json").write_text(json.dumps(card))
    random = np.random.default_rng(2)
    for name in "abc":
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    np.save(tmp_path / "v.npy", random.normal(size=LENGTH))
    np.save(tmp_path / "short.npy", random.normal(size=LENGTH - 1))
    return tmp_path


def embedding(folder, name):
    """What the file itself returns of a photo that needs no resizing."""
    pixels = np.asarray(Image.open(folder / f"{name}.png"), np.float32).transpose(2, 0, 1)
    x = (pixels[None] / 255 - 0.5) / 0.5
    return run(network("torch"), {"x": x.astype(np.float32)})["embedding"]


def records(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_similarity_of_two_photos(folder, command):
    model, a, b, out = (folder / n for n in ("face.onnx", "a.png", "b.png", "out"))
    methods = ["-m", "grad-cam", "-m", "integrated-gradients", "-m", "deeplift"]
    status, stdout, _ = command("explain", model, a, "--versus", b, "-o", out, *methods)
    expected = float(cosine(embedding(folder, "a"), embedding(folder, "b"))[0])
    assert status == 0
    assert f"a.png: similarity to b.png: {expected:.3f}" in stdout
    assert "lowers similarity to b.png: from" in stdout and "%, score" not in stdout
    found = records(out)
    assert [one["method"] for one in found] == methods[1::2]
    for one in found:
        assert one["score"] == pytest.approx(expected, abs=1e-6)
        assert one["probability"] is None and one["top"] == []
        target = one["target"]
        assert (target["label"], target["versus"]) == ("similarity to b.png", "b.png")
        assert target["index"] == [] and target["name"].startswith("versus-b-")
        assert one["evidence"]["of"] == "score"
        assert all((out / name).is_file() for name in one["files"])
        assert one["files"][0].startswith(f"a.{one['method']}.versus-b-")


def test_python_says_the_same(folder, command):
    model, a, b, out = (str(folder / n) for n in ("face.onnx", "a.png", "b.png", "out"))
    command("explain", model, a, "--versus", b, "-o", out, "-m", "deeplift", "-q")
    explainer = onnxplain.Explainer(model, "deeplift")
    e = explainer.explain(a, versus=b)
    (file,) = (folder / "out").glob("*.npz")
    np.testing.assert_allclose(e.attribution, np.load(file)["attribution"], atol=1e-7)
    assert e.label == "similarity to b.png"
    assert "similarity to b.png" in e.evidence()
    assert explainer.explain(a, explainer.reference(b)) == e
    assert explainer.explain(a, versus=Image.open(b)).score == pytest.approx(e.score)
    vector = embedding(folder, "b")[0]
    assert explainer.explain(a, versus=vector).score == pytest.approx(e.score, abs=1e-6)
    with pytest.raises(onnxplain.InvalidInputError, match="a target or versus"):
        explainer.explain(a, 3, versus=b)


def test_a_vector_several_and_resume(folder, command):
    model, a, out = folder / "face.onnx", folder / "a.png", folder / "out"
    asked = "explain", model, a, "-o", out, "-m", "saliency"
    assert command(*asked, "--versus", folder / "v.npy", "--versus", folder / "b.png")[0] == 0
    first, second = records(out)
    vector = np.load(folder / "v.npy")[None]
    expected = float(cosine(embedding(folder, "a"), vector)[0])
    assert first["target"]["versus"] == "v.npy" and second["target"]["versus"] == "b.png"
    assert first["score"] == pytest.approx(expected, abs=1e-6)
    _, _, stderr = command(*asked, "--versus", folder / "b.png", "--resume")
    assert "their results are there: 1" in stderr
    # Another photo of the same name is another question.
    Image.open(folder / "c.png").save(folder / "b.png")
    _, stdout, _ = command(*asked, "--versus", folder / "b.png", "--resume")
    assert "similarity to b.png" in stdout
    assert len(records(out)) == 3


def test_without_a_reference_one_line_says_what_to_give(folder, command):
    model, a, out = folder / "face.onnx", folder / "a.png", folder / "out"
    for asked in ((), ("-t", "top1"), ("-t", "rank2")):
        status, stdout, stderr = command("explain", model, a, "-o", out, *asked)
        assert (status, stdout) == (2, "")
        assert "is an embedding" in stderr and "--versus" in stderr and stderr.count("\n") == 1
    status, stdout, _ = command("explain", model, a, "-o", out, "-t", "3", "-m", "saliency")
    assert status == 0 and "embedding[3]" in stdout
    assert records(out)[0]["target"]["index"] == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--versus", "short.npy"), "--versus short.npy: expected 5 numbers.* got 4"),
        (("--versus", "none.png"), "--versus none.png: expected a photo or a .npy file"),
        (("--versus", "face.json"), "--versus face.json: .*image"),
        (("--versus", "b.png", "-t", "3"), "--versus and the target 3 do not go together"),
    ],
)
def test_wrong_references_are_one_line(folder, command, monkeypatch, asked, message):
    monkeypatch.chdir(folder)
    status, stdout, stderr = command("explain", "face.onnx", "a.png", "-m", "saliency", *asked)
    assert (status, stdout) == (2, "") and stderr.count("\n") == 1
    assert re.search(message, stderr), stderr


def test_compare_evaluate_and_batch_take_it(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    versus = "--versus", "b.png"
    methods = "-m", "saliency", "-m", "deeplift"
    assert command("compare", "face.onnx", "a.png", "-o", "c", *versus, *methods)[0] == 0
    content = json.loads((folder / "c" / "comparison.json").read_text())
    assert content["images"][0]["targets"][0]["label"] == "similarity to b.png"
    onnx.save(network("LpNormalization"), "other.onnx")
    other = "--against", "other.onnx"
    status, stdout, _ = command("compare", "face.onnx", "a.png", "-o", "d", *versus, *other)
    assert status == 0 and "grad-cam maps are very similar (1.00)" in stdout
    metric = "--metric", "deletion"
    status, _, _ = command("evaluate", "face.onnx", "a.png", "-o", "e", *versus, *metric, *methods)
    assert status == 0
    more = "-o", "f", "-m", "saliency", "--workers", "0"
    assert command("batch", "face.onnx", "*.png", *versus, *more)[0] == 0
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(folder / "f" / "part-00000.parquet").to_pylist()
    own = embedding(folder, "b")
    scores = {row["image"][-5]: row["score"] for row in rows}
    expected = {name: float(cosine(embedding(folder, name), own)[0]) for name in "abc"}
    assert scores == pytest.approx(expected, abs=1e-6)
    for asked in (("compare", "-o", "g"), ("evaluate", "-o", "h"), ("batch", "-o", "i")):
        name, *rest = asked
        status, _, stderr = command(name, "face.onnx", "a.png", *rest)
        assert status == 2 and "is an embedding" in stderr


def test_the_exported_file_and_inspect(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    status, stdout, _ = command("export", "face.onnx", "-m", "saliency", "-o", "e.onnx")
    assert status == 0 and "inputs x, versus" in stdout
    status, stdout, _ = command("inspect", "face.onnx")
    assert status == 0 and "an embedding: its similarity to another (--versus)" in stdout


@pytest.mark.parametrize(("length", "labels", "told"), [(64, 0, 1), (64, 64, 0), (60, 0, 0)])
def test_what_may_be_an_embedding_is_told(folder, command, monkeypatch, length, labels, told):
    """An output without a name that says so, of a length as embeddings have it."""
    monkeypatch.chdir(folder)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, {SIDE}, {SIDE}] x) => (float[N, {length}] y) {{
            c = Conv(x, w) r = Relu(c) g = GlobalAveragePool(r) y = Flatten(g)
        }}""")
    weights = np.random.default_rng(0).normal(size=(length, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, "plain.onnx")
    (folder / "names.txt").write_text("\n".join(f"class {k}" for k in range(labels)))
    named = ("--labels", "names.txt") if labels else ()
    what = "explain", "plain.onnx", "a.png", "-m", "saliency"
    _, _, stderr = command(*what, *named)
    assert stderr.count("if it is an embedding, --versus") == told
    assert "if it is" not in command(*what, *named, "-t", "3")[2]
    status, stdout, stderr = command(*what, "--versus", "b.png")
    assert status == 0 and "similarity to b.png" in stdout and "if it is" not in stderr


def test_python_compares_and_evaluates(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = onnxplain.compare("face.onnx", "a.png", ["saliency"], versus="b.png")
    assert found.images[0]["targets"][0]["label"] == "similarity to b.png"
    found = onnxplain.evaluate("face.onnx", "a.png", ["saliency"], ["deletion"], versus=["b.png"])
    assert len(found.images) == 1
