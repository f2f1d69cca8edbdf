"""Model cards: reading, writing, finding, guessing; labels; black and white."""

import json

import numpy as np
import onnx
import pytest

from onnxplain import InvalidInputError
from onnxplain.models.assumed_card import assume_card
from onnxplain.models.card import (
    METADATA_KEY,
    ModelCard,
    black_image,
    card_to_json,
    find_card,
    read_card,
    white_image,
)
from onnxplain.models.labels import find_label, read_labels
from onnxplain.models.shipped import demo_model, demo_photos

COMPLETE = {
    "size": [20, 30],
    "resize": "pad",
    "layout": "NHWC",
    "channels": "BGR",
    "scale": 1.0,
    "mean": [1.0, 2.0, 3.0],
    "std": 2.0,
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def message(error):
    text = str(error.value)
    assert text and "\n" not in text
    return text


def test_shipped_files_are_there_and_the_card_fits_the_model():
    assert [photo.name for photo in demo_photos()] == ["coffee.png", "chelsea.png"]
    assert all(photo.is_file() for photo in demo_photos())
    model = onnx.load(demo_model())
    card = find_card(model, demo_model())
    assert card is not None and card.labels is not None
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert list(card.tensor_shape[1:]) == dims[1:]
    assert card.output == model.graph.output[0].name
    assert len(card.labels) == 1000 and card.labels[967] == "espresso"
    assert (card.mean, card.std, card.scale) == ((127.0,), (128.0,), (1.0,))
    assert (card.resize, card.crop_fraction, card.interpolation) == ("crop", 0.875, "bicubic")
    assert card.assumed == ()


def test_read_card_fills_in_defaults(tmp_path):
    card = read_card(write(tmp_path / "card.json", COMPLETE))
    assert card.size == (20, 30) and card.tensor_shape == (1, 20, 30, 3)
    assert (card.channel_count, card.channel_axis) == (3, 3)
    assert (card.crop_fraction, card.interpolation, card.dtype) == (1.0, "bilinear", "float32")
    assert card.labels is None and card.output is None and card.assumed == ()
    assert card.mean == (1.0, 2.0, 3.0) and card.scale == (1.0,)


def test_json_round_trip(tmp_path):
    card = ModelCard(
        **{**COMPLETE, "labels": ["a", "naïve"], "output": "logits", "dtype": "float16"}
    )
    assert read_card(write(tmp_path / "card.json", card_to_json(card))) == card
    assumed = assume_card([1, 1, 8, 9], "float32")
    again = read_card(write(tmp_path / "card.json", card_to_json(assumed)))
    assert again.size == assumed.size and again.scale == assumed.scale and again.assumed == ()


def test_labels_file_lies_beside_the_card(tmp_path):
    write(tmp_path / "names.txt", "\ufeffone\n\nthree \r\n\n")
    card = read_card(write(tmp_path / "card.json", {**COMPLETE, "labels": "names.txt"}))
    assert card.labels == ("one", "", "three")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_bad_labels_file(tmp_path, content):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(InvalidInputError) as error:
        read_labels(tmp_path / "names.txt")
    assert "names.txt" in message(error)


BAD = [
    ({"sizes": [1, 2]}, ["unknown key 'sizes'", "did you mean 'size'"]),
    ({"frobnicate": 1}, ["unknown key 'frobnicate'", "expected size"]),
    ({"assumed": ["x"]}, ["unknown key 'assumed'"]),
    ({"size": 224}, ["'size'", "[height, width]", "224"]),
    ({"size": [224, 0]}, ["'size'", "positive"]),
    ({"size": [224, 2.5]}, ["'size'", "2.5"]),
    ({"size": [True, 3]}, ["'size'", "True"]),
    ({"resize": "squash"}, ["'resize'", "crop, stretch, pad", "'squash'"]),
    ({"resize": ["crop"]}, ["'resize'", "['crop']"]),
    ({"layout": "CHW"}, ["'layout'", "NCHW, NHWC", "'CHW'"]),
    ({"channels": "RGBA"}, ["'channels'", "RGB, BGR, GRAY"]),
    ({"interpolation": "cubic"}, ["'interpolation'", "bicubic"]),
    ({"dtype": "float"}, ["'dtype'", "float32"]),
    ({"crop_fraction": 0}, ["'crop_fraction'", "at least 0.01"]),
    ({"crop_fraction": 1.5}, ["'crop_fraction'", "1.5"]),
    ({"crop_fraction": "1"}, ["'crop_fraction'", "'1'"]),
    ({"mean": "0"}, ["'mean'", "'0'"]),
    ({"mean": [0, 0]}, ["'mean'", "list of 3 numbers", "[0, 0]"]),
    ({"mean": [0, None, 0]}, ["'mean'", "None"]),
    ({"std": 0}, ["'std'", "other than 0"]),
    ({"std": [1, 0, 1]}, ["'std'", "other than 0"]),
    ({"scale": float("nan")}, ["'scale'", "nan"]),
    ({"scale": True}, ["'scale'", "True"]),
    ({"labels": 5}, ["'labels'", "5"]),
    ({"labels": []}, ["'labels'", "[]"]),
    ({"labels": ["a", 3]}, ["'labels[1]'", "3"]),
    ({"labels": "missing.txt"}, ["missing.txt", "no such file"]),
    ({"output": 0}, ["'output'", "name"]),
    ({"channels": "GRAY"}, ["'mean'", "a number", "[1.0, 2.0, 3.0]"]),
]


@pytest.mark.parametrize(("change", "parts"), BAD)
def test_bad_values_name_the_key_the_expected_and_what_came(tmp_path, change, parts):
    path = write(tmp_path / "card.json", {**COMPLETE, **change})
    with pytest.raises(InvalidInputError) as error:
        read_card(path)
    text = message(error)
    assert str(path) in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[1]", "expected a JSON object, got [1]"),
        ("{}", "missing"),
        ('{"size": [1, 1], "layout": "NCHW"}', "resize, channels, scale, mean, std"),
    ],
)
def test_bad_json(tmp_path, content, part):
    with pytest.raises(InvalidInputError) as error:
        read_card(write(tmp_path / "card.json", content))
    assert part in message(error)


