"""Regions from masks of any kind, and a card that is given counts as one beside the file."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from support.small import node, small, value

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.inputs.regions import Regions
from onnxplain.models.card import ModelCard

SIDE = 32
FACTS = {"size": [SIDE, SIDE], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
FACTS |= {"scale": 1 / 255, "mean": 0.4, "std": 0.5}
CARD = ModelCard(**{**FACTS, "size": (SIDE, SIDE)})
INSIDE = np.zeros((SIDE, SIDE), bool)
INSIDE[4:20, 6:26] = True
OTHER = np.zeros((SIDE, SIDE), bool)
OTHER[24:30, 2:9] = True


def silhouette(mode):
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[INSIDE] = (0, 0, 0, 255) if mode == "black" else (90, 0, 200, 255)
    return Image.fromarray(pixels)


MASKS = {
    "8 bit, white": Image.fromarray((INSIDE * 255).astype(np.uint8)),
    "8 bit, ones": Image.fromarray(INSIDE.astype(np.uint8)),
    "1 bit": Image.fromarray(INSIDE),
    "16 bit, ones": Image.fromarray(INSIDE.astype(np.uint16)),
    "16 bit, 26": Image.fromarray((INSIDE * 26).astype(np.uint16)),
    "16 bit, 26001": Image.fromarray((INSIDE * 26001).astype(np.uint16)),
    "16 bit, white": Image.fromarray((INSIDE * 65535).astype(np.uint16)),
    "colours": Image.fromarray(np.uint8(INSIDE[..., None] * [0, 3, 0])),
    "alpha": silhouette("colour"),
    "alpha, black": silhouette("black"),
    "grey and alpha": silhouette("colour").convert("LA"),
}


def region_of(image, tmp_path, **more):
    Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(tmp_path / "a.jpg")
    (tmp_path / "masks").mkdir(exist_ok=True)
    image.save(tmp_path / "masks" / "a.png")
    return Regions(tmp_path / "masks", None, **more).of(str(tmp_path / "a.jpg"), CARD)


@pytest.mark.parametrize("name", MASKS)
def test_any_mask_is_the_region_it_shows(name, tmp_path):
    np.testing.assert_array_equal(region_of(MASKS[name], tmp_path), INSIDE)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_one_of_several_ids(kind, tmp_path):
    high = 200 if kind is np.uint8 else 26001
    ids = Image.fromarray((INSIDE * 26 + OTHER * high).astype(kind))
    np.testing.assert_array_equal(region_of(ids, tmp_path), INSIDE | OTHER)
    np.testing.assert_array_equal(region_of(ids, tmp_path, mask_id=26), INSIDE)
    np.testing.assert_array_equal(region_of(ids, tmp_path, mask_id=(high,)), OTHER)
    np.testing.assert_array_equal(region_of(ids, tmp_path, mask_id=(26, high)), INSIDE | OTHER)


def test_an_empty_region_is_an_error(tmp_path):
    black = Image.fromarray(np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(InvalidInputError, match="black alone"):
        region_of(black, tmp_path)
    ids = Image.fromarray((INSIDE * 26).astype(np.uint16))
    with pytest.raises(InvalidInputError, match="id 27, got ids 0, 26"):
        region_of(ids, tmp_path, mask_id=27)
    with pytest.raises(InvalidInputError, match="grey values or a palette"):
        region_of(MASKS["colours"], tmp_path, mask_id=3)
    with pytest.raises(InvalidInputError, match="needs masks"):
        Regions(None, None, mask_id=3)


def test_a_card_that_is_given_counts_as_one_beside_the_file(tmp_path):
    weights = {"K": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    nodes = [node("Conv", ["x", "K"], ["c"], pads=[1] * 4), node("Tanh", ["c"], ["r"])]
    nodes += [node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["y"])]
    inputs, outputs = [value("x", ["N", 3, SIDE, SIDE])], [value("y", ["N", 4])]
    found = {}
    for name in ("beside", "given"):
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(small(nodes, inputs, outputs, weights), folder / "m.onnx")
    (tmp_path / "beside" / "m.json").write_text(json.dumps(FACTS))
    (tmp_path / "card.json").write_text(json.dumps(FACTS))
    pixels = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for name in ("beside", "given"):
        more = {"card": str(tmp_path / "card.json")} if name == "given" else {}
        file = str(tmp_path / name / "m.onnx")
        metrics = ["max-sensitivity", "deletion", "infidelity"]
        measured = onnxplain.evaluate(
            file, [str(tmp_path / "a.png")], ["deeplift"], metrics, **more
        )
        found[name] = {(r["method"], r["metric"]): r["mean"] for r in measured.records}
    assert found["beside"] == found["given"]
