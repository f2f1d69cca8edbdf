"""The model card: how an image becomes the input tensor, and what the scores are called."""

from __future__ import annotations

import difflib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .. import InvalidInputError
from .files import beside, parse_json, read_text
from .labels import read_labels
from .plain_card import COMMON, IMAGE, Card, fail, plain_card, sequence, short
from .text import shown_json

METADATA_KEY = "onnxplain.card"
MOST_PIXELS = 2**24
_LEAST_CROP = 0.01
CHOICES = {
    "resize": ("crop", "stretch", "pad"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "layout": ("NCHW", "NHWC"),
    "channels": ("RGB", "BGR", "GRAY"),
    "pad_position": ("center", "top-left"),
    "rounding": (None, "nearest", "down"),
    "dtype": (
        *("float16", "float32", "float64"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    ),
}
_REQUIRED = ("size", "resize", "layout", "channels", "scale", "mean", "std")


@dataclass(frozen=True)
class ModelCard(Card):
    """How an image becomes the input tensor.

    The image is brought to `size`, its channels are put in the order `channels`, and each pixel
    (0..255) becomes `(pixel * scale - mean) / std`, as `dtype`, in the order `layout`.

    - size: (height, width) in pixels, as the model takes it.
    - resize: "crop": the image is scaled until it just covers `round(size / crop_fraction)` (for a
      square size: until its shorter side is that long), and the centre is cut out. "stretch": both
      sides are scaled on their own. "pad": the image is scaled until it fits, and the rest is
      filled (letterbox).
    - crop_fraction: in (0, 1]; for "crop" only.
    - pad_color: what "pad" fills with: one number from 0 to 255, or [red, green, blue]; black.
    - pad_position: where "pad" puts the image: "center" or "top-left".
    - rounding: how "crop" and "pad" make whole pixels of the size to which the image is scaled:
      "nearest" or "down". None: "down" for "crop", as torchvision does, "nearest" for "pad".
    - window: [center, width] of a DICOM file's values that become 0 to 255, in its units behind
      rescaling (Hounsfield's of a CT); None: the file's own window, or all that it can store.
    - interpolation: "nearest", "bilinear", "bicubic" or "lanczos", smoothing where it shrinks.
    - scale, mean, std: one number, or one for each channel in the order of `channels`; kept as
      tuples.
    - labels: the names of the classes in the order of the scores, or None.
    - probability: how scores without a final activation become probabilities: "softmax" (of classes
      that exclude each other), "sigmoid" (of classes that do not) or "none". None: by softmax where
      there are several.
    - output: the name of the output that is explained by default, or None for the model's first.
    - task: what the model does: "classification", "detection", "segmentation", "sequence",
      "embedding" or "regression"; None: its outputs tell.
    - assumed: one short sentence for each thing that was guessed; empty for a card that was read.

    Raises InvalidInputError that names the key, what was expected and what was received.

    Examples:
        >>> facts = {"size": [8, 8], "resize": "stretch", "layout": "NHWC", "channels": "GRAY"}
        >>> facts |= {"scale": 1 / 255, "mean": 0, "std": 1}
        >>> card = onnxplain.ModelCard.of(facts, "my card")
        >>> onnxplain.Explainer("digits.onnx", card=card).explain("seven.png").target.tolist()
        [7]
    """

    size: tuple[int, int]
    resize: str
    layout: str
    channels: str
    scale: float | tuple[float, ...]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    crop_fraction: float = 1.0
    interpolation: str = "bilinear"
    dtype: str = "float32"
    pad_color: float | tuple[float, ...] = 0.0
    pad_position: str = "center"
    rounding: str | None = None
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, IMAGE):
            fail("kind", f"{IMAGE!r}", self.kind)
        object.__setattr__(self, "kind", IMAGE)
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                expected = ", ".join(choice for choice in choices if choice is not None)
                fail(key, f"one of {expected}", getattr(self, key))
        height_and_width = sequence(self.size)
        if len(height_and_width) != 2 or not all(map(_is_positive_int, height_and_width)):
            fail("size", "[height, width], two positive integers", self.size)
        object.__setattr__(self, "size", tuple(int(side) for side in height_and_width))
        if math.prod(self.size) > MOST_PIXELS:
            fail("size", f"at most {MOST_PIXELS:,} pixels", self.size)
        if not _is_number(self.crop_fraction) or not _LEAST_CROP <= self.crop_fraction <= 1:
            expected = f"a number of at least {_LEAST_CROP} and at most 1"
            fail("crop_fraction", expected, self.crop_fraction)
        for key in ("scale", "mean", "std"):
            object.__setattr__(self, key, self._per_channel(key))
        object.__setattr__(self, "pad_color", _color(self.pad_color))
        if self.window is not None:
            object.__setattr__(self, "window", _window(self.window))
        self._check_range()
        super().__post_init__()

    @property
    def channel_count(self) -> int:
        """1 for GRAY, else 3."""
        return 1 if self.channels == "GRAY" else 3

    @property
    def channel_axis(self) -> int:
        """The axis of the input tensor that holds the channels: 1 (NCHW) or 3 (NHWC)."""
        return self.layout.index("C")

    @property
    def tensor_shape(self) -> tuple[int, int, int, int]:
        """The shape of one image's tensor, (1, C, H, W) or (1, H, W, C)."""
        height, width = self.size
        if self.channel_axis == 1:
            return 1, self.channel_count, height, width
        return 1, height, width, self.channel_count

    @classmethod
    def of(cls, content: Mapping[str, Any], source: str) -> ModelCard:
        """The card of a dictionary of its keys; `source` begins every error message.

        Raises InvalidInputError when a key is missing, unknown or has a wrong value.

        Examples:
            >>> onnxplain.ModelCard.of({"sise": [8, 8]}, "my card")
            Traceback (most recent call last):
            ...
            onnxplain.InvalidInputError: my card: unknown key 'sise'; did you mean 'size'?
        """
        known = _card_keys()
        unknown = [key for key in content if key not in known]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            names = ", ".join(map(short, unknown))
            raise InvalidInputError(f"{source}: unknown key {names}; {hint}")
        missing = [key for key in _REQUIRED if key not in content]
        if missing:
            keys = f"expected the {'keys' if len(missing) > 1 else 'key'} {', '.join(missing)}"
            raise InvalidInputError(f"{source}: {keys}, missing there")
        try:
            return cls(**content)
        except InvalidInputError as error:
            raise InvalidInputError(f"{source}: {error}") from None

    def _check_range(self) -> None:
        """Refuse numbers that turn pixels into what the input's type cannot hold."""
        limit = 65504.0 if self.dtype == "float16" else float(np.finfo(np.float32).max)
        with np.errstate(all="ignore"):
            values = normalise(np.outer([0.0, 255.0], np.ones(self.channel_count)), self)
        if not (np.abs(values) < limit).all():
            fail(
                "scale, mean, std",
                f"numbers that keep pixels within {limit:.3g}",
                [self.scale, self.mean, self.std],
            )

    def _per_channel(self, key: str) -> tuple[float, ...]:
        """Return the value of `key` as a tuple of one number, or of one for each channel."""
        given = getattr(self, key)
        values = (given,) if _is_number(given) else sequence(given)
        expected = "a number" if self.channel_count == 1 else "a number, or a list of 3 numbers"
        if len(values) not in (1, self.channel_count) or not all(map(_is_number, values)):
            fail(key, expected, given)
        if key in ("scale", "std") and not all(values):
            fail(key, expected + " other than 0", given)
        return tuple(float(value) for value in values)


def normalise(pixels: np.ndarray, card: ModelCard) -> np.ndarray:
    """Turn pixels [..., C], 0..255, in the card's channel order, into the model's values."""
    scale, mean, std = (np.asarray(value) for value in (card.scale, card.mean, card.std))
    return (pixels.astype(np.float64) * scale - mean) / std


def black_image(card: ModelCard) -> np.ndarray:
    """Return black as the model takes it: float32, [1, C, 1, 1] (NCHW) or [1, 1, 1, C] (NHWC)."""
    return _uniform_image(card, 0)


def white_image(card: ModelCard) -> np.ndarray:
    """Return white as the model takes it: float32, [1, C, 1, 1] (NCHW) or [1, 1, 1, C] (NHWC)."""
    return _uniform_image(card, 255)


def _uniform_image(card: ModelCard, pixel: int) -> np.ndarray:
    values = normalise(np.full(card.channel_count, pixel), card).astype(np.float32)
    return values.reshape([-1 if axis == card.channel_axis else 1 for axis in range(4)])


def read_card(path: str | os.PathLike[str]) -> Card:
    """Read a card from a JSON file.

    `labels` there is a list, or the name of a text file beside the card, one label a line.

    Raises InvalidInputError when the file cannot be read, is not JSON, lacks a key, has an unknown
    key, or a value is not what its key expects.
    """
    path = Path(path)
    return _parse_card(read_text(path, "model card"), f"model card {path}", path.parent)


def card_to_json(card: Card) -> str:
    """Write the card as the JSON text that `read_card` reads; what was assumed is not in it."""
    keys = _card_keys() if isinstance(card, ModelCard) else COMMON
    content: dict[str, Any] = {name: getattr(card, name) for name in keys}
    for name in ("scale", "mean", "std", "pad_color"):
        if len(content.get(name, ())) == 1:
            content[name] = content[name][0]
    if card.kind == IMAGE:
        # A card that does not say so is an image's, as those before there were others.
        del content["kind"]
    if content.get("resize") != "pad":
        content = {key: v for key, v in content.items() if not key.startswith("pad_")}
    content = {**{k: v for k, v in content.items() if v is not None}, **card.settings}
    return shown_json(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"


def find_card(model: onnx.ModelProto, path: str | os.PathLike[str] | None = None) -> Card | None:
    """Find a model's card: `model.json` beside `model.onnx`, else in its metadata, else None.

    path: where the model was read from, or None. A JSON file of that name which has not one of a
    card's keys is somebody else's, and is passed over.

    Raises InvalidInputError when there is a card and it is wrong.
    """
    found = locate_card(model, path)
    return None if found is None else found[0]


def locate_card(
    model: onnx.ModelProto, path: str | os.PathLike[str] | None = None
) -> tuple[Card, str] | None:
    """Find a model's card as `find_card` does, and say where it is."""
    folder = Path() if path is None else Path(path).parent
    file = None if path is None else beside(folder, Path(path).with_suffix(".json").name)
    if file is not None and file.is_file():
        text = read_text(file, "model card")
        if _has_card_keys(text):
            return _parse_card(text, f"model card {file}", folder), str(file)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            place = f"in metadata {METADATA_KEY!r}"
            return _parse_card(entry.value, f"model card {place}", None), place
    return None


def _parse_card(text: str, source: str, folder: Path | None) -> Card:
    """Read the card in a JSON text; `source` begins every error message.

    folder: where a file of labels may lie; None: nowhere, for a model reads nothing but itself.
    """
    content = parse_json(text, source)
    if not isinstance(content, dict):
        raise InvalidInputError(f"{source}: expected a JSON object, got {short(content)}")
    if isinstance(content.get("labels"), str):
        try:
            content["labels"] = read_labels(_labels_file(content["labels"], folder))
        except InvalidInputError as error:
            raise InvalidInputError(f"{source}: {error}") from None
    return card_of(content, source)


def card_of(content: Mapping[str, Any], source: str) -> Card:
    """The card of a dictionary of its keys: an image's, unless its `kind` is another.

    Raises InvalidInputError when a key is missing, unknown or has a wrong value.
    """
    if content.get("kind") in (None, IMAGE):
        return ModelCard.of(content, source)
    return plain_card(content, source)


def _labels_file(name: str, folder: Path | None) -> Path:
    """Where a card's labels lie, if it may read them."""
    if folder is None:
        raise InvalidInputError(
            f"'labels': expected a list, for a card in a model reads no files, got {short(name)}"
        )
    file = beside(folder, name)
    if file is None:
        raise InvalidInputError(
            f"'labels': expected a list, or a file in the card's own folder, got {short(name)}"
        )
    return file


def _card_keys() -> list[str]:
    own = [
        one.name for one in fields(ModelCard) if one.name not in (*COMMON, "assumed", "settings")
    ]
    return [*own, *COMMON]


def _has_card_keys(text: str) -> bool:
    """Whether the text is meant as a card; text that is no JSON is, so that the error is seen."""
    try:
        content = parse_json(text, "card")
    except InvalidInputError:
        return True
    return isinstance(content, dict) and bool(set(content) & set(_card_keys()))


def _window(value: Any) -> tuple[float, float]:
    parts = sequence(value)
    if len(parts) != 2 or not all(map(_is_number, parts)) or parts[1] <= 0:
        fail("window", "[center, width], of which the width is above 0", value)
    return float(parts[0]), float(parts[1])


def _color(given: Any) -> tuple[float, ...]:
    """One number for red, green and blue alike, or three."""
    values = (given,) if _is_number(given) else sequence(given)
    if len(values) not in (1, 3) or not all(_is_number(v) and 0 <= v <= 255 for v in values):
        fail("pad_color", "a number from 0 to 255, or [red, green, blue]", given)
    return tuple(float(value) for value in values)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(abs(value) <= sys.float_info.max)


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0
