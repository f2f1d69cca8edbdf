"""Where the objects are: masks and boxes in photos' pixels, as regions of the model's input."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import InvalidInputError
from ...models.card import ModelCard
from ...models.files import read_text
from .image import read_image, region_of_input

Boxes = Mapping[str, Sequence[Sequence[float]]]


class Regions:
    """What was told about where objects are.

    Args:
        masks: a folder of PNG files that are called as the photos are, `cat.png` for `cat.jpg`: as
            large as the photo, black where the object is not; or None.
        boxes: a JSON file, or what it holds: {photo's file name: [[x0, y0, x1, y1], ...]} in the
            photo's pixels, x to the right and y down, x1 and y1 exclusive; or None.

    Raises:
        InvalidInputError: no such folder, or no such boxes.
    """

    def __init__(
        self, masks: str | os.PathLike[str] | None, boxes: str | os.PathLike[str] | Boxes | None
    ):
        self._masks = None if masks is None else Path(masks)
        if self._masks is not None and not self._masks.is_dir():
            raise InvalidInputError(f"masks {self._masks}: expected a folder")
        self._boxes: Boxes = {}
        if isinstance(boxes, Mapping):
            self._boxes = _checked("boxes", boxes)
        elif boxes is not None:
            self._boxes = _read(Path(boxes))
        self.told = masks is not None or boxes is not None

    def of(self, path: str, card: ModelCard) -> np.ndarray | None:
        """The region of a photo in the model's input, bool [H, W]; None where nothing was told.

        A mask and boxes of one photo are taken together.

        Raises:
            InvalidInputError: a mask that is unreadable, or not as large as the photo; a box that
                lies outside.
        """
        mask = None if self._masks is None else self._masks / f"{Path(path).stem}.png"
        boxes = self._boxes.get(path, self._boxes.get(Path(path).name))
        found = mask is not None and mask.is_file()
        if not found and boxes is None:
            return None
        width, height = read_image(path).size
        region = np.zeros((height, width), bool)
        if found and mask is not None:
            region |= _mask(mask, (width, height), path)
        for box in boxes or ():
            _add_box(region, box, path)
        return region_of_input(region, card)


def _mask(mask: Path, size: tuple[int, int], path: str) -> np.ndarray:
    image = read_image(mask)
    if image.size != size:
        raise InvalidInputError(
            f"mask {mask}: expected {size[0]} x {size[1]} pixels, as {path} has, "
            f"got {image.size[0]} x {image.size[1]}"
        )
    return np.asarray(image).max(axis=2) > 0


def _add_box(region: np.ndarray, box: Sequence[float], path: str) -> None:
    height, width = region.shape
    x0, y0, x1, y1 = (round(edge) for edge in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InvalidInputError(
            f"box {list(box)} of {path}: expected x0 < x1 <= {width} and y0 < y1 <= {height}"
        )
    region[y0:y1, x0:x1] = True


def _read(path: Path) -> Boxes:
    try:
        content = json.loads(read_text(path, "boxes"))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"boxes {path}: expected JSON, {error}") from None
    return _checked(f"boxes {path}", content)


def _checked(what: str, content: Any) -> Boxes:
    expected = "expected {image name: [[x0, y0, x1, y1], ...]}"
    if not isinstance(content, Mapping):
        raise InvalidInputError(f"{what}: {expected}, got {type(content).__name__}")
    for name, boxes in content.items():
        fits = isinstance(boxes, list | tuple) and all(_is_box(box) for box in boxes)
        if not fits:
            raise InvalidInputError(f"{what}: {expected}, got {boxes!r} for {name!r}")
    return content


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list | tuple) and len(box) == 4
    return numbers and all(
        isinstance(edge, int | float) and not isinstance(edge, bool) and abs(edge) < 1e9
        for edge in box
    )
