"""Padding, and where a photo's pixels lie in the model's input: by a pixel that is sent through."""

import numpy as np
import pytest
from PIL import Image

from onnxplain import InvalidInputError
from onnxplain.engine.inputs.deep import keep_deep
from onnxplain.engine.inputs.image import image_to_tensor, to_input, to_photo
from onnxplain.models.card import ModelCard, card_to_json, read_card

PLAIN = {"layout": "NHWC", "channels": "RGB", "scale": 1, "mean": 0, "std": 1}
SIZES = [(300, 200), (200, 300), (61, 97), (640, 640)]
WAYS = [
    {"resize": "stretch"},
    {"resize": "crop"},
    {"resize": "crop", "crop_fraction": 0.875},
    {"resize": "crop", "crop_fraction": 0.7, "rounding": "nearest"},
    {"resize": "pad"},
    {"resize": "pad", "pad_color": 114},
    {"resize": "pad", "pad_position": "top-left", "rounding": "down"},
    {"resize": "pad", "rounding": "down", "pad_color": [1, 2, 3]},
]


def card_of(**facts):
    return ModelCard(**{**PLAIN, "size": (96, 128), **facts})


def centre_of_mass(values):
    """x, y of the middle of what is bright, counted from the corner of the first pixel."""
    total = values.sum()
    rows, columns = np.indices(values.shape)
    return (columns * values).sum() / total + 0.5, (rows * values).sum() / total + 0.5


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_marked_pixel_lands_where_to_input_says(way, size):
    card = card_of(**way)
    width, height = size
    x, y = int(width * 0.43), int(height * 0.55)
    marked = np.zeros((height, width, 3), np.uint8)
    plain, _ = image_to_tensor(Image.fromarray(marked), card)
    marked[y - 4 : y + 4, x - 4 : x + 4] = 255
    tensor, _ = image_to_tensor(Image.fromarray(marked), card)
    x0, y0, x1, y1 = to_input((x - 4, y - 4, x + 4, y + 4), card, size)
    found = centre_of_mass((tensor - plain)[0].sum(axis=2))
    assert found == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.15)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_to_photo_is_the_inverse_and_corners_are_corners(way, size):
    card = card_of(**way)
    box = (3.5, 7.25, 90.0, 81.5)
    assert to_input(to_photo(box, card, size), card, size) == pytest.approx(box)
    if way["resize"] == "stretch":
        assert to_photo((0, 0, 128, 96), card, size) == pytest.approx((0, 0, *size))
    if way["resize"] == "crop":
        x0, y0, x1, y1 = to_photo((0, 0, 128, 96), card, size)
        assert -1 <= x0 < x1 <= size[0] + 1 and -1 <= y0 < y1 <= size[1] + 1


def test_the_rest_is_filled_in_the_models_channels():
    photo = Image.new("RGB", (100, 50), (200, 200, 200))
    card = card_of(resize="pad", size=(100, 100), pad_color=[10, 20, 30], channels="BGR")
    tensor, view = image_to_tensor(photo, card)
    assert tensor[0, 0, 0].tolist() == tensor[0, 99, 99].tolist() == [30, 20, 10]
    assert tensor[0, 25, 0].tolist() == tensor[0, 74, 99].tolist() == [200, 200, 200]
    assert view.getpixel((0, 0)) == (10, 20, 30) and view.getpixel((50, 50)) == (200, 200, 200)
    gray = card_of(resize="pad", size=(100, 100), pad_color=114, channels="GRAY")
    assert image_to_tensor(photo, gray)[0][0, 0, 0].tolist() == [114]


def test_the_rest_lies_below_and_right_of_a_photo_at_the_top_left():
    photo = Image.new("RGB", (100, 50), "white")
    card = card_of(resize="pad", size=(100, 100), pad_color=114, pad_position="top-left")
    tensor, view = image_to_tensor(photo, card)
    assert (tensor[0, :50] == 255).all() and (tensor[0, 50:] == 114).all()
    assert view.getpixel((5, 5)) == (255,) * 3 and view.getpixel((5, 95)) == (114,) * 3


def test_a_deep_image_is_padded_alike():
    values = np.full((50, 100, 1), 200.5, np.float32)
    image = keep_deep(Image.new("RGB", (100, 50), (200, 200, 200)), values)
    card = card_of(resize="pad", size=(100, 100), pad_color=114)
    tensor, _ = image_to_tensor(image, card)
    assert np.unique(tensor).tolist() == [114, 200.5]


@pytest.mark.parametrize(("rounding", "rows"), [("nearest", 67), ("down", 66), (None, 67)], ids=str)
def test_rounding_of_the_new_size(rounding, rows):
    """300 x 200 fits 100 x 100 as 100 x 66.7."""
    card = card_of(resize="pad", size=(100, 100), pad_position="top-left", rounding=rounding)
    tensor, _ = image_to_tensor(Image.new("RGB", (300, 200), "white"), card)
    assert (tensor[0, :, 50, 0] > 0).sum() == rows


def test_a_card_with_padding_is_read_as_it_was_written(tmp_path):
    card = card_of(resize="pad", pad_color=114, pad_position="top-left", rounding="down")
    card = ModelCard(**{**vars(card), "task": "detection"})
    path = tmp_path / "card.json"
    path.write_text(card_to_json(card))
    assert read_card(path) == card
    assert "pad_" not in card_to_json(card_of(resize="stretch"))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"pad_color": 256}, "'pad_color': expected a number from 0 to 255"),
        ({"pad_color": [1, 2]}, "'pad_color': expected a number from 0 to 255"),
        ({"pad_color": "grey"}, "'pad_color': expected a number from 0 to 255"),
        ({"pad_position": "middle"}, "'pad_position': expected one of center, top-left"),
        ({"rounding": "up"}, "'rounding': expected one of nearest, down"),
        ({"task": "detect"}, "'task': expected one of classification, detection"),
    ],
)
def test_wrong_values_are_named(facts, said):
    with pytest.raises(InvalidInputError, match=said):
        card_of(resize="pad", **facts)
