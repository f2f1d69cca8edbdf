"""The command `card`: facts with sources, a photo under other cards, a card as a file; warnings."""

import contextlib
import io
import json

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image
from support.detectors import detector, without_raw

from onnxplain.cli import main
from onnxplain.engine.jobs.trying import Trying, how, plausible
from onnxplain.engine.model import opened
from onnxplain.models.assumed_card import assume_card
from onnxplain.models.card import read_card

RED = (229, 26, 26)
RED_HALF = (0.8, -0.8, -0.8)
BEHIND = (2.82, -2.38, -1.92)
NAMES = "{0: 'red', 1: 'green', 2: 'gray'}"


def numbers(values):
    return ", ".join(f"{float(value):.6f}" for value in np.ravel(values))


def write_model(path, scale=4.0, prototypes=(RED_HALF, BEHIND, (0, 0, 0)), **metadata):
    """10 exp(-scale d^2), d from a picture's mean colour to each of three."""
    text = f"""<ir_version: 10, opset_import: ["": 21]>
    g (float[N,3,16,16] x) => (float[N,3] y)
    <float[1,3,3] colours = {{{numbers(prototypes)}}}, float scale = {{{-scale}}},
     float ten = {{10.0}}, int64[2] space = {{2, 3}},
     int64[1] middle = {{1}}, int64[1] last = {{2}}> {{
      mean = ReduceMean <keepdims = 0> (x, space)
      own = Unsqueeze (mean, middle)
      apart = Sub (own, colours)
      squares = Mul (apart, apart)
      sums = ReduceSum <keepdims = 0> (squares, last)
      far = Mul (sums, scale)
      near = Exp (far)
      logits = Mul (near, ten)
      y = Softmax <axis = 1> (logits)
    }}"""
    made = onnx.parser.parse_model(text)
    onnx.helper.set_model_props(made, metadata)
    onnx.save(made, path)
    return path


