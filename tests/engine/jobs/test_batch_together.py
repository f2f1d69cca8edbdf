"""What a device gets, several images in one pass, is what they give one by one; drafts of JPEGs."""

import json

import numpy as np
import pytest
from PIL import Image
from support.batches import rows_in, write_photos

from onnxplain.engine.inputs.image import read_image, read_image_bytes
from onnxplain.engine.jobs.asked import Options
from onnxplain.models.card import find_card
from onnxplain.models.load import load

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'onnxplain[batch]'")

from onnxplain.engine.jobs.batch.items import Item
from onnxplain.engine.jobs.batch.question import Form, question_for
from onnxplain.engine.jobs.batch.work import Explaining, decode

METHODS = ("grad-cam", "integrated-gradients", "deeplift", "occlusion")


def explaining_of(model, targets, baseline=None):
    options = Options(methods=METHODS, targets=targets, provider="cpu", baseline=baseline)
    question, _ = question_for(str(model), options, Form())
    return Explaining(question), question


def keyed(answers):
    return {
        (row.image, row.method, str(row.target_index)): row
        for answer in answers
        for row in answer.rows
    }


@pytest.mark.parametrize("targets", [("top1",), ("top1", "rank2", "four", "4")])
@pytest.mark.parametrize("baseline", [None, "white", "mean"])
def test_together_is_one_by_one(tmp_path, model, targets, baseline):
    photos = sorted(write_photos(tmp_path / "photos", 5).rglob("*.png"))
    photos[2].write_bytes(b"no image")
    explaining, question = explaining_of(model, targets, baseline)
    items = [Item(k, str(path), str(path)) for k, path in enumerate(photos)]
    decoded = [decode(item, question) for item in items]
    alone, together = keyed(map(explaining, decoded)), keyed(explaining.together(decoded))
    assert alone.keys() == together.keys() and len(alone) > 4 * len(METHODS)
    for key, row in alone.items():
        other = together[key]
        assert row.target_label == other.target_label
        assert row.error == other.error
        if row.error is None:
            np.testing.assert_allclose(row.score, other.score, rtol=1e-5)
            size = np.abs(row.attribution).max()
            np.testing.assert_allclose(row.attribution, other.attribution, atol=1e-5 * size + 1e-12)


def test_one_that_fails_fails_alone(tmp_path, model):
    """An image that a method refuses takes no other with it."""
    photos = sorted(write_photos(tmp_path / "photos", 3).rglob("*.png"))
    explaining, question = explaining_of(model, ("top1",))
    decoded = [decode(Item(k, str(p), str(p)), question) for k, p in enumerate(photos)]
    small = decoded[1]._replace(fitted=decoded[1].fitted.resize((7, 8)))
    answers = explaining.together([decoded[0], small, decoded[2]])
    errors = [{row.error is None for row in answer.rows} for answer in answers]
    assert errors == [{True}, {False}, {True}]


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    """A soft picture of 3000 x 2000 pixels, of which a smaller decoding shows the same."""
    small = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("jpeg") / "large.jpg"
    Image.fromarray(small).resize((3000, 2000), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def card_of(model):
    card = find_card(load(model), model)
    assert card is not None
    return card


def test_a_draft_is_smaller_and_alike(model, jpeg):
    card, whole = card_of(model), read_image(jpeg)
    draft = read_image(jpeg, card)
    assert whole.size == (3000, 2000) and draft.size == (375, 250)
    assert read_image_bytes(jpeg.read_bytes(), "bytes", card).size == draft.size
    small = whole.resize(draft.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(draft, float)).mean() < 2


def test_a_draft_covers_the_input(tmp_path, model, jpeg):
    """Whatever the photo's shape, turned or not; other formats, and small ones, are as they are."""
    card = card_of(model)
    for size in ((3000, 40), (40, 3000), (9, 9), (17, 64)):
        path = tmp_path / "photo.jpg"
        Image.new("RGB", size, "teal").save(path)
        draft = read_image(path, card)
        assert min(draft.size) >= min(8, *size), (size, draft.size)
    png = tmp_path / "large.png"
    read_image(jpeg).resize((900, 600)).save(png)
    assert read_image(png, card).size == (900, 600)


def test_fast_decode_is_recorded(tmp_path, model, jpeg, command):
    out, here = tmp_path / "out", ("--workers", "0", "-m", "grad-cam")
    assert command("batch", model, jpeg.parent, "-o", out, "--fast-decode", *here)[0] == 0
    assert json.loads((out / "_manifest.json").read_text())["fast_decode"] is True
    (row,) = rows_in(out)
    assert row["error"] is None
    status, _, err = command("batch", model, jpeg.parent, "-o", out, "--resume", *here)
    assert status == 2 and "fast_decode" in err
