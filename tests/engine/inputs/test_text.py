"""Texts: tokens by hand, each with its part of the score; one line for whatever is wrong."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from support.small import node, small, value
from support.texts import TABLE, WORDS, W, classifier, tokenizer, write_text_model

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.inputs import read_input

TEXT = "Good acting.\nBad film"
TOKENS = ["[CLS]", "good", "act", "##ing", ".", "bad", "film", "[SEP]"]
IDS = [WORDS.index(token) for token in TOKENS]
PAD = WORDS.index("[PAD]")


def written(folder, text=TEXT, name="a.txt"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def parts(ids, baseline, target):
    """(e - e') w of each token, which is DeepLIFT's and Integrated Gradients' answer here."""
    return (TABLE[ids] - baseline) @ W[:, target]


@pytest.mark.parametrize("method", ["deeplift", "integrated-gradients"])
@pytest.mark.parametrize("masked", [True, False])
def test_each_token_has_its_part(tmp_path, method, masked):
    """From padding alone, unless something else is asked for."""
    model = write_text_model(tmp_path, masked=masked)
    path = written(tmp_path)
    e = onnxplain.Explainer(model, method).explain(path, 1)
    np.testing.assert_array_equal(e.origin.inputs["input_ids"], [IDS])
    np.testing.assert_allclose(e.attribution, [parts(IDS, TABLE[PAD], 1)], atol=1e-5)
    for name, row in (("mask", TABLE[WORDS.index("[MASK]")]), ("zeros", 0.0)):
        e = onnxplain.Explainer(model, method, baseline=name).explain(path, 1)
        np.testing.assert_allclose(e.attribution, [parts(IDS, row, 1)], atol=1e-5)


def test_padding_is_masked(tmp_path):
    """Its length is the model's; behind the text nothing counts, and nothing is shown."""
    model = write_text_model(tmp_path, 12)
    explainer = onnxplain.Explainer(model, "deeplift", baseline=0.0)
    e = explainer.explain(written(tmp_path), 0)
    right = np.append(parts(IDS, 0.0, 0), np.zeros(4))
    np.testing.assert_allclose(e.attribution, [right], atol=1e-5)
    assert e.score[0] == pytest.approx(right.sum(), abs=1e-4)
    assert e.picture().width > 500


def test_arrays_have_their_masks_as_well(tmp_path):
    """With a tokenizer beside the model; one that is given counts."""
    model = write_text_model(tmp_path)
    explainer = onnxplain.Explainer(model, "deeplift", baseline=0.0)
    ids = np.array([[5, 6, 0, 0], [5, 0, 6, 0]])
    e = explainer(ids, 0)
    shown = np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    np.testing.assert_allclose(e.attribution, parts(ids, 0.0, 0) * shown, atol=1e-5)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    e = explainer(given, 0)
    np.testing.assert_allclose(e.attribution, parts(ids, 0.0, 0), atol=1e-5)
    with pytest.raises(InvalidInputError, match="also takes 'attention_mask'"):
        onnxplain.Explainer(classifier(), "deeplift", baseline=0.0)(ids)


@pytest.mark.parametrize("where", ["beside", "above onnx/", "the card's"])
def test_where_the_tokenizer_lies(tmp_path, where):
    folder = tmp_path / ("onnx" if where == "above onnx/" else "m")
    folder.mkdir()
    model = write_text_model(folder)
    card = None
    if where == "above onnx/":
        (folder / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    elif where == "the card's":
        (folder / "tokenizer.json").rename(folder / "own.json")
        card = {"kind": "text", "tokenizer": "own.json"}
    explainer = onnxplain.Explainer(model, "saliency", card=card)
    assert explainer.preprocess(written(tmp_path)).tolist() == [IDS]


def test_inspect_says_that_texts_are_taken(tmp_path, command):
    model = write_text_model(tmp_path)
    assert onnxplain.inspect(model).files == [".txt"]
    status, out, _ = command("inspect", model)
    assert status == 0 and "of files in .txt; arrays (.npy) as they are" in out
    (tmp_path / "tokenizer.json").unlink()
    assert onnxplain.inspect(model).files == []


def test_a_tokenizer_elsewhere_is_not_read(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    model = write_text_model(folder)
    (folder / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    card = {"kind": "text", "tokenizer": "../tokenizer.json"}
    with pytest.raises(InvalidInputError, match=r"needs a tokenizer\.json beside the model"):
        onnxplain.Explainer(model, "saliency", card=card).explain(written(tmp_path))


def test_words_are_named_in_the_terminal_and_records(tmp_path, command):
    model = write_text_model(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder)
    written(folder, "film", "b.txt")
    out = tmp_path / "out"
    asked = "explain", model, folder, "-m", "deeplift", "-t", "1", "-o", out, "--report"
    status, text, err = command(*asked)
    assert status == 0, err
    first, second = json.loads((out / "results.json").read_text())
    own = parts(IDS, TABLE[PAD], 1)
    words = {"Good": own[1], "acting": own[2] + own[3], ".": own[4], "Bad": own[5]}
    words |= {"film": own[6], "[CLS]": own[0], "[SEP]": own[7]}
    order = sorted(words, key=lambda word: -abs(words[word]))[:5]
    assert [name for name, _ in first["strongest"]] == order
    np.testing.assert_allclose([v for _, v in first["strongest"]], [words[w] for w in order], 1e-4)
    assert f"strongest: {order[0]} {words[order[0]]:+.3g}" in text
    assert first["options"]["baseline"] == "pad" and len(second["strongest"]) == 3


def test_a_batch_of_a_folder(tmp_path, command):
    model = write_text_model(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder)
    written(folder, "film", "b.txt")
    asked = "-m", "deeplift", "-t", "1", "-o", tmp_path / "out"
    status, _, err = command("batch", model, folder, *asked)
    assert status == 0, err
    rows = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out").to_pylist()
    np.testing.assert_allclose(rows[0]["attribution"], parts(IDS, TABLE[PAD], 1), atol=1e-5)
    assert len(rows[1]["attribution"]) == 3


WRONG = {
    "other bytes": b"\xff\xfe\xfa",
    "more than the model takes": b"good " * 20,
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(tmp_path, case):
    model = write_text_model(tmp_path, 12)
    (tmp_path / "x.txt").write_bytes(WRONG[case])
    with pytest.raises(InvalidInputError, match=r"x\.txt: expected") as refused:
        onnxplain.Explainer(model, "saliency").explain(tmp_path / "x.txt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', "no JSON", '{"a": "\\ud800"}'])
def test_a_damaged_tokenizer_is_one_line(tmp_path, content):
    model = write_text_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"tokenizer\.json: expected") as refused:
        onnxplain.Explainer(model, "saliency").explain(written(tmp_path))
    assert "\n" not in str(refused.value)
    onnxplain.Explainer(model, "deeplift")


def test_nothing_to_pad_with(tmp_path):
    model = write_text_model(tmp_path, 12)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer(pad=None)))
    with pytest.raises(InvalidInputError, match="no token to pad with"):
        onnxplain.Explainer(model, "saliency").explain(written(tmp_path))
    with pytest.raises(InvalidInputError, match=r"no token to pad with, such as \[PAD\]"):
        onnxplain.Explainer(model, "deeplift", baseline="pad")


def test_who_takes_no_text(tmp_path):
    onnx.save(classifier(), tmp_path / "m.onnx")
    path = written(tmp_path)
    with pytest.raises(InvalidInputError, match=r"tokenizer\.json beside the model"):
        onnxplain.Explainer(tmp_path / "m.onnx", "saliency").explain(path)
    with pytest.raises(InvalidInputError, match="given as bytes"):
        onnxplain.Explainer(classifier(), "saliency").explain(path)
    floats = small([node("Identity", ["x"], ["y"])], [value("x", ["N", 3])], [value("y", ["N", 3])])
    with pytest.raises(InvalidInputError, match="a text needs a model that takes token ids"):
        onnxplain.Explainer(floats, "saliency").explain(path)


def test_without_the_library_it_says_how_to_get_it(tmp_path, monkeypatch):
    model = write_text_model(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'onnxplain\[text\]'"):
        onnxplain.Explainer(model, "saliency").explain(written(tmp_path))


@pytest.mark.parametrize("count", [1, 900])
@pytest.mark.parametrize("length", [3, 300])
def test_long_texts_and_words_stay_a_picture(tmp_path, count, length):
    model = write_text_model(tmp_path)
    path = written(tmp_path, " ".join(["b" * length] * count))
    explainer = onnxplain.Explainer(model, "deeplift")
    found = read_input(path, explainer.into)
    view = found.view()
    for sign in (1, -1, 0):
        values = sign * np.ones(len(found.tensor()[0]))
        heatmap = found.kind.draw(values, explainer.into, "deeplift")
        assert heatmap.placed is not None
        ground, laid = heatmap.placed(view)
        assert ground.size == view.size == laid.shape[::-1] and ground.height < 3000
        assert (np.sign(laid) != -sign).all() or not sign
        assert laid.any() == bool(sign)


@pytest.mark.parametrize("card", [{"tokenizer": 3}, {"tokenizer": ""}, {"vocabulary": "x"}])
def test_wrong_cards(card):
    with pytest.raises(InvalidInputError, match=r"'tokenizer'|'vocabulary'"):
        onnxplain.Explainer(classifier(), "saliency", card={"kind": "text", **card})
