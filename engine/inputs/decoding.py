"""From an image file's bytes to pixels: which formats are read, and what is seen of damage."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ... import InvalidInputError
from ...models.text import shown
from .deep import colours, is_deep, keep_deep
from .jpeg import MAGIC, Pieces

# What photos come in, and masks; Pillow tells them by their content, whatever the file is called.
# Each is decoded in this process. Of others, Pillow starts programs (EPS), or reads other files.
# In the order in which they are tried; TGA files have no beginning of their own.
FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000"),
    *("PPM", "QOI", "ICO", "PCX", "SGI", "TGA"),
)
_DAMAGE = "onnxplain: damage"
# One at a time looks at what libtiff prints.
_PRINTED = threading.Lock()


def image_extensions() -> frozenset[str]:
    """How the names of image files of `FORMATS` end, with the dot and in lower case."""
    readable = _readable()
    return frozenset(e for e, kind in Image.registered_extensions().items() if kind in readable)


def _readable() -> list[str]:
    """Those of `FORMATS` that this Pillow, with its plugins, can read."""
    Image.init()
    return [kind for kind in FORMATS if kind in Image.OPEN]


def damage_of(image: Image.Image) -> str | None:
    """What is wrong with the file that an image was read from, though there are pixels."""
    return image.info.get(_DAMAGE)


def decoded(
    file: Path | bytes,
    name: str,
    draft: Callable[[tuple[int, int]], int] | None = None,
    as_it_is: bool = False,
) -> Image.Image:
    """The image in a file, which messages call `name`; see `image.read_image_file`.

    draft: by the size of a JPEG file the least length of both sides, of which it is decoded smaller
    where it can be; None: as it is.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its limit, and would decode the pixels.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            rgb, damage = _pixels(file, draft, as_it_is)
    except FileNotFoundError:
        raise InvalidInputError(f"image {name}: no such file") from None
    except UnidentifiedImageError:
        raise InvalidInputError(f"image {name}: expected an image, got something else") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"at most {Image.MAX_IMAGE_PIXELS} pixels (PIL.Image.MAX_IMAGE_PIXELS)"
        raise InvalidInputError(f"image {name}: expected {limit}, got more") from None
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged files: OSError, SyntaxError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"image {name}: cannot be read, {reason}") from None
    if 0 in rgb.size:
        raise InvalidInputError(f"image {name}: expected pixels, got size {rgb.size}")
    # A file's own texts stand there, too.
    rgb.info.pop(_DAMAGE, None)
    if damage is not None:
        rgb.info[_DAMAGE] = damage
    return rgb


def _pixels(
    file: Path | bytes, draft: Callable[[tuple[int, int]], int] | None, as_it_is: bool
) -> tuple[Image.Image, str | None]:
    """The image as it is handed on, and what is wrong with it."""
    pieces = _jpeg(file)
    source = pieces or (io.BytesIO(file) if isinstance(file, bytes) else file)
    with Image.open(source, formats=_readable()) as image:
        deep = is_deep(image)
        if draft is not None:
            least = draft(image.size)
            image.draft("RGB", (least, least))
        if pieces is not None:
            pieces.watch(image)
            damage = pieces.damage
        else:
            damage = _loaded(image)
        upright = ImageOps.exif_transpose(image)
        if as_it_is:
            return upright.copy(), damage
        rgb = to_rgb(upright, image.format)
        if not deep:
            return rgb, damage
        # What libtiff prints it has printed already.
        with _printed() if image.format == "TIFF" else contextlib.nullcontext():
            values = colours(file)
        return keep_deep(Image.fromarray(np.rint(values).astype(np.uint8)), values), damage


def _jpeg(file: Path | bytes) -> Pieces | None:
    """The file, where it is a JPEG file."""
    if isinstance(file, bytes):
        return Pieces(file) if file.startswith(MAGIC) else None
    with open(file, "rb") as opened:
        beginning = opened.read(len(MAGIC))
        return Pieces(beginning + opened.read()) if beginning == MAGIC else None


def _loaded(image: Image.Image) -> str | None:
    """Decode the image; returns what is wrong with its data, where only its decoder says so."""
    tile = getattr(image, "tile", None)
    if not tile or tile[0][0] != "libtiff":
        image.load()
        return None
    # libtiff goes on after most errors, and prints them.
    with _printed() as said:
        image.load()
    return f"the file is damaged: {said[0]}" if said else None


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """Yield a list that holds, afterwards, the errors that libraries printed on stderr inside."""
    lines: list[str] = []
    with _PRINTED, tempfile.TemporaryFile() as kept:
        try:
            before = os.dup(2)
        except OSError:  # there is no stderr
            yield lines
            return
        try:
            os.dup2(kept.fileno(), 2)
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            text = kept.read(2**16).decode("utf-8", "backslashreplace")
            every = (line.strip() for line in text.splitlines())
            lines += [shown(line) for line in every if line and "arning" not in line]


def to_rgb(image: Image.Image, file_format: str | None = None) -> Image.Image:
    """Convert any mode to RGB; transparency goes on white.

    Of more than 8 bits the values stay known; see `deep_of`.
    """
    if image.mode.startswith("I") or image.mode == "F":
        sixteen_bit = image.mode.startswith("I;16") or file_format in ("PNG", "PPM")
        values = _to_bytes(np.asarray(image), sixteen_bit=sixteen_bit)
        gray = Image.fromarray(np.rint(values).astype(np.uint8))
        return keep_deep(gray.convert("RGB"), values)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        # Colours that are multiplied by alpha (La) Pillow divides by it only within the mode's kin.
        straight = image.convert("LA") if image.mode == "La" else image
        with_alpha = straight.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _to_bytes(values: np.ndarray, *, sixteen_bit: bool) -> np.ndarray:
    """Scale gray values of 16 or 32 bits, or floats, to 0..255, float64.

    32-bit integers are taken as 8-bit where they fit, else as 16-bit; floats as 0..1, else as
    0..255. Values outside of those are scaled from their own minimum and maximum.
    """
    is_float = np.issubdtype(values.dtype, np.floating)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("expected finite pixels, got infinity or NaN")
    low, high = float(values.min()), float(values.max())
    ranges = (65535.0,) if sixteen_bit else (1.0, 255.0) if is_float else (255.0, 65535.0)
    fitting = [top for top in ranges if low >= 0 and high <= top]
    if fitting:
        low, high = 0.0, fitting[0]
    return (values - low) * (255 / (high - low or 1.0))
