"""Detectors on the command line: what is found, said, drawn and written."""

import json
import re

import numpy as np
import onnx
import pytest
from PIL import Image
from support.detectors import NAMES, detector, without_raw
from support.digits import write_photo
from support.often import by_day

import onnxplain

CARD = {
    "size": [64, 64], "resize": "stretch", "layout": "NCHW", "channels": "RGB", "scale": 1 / 64,
    "mean": [2, 2, 2], "std": [1, 1, 1], "labels": list(NAMES),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A detector, its card and a photo of another size than its input."""
    folder = tmp_path_factory.mktemp("boxes")
    onnx.save(without_raw(detector("yolov8").model), folder / "yolo.onnx")
    (folder / "yolo.json").write_text(json.dumps(CARD))
    pixels = np.random.default_rng(4).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "street.png")
    return folder


@pytest.fixture(scope="module")
def explainer(made):
    return onnxplain.Explainer(made / "yolo.onnx", "layercam", card=made / "yolo.json")


def run(command, made, out, *options):
    files = made / "yolo.onnx", made / "street.png"
    return command("explain", *files, "--card", made / "yolo.json", "-o", out, *options)


def test_the_three_strongest_are_explained(command, made, explainer, tmp_path):
    status, out, err = run(command, made, tmp_path)
    assert status == 0, err
    records = json.loads((tmp_path / "results.json").read_text())
    every = explainer.explain(made / "street.png", "all")
    assert len(every) > 3
    assert {r["method"] for r in records} == {"layercam", "integrated-gradients", "deeplift"}
    for record, target in zip(records[:3], every.targets, strict=False):
        own = record["target"]
        assert own["name"] == target.name and own["index"] == list(target.index)
        assert own["label"] == target.label
        assert record["probability"] == pytest.approx(target.chance)
        parts = [n / 64 for n in target.box]
        assert np.allclose(own["box_in_view"], parts, atol=1e-4)
        # The photo is stretched to the input: its own pixels are 2 and 1.5 times as many.
        photo = [n * side for n, side in zip(parts, (128, 96, 128, 96), strict=True)]
        assert np.allclose(own["box"], photo, atol=0.1)
        corners = ", ".join(f"{n:.0f}" for n in own["box"])
        assert f"{target.label} " in out and f"at {corners} ({target.name})" in out
        assert (tmp_path / f"street.layercam.{target.name}.png").is_file()


WAYS = ["box2", "person", "person#2", "all", "top2", "not box1", "box1 - box2"]


# All of them are 170 pictures.
@pytest.mark.parametrize("asked", by_day(WAYS, ["all"]))
def test_ways_to_ask(command, made, explainer, tmp_path, asked):
    status, out, err = run(command, made, tmp_path, "-m", "layercam", "-t", asked, "--json")
    assert status == 0, err
    names = [record["target"]["name"] for record in json.loads(out)]
    e = explainer.explain(made / "street.png", asked)
    assert names == [target.name for target in e.targets]
    assert [record["score"] for record in json.loads(out)] == pytest.approx(list(e.score))


def test_a_box_is_asked_for_in_the_photos_own_pixels(command, made, explainer, tmp_path):
    run(command, made, tmp_path / "first", "-m", "layercam", "-t", "box3")
    (first,) = json.loads((tmp_path / "first" / "results.json").read_text())
    asked = "box:" + ",".join(f"{number:.1f}" for number in first["target"]["box"])
    status, out, err = run(command, made, tmp_path, "-m", "layercam", "-t", asked, "--json")
    assert status == 0, err
    assert json.loads(out)[0]["target"] == first["target"]
    assert explainer.explain(made / "street.png", asked).targets[0].name == "box3"


def test_what_is_not_there_is_one_line(command, made, tmp_path):
    status, _, err = run(command, made, tmp_path, "-m", "layercam", "-t", "box999")
    assert status == 1 and "the model found" in err and "Traceback" not in err
    status, _, err = run(command, made, tmp_path, "-m", "layercam", "-t", "wolf")
    assert status == 2 and "no label is 'wolf'" in err


def test_the_rest_of_the_commands(command, made, tmp_path):
    model, photo, card = made / "yolo.onnx", made / "street.png", made / "yolo.json"
    status, out, _ = command("inspect", model)
    assert status == 0 and "the score of a box in 'output0'" in out
    status, _, err = run(command, made, tmp_path / "report", "-m", "layercam", "--report")
    assert status == 0 and (tmp_path / "report" / "report.html").is_file(), err
    options = ["--card", card, "-m", "layercam", "-o", tmp_path / "rows"]
    status, _, err = command("batch", model, photo, *options)
    assert status == 0, err
    status, _, err = command("export", model, "-m", "layercam", "-o", tmp_path / "file.onnx")
    assert status == 0, err
    onnx.checker.check_model(str(tmp_path / "file.onnx"))


def test_the_picture_frames_the_box(made, explainer):
    e = explainer.explain(made / "street.png", "box1")
    plain = explainer.explain(made / "street.png", e.targets[0].index)
    assert np.array_equal(e.attribution, plain.attribution)
    framed, own = (np.asarray(one.picture().convert("L"), float) for one in (e, plain))
    changed = np.abs(framed[60:-120, 20:-20] - own[60:-120, 20:-20]) > 60
    assert changed.any(axis=0).any() and changed.mean() < 0.2


def rows_of(folder):
    return pytest.importorskip("pyarrow.parquet").read_table(folder).to_pylist()


def test_a_batch_has_the_boxes(command, made, tmp_path):
    """In the photo's own pixels, as results.json has them; also where one is asked for by them."""
    run(command, made, tmp_path / "one", "-m", "layercam")
    records = json.loads((tmp_path / "one" / "results.json").read_text())
    files = made / "yolo.onnx", made / "street.png"
    asked = "--card", made / "yolo.json", "-m", "layercam"
    status, _, err = command("batch", *files, *asked, "-o", tmp_path / "rows")
    assert status == 0, err
    rows = rows_of(tmp_path / "rows")
    assert [row["box"] for row in rows] == [record["target"]["box"] for record in records]
    near = "box:" + ",".join(f"{number:.1f}" for number in rows[2]["box"])
    status, _, err = command("batch", *files, *asked, "-t", near, "-o", tmp_path / "near")
    assert status == 0, err
    (row,) = rows_of(tmp_path / "near")
    assert row["box"] == rows[2]["box"] and row["target_index"] == rows[2]["target_index"]


def test_no_box_elsewhere(command, model, tmp_path):
    photo = write_photo(tmp_path / "seven.png", 7)
    status, _, err = command("batch", model, photo, "-m", "grad-cam", "-o", tmp_path / "rows")
    assert status == 0, err
    assert [row["box"] for row in rows_of(tmp_path / "rows")] == [None]


def test_the_page_frames_the_box_and_says_where_it_is(command, made, tmp_path):
    status, _, err = run(command, made, tmp_path, "-m", "layercam", "-t", "box2", "--report")
    assert status == 0, err
    (record,) = json.loads((tmp_path / "results.json").read_text())
    page = (tmp_path / "report.html").read_text()
    x0, y0, x1, y1 = record["target"]["box_in_view"]
    frames = re.findall(
        r'<rect class="(\w+)" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', page
    )
    assert [name for name, *_ in frames] == ["dark", "light"]
    for _, *numbers in frames:
        assert np.allclose([*map(float, numbers)], [x0, y0, x1 - x0, y1 - y0], atol=2e-5)
    corners = ", ".join(f"{number:.0f}" for number in record["target"]["box"])
    assert f"at {corners} (box2)" in page


def test_which_score_of_a_box(command, made, tmp_path):
    """Each has its own files and record; what a head has not is one line."""
    for score in ("class", "box"):
        asked = "-m", "layercam", "-t", "box1", "--score", score
        status, _, err = run(command, made, tmp_path, *asked)
        assert status == 0, err
    own, box = json.loads((tmp_path / "results.json").read_text())
    assert (own["target"]["name"], box["target"]["name"]) == ("box1", "box1-box")
    assert box["options"]["score"] == "box" and own["score"] != box["score"]
    assert (tmp_path / "street.layercam.box1-box.png").is_file()
    how = {"card": made / "yolo.json", "score": "box"}
    e = onnxplain.Explainer(made / "yolo.onnx", "layercam", **how).explain(made / "street.png")
    assert e.score[0] == pytest.approx(box["score"], rel=1e-6)
    status, _, err = run(command, made, tmp_path / "none", "--score", "objectness")
    assert status == 1 and "expected an objectness beside the scores" in err
    assert "Traceback" not in err
