"""Where no baseline is asked for, every way to an attribution starts from the same one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from support.small import f32, node, run, small, value

import onnxplain
from onnxplain.engine.inputs.image import image_to_tensor, read_image
from onnxplain.engine.inspection import card_or_assumption
from onnxplain.engine.jobs.trace import trace_delta, trace_image
from onnxplain.engine.model import opened
from onnxplain.models.card import METADATA_KEY, black_image

CARD = {
    "size": [8, 8],
    "resize": "stretch",
    "layout": "NCHW",
    "channels": "RGB",
    "scale": 1 / 255,
    "mean": 0.25,
    "std": 0.5,
}
BLACK = -0.5
ASSUMED = "no model card: the baseline is zeros"
PLACES = ("beside", "metadata", "none")
METHODS = ("integrated-gradients", "deeplift")


@pytest.fixture(params=PLACES)
def place(request) -> str:
    return request.param


@pytest.fixture
def model(tmp_path, place) -> Path:
    """A model of pictures whose card lies at this place, if any."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "b": f32(0.3, -0.2, 0.1, 0.0),
        "v": random.normal(size=(4, 5)).astype(np.float32),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("Tanh", ["c"], ["t"]),
        node("GlobalAveragePool", ["t"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "v"], ["y"]),
    ]
    made = small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 5])], weights)
    if place == "metadata":
        onnx.helper.set_model_props(made, {METADATA_KEY: json.dumps(CARD)})
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    if place == "beside":
        path.with_suffix(".json").write_text(json.dumps(CARD))
    return path


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def tensor_of(model: Path, photo: Path) -> np.ndarray:
    card, _ = card_or_assumption(opened(model))
    assert card is not None
    if card.assumed:
        assert np.abs(black_image(card)).min() > 1  # zeros and black are not the same here
    return image_to_tensor(read_image(photo), card)[0]


def start(place: str) -> float:
    return 0.0 if place == "none" else BLACK


@pytest.mark.parametrize("method", METHODS)
def test_every_way_starts_from_the_same(command, tmp_path, model, photo, place, method):
    x = tensor_of(model, photo)
    target = 2
    expected = onnxplain.Explainer(model, method, baseline=start(place))(x, target).attribution
    other = onnxplain.Explainer(model, method, baseline=0.77)(x, target).attribution
    assert np.abs(expected - other).max() > 0.2 * np.abs(expected).max()
    close = {"rtol": 0, "atol": 0.03 * float(np.abs(expected).max())}

    explainer = onnxplain.Explainer(model, method)
    np.testing.assert_array_equal(explainer(x, target).attribution, expected)
    explainer.export(tmp_path / "one.onnx")
    assert command("export", model, "-m", method, "-o", tmp_path / "two.onnx")[0] == 0
    for name in ("one.onnx", "two.onnx"):
        file = onnx.load(tmp_path / name)
        found = run(file, {"x": x, "target": np.array([target])})["attribution"]
        np.testing.assert_allclose(found, expected, **close)
        facts = json.loads({p.key: p.value for p in file.metadata_props}["onnxplain"])
        (told,) = facts["baseline"].values()
        assert told["is"] == ("zeros" if place == "none" else "the model card's black")

    out = tmp_path / "out"
    status, _, err = command("explain", model, photo, "-m", method, "-t", target, "-o", out)
    assert status == 0, err
    (file,) = out.rglob("*.npz")
    np.testing.assert_allclose(np.load(file)["attribution"].reshape(x.shape), expected, **close)


def test_the_trace_starts_from_the_same(model, photo, place):
    x = tensor_of(model, photo)
    expected = trace_delta(model, x, baseline=start(place))
    assert trace_delta(model, x) == expected == trace_image(model, photo)
    assert expected != trace_delta(model, x, baseline=0.77)


@pytest.mark.parametrize("methods", ["deeplift", "all", "grad-cam"])
def test_said_once_a_command(command, tmp_path, model, photo, place, methods):
    more = [] if methods == "all" else ["-m", methods]
    again = tmp_path / "again.png"
    again.write_bytes(photo.read_bytes())
    _, _, err = command("explain", model, photo, again, *more, "-o", tmp_path / "out")
    assert err.count(ASSUMED) == (place == "none" and methods != "grad-cam")
    _, _, err = command(
        "explain", model, photo, *more, "--baseline", "black", "-o", tmp_path / "black"
    )
    assert ASSUMED not in err


@pytest.mark.parametrize("method", METHODS)
def test_said_once_an_explainer(model, photo, place, method, caplog):
    x = tensor_of(model, photo)
    with caplog.at_level(logging.WARNING, "onnxplain"):
        onnxplain.Explainer(model, method, baseline=0.0)(x, 1)
        assert ASSUMED not in caplog.text
        explainer = onnxplain.Explainer(model, method)
        assert ASSUMED not in caplog.text
        explainer(x, 1, baseline=np.zeros_like(x))
        assert ASSUMED not in caplog.text
        for _ in range(2):
            explainer(x, 1)
    assert caplog.text.count(ASSUMED) == (place == "none")


def test_an_exported_file_holds_the_card_that_was_given(command, tmp_path, model):
    card = {**CARD, "mean": 0.75}
    given = tmp_path / "given.json"
    given.write_text(json.dumps(card))
    out = tmp_path / "explained.onnx"
    assert command("export", model, "-m", "deeplift", "--card", given, "-o", out)[0] == 0
    properties = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert json.loads(properties[METADATA_KEY])["mean"] in (0.75, [0.75] * 3)
    (told,) = json.loads(properties["onnxplain"])["baseline"].values()
    assert told["is"] == "the model card's black"
    x = np.full((1, 3, 8, 8), 0.4, np.float32)
    feeds = {"x": x, "target": np.array([1])}
    expected = onnxplain.Explainer(model, "deeplift", baseline=-1.5)(x, 1).attribution
    found = run(onnx.load(out), feeds)["attribution"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
