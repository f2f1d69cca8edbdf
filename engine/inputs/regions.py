"""Where the objects are: masks and boxes in photos' pixels, as regions of the model's input."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import InvalidInputError
from ...models.card import ModelCard
from ...models.files import check_regular, parse_json, read_text
from ...models.plain_card import Card
from .image import read_image, region_of_input

if TYPE_CHECKING:
    from PIL import Image

Boxes = Mapping[str, Sequence[Sequence[float]]]


class Regions:
    """What was told about where objects are.

    Args:
        masks: a folder of PNG files that are called as the photos are, `cat.png` for `cat.jpg`: as
            large as the photo, black (or transparent) where the object is not; or None.
        boxes: a JSON file, or what it holds: {photo's file name: [[x0, y0, x1, y1], ...]} in the
            photo's pixels, x to the right and y down, x1 and y1 exclusive; or None.
        mask_id: the grey value, or the place in the palette, of the object in masks that hold
            several, or several of them; None: whatever is not black.

    Raises:
        InvalidInputError: no such folder, or no such boxes.
    """

    def __init__(
        self,
        masks: str | os.PathLike[str] | None,
        boxes: str | os.PathLike[str] | Boxes | None,
        mask_id: int | Sequence[int] | None = None,
    ):
        self._ids = [mask_id] if isinstance(mask_id, int) else [*(mask_id or ())]
        if self._ids and masks is None:
            raise InvalidInputError("a mask id needs masks")
        self._masks = None if masks is None else Path(masks)
        if self._masks is not None and not self._masks.is_dir():
            raise InvalidInputError(f"masks {self._masks}: expected a folder")
        self._boxes: Boxes = {}
        if isinstance(boxes, Mapping):
            self._boxes = _checked("boxes", boxes)
        elif boxes is not None:
            self._boxes = _read(Path(boxes))
        self.told = masks is not None or boxes is not None

    def of(self, path: str, card: Card | None) -> np.ndarray | None:
        """The region of a photo in the model's input, bool [H, W]; None where nothing was told.

        A mask and boxes of one photo are taken together.

        Raises:
            InvalidInputError: a mask that is unreadable, or not as large as the photo; a box that
                lies outside.
        """
        mask = None if self._masks is None else self._masks / f"{Path(path).stem}.png"
        boxes = self._boxes.get(path, self._boxes.get(Path(path).name))
        found = mask is not None and os.path.lexists(mask)
        if not found and boxes is None:
            return None
        if found and mask is not None:
            # A folder or a device of that name is no mask that is missing.
            check_regular(mask, "mask")
        if not isinstance(card, ModelCard):
            raise InvalidInputError(f"{path}: masks and boxes are for images; arrays take regions")
        width, height = read_image(path).size
        region = np.zeros((height, width), bool)
        if found and mask is not None:
            region |= _mask(mask, (width, height), path, self._ids)
        for box in boxes or ():
            _add_box(region, box, path)
        seen = region_of_input(region, card)
        if not seen.any():
            raise InvalidInputError(
                f"{path}: expected an object in what the model sees of the photo, but the card's "
                "crop leaves nothing of it"
            )
        return seen


def _mask(mask: Path, size: tuple[int, int], path: str, ids: Sequence[int]) -> np.ndarray:
    """Where the object is in a mask, bool [H, W]; see `Regions`."""
    image = read_image(mask, as_it_is=True)
    if image.size != size:
        raise InvalidInputError(
            f"mask {mask}: expected {size[0]} x {size[1]} pixels, as {path} has, "
            f"got {image.size[0]} x {image.size[1]}"
        )
    region = _with_ids(image, mask, ids) if ids else _not_black(image)
    if not region.any():
        raise InvalidInputError(f"mask {mask}: expected pixels of an object, got black alone")
    return region


def _not_black(image: Image.Image) -> np.ndarray:
    """Pixels that are seen and not black; of a silhouette, black on nothing, all that are seen."""
    see_through = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")
    if not see_through:
        # Numbers of 16 or 32 bits as they are: an id of 1 is no black.
        values = np.asarray(image if len(image.getbands()) == 1 and image.mode != "P" else
                            image.convert("RGB"))  # fmt: skip
        return (values != 0).any(axis=2) if values.ndim == 3 else values != 0
    pixels = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    seen = pixels[..., 3] > 0
    coloured = seen & (pixels[..., :3] > 0).any(axis=2)
    return coloured if coloured.any() or seen.all() else seen


def _with_ids(image: Image.Image, mask: Path, ids: Sequence[int]) -> np.ndarray:
    """Pixels of these ids: grey values, or places in a palette."""
    if len(image.getbands()) != 1:
        raise InvalidInputError(
            f"mask {mask}: expected grey values or a palette, whose numbers are ids, "
            f"got {image.mode}"
        )
    values = np.asarray(image).astype(np.int64)
    region = np.isin(values, list(ids))
    if not region.any():
        found = np.unique(values)
        known = ", ".join(map(str, found[:20])) + (" ..." if len(found) > 20 else "")
        raise InvalidInputError(
            f"mask {mask}: expected pixels of id {', '.join(map(str, ids))}, got ids {known}"
        )
    return region


def _add_box(region: np.ndarray, box: Sequence[float], path: str) -> None:
    height, width = region.shape
    x0, y0, x1, y1 = (round(edge) for edge in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InvalidInputError(
            f"box {list(box)} of {path}: expected x0 < x1 <= {width} and y0 < y1 <= {height}"
        )
    region[y0:y1, x0:x1] = True


def _read(path: Path) -> Boxes:
    what = f"boxes {path}"
    return _checked(what, parse_json(read_text(path, "boxes"), what))


def _checked(what: str, content: Any) -> Boxes:
    expected = "expected {image name: [[x0, y0, x1, y1], ...]}"
    if not isinstance(content, Mapping):
        raise InvalidInputError(f"{what}: {expected}, got {type(content).__name__}")
    for name, boxes in content.items():
        fits = isinstance(boxes, list | tuple) and all(_is_box(box) for box in boxes)
        if not fits:
            raise InvalidInputError(f"{what}: {expected}, got {reprlib.repr(boxes)} for {name!r}")
    return content


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list | tuple) and len(box) == 4
    return numbers and all(
        isinstance(edge, int | float) and not isinstance(edge, bool) and abs(edge) < 1e9
        for edge in box
    )
