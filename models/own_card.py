"""A model card from pieces: a preset, single facts, a dictionary or a file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from .. import InvalidInputError
from .card import ModelCard, card_of, read_card
from .labels import labels_of
from .plain_card import Card

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
# How the libraries that models come from turn pixels 0..255 into numbers.
PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {"scale": 1 / 255, **_IMAGENET},
    "unit": {"scale": 1 / 255, "mean": 0.0, "std": 1.0},
    "half": {"scale": 1 / 127.5, "mean": 1.0, "std": 1.0},
    "raw": {"scale": 1.0, "mean": 0.0, "std": 1.0},
    "caffe": {"scale": 1.0, "mean": (103.939, 116.779, 123.68), "std": 1.0, "channels": "BGR"},
    "clip": {"scale": 1 / 255, **_CLIP},
}
# What an assumption begins with, by the facts that answer it.
_ANSWERED = {
    "layout ": {"layout"},
    "size ": {"size"},
    "pixels ": {"scale", "mean", "std"},
    "centre crop ": {"resize"},
    "the whole image ": {"resize"},
}
_NUMBERS = ("scale", "mean", "std")


def changed_card(card: Card, preset: str | None, facts: Mapping[str, Any]) -> Card:
    """A card with a preset and facts in place of its own; what they answer is assumed no more.

    Args:
        card: read, or assumed.
        preset: a name of PRESETS, or None.
        facts: by a card's keys; None is not given.

    Raises:
        InvalidInputError: no such preset, or a value that its key does not take.
    """
    if preset is not None and preset not in PRESETS:
        raise InvalidInputError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    given = dict(PRESETS[preset]) if preset is not None else {}
    given |= {key: value for key, value in facts.items() if value is not None}
    if not given:
        return card
    if not isinstance(card, ModelCard):
        kind = card.kind or "array"
        raise InvalidInputError(
            f"{', '.join(given)}: for images, and the model's input is of kind {kind!r}"
        )
    if given.get("resize") == "crop" and "crop_fraction" not in given and card.resize != "crop":
        given["crop_fraction"] = 0.875
    if given.get("layout", card.layout) != card.layout and "size" not in given and card.assumed:
        raise InvalidInputError(
            f"layout {given['layout']}: the input's shape says {card.layout}; a card that says "
            "otherwise needs its size, too"
        )
    assumed = [text for text in card.assumed if not is_answered(text, given)]
    return replace(card, **{**given, "assumed": tuple(assumed)})


def is_answered(text: str, given: Collection[str]) -> bool:
    """Whether an assumption is none any more, once these facts are given."""
    keys = next((keys for start, keys in _ANSWERED.items() if text.startswith(start)), None)
    # An assumption of no known kind stays said.
    return keys is not None and bool(keys & set(given))


def card_from(given: Card | Mapping[str, Any] | str | os.PathLike[str]) -> Card:
    """A card as Python code gives it.

    Args:
        given: a card, a dictionary of its keys, or the path of a JSON file. In a dictionary
            "preset" may stand for `scale`, `mean` and `std`, and `labels` be whatever `labels_of`
            takes.

    Raises:
        InvalidInputError: it is none of these, a key is missing, unknown or has a wrong value.
    """
    if isinstance(given, Card):
        return given
    if isinstance(given, str | os.PathLike):
        return read_card(given)
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            "card: expected a ModelCard, a dictionary or the path of a JSON file, got "
            f"{type(given).__name__}"
        )
    return card_of_dict(given)


def card_of_dict(given: Mapping[str, Any]) -> Card:
    """A card of a dictionary; see `card_from`."""
    content = dict(given)
    preset = content.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise InvalidInputError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    if preset is not None:
        content = {**PRESETS[preset], **content}
    if content.get("labels") is not None:
        content["labels"] = labels_of(content["labels"])
    return card_of(content, "card")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "224" or "480x640".

    Raises:
        InvalidInputError: it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(
        part.strip().isascii() and part.strip().isdigit() for part in parts
    ):
        raise InvalidInputError(f"size {text!r}: expected a number, or height x width, as 480x640")
    sides = [int(part[:9]) for part in parts]
    return sides[0], sides[-1]


def parse_numbers(key: str, text: str) -> float | tuple[float, ...]:
    """One number, or one for each channel: "0.5" or "0.485,0.456,0.406"; 1/255 is a number.

    Raises:
        InvalidInputError: it is something else.
    """
    found = []
    for part in text.split(","):
        top, _, bottom = part.partition("/")
        try:
            found.append(float(top) / (float(bottom) if bottom else 1.0))
        except (ValueError, ZeroDivisionError):
            raise InvalidInputError(
                f"{key} {text!r}: expected a number, or three with commas between"
            ) from None
    return found[0] if len(found) == 1 else tuple(found)
