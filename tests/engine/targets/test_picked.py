"""Files that pick their boxes: what is explained is one place ahead of all picking."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from support.detectors import FORMS, NAMES, detector, run, without_raw
from support.often import thinned

import onnxplain

# Every form that takes the best few, suppresses, or fills a list of a fixed length.
PICKING = (
    *("end_to_end", "picked", "rtdetr_picked", "paddle", "yolov7", "torchvision", "tensorflow"),
    "nms_inside",
)


def picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, 64, 64)).astype(np.float32)


def explainer(form: str, method: str, **options) -> onnxplain.Explainer:
    model = without_raw(detector(form).model)
    return onnxplain.Explainer(model, method, labels=list(NAMES), **options)


def raw_logit(form: str, score: float, x: np.ndarray, at: np.ndarray) -> float:
    """The raw map's number at `x`, in the place whose number at `at` is the score."""
    model = detector(form).model
    known, own = (run(model, values)["raw_classes"][0] for values in (at, x))
    return float(own[np.unravel_index(np.argmin(abs(known - score)), known.shape)])


def test_these_are_all_that_pick():
    held = {form for form in FORMS if explainer_of_any(form).subject.head is not None}
    assert held == set(PICKING)


def explainer_of_any(form: str) -> onnxplain.Explainer:
    return onnxplain.Explainer(without_raw(detector(form).model), "grad-cam")


@pytest.mark.parametrize("form", PICKING)
@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
def test_the_baselines_score_is_the_same_places(form, method):
    """What the raw map holds at the baseline, wherever the file's own picks are there."""
    x, baseline = picture(), picture(3) * 0.3
    own = explainer(form, method, baseline=baseline)
    e = own(x, ["box1", "box2"])
    for row in range(2):
        right = raw_logit(form, e.score[row], baseline, x)
        assert e.baseline_score[row] == pytest.approx(right, abs=1e-4)
    assert max(abs(e.relative_delta)) < (0.011 if method != "deeplift" else 1e-4)


@pytest.mark.parametrize("form", PICKING)
def test_hiding_lowers_the_places_own_score(form):
    x = picture()
    e = explainer(form, "occlusion", window=64, stride=64)(x)
    drop = float(e.score[0]) - raw_logit(form, e.score[0], x * 0, x)
    assert e.attribution.reshape(-1)[0] == pytest.approx(drop, abs=1e-3)


@pytest.mark.parametrize("form", PICKING)
def test_the_score_of_another_picture_is_the_same_places(form):
    x, other = picture(), picture(7)
    own = explainer(form, "grad-cam")
    e = own(x, ["box1", "not box2", "box1 - box2"])
    for row, target in enumerate(e.targets):
        found = own.scores(other, target).score[0]
        first, second = (raw_logit(form, e.score[k] * s, other, x) for k, s in ((0, 1), (1, -1)))
        assert found == pytest.approx([first, -second, first - second][row], abs=1e-4)
        assert own.scores(x, target).score[0] == pytest.approx(e.score[row], abs=1e-4)


@pytest.mark.parametrize(
    ("form", "method"),
    thinned(product(PICKING, ["integrated-gradients", "deeplift", "occlusion"]), 5),
)
def test_a_file_holds_its_picks_as_well(form, method, tmp_path):
    x, own = picture(), explainer(form, method)
    e = own(x)
    own.export(tmp_path / "e.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    index = np.asarray(e.targets[0].index, np.int64)[None]
    names = ["attribution"] if e.delta is None else ["attribution", "delta"]
    found, *delta = map(np.asarray, session.run(names, {"images": x, "target": index}))
    assert np.linalg.norm(found - e.attribution) < 1e-4 * np.linalg.norm(e.attribution)
    assert not delta or delta[0][0] == pytest.approx(e.delta[0], abs=1e-4)


def test_a_place_that_is_not_picked_keeps_its_score():
    """A class's number in such a row is none of the head's: nothing is shared out, and it says so.

    The file's own number stays the score.
    """
    x = picture()
    own = explainer("end_to_end", "deeplift")
    outputs = run(detector("end_to_end").model, x)
    number = np.asarray(outputs["output0"])[0, 2, 5]
    e = own(x, (2, 5))
    assert e.score[0] == pytest.approx(number)
    assert e.delta[0] == pytest.approx(-number, abs=1e-6)
