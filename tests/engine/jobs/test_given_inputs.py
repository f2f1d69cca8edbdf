"""`--input NAME=FILE`: the model's other inputs, exactly as the command line takes them."""

import json
import re

import numpy as np
import onnx
import pytest
from PIL import Image
from support.small import FLOAT, INT64, node, run, small, value

import onnxplain

SIDE = 8
WHOLE = "right=b.png", "sizes=64,48", "gain=0.5", "meta=meta.npy"


def two_pictures() -> onnx.ModelProto:
    """Two pictures, sizes, a number of its own and a vector -> [N, 3]."""
    random = np.random.default_rng(3)
    weights = {
        "w": random.normal(size=(2, 3, 3, 3)).astype(np.float32),
        "last": random.normal(size=(10, 3)).astype(np.float32) / 10,
    }
    nodes = [
        node("Conv", ["left", "w"], ["cl"], pads=[1] * 4),
        node("Relu", ["cl"], ["rl"]),
        node("GlobalAveragePool", ["rl"], ["gl"]),
        node("Flatten", ["gl"], ["fl"]),
        node("Conv", ["right", "w"], ["cr"], pads=[1] * 4),
        node("Softplus", ["cr"], ["rr"]),
        node("GlobalAveragePool", ["rr"], ["gr"]),
        node("Flatten", ["gr"], ["fr"]),
        node("Cast", ["sizes"], ["floats"], to=FLOAT),
        node("Concat", ["fl", "fr", "floats", "meta"], ["all"], axis=1),
        node("MatMul", ["all", "last"], ["z"]),
        node("Mul", ["z", "gain"], ["y"]),
    ]
    pictures = [value(name, ["N", 3, SIDE, SIDE]) for name in ("left", "right")]
    more = value("sizes", ["N", 2], INT64), value("gain", []), value("meta", ["N", 4])
    return small(nodes, [*pictures, *more], [value("y", ["N", 3])], weights)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """two.onnx with its card, photos and arrays; it is the folder that commands run in."""
    onnx.save(two_pictures(), tmp_path / "two.onnx")
    card = {"size": [SIDE, SIDE], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    (tmp_path / "two.json").write_text(json.dumps(card | {"scale": 1, "mean": 100, "std": 50}))
    random = np.random.default_rng(2)
    for name in "ab":
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    np.save(tmp_path / "meta.npy", random.normal(size=4).astype(np.float32))
    np.save(tmp_path / "long.npy", random.normal(size=(1, 5)).astype(np.float32))
    np.savez(tmp_path / "both.npz", a=np.ones(4), b=np.ones(4))
    # What a header says is not allocated.
    with (tmp_path / "huge.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(file, header)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(name):
    pixels = np.asarray(Image.open(f"{name}.png"), np.float32).transpose(2, 0, 1)
    return ((pixels[None] - 100) / 50).astype(np.float32)


def feeds(**changed):
    own = {"left": picture("a"), "right": picture("b"), "sizes": np.array([[64, 48]])}
    own |= {"gain": np.array(0.5, np.float32), "meta": np.load("meta.npy")[None]}
    return {**own, **changed}


def given(*texts):
    return [part for text in texts for part in ("--input", text)]


def test_other_inputs_come_from_files_and_numbers(folder, command):
    status, _, stderr = command("explain", "two.onnx", "a.png", "-m", "saliency", *given(*WHOLE))
    assert status == 0, stderr
    record = json.loads((folder / "explanations" / "results.json").read_text())[0]
    y = run(two_pictures(), feeds())["y"][0]
    assert record["target"]["index"] == np.argmax(y)
    assert record["score"] == pytest.approx(y.max(), rel=1e-5)
    assert set(record["options"]["inputs"]) == {"right", "sizes", "gain", "meta"}
    (file,) = (folder / "explanations").glob("*.npz")
    e = onnxplain.Explainer("two.onnx", "saliency")(feeds())
    np.testing.assert_allclose(np.load(file)["attribution"], e.attribution, atol=1e-7)
    np.testing.assert_array_equal(np.load(file)["input"], picture("a"))


def test_the_input_that_is_not_given_is_explained(folder, command):
    asked = given("left=b.png", *WHOLE[1:])
    assert command("explain", "two.onnx", "a.png", "-m", "saliency", *asked)[0] == 0
    (file,) = (folder / "explanations").glob("*.npz")
    own = feeds(left=picture("b"), right=picture("a"))
    e = onnxplain.Explainer("two.onnx", "saliency", input="right")(own)
    np.testing.assert_allclose(np.load(file)["attribution"], e.attribution, atol=1e-7)


def test_python_holds_them_for_all_photos(folder):
    fixed = {name: array for name, array in feeds().items() if name != "left"}
    explainer = onnxplain.Explainer("two.onnx", "input-x-gradient", fixed=fixed)
    e = explainer.explain("a.png")
    plain = onnxplain.Explainer("two.onnx", "input-x-gradient")(feeds())
    np.testing.assert_array_equal(e.attribution, plain.attribution)
    # One row for each of several, and what a call hands in stands in its place.
    both = np.concatenate([picture("a"), picture("b")])
    assert explainer(both).score[0] == pytest.approx(plain.score[0], rel=1e-5)
    louder = explainer({"left": picture("a"), "gain": np.float32(1)})
    assert louder.score[0] == pytest.approx(2 * plain.score[0], rel=1e-5)
    assert explainer.verify(picture("a")).outputs < 1e-5
    for wrong in ({"left": picture("a")}, {"none": 1.0}):
        with pytest.raises(onnxplain.InvalidInputError, match=r"fixed: .* further input"):
            onnxplain.Explainer("two.onnx", "saliency", fixed=wrong)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((), "also takes 'right', 'sizes', 'gain', 'meta'.*--input NAME=FILE"),
        (WHOLE[:3], "also takes 'meta'"),
        ((*WHOLE, "wrong=a.png"), "--input wrong: the model has no such input; it has left, right"),
        ((*WHOLE, "left=b.png"), "--input: nothing is left to be explained"),
        ((*WHOLE, "meta=meta.npy"), "meta is given twice"),
        ((*WHOLE[:3], "meta"), "expected NAME=FILE.* got 'meta'"),
        ((*WHOLE[:3], "meta="), "expected NAME=FILE"),
        ((*WHOLE[:3], "meta=none.npy"), "--input meta: expected a file, or numbers.*none.npy"),
        ((*WHOLE[:3], "meta=long.npy"), r"input 'meta': expected float32 \[N, 4\].*\[1, 5\]"),
        ((*WHOLE[:3], "meta=1,2,3"), "--input meta: expected 4 numbers.* got 3"),
        ((*WHOLE[:3], "meta=both.npz"), "--input meta: both.npz"),
        ((*WHOLE[:3], "meta=huge.npy"), "--input meta: huge.npy: expected a .npy array"),
        ((*WHOLE[:3], "meta=two.json"), "--input meta: .*two.json"),
        ((WHOLE[0], "sizes=64.5,48", *WHOLE[2:]), "--input sizes: expected whole numbers"),
        ((*WHOLE[:2], "gain=1,2", WHOLE[3]), "--input gain: expected 1 number.* got 2"),
    ],
)
def test_wrong_ones_are_one_line(folder, command, asked, message):
    what = "explain", "two.onnx", "a.png", "-m", "saliency"
    status, stdout, stderr = command(*what, *given(*asked))
    assert (status, stdout) == (2, "") and stderr.count("\n") == 1, stderr
    assert re.search(message, stderr), stderr


def test_all_commands_take_them(folder, command):
    asked = "two.onnx", "a.png", "-m", "saliency", "-m", "input-x-gradient", *given(*WHOLE)
    assert command("compare", *asked, "-o", "c")[0] == 0
    assert command("evaluate", *asked, "-o", "e", "--metric", "deletion")[0] == 0
    status, _, stderr = command("batch", *asked, "-o", "f", "--workers", "0")
    assert status == 0, stderr
    parquet = pytest.importorskip("pyarrow.parquet")
    (row, _) = parquet.read_table(folder / "f" / "part-00000.parquet").to_pylist()
    assert row["score"] == pytest.approx(run(two_pictures(), feeds())["y"].max(), rel=1e-5)


def test_other_numbers_are_another_question(folder, command):
    what = "explain", "two.onnx", "a.png", "-m", "saliency"
    command(*what, *given(*WHOLE))
    _, _, stderr = command(*what, *given(*WHOLE), "--resume")
    assert "their results are there: 1" in stderr
    _, stdout, _ = command(*what, *given(*WHOLE[:2], "gain=0.25", WHOLE[3]), "--resume")
    assert "a.png" in stdout