def run(*arguments):
    """Exit status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            return end.code or 0, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 30), RED).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_each_fact_has_its_source(tmp_path):
    model = write_model(tmp_path / "m.onnx", task="classify", imgsz="[16, 16]", names=NAMES)
    status, out, _ = run("card", model)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0
    assert "3 labels: red, green, gray  (Ultralytics' metadata)" in lines["labels"]
    assert "16 x 16 (height x width)  (the input as the file declares it)" in lines["size"]
    assert "(Ultralytics' metadata)" in lines["scale"] and "assumed" not in lines["mean"]
    found = json.loads(run("card", model, "--mean", "0.5", "--json")[1])["facts"]
    assert found["mean"] == {"value": 0.5, "from": "--mean"}
    assert found["labels"]["value"] == ["red", "green", "gray"]


def test_what_is_assumed_is_called_so(tmp_path):
    out = run("card", write_model(tmp_path / "m.onnx"))[1]
    assert out.count("(assumed)") >= 5 and "metadata" not in out


def test_the_card_is_written_and_read(tmp_path):
    model = write_model(tmp_path / "m.onnx")
    assert run("card", model, "--preset", "half", "-o", tmp_path / "m.json")[0] == 0
    card = read_card(tmp_path / "m.json")
    assert card.mean == (1.0,) and card.scale == (1 / 127.5,)
    out = run("card", model)[1]
    assert f"({tmp_path / 'm.json'})" in out and "assumed" not in out


def test_a_photo_under_each_preprocessing(tmp_path, photo):
    model = write_model(tmp_path / "m.onnx")
    status, out, _ = run("card", model, "--try", photo, "--json")
    found = json.loads(out)
    assert status == 0 and len(found["tried"]) == 24
    best = next(one for one in found["tried"] if one["preprocessing"]["channels"] == "RGB")
    assert best["preprocessing"]["mean"] == 1 and best["confidence"] > 0.99
    assert best["answers"][0]["class"] == 0 and not best["collapsed"]
    # Where every picture is the same to the model, it is confident in vain.
    raw = [one for one in found["tried"] if one["preprocessing"]["scale"] == 1]
    assert raw and all(one["collapsed"] for one in raw) and found["tried"][-1]["collapsed"]
    assert any("far more confident" in note for note in found["notes"])
    order = [(one["collapsed"], -one["confidence"]) for one in found["tried"]]
    assert order == sorted(order)


def test_the_label_counts(tmp_path, photo):
    model = write_model(tmp_path / "m.onnx", names=NAMES, task="classify", imgsz="16")
    found = json.loads(run("card", model, "--try", photo, "--label", "green", "--json")[1])
    for one in found["tried"]:
        assert one["label"] == 1
    assert found["tried"][0]["confidence"] > 0.3
    status, _, err = run("card", model, "--try", photo, "--label", "grene")
    assert status == 2 and "did you mean 'green'" in err


def test_boxes_in_the_photos_pixels(tmp_path):
    onnx.save(without_raw(detector("yolov8").model), tmp_path / "m.onnx")
    Image.new("RGB", (128, 64), RED).save(tmp_path / "red.png")
    status, out, _ = run("card", tmp_path / "m.onnx", "--try", tmp_path / "red.png", "--json")
    tried = json.loads(out)["tried"]
    assert status == 0 and len(tried) > 10
    for one in tried:
        assert one["collapsed"] is None
        assert [len(answer["box"]) for answer in one["answers"]] == [4] * len(one["answers"])


def test_cards_that_differ_are_all_tried_once():
    card = assume_card([1, 3, 16, 16], "float32")
    words = [how(one) for one in plausible(card)]
    assert len(words) == len(set(words)) == 24 and words[0] == "RGB, imagenet, crop 0.875"
    gray = [how(one) for one in plausible(assume_card([1, 1, 16, 16], "float32"))]
    assert len(gray) == 9 and all(one.startswith("GRAY") for one in gray)


def test_confidence_is_the_mean_over_views(tmp_path):
    file = opened(write_model(tmp_path / "m.onnx", scale=0.1))
    trying = Trying(file, assume_card([1, 3, 16, 16], "float32"))
    views = [Image.new("RGB", (9, 9), color) for color in (RED, "gray", "navy")]
    each = [trying.of(view, trying.card, [view], 0).confidence for view in views]
    assert trying.of(views[0], trying.card, views, 0).confidence == pytest.approx(np.mean(each))
    assert len({round(one, 6) for one in each}) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "x"], "--label needs --try"),
        (["--try", "none.png"], "none.png: no such file"),
        (["--preset", "x"], "expected one of imagenet"),
    ],
)
def test_wrong_use_is_a_line(tmp_path, arguments, said):
    status, _, err = run("card", write_model(tmp_path / "m.onnx"), *arguments)
    assert status == 2 and said in err and "Traceback" not in err


def test_without_an_image_there_is_nothing_to_try(tmp_path, photo):
    text = """<ir_version: 10, opset_import: ["": 21]>
    g (float[N,4] x) => (float[N,4] y) { y = Exp (x) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    assert run("card", tmp_path / "m.onnx")[1].startswith("card  none: ")
    status, _, err = run("card", tmp_path / "m.onnx", "--try", photo)
    assert status == 2 and "--try: for images" in err
    status, _, err = run("card", tmp_path / "m.onnx", "-o", tmp_path / "c.json")
    assert status == 2 and "no card to write" in err and not (tmp_path / "c.json").exists()


def explained(tmp_path, model, photo, *more):
    return run("explain", model, photo, "-m", "saliency", "-o", tmp_path / "out", *more)[2]


def test_explain_warns_once_where_others_are_far_more_confident(tmp_path, photo):
    model = write_model(tmp_path / "m.onnx")
    err = explained(tmp_path, model, photo)
    assert err.count("far more confident") == 1 and "RGB, half, crop 0.875" in err
    assert "instead of 33 %" in err
    # Who says how pixels become numbers is not told of others.
    assert "far more confident" not in explained(tmp_path, model, photo, "--preset", "imagenet")
    run("card", model, "-o", tmp_path / "m.json")
    assert "far more confident" not in explained(tmp_path, model, photo)


def test_explain_says_nothing_where_what_is_assumed_is_as_good(tmp_path, photo):
    im = (1.81, -1.59, -1.36)
    model = write_model(tmp_path / "m.onnx", prototypes=(im, (9, 9, 9), (0, 0, 0)))
    err = explained(tmp_path, model, photo)
    assert "far more confident" not in err and "alike" not in err


def test_metadata_that_lies_is_found_out(tmp_path, photo):
    """As Azure's does at times: it says 0..1 of a model that scales by itself."""
    model = write_model(
        tmp_path / "m.onnx",
        scale=1e-3,
        prototypes=(RED, (127, 127, 127), (0, 0, 255)),
        **{"Image.NominalPixelRange": "Normalized_0_1"},
    )
    err = explained(tmp_path, model, photo)
    assert "answers alike" in err and "card MODEL --try PHOTO" in err
    notes = json.loads(run("card", model, "--try", photo, "--json")[1])["notes"]
    assert any("answers alike" in note for note in notes)


def test_a_card_that_is_given_takes_labels_from_elsewhere(tmp_path, photo):
    model = write_model(tmp_path / "m.onnx", names=NAMES, task="classify", imgsz="16")
    card = {"size": [16, 16], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    (tmp_path / "c.json").write_text(json.dumps({**card, "scale": 1, "mean": 0, "std": 1}))
    found = json.loads(run("card", model, "--card", tmp_path / "c.json", "--json")[1])["facts"]
    assert found["scale"] == {"value": 1, "from": "--card"}
    assert found["labels"] == {"value": ["red", "green", "gray"], "from": "Ultralytics' metadata"}
    status, out, _ = run(
        *("explain", model, photo, "-m", "saliency", "-t", "green"),
        *("--card", tmp_path / "c.json", "-o", tmp_path / "out"),
    )
    assert status == 0 and "green" in out
