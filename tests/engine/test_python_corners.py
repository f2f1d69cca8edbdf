"""Corners of the Python interface: named baselines, tested evidence, wrong names of arguments."""

import pickle

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image
from support.digits import write_model, write_photo

import onnxplain

METHODS = ("deeplift", "expected-gradients", "integrated-gradients")


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "7.png", 7)


@pytest.mark.parametrize("name", ["black", "white", "mean", "blur", "file", "array", "several"])
@pytest.mark.parametrize("method", METHODS[:2])
def test_a_named_baseline_is_the_same_wherever_it_is_named(model, photo, tmp_path, name, method):
    baseline = {
        "file": tmp_path / "3.png",
        "array": str(tmp_path / "b.npy"),
        "several": ["black", "white"],
    }.get(name, name)
    write_photo(tmp_path / "3.png", 3)
    np.save(tmp_path / "b.npy", np.float32(0.25))
    explainer = onnxplain.Explainer(model, method, baseline=baseline)
    plain = onnxplain.Explainer(model, method)
    e = explainer.explain(photo)
    assert e == plain.explain(photo, baseline=baseline)
    assert name == "black" or e != plain.explain(photo)
    assert next(explainer.images(photo)) == e
    assert pickle.loads(pickle.dumps(explainer)).explain(photo) == e
    x = explainer.preprocess(photo)
    if name in ("mean", "blur"):
        assert name in repr(explainer)
        for act in (lambda: explainer(x), lambda: explainer.export(tmp_path / "e.onnx")):
            with pytest.raises(onnxplain.InvalidInputError, match=r"made of a photo.*explain\("):
                act()
    else:
        assert explainer(x) == e == plain(x, baseline=baseline)


@pytest.mark.parametrize("how", ["none", "preprocess", "mixed", "unknown", "blur"])
def test_names_that_mean_nothing_are_refused(tmp_path, model, how):
    more, baseline, expected = {}, "white", "needs a model card"
    if how in ("none", "blur"):
        text = '<ir_version: 10, opset_import: ["": 21]> g (float[n,3] x) => (float[n,3] y) '
        model = onnx.parser.parse_model(text + "{ y = Elu (x) }")
        baseline = "white" if how == "none" else "blur"
    elif how == "preprocess":
        more = {"preprocess": lambda image: np.zeros((1, 1, 8, 8), np.float32)}
    elif how == "mixed":
        baseline, expected = ["white", np.zeros((1, 1, 8, 8), np.float32)], "some of each"
    else:
        baseline, expected = "whit", "expected black, white, mean, blur or a file, got 'whit'"
    with pytest.raises(onnxplain.InvalidInputError, match=expected):
        onnxplain.Explainer(model, "deeplift", baseline=baseline, **more)


def test_a_method_without_baselines_leaves_them_alone(model, photo):
    explainer = onnxplain.Explainer(model, "grad-cam", baseline="blur")
    assert explainer.explain(photo) == onnxplain.Explainer(model).explain(photo)


@pytest.mark.parametrize("name", ["device", "provider"])
def test_device_is_called_providers(model, name):
    with pytest.raises(onnxplain.InvalidInputError, match=rf"{name}=.*providers=.*got 'cuda'"):
        onnxplain.Explainer(model, **{name: "cuda"})


def test_a_path_called_dash_is_a_path(model, photo, tmp_path, monkeypatch):
    explainer = onnxplain.Explainer(model)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(onnxplain.InvalidInputError, match="image -: no such file"):
        explainer.explain("-")
    photo.rename("-")
    assert explainer.explain("-").target.tolist() == [7]


def test_evidence_is_tested_when_asked_for(model, photo):
    explainer = onnxplain.Explainer(model)
    e = explainer.explain(photo, ["7", "1"])
    plain = e.picture()
    text = e.evidence(0)
    assert text.startswith("Hiding the strongest ") and " % of the photo " in text
    assert "seven" in text and e[0].evidence() == text and e[1].evidence() == e.evidence(-1) != text
    # The picture is drawn with it now, as the command line draws it.
    assert np.asarray(e.picture()).shape != np.asarray(plain).shape or not np.array_equal(
        np.asarray(e.picture()), np.asarray(plain)
    )
    # What is known is kept in a pickle; what is not cannot be asked for.
    again = pickle.loads(pickle.dumps(e))
    assert again.evidence(0) == text and again.origin.explainer is None
    with pytest.raises(onnxplain.InvalidInputError, match="row 2: there are 2"):
        e.evidence(2)
    fresh = pickle.loads(pickle.dumps(explainer.explain(photo)))
    for other in (explainer(explainer.preprocess(photo)), fresh):
        with pytest.raises(onnxplain.InvalidInputError, match=r"explainer\.explain\(photo\)"):
            other.evidence()


def test_nothing_is_run_for_a_picture(model, photo, monkeypatch):
    e = onnxplain.Explainer(model).explain(photo)
    monkeypatch.setattr(onnxplain.Explainer, "scores", None)
    assert isinstance(e.picture(), Image.Image)


def test_inspection_as_html(model):
    text = onnxplain.inspect(model)._repr_html_()
    assert text.startswith("<table>") and text.count("<tr>") == text.count("</tr>") > 9
    assert "deeplift" in text and "explained score" in text


def test_inspection_as_html_escapes_names(tmp_path):
    path = write_model(tmp_path)
    model = onnx.load(path)
    old = model.graph.output[0].name
    model.graph.output[0].name = "<script>"
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = "<script>" if name == old else name
    html = onnxplain.inspect(model)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_scores_take_targets_by_name_as_calls_do(model, photo):
    explainer = onnxplain.Explainer(model)
    x = explainer.preprocess(photo)
    for text, index in (("three", 3), ("7", 7), ("rank1", 7)):
        assert explainer.scores(x, text).score == explainer.scores(x, index).score
        assert explainer.scores(x, text).score[0] == pytest.approx(explainer(x, text).score[0])
