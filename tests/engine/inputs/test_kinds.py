"""Every kind of input, held to the same: read, fitted, refused, compared with, drawn, explained."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from support.digits import CARD, digit, write_model, write_photo
from support.small import node, small, value
from support.texts import write_text_model

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.inputs import find_kind, kinds, read_input

RANDOM = np.random.default_rng(5)
DIGIT = (np.rint(digit(7) * 255) / 255).astype(np.float32)
SIGNAL = RANDOM.normal(size=(2, 12)).astype(np.float32)
VOLUME = RANDOM.normal(size=(1, 5, 6, 7)).astype(np.float32)


def convolutional(channels: int, *lengths: int) -> onnx.ModelProto:
    """Conv, Relu, mean over positions, three classes: of any number of spatial axes."""
    rank = len(lengths)
    random = np.random.default_rng(rank)
    w = random.normal(size=(4, channels, *[3] * rank)).astype(np.float32)
    v = random.normal(size=(4, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 2 * rank),
        node("Relu", ["c"], ["r"]),
        node("ReduceMean", ["r"], ["m"], axes=list(range(2, 2 + rank)), keepdims=0),
        node("MatMul", ["m", "v"], ["y"]),
    ]
    shape = ["N", channels, *lengths]
    return small(nodes, [value("x", shape)], [value("y", ["N", 3])], {"w": w, "v": v})


@dataclass(frozen=True)
class Case:
    """One kind's files.

    model: written there, with its card beside it, if any. file: that is explained, and what the
    model gets of it. wrong: a file that is none of the kind's, and a word of the refusal; None:
    `shape`: one of another shape; None where any will do. baseline: a name, and its values. maps:
    whether the model has feature maps.
    """

    model: Callable[[Path], Path]
    file: Callable[[Path], tuple[Path, np.ndarray]]
    wrong: Callable[[Path], Path]
    shape: Callable[[Path], Path] | None
    baselines: dict[str, Any]
    features: tuple[int | None, tuple[int, ...]]
    maps: bool = True


def saved(model: onnx.ModelProto) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        onnx.save(model, folder / "model.onnx")
        return folder / "model.onnx"

    return write


def stored(array: np.ndarray, name: str = "thing.npy") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / name, array)
        return folder / name

    return write


def text(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(b"this is something else")
        return folder / name

    return write


def linear(count: int) -> onnx.ModelProto:
    """Three sums over [N, count]."""
    w = np.random.default_rng(9).normal(size=(count, 3)).astype(np.float32)
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    return small(nodes, [value("x", ["N", count])], [value("y", ["N", 3])], {"w": w})


def carded(model: onnx.ModelProto, card: dict) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "model.json").write_text(json.dumps(card))
        return saved(model)(folder)

    return write


def wav(samples: np.ndarray, name: str = "thing.wav") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(samples.astype("<i2").tobytes())
        return folder / name

    return write


def lines(text: str, name: str = "thing.csv") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def dicom(folder: Path) -> Path:
    pytest.importorskip("pydicom", reason="DICOM files need onnxplain[dicom]")
    from support.dicom import write_dicom

    return write_dicom(folder / "thing.dcm", np.rint(DIGIT[0, :, :, 0] * 255).astype(np.uint8))


SAMPLES = np.rint(RANDOM.normal(size=40) * 4000)
TABLE = {"kind": "table", "feature_names": ["b", "a", "c"]}
CASES = {
    "audio": Case(
        carded(convolutional(1, 40), {"kind": "audio", "sample_rate": 8000}),
        lambda folder: (wav(SAMPLES)(folder), (SAMPLES / 32768)[None, None]),
        text("wrong.wav"),
        wav(SAMPLES[:5], "shape.wav"),
        {"silence": 0.0},
        (1, (2,)),
    ),
    "dicom": Case(
        write_model,
        lambda folder: (dicom(folder), DIGIT),
        text("wrong.dcm"),
        None,
        {"black": 0.0, "white": 1.0, "mean": DIGIT.mean()},
        (3, (1, 2)),
    ),
    "text": Case(
        write_text_model,
        lambda folder: (lines("good film", "thing.txt")(folder), np.array([[2, 5, 7, 3]])),
        lambda folder: raw(folder / "wrong.txt", b"\xff\xfe"),
        None,
        {"zeros": 0.0},
        (None, ()),
        maps=False,
    ),
    "table": Case(
        carded(linear(3), TABLE),
        lambda folder: (lines("a,b,c\n1,2,3")(folder), np.array([[2.0, 1, 3]])),
        text("wrong.csv"),
        lines("a,b\n1,2", "shape.csv"),
        {"zeros": 0.0},
        (None, ()),
        maps=False,
    ),
    "image": Case(
        write_model,
        lambda folder: (write_photo(folder / "thing.png", 7), DIGIT),
        text("wrong.png"),
        None,
        {"black": 0.0, "white": 1.0, "mean": DIGIT.mean()},
        (3, (1, 2)),
    ),
    "array": Case(
        saved(convolutional(2, 12)),
        lambda folder: (stored(SIGNAL)(folder), SIGNAL[None]),
        text("wrong.npy"),
        stored(SIGNAL[:, :5], "shape.npy"),
        {"zeros": 0.0},
        (1, (2,)),
    ),
    "volume": Case(
        saved(convolutional(1, 5, 6, 7)),
        lambda folder: (stored(VOLUME)(folder), VOLUME[None]),
        text("wrong.npy"),
        stored(VOLUME[:, 1:], "shape.npy"),
        {"zeros": 0.0},
        (1, (2, 3, 4)),
    ),
}
EVERY = pytest.mark.parametrize("name", CASES)


def explainer_of(case: Case, folder: Path, **options: Any) -> onnxplain.Explainer:
    return onnxplain.Explainer(case.model(folder), "deeplift", **options)


def test_every_kind_has_a_case():
    assert set(CASES) == set(kinds())


@EVERY
def test_it_becomes_the_models_array(tmp_path, name):
    case = CASES[name]
    path, x = case.file(tmp_path)
    explainer = explainer_of(case, tmp_path)
    found = read_input(path, explainer.into)
    assert found.kind is find_kind(name) and found.name == str(path)
    np.testing.assert_allclose(found.tensor(), x, atol=1e-6)
    assert found.tensor().dtype == np.dtype(explainer.into.dtype) and found.damage is None
    np.testing.assert_array_equal(explainer.preprocess(path), found.tensor())
    np.testing.assert_array_equal(explainer.preprocess(path.read_bytes()), found.tensor())
    with path.open("rb") as file:
        np.testing.assert_array_equal(explainer.preprocess(file), found.tensor())


@EVERY
def test_wrong_files_are_one_line_that_names_them(tmp_path, name):
    case = CASES[name]
    explainer = explainer_of(case, tmp_path)
    files = [case.wrong(tmp_path), tmp_path / f"gone{case.file(tmp_path)[0].suffix}"]
    files += [case.shape(tmp_path)] if case.shape else []
    for path in files:
        with pytest.raises(InvalidInputError) as refused:
            explainer.explain(path)
        assert path.name in str(refused.value) and "\n" not in str(refused.value)


@EVERY
def test_features_are_decided_once(tmp_path, name):
    case = CASES[name]
    explainer = explainer_of(case, tmp_path)
    features = explainer.into.features
    assert (features.channel_axis, features.spatial_axes) == case.features
    assert explainer.subject.sources[0].features == features


@EVERY
def test_baselines_by_name(tmp_path, name):
    case = CASES[name]
    path, _ = case.file(tmp_path)
    assert set(case.baselines) <= set(find_kind(name).baselines)
    for choice, constant in case.baselines.items():
        e = explainer_of(case, tmp_path, baseline=choice).explain(path, 1)
        (x,) = e.origin.inputs.values()
        same = explainer_of(case, tmp_path)(x, 1, baseline=np.float32(constant))
        np.testing.assert_allclose(e.attribution, same.attribution, atol=1e-5)
    with pytest.raises(InvalidInputError, match="got 'nothing'"):
        explainer_of(case, tmp_path, baseline="nothing")


@EVERY
def test_maps_have_the_views_geometry(tmp_path, name):
    """Of every method: full maps, maps of positions, smoothed ones, and nothing at all."""
    case = CASES[name]
    path, x = case.file(tmp_path)
    explainer = explainer_of(case, tmp_path)
    found = read_input(path, explainer.into)
    view, features = found.view(), explainer.into.features
    places = np.ones(features.lengths(x.shape), np.float32)
    for values in (x[0], -x[0], places, 0 * places):
        for how in ({}, {"smooth": 1.0}, {"difference": True}, {"detail": "pixels"}):
            heatmap = found.kind.draw(values, explainer.into, "deeplift", **how)
            assert heatmap.values.ndim == 2 and np.isfinite(heatmap.values).all()
            if name not in ("image", "dicom"):
                laid = heatmap.values if heatmap.placed is None else heatmap.placed(view)[1]
                high, wide = laid.shape
                photo = features.is_picture
                assert photo or (wide, high) == view.size
    assert explainer.explain(path).picture().width > 500


@EVERY
@pytest.mark.parametrize("method", ["deeplift", "grad-cam", "occlusion"])
def test_the_command_line_is_the_python_api(tmp_path, command, name, method):
    case = CASES[name]
    (path, _), model, out = case.file(tmp_path), case.model(tmp_path), tmp_path / "out"
    status, _, err = command("explain", model, path, "-m", method, "-o", out, "--report")
    if method == "grad-cam" and not case.maps:
        assert status == 2 and err.startswith("onnxplain: Grad-CAM needs")
        return
    assert status == 0, err
    (arrays,) = out.glob(f"thing.{method}.*.npz")
    picture = Image.open(arrays.with_suffix(".png"))
    assert picture.width > 500 and (out / "report.html").stat().st_size > 10_000
    explainer = onnxplain.Explainer(model, method)
    with np.load(arrays) as found:
        e = explainer(found["input"])
        np.testing.assert_array_equal(found["attribution"], e.attribution)
    np.testing.assert_array_equal(explainer.explain(path).attribution, e.attribution)


def test_a_cards_kind_is_asked_first(tmp_path):
    model = saved(convolutional(1, 5, 6, 7))(tmp_path)
    path = stored(VOLUME)(tmp_path)
    explainer = onnxplain.Explainer(model, "saliency", card={"kind": "array"})
    assert read_input(path, explainer.into).kind.name == "array"
    across = onnxplain.Explainer(model, "saliency", card={"kind": "volume", "axis": 4})
    first = onnxplain.Explainer(model, "saliency").explain(path).picture()
    assert across.explain(path).picture().size != first.size


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"kind": "aray"}, "did you mean 'array'"),
        ({"kind": 3}, "'kind': expected the name"),
        ({"kind": "array", "channels": 1}, "unknown key 'channels'"),
        ({"kind": "array", "channel_axis": 0}, "axes from 1 to 2"),
        ({"kind": "array", "channel_axis": "x"}, "axes from 1 to 2"),
        ({"kind": "array", "channel_axis": 1, "spatial_axes": [1]}, "beside channel_axis"),
        ({"kind": "array", "names": "age"}, "a list of texts"),
        ({"kind": "array", "output": ""}, "'output'"),
    ],
)
def test_wrong_cards(card, expected):
    with pytest.raises(InvalidInputError, match=expected) as refused:
        onnxplain.Explainer(convolutional(2, 12), "saliency", card=card)
    assert "\n" not in str(refused.value)


def test_an_images_card_takes_arrays_as_well(tmp_path):
    """As the model takes them already, with the card's black to compare with."""
    explainer = onnxplain.Explainer(write_model(tmp_path), "deeplift")
    e = explainer.explain(stored(digit(7))(tmp_path))
    np.testing.assert_array_equal(e.attribution, explainer(digit(7)).attribution)
    assert e.picture() is not None and e.image.endswith("thing.npy")


