"""An array that the caller made is drawn on what of the photo it shows."""

from __future__ import annotations

import logging

import numpy as np
from PIL import Image
from support.small import node, small, value

import onnxplain
from onnxplain.models.card import ModelCard

SIDE = 32
CARD = {"size": (SIDE, SIDE), "resize": "crop", "layout": "NCHW", "channels": "RGB"}
CARD |= {"scale": 1.0, "mean": 127.0, "std": 128.0}


def photo(width=120, height=48):
    """A smooth picture that is nowhere the same."""
    y, x = np.mgrid[:height, :width] / height
    values = [np.sin(3 * x + y), np.cos(2 * x - y), np.sin(x * y + 1)]
    return Image.fromarray(np.uint8(127 + 100 * np.stack(values, -1)))


def model():
    w = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["r"])]
    nodes += [node("GlobalAveragePool", ["r"], ["g"]), node("Flatten", ["g"], ["y"])]
    return small(nodes, [value("x", ["N", 3, SIDE, SIDE])], [value("y", ["N", 4])], w)


def tensor(image):
    return ((np.asarray(image, np.float32) - 127) / 128).transpose(2, 0, 1)[None]


def explained(x):
    return onnxplain.Explainer(model(), "saliency", card=ModelCard(**CARD))(x, 0)


def test_the_whole_photo_stretched(monkeypatch):
    shown = background(explained(tensor(photo().resize((SIDE, SIDE)))), monkeypatch)
    assert shown.size == photo().size


def test_what_the_card_makes_of_it(monkeypatch):
    left = (120 - 48) // 2
    crop = photo().crop((left, 0, left + 48, 48))
    shown = background(explained(tensor(crop.resize((SIDE, SIDE)))), monkeypatch)
    assert shown.size[0] == shown.size[1]


def test_neither_is_said(monkeypatch, caplog):
    x = np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    with caplog.at_level(logging.WARNING, "onnxplain"):
        shown = background(explained(x), monkeypatch)
    assert shown.size == (SIDE, SIDE) and "drawn on the array itself" in caplog.text


def background(e, monkeypatch):
    """What the map is drawn on."""
    from onnxplain.engine.pictures import overlay

    seen = []
    real = overlay.framed
    monkeypatch.setattr(
        overlay, "framed", lambda view, *a, **k: seen.append(view) or real(view, *a, **k)
    )
    e.picture(photo())
    return seen[0]
