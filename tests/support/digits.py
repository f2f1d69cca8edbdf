"""A small model that command-line tests run in no time: digits of 8 x 8 pixels, with their card."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from support.folders import DATA

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CARD = {
    "size": [8, 8],
    "resize": "stretch",
    "layout": "NHWC",
    "channels": "GRAY",
    "scale": 1 / 255,
    "mean": 0,
    "std": 1,
    "labels": list(LABELS),
}


def write_model(folder: Path, card: dict | None = CARD) -> Path:
    """Write the model as `digits.onnx` with its card beside it, if any."""
    path = folder / "digits.onnx"
    shutil.copyfile(DATA / "jax_digits.onnx", path)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path


def digit(number: int) -> np.ndarray:
    """The first test image of this digit that the model gets right: float32, [1, 8, 8, 1]."""
    data = np.load(DATA / "digits_test.npz")
    return data["x"][data["y"] == number][:1]


def write_photo(path: Path, number: int) -> Path:
    """Write the digit as an image file of 8 x 8 pixels."""
    pixels = np.rint(digit(number)[0, :, :, 0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path