def test_unreadable_card(tmp_path):
    for path, part in ((tmp_path / "no.json", "no such file"), (tmp_path, "directory")):
        with pytest.raises(InvalidInputError) as error:
            read_card(path)
        assert part in message(error)


def test_find_card_prefers_the_file_then_the_metadata(tmp_path):
    model = onnx.ModelProto()
    assert find_card(model, tmp_path / "net.onnx") is None
    assert find_card(model) is None
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps({**COMPLETE, "output": "meta"}))
    for path in (None, tmp_path / "net.onnx"):
        found = find_card(model, path)
        assert found is not None and found.output == "meta"
    write(tmp_path / "net.json", {**COMPLETE, "output": "file"})
    found = find_card(model, str(tmp_path / "net.onnx"))
    assert found is not None and found.output == "file"


def test_find_card_passes_over_other_json_but_not_over_a_broken_card(tmp_path):
    model = onnx.ModelProto()
    write(tmp_path / "net.json", {"architectures": ["ResNet"]})
    assert find_card(model, tmp_path / "net.onnx") is None
    write(tmp_path / "net.json", {"size": [3, 3]})
    with pytest.raises(InvalidInputError):
        find_card(model, tmp_path / "net.onnx")
    model.metadata_props.add(key=METADATA_KEY, value="nonsense")
    with pytest.raises(InvalidInputError) as error:
        find_card(model)
    assert METADATA_KEY in message(error)