def test_an_image_is_refused_where_the_card_says_otherwise(tmp_path):
    explainer = onnxplain.Explainer(convolutional(2, 12), "saliency", card={"kind": "array"})
    with pytest.raises(InvalidInputError, match="kind 'array'"):
        explainer.explain(write_photo(tmp_path / "seven.png", 7))


def test_the_card_may_name_its_kind(tmp_path):
    model = write_model(tmp_path, {**CARD, "kind": "image"})
    plain = onnxplain.Explainer(model, "saliency")
    assert plain.explain(write_photo(tmp_path / "seven.png", 7)).label == "seven"
    other = onnxplain.Explainer(model, "saliency", card=CARD)
    assert other.card == plain.card


def test_a_spectrogram_has_named_axes(tmp_path):
    """Around the same map: inside of the margins the picture is the plain one's."""
    x = RANDOM.normal(size=(1, 20, 60)).astype(np.float32)
    path = stored(x)(tmp_path)
    plain = {"kind": "array", "channel_axis": 1}
    named = {**plain, "axes": ["mel band", "frame"]}
    found = []
    for card in (plain, named):
        explainer = onnxplain.Explainer(convolutional(1, 20, 60), "deeplift", card=card)
        e = explainer.explain(path)
        heatmap = e.origin.kind.draw(e.attribution[0], explainer.into, "deeplift")
        found.append((e, heatmap))
        assert e.picture().width > 500
    (first, map_), (second, framed) = found
    np.testing.assert_array_equal(first.attribution, second.attribution)
    assert framed.values.shape[::-1] == second.origin.view.size
    assert framed.limit == map_.limit and not framed.values[:, :100].any()
    assert not framed.values[-84:].any() and framed.values[:-84, 100:].any()
    with pytest.raises(InvalidInputError, match="'axes': expected the names"):
        onnxplain.Explainer(convolutional(1, 20, 60), card={**plain, "axes": ["mel"]})
