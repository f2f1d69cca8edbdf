"""Command lines of the documentation, word for word, beside the library's own answers."""

import json
import shlex

import numpy as np
import onnx
import pytest
from PIL import Image
from support.detectors import NAMES, detector, without_raw
from support.digits import write_model, write_photo

import onnxplain

# One method is enough to see what is asked for.
QUICK = ["-m", "saliency", "-o", "out"]
SEGMENTS = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 3, 96, 128] x) => (float[N, 3, 48, 64] y)
    <float[3, 3, 1, 1] w, float[3] b = {0.3, 0.0, 0.0}> {
        h = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x)
        y = Conv<kernel_shape = [1, 1]>(h, w, b)
    }"""
READS = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 3, 8, 32] x) => (float[N, 8, 4] y)
    <float[4, 3, 8, 4] w, float[3, 3, 3, 3] k> {
        c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, k)
        r = Relu(c)
        h = Conv<kernel_shape = [8, 4], strides = [8, 4]>(r, w)
        n = Constant<value_ints = [0, 4, 8]>()
        f = Reshape(h, n)
        t = Transpose<perm = [0, 2, 1]>(f)
        y = Softmax<axis = 2>(t)
    }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the command lines name: models, which say themselves how they are fed, and photos."""
    place, random = tmp_path_factory.mktemp("lines"), np.random.default_rng(4)
    onnx.save(without_raw(detector("yolov8").model), place / "yolo.onnx")
    older = without_raw(detector("yolov5").model)
    onnx.helper.set_model_props(older, {"stride": "32", "names": repr(dict(enumerate(NAMES)))})
    onnx.save(older, place / "yolov5.onnx")
    _write(place, "unet", SEGMENTS, {"w": _of_colours()}, ["ground", "cat", "dog"], (96, 128))
    weights = {"w": random.normal(size=(4, 3, 8, 4)), "k": random.normal(size=(3, 3, 3, 3)) * 0.4}
    _write(place, "crnn", READS, weights, list("abc"), (8, 32))
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[8:40, 8:40, 0] = pixels[64:88, 100:120, 0] = pixels[70:90, 110:126, 0] = 255
    pixels[60:90, 20:60, 1] = 255
    Image.fromarray(pixels).save(place / "seg.png")
    for name, sides in (("street.jpg", (96, 128)), ("line.png", (8, 32))):
        Image.fromarray(random.integers(0, 255, (*sides, 3), dtype=np.uint8)).save(place / name)
    write_model(place)
    write_photo(place / "digit.png", 3)
    return place


def _of_colours() -> np.ndarray:
    """Red less the others, green less the others."""
    return np.array([[0, 0, 0], [1, -1, -1], [-1, 1, -1]])[:, :, None, None]


def _write(place, name, text, weights, labels, size) -> None:
    model = onnx.parser.parse_model(text)
    for tensor, values in weights.items():
        array = onnx.numpy_helper.from_array(values.astype(np.float32), tensor)
        model.graph.initializer.append(array)
    onnx.save(model, place / f"{name}.onnx")
    card = {"size": size, "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    card |= {"scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3, "labels": labels}
    (place / f"{name}.json").write_text(json.dumps(card))


# (line, its target as the library takes it, its score)
LINES = [
    ("explain yolo.onnx street.jpg -t box2", "box2", None),
    ("explain yolo.onnx street.jpg -t person", "person", None),
    ("explain yolo.onnx street.jpg -t person#2", "person#2", None),
    ("explain yolo.onnx street.jpg --all", "all", None),
    ("explain yolov5.onnx street.jpg --score objectness", "top3", "objectness"),
    ("explain yolov5.onnx street.jpg --score box", "top3", "box"),
    ("explain unet.onnx seg.png -t cat", "cat", None),
    ("explain unet.onnx seg.png -t cat#2", "cat#2", None),
    ("explain unet.onnx seg.png -t at:110,75", "at:110,75", None),
    ("explain unet.onnx seg.png -t box:12,10,30,30", "box:12,10,30,30", None),
    ("explain crnn.onnx line.png", "text", None),
    ("explain crnn.onnx line.png -t text", "text", None),
    ("explain crnn.onnx line.png -t char3", "char3", None),
    ("explain crnn.onnx line.png -t token4", "token4", None),
    ("explain digits.onnx digit.png -t 'three - eight'", "three - eight", None),
    ("explain digits.onnx digit.png -t 'not three'", "not three", None),
]


@pytest.mark.parametrize(("text", "target", "score"), LINES, ids=[line for line, *_ in LINES])
def test_it_explains_what_it_says(command, folder, monkeypatch, tmp_path, text, target, score):
    monkeypatch.chdir(folder)
    words = shlex.split(text)
    status, _, err = command(*words, "-m", "saliency", "-o", tmp_path)
    assert status == 0, err
    records = json.loads((tmp_path / "results.json").read_text())
    given = {"score": score} if score else {}
    explainer = onnxplain.Explainer(words[1], "saliency", **given)
    e = explainer.explain(words[2], target)
    assert [r["score"] for r in records] == pytest.approx(list(e.score), abs=1e-5)
    assert [r["target"]["label"] for r in records] == [e[k].label for k in range(len(e))]
    for k, record in enumerate(records):
        (file,) = (f for f in record["files"] if f.endswith(".npz"))
        with np.load(tmp_path / file) as arrays:
            assert np.allclose(arrays["attribution"], e[k].attribution[0], atol=1e-6)


def test_a_street_is_explained_without_a_word_more(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = command("explain", "yolo.onnx", "street.jpg", "-o", "out_street")
    assert status == 0, err
    records = json.loads((folder / "out_street" / "results.json").read_text())
    assert {r["method"] for r in records} == {"layercam", "integrated-gradients", "deeplift"}
    assert {r["target"]["name"] for r in records} == {"box1", "box2", "box3"}
    assert all(f"({name})" in out for name in ("box1", "box2", "box3"))


def test_a_text_reader_shows_where_by_layercam(command, folder, monkeypatch):
    """Averaged weights would forget at which step a character was read."""
    monkeypatch.chdir(folder)
    status, out, err = command("explain", "crnn.onnx", "line.png", "-o", "out_line", "-q")
    records = json.loads((folder / "out_line" / "results.json").read_text())
    assert records[0]["method"] == "layercam", (status, out, err)


def test_a_box_by_its_corners(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert command("explain", "yolo.onnx", "street.jpg", "-t", "box3", *QUICK)[0] == 0
    (first,) = json.loads((folder / "out" / "results.json").read_text())
    corners = ",".join(f"{number:.0f}" for number in first["target"]["box"])
    asked = ["-t", f"box:{corners}", "-m", "saliency", "-o", "out_box"]
    assert command("explain", "yolo.onnx", "street.jpg", *asked)[0] == 0
    (again,) = json.loads((folder / "out_box" / "results.json").read_text())
    assert again["target"] == first["target"] and again["score"] == first["score"]


def test_a_similarity_is_the_target(command, folder, monkeypatch):
    """`--versus` and a target do not go together, and it says so in one line."""
    monkeypatch.chdir(folder)
    asked = ["--versus", "seg.png", "-t", "not three"]
    status, _, err = command("explain", "digits.onnx", "digit.png", *asked, *QUICK)
    assert status == 2 and "--versus and the target not three do not go together" in err
    assert len(err.strip().splitlines()) == 1
