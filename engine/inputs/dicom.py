"""DICOM files: one frame as a picture of all its bits, or all frames as a volume.

Read by pydicom, an extra. Nothing of a file's header leaves this module but what its pixels mean.
"""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ... import InvalidInputError
from ...models.card import ModelCard
from ...models.files import check_regular
from ...models.text import counted
from ..files.members import member_of
from ..pictures.heatmap import Heatmap, Picture
from . import image, volume
from .array import Loaded
from .deep import keep_deep
from .kind import Box, InputKind, ModelInput, Reading
from .pixels import Pixels

_MOST_BYTES = 2**31
_MAGIC_AT = 128
# What pydicom reads; and a frame or all of them, as the pixels' own kind takes them.
Dataset: TypeAlias = Any
Thing: TypeAlias = "Image.Image | Loaded"
INSTALL = "DICOM files are read by pydicom, which is not installed: pip install 'onnxplain[dicom]'"


def _suffixes() -> frozenset[str]:
    return frozenset({".dcm", ".dicom"})


def _begins(content: bytes) -> bool:
    return content[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"


def _takes(into: ModelInput) -> bool:
    return isinstance(into.card, ModelCard) or volume.KIND.takes(into)


def _read(given: Any, how: Reading, into: ModelInput) -> Image.Image | Loaded:
    """One frame as `file.dcm#5` names it, or all of them where the model takes a volume.

    Raises:
        InvalidInputError: it cannot be read, or decoded, or has several frames of which none is
            named; or there is no pydicom.
    """
    path, number = member_of(given) if isinstance(given, str) else (None, None)
    if path is not None and check_regular(path, "DICOM file", _MOST_BYTES) == 0:
        raise InvalidInputError(f"DICOM file {path}: it is empty")
    if not isinstance(given, str | bytes):
        raise InvalidInputError(f"DICOM file {how.name}: expected a file")
    if importlib.util.find_spec("pydicom") is None:
        raise InvalidInputError(f"{how.name}: {INSTALL}")
    with warnings.catch_warnings():
        # What they say may quote the header.
        warnings.simplefilter("ignore")
        file = _opened(given if path is None else path, how.name)
        frames, units = _decoded(file, how.name)
        if volume.KIND.takes(into):
            if number is not None:
                raise InvalidInputError(f"DICOM file {how.name}: the model takes all frames")
            return Loaded(units, how.name)
        which = _which(number, len(units), how.name)
        if frames.ndim == 4:
            return Image.fromarray(frames[which])
        window = into.card.window if isinstance(into.card, ModelCard) else None
        grey = _greys(file, frames[which], units[which], window)
    if not np.isfinite(grey).all():
        raise InvalidInputError(f"DICOM file {how.name}: expected finite pixels, got others")
    pixels = Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    return keep_deep(pixels, grey)


def _opened(given: str | bytes, name: str) -> Dataset:
    try:
        return import_module("pydicom").dcmread(
            io.BytesIO(given) if isinstance(given, bytes) else os.fspath(given)
        )
    except Exception as error:
        raise InvalidInputError(
            f"DICOM file {name}: expected a DICOM file, got another or a damaged one "
            f"({type(error).__name__})"
        ) from None


def _decoded(file: Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Stored values and values in the file's units, [frames, H, W]; colours [frames, H, W, 3]."""
    processing = import_module("pydicom.pixels.processing")
    if "PixelData" not in file and "FloatPixelData" not in file:
        raise InvalidInputError(f"DICOM file {name}: it has no picture in it")
    syntax = getattr(getattr(file, "file_meta", None), "TransferSyntaxUID", None)
    try:
        found = np.asarray(import_module("pydicom.pixels.utils").pixel_array(file))
        colours = int(file.get("SamplesPerPixel", 1)) > 1
        found = found if found.ndim == 3 + colours else found[None]
        units = (
            found if colours else np.asarray(processing.apply_modality_lut(found, file), np.float64)
        )
    except Exception as error:
        # pydicom's own text may quote the header; what it lacks is told by the encoding's name.
        coded = getattr(syntax, "name", None) or "an unknown encoding"
        raise InvalidInputError(
            f"DICOM file {name}: its pixels, {coded}, cannot be decoded ({type(error).__name__})"
        ) from None
    if colours and (found.shape[-1] != 3 or found.dtype != np.uint8):
        raise InvalidInputError(
            f"DICOM file {name}: expected gray pixels or colours of 8 bits, got "
            f"{found.dtype} {list(found.shape)}"
        )
    return found, units


def _which(number: int | None, count: int, name: str) -> int:
    if number is None and count > 1:
        raise InvalidInputError(
            f"DICOM file {name}: it has {counted(count, 'frame')}; {name}#1 names the first of them"
        )
    if number is not None and not 1 <= number <= count:
        raise InvalidInputError(f"DICOM file {name}: it has {counted(count, 'frame')}, from 1")
    return (number or 1) - 1


def _greys(
    file: Dataset, stored: np.ndarray, units: np.ndarray, window: tuple[float, float] | None
) -> np.ndarray:
    """0 to 255, as fractions: by the card's window, the file's, or of all that it can store."""
    if window is not None:
        found = _windowed(units, *window, "LINEAR_EXACT")
    elif file.get("VOILUTSequence"):
        bits = int(file.VOILUTSequence[0].LUTDescriptor[2])
        whole = units.astype(stored.dtype) if stored.dtype.kind in "iu" else units
        apply_voi = import_module("pydicom.pixels.processing").apply_voi
        found = np.asarray(apply_voi(whole, file), np.float64) * (255 / (2**bits - 1))
    elif file.get("WindowCenter") is not None and file.get("WindowWidth") is not None:
        center, width = (_first(file[key].value) for key in ("WindowCenter", "WindowWidth"))
        found = _windowed(units, center, width, str(file.get("VOILUTFunction", "LINEAR")))
    else:
        low, high = _ends(file, stored)
        found = (stored.astype(np.float64) - low) * (255 / (high - low))
    found = np.clip(found, 0, 255)
    # The least value is white there.
    return 255 - found if file.get("PhotometricInterpretation") == "MONOCHROME1" else found


def _first(value: Any) -> float:
    return float(value if isinstance(value, int | float | str) else value[0])


def _ends(file: Dataset, stored: np.ndarray) -> tuple[float, float]:
    """The least and the largest number that the file can store."""
    if stored.dtype.kind == "f":
        low, high = float(stored.min()), float(stored.max())
        return low, high if high > low else low + 1
    bits = int(file.get("BitsStored", 8 * stored.dtype.itemsize))
    if stored.dtype.kind == "i":
        return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1


def _windowed(values: np.ndarray, center: float, width: float, how: str) -> np.ndarray:
    """DICOM's three functions of a window (PS3.3, C.11.2.1.2 and C.11.2.1.3), to 0 to 255.

    LINEAR: ((x - (c - 0.5)) / (w - 1) + 0.5) 255; LINEAR_EXACT: ((x - c) / w + 0.5) 255;
    SIGMOID: 255 / (1 + exp(-4 (x - c) / w)).
    """
    with np.errstate(over="ignore"):
        if how == "SIGMOID":
            return 255 / (1 + np.exp(-4 * (values - center) / width))
        if how == "LINEAR_EXACT":
            return ((values - center) / width + 0.5) * 255
        return ((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255


def _of_model(into: ModelInput) -> InputKind:
    """The kind that a file's pixels are of."""
    return volume.KIND if volume.KIND.takes(into) else image.KIND


def _fit(thing: Thing, into: ModelInput) -> Pixels:
    """As the picture's or the volume's kind does."""
    return _of_model(into).fit(_with_channel(thing, into), into)


def _with_channel(thing: Thing, into: ModelInput) -> Thing:
    """A volume with the axis of its one channel; a picture as it is."""
    if not isinstance(thing, Loaded):
        return thing
    axis = into.features.channel_axis
    if axis is None or thing.array.ndim != 3:
        return thing
    return Loaded(np.expand_dims(thing.array, axis - 1), thing.name)


def _tensor(fitted: Pixels, into: ModelInput) -> np.ndarray:
    return _of_model(into).tensor(fitted, into)


def _view(thing: Any, into: ModelInput) -> Picture:
    return _of_model(into).view(_with_channel(thing, into), into)


def _draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    return _of_model(into).draw(values, into, method, **how)


def _damage(thing: Any) -> str | None:
    del thing  # what is cut off is refused


def _box_in_thing(box: Box, thing: Any, into: ModelInput) -> Box:
    return _of_model(into).box_in_thing(box, thing, into)


def _box_in_input(box: Box, thing: Any, into: ModelInput) -> Box:
    return _of_model(into).box_in_input(box, thing, into)


KIND = replace(
    image.KIND,
    name="dicom",
    title="a DICOM file",
    suffixes=_suffixes,
    begins=_begins,
    takes=_takes,
    read=_read,
    fit=_fit,
    tensor=_tensor,
    view=_view,
    draw=_draw,
    damage=_damage,
    box_in_thing=_box_in_thing,
    box_in_input=_box_in_input,
    place=96,
)
