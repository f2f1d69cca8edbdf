"""Small models with metadata and files beside them, and the cards that come of it."""

import json

import pytest
from onnx import TensorProto, helper

from onnxplain.models.sources.gathering import known_of

NAMES = "{0: 'person', 1: \"cow's\", 2: 'dog'}"
LABELS = ("person", "cow's", "dog")
IMAGENET = {"scale": (1 / 255,), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
UNIT = {"scale": (1 / 255,), "mean": (0.0,), "std": (1.0,)}
LETTERBOX = {"resize": "pad", "pad_color": (114.0,), "pad_position": "center"}
BOXES = [1, 7, 84]


def model(shape=(1, 3, 64, 64), out=(1, 3), metadata=None, dtype=TensorProto.FLOAT):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["y"])],
        "net",
        [helper.make_tensor_value_info("images", dtype, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(out))],
    )
    made = helper.make_model(graph)
    helper.set_model_props(made, metadata or {})
    return made


def known(tmp_path, made, files=None, inside=""):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (files or {}).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return known_of(made, folder / "net.onnx")


def check(found, expected, assumed=()):
    card = found.card
    for key, value in expected.items():
        assert getattr(card, key) == pytest.approx(value) if key in UNIT else True, key
        if key not in UNIT:
            assert getattr(card, key) == value, (key, getattr(card, key), value)
    kinds = {"pixels": "pixels", "size": "size", "layout": "layout"}
    kinds |= {"resize": ("centre", "the whole")}
    left = {k for k, start in kinds.items() if any(a.startswith(start) for a in card.assumed)}
    assert left == set(assumed), card.assumed