def test_assume_imagenet_for_nchw_rgb():
    card = assume_card(["batch", 3, 192, 160], "float16", ["a"])
    assert card.size == (192, 160) and card.layout == "NCHW" and card.channels == "RGB"
    assert (card.resize, card.crop_fraction, card.interpolation) == ("crop", 0.875, "bilinear")
    assert card.scale == (1 / 255,) and card.mean == (0.485, 0.456, 0.406)
    assert card.dtype == "float16" and card.labels == ("a",)
    assert any("ImageNet" in sentence for sentence in card.assumed)


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "channels", "size", "scale", "mean"),
    [
        ([None, 1, 28, 28], "float32", "NCHW", "GRAY", (28, 28), 1 / 255, 0.0),
        (["N", 24, 48, 3], "float32", "NHWC", "RGB", (24, 48), 1 / 255, 0.0),
        (["B", 8, 8, 1], "float64", "NHWC", "GRAY", (8, 8), 1 / 255, 0.0),
        ([1, 3, 4, 5], "uint8", "NCHW", "RGB", (4, 5), 1.0, 0.0),
        ([1, 4, 5, 3], "int8", "NHWC", "RGB", (4, 5), 1.0, 128.0),
    ],
)
def test_assume_stretch_for_the_others(shape, dtype, layout, channels, size, scale, mean):
    card = assume_card(shape, dtype)
    assert (card.layout, card.channels, card.size) == (layout, channels, size)
    assert (card.scale, card.mean, card.std) == ((scale,), (mean,), (1.0,))
    assert card.resize == "stretch" and card.dtype == dtype and card.assumed


@pytest.mark.parametrize("unknown", [None, "H", -1, 0, "?"])
def test_assume_224_where_the_size_is_not_fixed(unknown):
    card = assume_card([1, 3, unknown, 48], "float32")
    assert card.size == (224, 48)
    assert any("224 x 48" in sentence for sentence in card.assumed)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        (["n", 43844, 1], "[n, 43844, 1]"),
        ([1, 4, 8, 8], "[1, 4, 8, 8]"),
        ([-1, None, "H", 5], "[?, ?, H, 5]"),
        ([], "[]"),
        (None, "unknown"),
    ],
)
def test_no_image(shape, shown):
    with pytest.raises(InvalidInputError) as error:
        assume_card(shape, "float32")
    assert shown in message(error) and "Python API" in message(error)


def test_no_image_of_that_element_type():
    with pytest.raises(InvalidInputError) as error:
        assume_card([1, 3, 8, 8], "bool")
    assert "bool" in message(error)


def test_black_and_white_go_through_the_normalisation():
    card = ModelCard(**COMPLETE)
    np.testing.assert_array_equal(black_image(card), [[[[-0.5, -1.0, -1.5]]]])
    np.testing.assert_array_equal(white_image(card), [[[[127.0, 126.5, 126.0]]]])
    gray = assume_card([1, 1, 8, 8], "float32")
    assert black_image(gray).shape == white_image(gray).shape == (1, 1, 1, 1)
    imagenet = assume_card([1, 3, 8, 8], "float32")
    assert black_image(imagenet).dtype == np.float32
    np.testing.assert_allclose(black_image(imagenet).ravel(), [-2.1179, -2.0357, -1.8044], 1e-4)
    np.testing.assert_allclose(white_image(imagenet).ravel(), [2.2489, 2.4286, 2.64], 1e-4)
    assert black_image(imagenet).shape == (1, 3, 1, 1)


LABELS = ("tabby, tabby cat", "tiger cat", "Espresso", "espresso", "crane", "x, crane", "boat")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tiger cat", 1),
        ("TIGER CAT ", 1),
        ("espresso", 3),
        ("Espresso", 2),
        ("tabby cat", 0),
        ("Tabby", 0),
        ("crane", 4),
    ],
)
def test_find_label(text, index):
    assert find_label(LABELS, text) == index


def test_find_label_suggests():
    with pytest.raises(InvalidInputError) as error:
        find_label(LABELS, "tigr cat")
    assert "did you mean 'tiger cat'" in message(error)
    with pytest.raises(InvalidInputError) as error:
        find_label(LABELS, "cat")
    assert "'tiger cat'" in message(error)
    with pytest.raises(InvalidInputError) as error:
        find_label(LABELS, "qqqqqq")
    assert "7 labels" in message(error)
    with pytest.raises(InvalidInputError) as error:
        find_label(LABELS, "")
    message(error)


def test_find_label_ambiguous_or_without_labels():
    with pytest.raises(InvalidInputError) as error:
        find_label(("crane", "maillot", "crane"), "crane")
    assert "0 (crane), 2 (crane)" in message(error) and "index" in message(error)
    with pytest.raises(InvalidInputError) as error:
        find_label(("a, b", "b, c"), "b")
    assert "several" in message(error)
    with pytest.raises(InvalidInputError) as error:
        find_label(None, "cat")
    assert "no labels are known" in message(error)
