"""Parts of a map of scores: connected regions, points and boxes in the photo's own pixels."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

import onnxplain

LABELS = ("ground", "red", "green")
CARD = {
    "size": [32, 48], "resize": "stretch", "layout": "NCHW", "channels": "RGB", "scale": 1 / 255,
    "mean": [0, 0, 0], "std": [1, 1, 1], "labels": list(LABELS),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """Scores of each pixel: red less the others, green less the others, and a ground of 0.3."""
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 32, 48] x) => (float[N, 3, 16, 24] y)
        <float[3, 3, 1, 1] w, float[3] b = {0.3, 0.0, 0.0}> {
            h = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x)
            y = Conv<kernel_shape = [1, 1]>(h, w, b)
        }""")
    weights = np.array([[0, 0, 0], [1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return proto


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Twice the input's size: a large red square, a small one, a green one."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[8:40, 8:40, 0] = pixels[48:56, 72:80, 0] = pixels[8:24, 64:88, 1] = 255
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def explainer(model):
    return onnxplain.Explainer(model, "input-x-gradient", card=CARD)


def region(rows, columns):
    found = np.zeros((16, 24), bool)
    found[slice(*rows), slice(*columns)] = True
    return found


LARGE, SMALL, GREEN = region((2, 10), (2, 10)), region((12, 14), (18, 20)), region((2, 6), (16, 22))


@pytest.mark.parametrize(
    ("asked", "label", "right", "key"),
    [
        ("red", 1, LARGE | SMALL, "1"),
        (1, 1, LARGE | SMALL, "1"),
        ("red#1", 1, LARGE, "1-part1"),
        ("red#2", 1, SMALL, "1-part2"),
        ("2#1", 2, GREEN, "2-part1"),
        ("at:20,20", 1, region((5, 6), (5, 6)), "at-10-10"),
        ("at:70.5,12", 2, region((3, 4), (17, 18)), "at-35.25-6"),
        ("box:64,8,88,24", 2, GREEN, "at-32-4-44-12"),
        ("top1", 0, ~(LARGE | SMALL | GREEN), "0"),
    ],
)
def test_which_pixels(explainer, photo, asked, label, right, key):
    (target,) = explainer.explain(photo, asked).targets
    assert target.index == label and target.key == key
    assert np.array_equal(target.region, right)


@pytest.mark.parametrize("asked", ["red", "red#2", "at:20,20", "not green", "red#1 - green#1"])
def test_the_sum_of_scores_is_explained(explainer, photo, asked):
    e = explainer.explain(photo, asked)
    scores, (target,) = e.outputs["y"][0], e.targets
    right = sum(w * scores[tuple(p)] for w, p in zip(target.weights, target.places, strict=True))
    assert e.score[0] == pytest.approx(right, rel=1e-5)
    # The network is linear but for its bias: input times gradient is all of the rest.
    bias = sum(w * 0.3 for w, p in zip(target.weights, target.places, strict=True) if p[0] == 0)
    assert e.attribution.sum() == pytest.approx(right - bias, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("red#3", "2 regions"),
        ("red#0", "count from 1"),
        ("at:2000,10", "inside of what the model sees"),
        ("box:9,9,1,1", "x0 < x1"),
        ("blue", "no label is 'blue'"),
        ("rank2", "one score for each class"),
    ],
)
def test_what_is_not_there_is_said(explainer, photo, asked, words):
    with pytest.raises(onnxplain.InvalidInputError, match=words):
        explainer.explain(photo, asked)


def test_the_outline_is_drawn(explainer, photo):
    e = explainer.explain(photo, "red#1")
    own = explainer.explain(photo, "red")
    framed, plain = (np.asarray(one.picture().convert("L"), float) for one in (e, own))
    # The small square has no outline in one of them.
    assert (np.abs(framed - plain) > 60).any()


def test_on_the_command_line(command, model, photo, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text(json.dumps(CARD))
    photo.save(tmp_path / "p.png")
    files = tmp_path / "m.onnx", tmp_path / "p.png", "--card", tmp_path / "m.json"
    out = tmp_path / "out"
    options = ["-m", "saliency", "-t", "red#2", "-t", "at:20,20", "-t", "red", "-o", out]
    status, _, err = command("explain", *files, *options)
    assert status == 0, err
    names = {path.name for path in out.glob("*.png")}
    assert names == {"p.saliency.1-part2.png", "p.saliency.at-10-10.png", "p.saliency.1.png"}
    records = json.loads((out / "results.json").read_text())
    assert [r["target"]["label"] for r in records] == ["red"] * 3


@pytest.mark.parametrize("asked", ["red#2", "at:20,20", "not red#1", "red#1 - green#1", "green"])
def test_what_is_tested_is_what_was_explained(explainer, photo, asked):
    """Nothing hidden, the score is the same again: by the record's own target."""
    from onnxplain.engine.explanation.outcomes import recorded

    e = explainer.explain(photo, asked)
    again = recorded(e, 0).target.again
    x = explainer.preprocess(photo)
    assert explainer.scores(x, again).score[0] == pytest.approx(e.score[0], rel=1e-5)
    assert explainer(x, again).score[0] == pytest.approx(e.score[0], rel=1e-5)


def test_metrics_of_a_part(explainer, photo):
    """Of one region, not of the class: the score that metrics begin at is the explained one."""
    from onnxplain.engine.metrics.trial import trials_of

    e = explainer.explain(photo, "red#2")
    x = explainer.preprocess(photo)
    (trial,) = trials_of(explainer, x, e)
    assert trial.scores(x).score[0] == pytest.approx(e.score[0], rel=1e-5)
