"""Arrays from files on the command line: the same as the Python API, one by one and in batches."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from support.digits import digit, write_model, write_photo
from support.small import node, small, value

import onnxplain

RANDOM = np.random.default_rng(11)
# name -> the shape of one input
SHAPES = {
    "vector": (6,),
    "long vector": (40,),
    "signal": (3, 30),
    "many channels": (20, 16),
    "bands": (6, 9, 10),
    "one band": (1, 9, 10),
    "volume": (2, 5, 6, 7),
}
EVERY = pytest.mark.parametrize("name", SHAPES)


def model_of(shape):
    """A network over vectors, or a convolution over any number of spatial axes."""
    rank = len(shape) - 1
    random = np.random.default_rng(len(shape))
    nodes, weights, last = [], {}, "x"
    width = shape[0]
    if rank:
        weights["w"] = random.normal(size=(4, shape[0], *[3] * rank)).astype(np.float32)
        nodes = [
            node("Conv", ["x", "w"], ["c"], pads=[1] * 2 * rank),
            node("Relu", ["c"], ["r"]),
            node("ReduceMean", ["r"], ["m"], axes=list(range(2, 2 + rank)), keepdims=0),
        ]
        last, width = "m", 4
    weights["v"] = random.normal(size=(width, 3)).astype(np.float32)
    nodes.append(node("MatMul", [last, "v"], ["y"]))
    return small(nodes, [value("x", ["N", *shape])], [value("y", ["N", 3])], weights)


def written(folder, name, count=1):
    """A model and files of its inputs; every other file has the batch axis."""
    onnx.save(model_of(SHAPES[name]), folder / "model.onnx")
    xs = RANDOM.normal(size=(count, *SHAPES[name])).astype(np.float32)
    (folder / "in").mkdir()
    for k, x in enumerate(xs):
        np.save(folder / "in" / f"{k}.npy", x[None] if k % 2 else x)
    return folder / "model.onnx", folder / "in", xs


@EVERY
def test_a_folder_of_arrays(tmp_path, command, name):
    model, folder, xs = written(tmp_path, name, 2)
    asked = "-m", "deeplift", "-m", "occlusion", "-t", "1", "-o", tmp_path / "out", "--json"
    status, out, err = command("explain", model, folder, *asked)
    assert status == 0, err
    records = json.loads(out)
    assert len(records) == 4
    for record in records:
        x = xs[[int(record["image"][-5])]]
        e = onnxplain.Explainer(model, record["method"])(x, 1)
        (arrays,) = (f for f in record["files"] if f.endswith(".npz"))
        with np.load(tmp_path / "out" / arrays) as found:
            np.testing.assert_array_equal(found["attribution"], e.attribution)
            np.testing.assert_array_equal(found["input"], x)
        assert record["score"] == pytest.approx(float(e.score[0]))
        assert record["target"] == {"index": 1, "label": None, "output": "y"}
        assert len(record["top"]) == 3
        picture = Image.open(tmp_path / "out" / arrays.replace(".npz", ".png"))
        assert picture.width == 620 and len(picture.getcolors(2**20) or range(99)) > 20
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == records


@pytest.mark.parametrize("name", ["vector", "signal", "volume"])
def test_a_batch_of_arrays(tmp_path, command, name):
    model, folder, xs = written(tmp_path, name, 3)
    np.save(folder / "bad.npy", np.zeros(2, np.float32))
    asked = "-m", "deeplift", "-o", tmp_path / "out", "--pictures", "--workers", "0"
    status, _, err = command("batch", model, folder, *asked)
    assert status == 1, err
    table = parquet.read_table(tmp_path / "out")
    rows = [row for row in table.to_pylist() if row["error"] is None]
    (failed,) = (row["error"] for row in table.to_pylist() if row["error"] is not None)
    assert len(rows) == 3 and "bad.npy: expected float32" in failed
    explainer = onnxplain.Explainer(model, "deeplift")
    for row, x in zip(rows, xs, strict=True):
        e = explainer(x[None])
        np.testing.assert_array_equal(np.ravel(row["attribution"]), e.attribution.ravel())
    assert len(list((tmp_path / "out" / "_pictures").glob("*.png"))) == 3


@pytest.mark.parametrize("name", ["vector", "signal", "volume"])
def test_methods_side_by_side(tmp_path, command, name):
    model, folder, _ = written(tmp_path, name, 1)
    methods = "-m", "deeplift", "-m", "saliency"
    status, out, err = command("compare", model, folder, *methods, "-o", tmp_path / "out")
    assert status == 0 and "deeplift" in out, err
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    by_method = {fact["method"]: fact for fact in found["facts"]}
    held = by_method["deeplift"]["sensitivity"]
    assert held["held"] == held["tried"] > 0
    # What has no neighbours has no border to be cropped away.
    dummy = by_method["deeplift"]["dummy"]
    assert dummy is None if name == "vector" else dummy == pytest.approx(0, abs=1e-6)
    assert Image.open(tmp_path / "out" / "panel.png").width > 600
    status, out, err = command("compare", model, folder, "--against", model, "-o", tmp_path / "d")
    assert status == 0 and "very similar (1.00)" in out, err


@pytest.mark.parametrize("name", ["vector", "signal", "bands"])
def test_metrics_of_arrays(tmp_path, command, name):
    model, folder, xs = written(tmp_path, name, 1)
    asked = "-m", "deeplift", "--metric", "deletion", "-o", tmp_path / "out"
    status, _, err = command("evaluate", model, folder, *asked)
    assert status == 0, err
    records = json.loads((tmp_path / "out" / "evaluation.json").read_text())["records"]
    (mean,) = (one["mean"] for one in records if one["method"] == "deeplift")
    explainer = onnxplain.Explainer(model, "deeplift")
    from onnxplain import metrics

    assert mean == pytest.approx(metrics.deletion(explainer, xs, explainer(xs))[0])


def test_wrong_arrays_fail_alone(tmp_path, command):
    model, folder, xs = written(tmp_path, "signal", 1)
    np.save(folder / "five.npy", np.repeat(xs, 5, axis=0))
    np.save(folder / "ints.npy", xs[0].astype(np.int32))
    np.save(folder / "objects.npy", np.array([{}], object))
    np.save(folder / "nan.npy", np.full_like(xs[0], np.nan))
    np.save(folder / "text.npy", np.array(["a"]))
    np.savez(folder / "two.npz", a=xs[0], b=xs[0])
    np.savez(folder / "one.npz", anything=xs[0])
    (folder / "empty.npy").write_bytes(b"")
    (folder / "else.npy").write_bytes(b"something else")
    status, out, err = command("explain", model, folder, "-m", "saliency", "-o", tmp_path / "out")
    assert status == 1 and "0.npy: " in out and "one.npz: " in out
    expected = {
        "five": "expected one input, [3, 30] or [1, 3, 30], got 5 inputs",
        "ints": "expected float32 [3, 30], got int32 [3, 30]",
        "objects": "expected a .npy array",
        "nan": "holds NaN",
        "text": "expected numbers, got <U1",
        "two": "got an archive of a, b",
        "empty": "got an empty file",
        "else": "got something else",
    }
    lines = [line for line in err.splitlines() if str(folder) in line]
    assert len(lines) == len(expected)
    for name, text in expected.items():
        (line,) = (line for line in lines if f"{name}.np" in line)
        assert text in line


@pytest.mark.parametrize(
    ("baseline", "value"),
    [("zeros", 0.0), ("0.5", 0.5), ("-1e-1", -0.1), ("base.npy", None)],
)
def test_baselines(tmp_path, command, monkeypatch, baseline, value):
    model, folder, xs = written(tmp_path, "signal", 1)
    monkeypatch.chdir(tmp_path)
    own = RANDOM.normal(size=(3, 1)).astype(np.float32)
    np.save("base.npy", own)
    asked = "-m", "deeplift", "--baseline", baseline, "-o", "out", "-t", "0"
    status, _, err = command("explain", model, folder, *asked)
    assert status == 0 and "zeros" not in err, err
    e = onnxplain.Explainer(model, "deeplift", baseline=own if value is None else value)(xs, 0)
    with np.load("out/0.deeplift.0.npz") as found:
        np.testing.assert_array_equal(found["attribution"], e.attribution)
    same = onnxplain.Explainer(model, "deeplift", baseline=baseline).explain("in/0.npy", 0)
    np.testing.assert_array_equal(same.attribution, e.attribution)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("black", "expected zeros, a number or a .npy file, got 'black'"),
        ("blur", "expected zeros, a number or a .npy file, got 'blur'"),
        ("nothing", "expected zeros, a number or a .npy file, got 'nothing'"),
        ("wide.npy", "broadcastable to [1, 3, 30]"),
    ],
)
def test_baselines_that_arrays_do_not_have(tmp_path, command, monkeypatch, baseline, expected):
    model, folder, _ = written(tmp_path, "signal", 1)
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.zeros((3, 31)))
    status, _, err = command("explain", model, folder, "-m", "deeplift", "--baseline", baseline)
    assert status in (1, 2) and expected in err and "Traceback" not in err


def test_zeros_are_said_and_what_is_of_images_is_refused(tmp_path, command):
    model, folder, _ = written(tmp_path, "vector", 1)
    status, _, err = command("explain", model, folder, "-m", "deeplift", "-o", tmp_path / "out")
    assert status == 0 and "the baseline is zeros" in err and "NUMBER|FILE.npy" in err
    status, _, err = command("explain", model, folder, "-m", "saliency", "--mean", "0.5")
    assert status == 2 and "mean: for images" in err
    asked = "-m", "saliency", "--grid", "2x2", "-o", tmp_path / "g"
    status, _, err = command("batch", model, folder, *asked)
    assert status == 2 and "height and width" in err


def test_names_of_elements_and_classes(tmp_path, command):
    model, folder, _ = written(tmp_path, "vector", 1)
    names = ["age", "height", "weight", "pulse", "sugar", "iron"]
    card = {"kind": "array", "names": names, "labels": ["ill", "well", "unknown"]}
    plain = onnxplain.Explainer(model, "saliency").explain(folder / "0.npy", 1)
    model.with_suffix(".json").write_text(json.dumps(card))
    asked = "-m", "saliency", "-t", "well", "-o", tmp_path / "out", "--json"
    status, out, err = command("explain", model, folder, *asked)
    assert status == 0, err
    assert json.loads(out)[0]["target"]["label"] == "well"
    named = onnxplain.Explainer(model, "saliency").explain(folder / "0.npy", 1)
    assert named.label == "well" and named.picture() != plain.picture()
    np.testing.assert_array_equal(named.attribution, plain.attribution)
    status, out, err = command("inspect", model)
    assert status == 0 and "names" in out and "array" in out


def test_an_array_for_an_image_model(tmp_path, command):
    model = write_model(tmp_path)
    np.save(tmp_path / "seven.npy", digit(7))
    asked = "-m", "deeplift", "-o", tmp_path / "out", "--json"
    status, out, err = command("explain", model, tmp_path / "seven.npy", *asked)
    assert status == 0 and json.loads(out)[0]["target"]["label"] == "seven", err
    e = onnxplain.Explainer(model, "deeplift")(digit(7))
    with np.load(tmp_path / "out" / "seven.deeplift.7.npz") as found:
        np.testing.assert_array_equal(found["attribution"], e.attribution)


def test_resumed_and_renamed(tmp_path, command):
    model, folder, xs = written(tmp_path, "signal", 2)
    asked = "-m", "saliency", "-o", tmp_path / "out", "--resume"
    assert command("explain", model, folder, *asked)[0] == 0
    np.save(folder / "1.npy", -xs[1])
    status, out, err = command("explain", model, folder, *asked)
    assert status == 0 and "1.npy" in out and "0.npy" not in out and "skipped" in err


def test_a_folder_of_photos_may_hold_arrays(tmp_path, command):
    """They are something else: masks, baselines, results; a folder of arrays alone is theirs."""
    model = write_model(tmp_path)
    (tmp_path / "in").mkdir()
    write_photo(tmp_path / "in" / "seven.png", 7)
    np.save(tmp_path / "in" / "baseline.npy", np.zeros(3))
    asked = "-m", "saliency", "-o", tmp_path / "out", "--json"
    status, out, err = command("explain", model, tmp_path / "in", *asked)
    assert status == 0, err
    assert [record["image"][-9:] for record in json.loads(out)] == ["seven.png"]
    found = onnxplain.Explainer(model, "saliency").images(tmp_path / "in")
    assert [e.label for e in found] == ["seven"]


def test_what_was_written_is_not_explained_again(tmp_path, command):
    model, folder, _ = written(tmp_path, "signal", 1)
    for _ in range(2):
        status, out, err = command("explain", model, folder, "-m", "saliency", "-o", folder)
        assert status == 0 and out.count(".npy: ") == 1 and ".npz: " not in out, err
