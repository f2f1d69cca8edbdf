"""Images of more than 8 bits, and all other modes: what the model gets of each."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from onnxplain.engine.inputs.decoding import damage_of
from onnxplain.engine.inputs.deep import deep_of
from onnxplain.engine.inputs.image import baseline_image, image_to_tensor, read_image
from onnxplain.models.card import ModelCard

HEIGHT, WIDTH = 5, 7
RANDOM = np.random.default_rng(3)
GRAY16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
RGB16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
RGBA16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
LA16 = RGBA16[..., [0, 3]]


def card(size=(HEIGHT, WIDTH), channels="RGB", resize="stretch", **more):
    facts = {"layout": "NCHW", "scale": 1.0, "mean": 0.0, "std": 1.0, **more}
    return ModelCard(size=size, resize=resize, channels=channels, **facts)


def png(colour_type, values):
    """A PNG of 16 bits, which Pillow does not write in colour."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    high, wide = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", wide, high, 16, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(values, order):
    """A TIFF of 16-bit colours, without compression, in either order of bytes."""
    high, wide, count = values.shape
    data = values.astype(f"{order}u2").tobytes()
    entries = [(256, 3, 1, wide), (257, 3, 1, high), (258, 3, count, 0), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, 0), (277, 3, 1, count), (278, 3, 1, high)]
    entries += [(279, 4, 1, len(data))]
    after = 8 + 2 + 12 * len(entries) + 4
    bits = struct.pack(f"{order}{count}H", *[16] * count)
    found = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    found += struct.pack(f"{order}H", len(entries))
    for tag, kind, number, content in entries:
        content = {258: after, 273: after + len(bits)}.get(tag, content)
        form = "HHI" + ("HH" if kind == 3 and number == 1 else "I")
        filled = (content, 0) if kind == 3 and number == 1 else (content,)
        found += struct.pack(f"{order}{form}", tag, kind, number, *filled)
    return found + struct.pack(f"{order}I", 0) + bits + data


def on_white(values):
    """Colours and alpha of 0 to 65535, as 0 to 255 on white."""
    wide = values / 257
    seen = wide[..., 3:] / 255
    return seen * wide[..., :3] + (1 - seen) * 255


def pillow(values, name, mode=None, **how):
    def write(folder):
        image = Image.fromarray(values)
        (image if mode is None else image.convert(mode)).save(folder / name, **how)
        return folder / name

    return write


def written(content, name):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


GRAY8 = RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
RGB8 = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
FLOAT = RANDOM.random((HEIGHT, WIDTH)).astype(np.float32)
FLOATS = np.repeat(255 * FLOAT[..., None], 3, axis=2)
GRAY = np.repeat(GRAY16[..., None] / 257, 3, axis=2)
WIDE = np.repeat(GRAY8[..., None], 3, axis=2)
# name -> (writes the file, its colours from 0 to 255, whether there are more than 8 bits of them)
FILES = {
    "gray 16 png": (pillow(GRAY16, "a.png"), GRAY, True),
    "gray 16 tiff": (pillow(GRAY16, "a.tiff"), GRAY, True),
    "gray 16 tiff lzw": (pillow(GRAY16, "a.tiff", compression="tiff_lzw"), GRAY, True),
    "gray 16 pgm": (pillow(GRAY16.astype(np.int32), "a.pgm"), GRAY, True),
    "gray 32 tiff": (pillow(GRAY16.astype(np.int32), "a.tiff"), GRAY, True),
    "gray 32 tiff of bytes": (pillow(GRAY8.astype(np.int32), "a.tiff"), WIDE, False),
    "float tiff to 1": (pillow(FLOAT, "a.tiff"), FLOATS, True),
    "float tiff to 255": (
        pillow(255 * FLOAT, "a.tiff"),
        np.repeat(255 * FLOAT[..., None], 3, 2),
        True,
    ),
    "colour 16 png": (written(png(2, RGB16), "a.png"), RGB16 / 257, True),
    "colour and alpha 16 png": (written(png(6, RGBA16), "a.png"), on_white(RGBA16), True),
    "gray and alpha 16 png": (
        written(png(4, LA16), "a.png"),
        on_white(RGBA16[..., [0, 0, 0, 3]]),
        True,
    ),
    "colour 16 tiff, low bytes first": (written(tiff(RGB16, "<"), "a.tiff"), RGB16 / 257, True),
    "colour 16 tiff, high bytes first": (written(tiff(RGB16, ">"), "a.tiff"), RGB16 / 257, True),
    "gray 8": (pillow(GRAY8, "a.png"), WIDE, False),
    "colour 8": (pillow(RGB8, "a.png"), RGB8, False),
    "gray and alpha": (pillow(GRAY8, "a.png", "LA"), WIDE, False),
    "colour and alpha": (pillow(RGB8, "a.png", "RGBA"), RGB8, False),
    "palette": (pillow(WIDE // 128 * 255, "a.png", "P"), WIDE // 128 * 255, False),
    "1 bit": (pillow(GRAY8 // 128 * 255, "a.png", "1"), WIDE // 128 * 255, False),
}
EVERY = pytest.mark.parametrize("name", FILES)


@EVERY
def test_no_bit_is_lost_on_the_way(tmp_path, name):
    write, colours, deep = FILES[name]
    image = read_image(write(tmp_path))
    assert damage_of(image) is None and (deep_of(image) is not None) == deep
    x, view = image_to_tensor(image, card())
    np.testing.assert_allclose(x[0].transpose(1, 2, 0), colours, atol=1e-4 if deep else 0)
    assert np.abs(np.asarray(view).astype(float) - colours).max() <= 1.0


@EVERY
@pytest.mark.parametrize("channels", ["GRAY", "BGR"])
def test_the_cards_channels(tmp_path, name, channels):
    write, colours, deep = FILES[name]
    x, _ = image_to_tensor(read_image(write(tmp_path)), card(channels=channels))
    wanted = colours[..., ::-1]
    if channels == "GRAY":
        wanted = (colours @ np.array([0.299, 0.587, 0.114]))[..., None]
    near = {"GRAY": 0.51, "BGR": 0}[channels] if not deep else 2e-3
    np.testing.assert_allclose(x[0].transpose(1, 2, 0), wanted, atol=near)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("name", ["gray 16 png", "colour 16 png"])
def test_it_lies_where_8_bits_of_it_would(tmp_path, name, resize):
    """The same place and size, to the rounding of 8 bits."""
    image = read_image(FILES[name][0](tmp_path))
    plain = Image.fromarray(np.asarray(image))
    how = card((4, 4), resize=resize)
    (deep, view), (rounded, other) = image_to_tensor(image, how), image_to_tensor(plain, how)
    assert 0 < np.abs(deep - rounded).max() < 1.6 and view.size == other.size
    blurred = baseline_image("blur", image, how) - baseline_image("blur", plain, how)
    assert np.abs(blurred).max() < 25
    mean = baseline_image("mean", image, how) - baseline_image("mean", plain, how)
    assert 0 < np.abs(mean).max() < 1


def test_another_image_has_its_own_values(tmp_path):
    """What was made of an image does not carry the whole one's values along."""
    image = read_image(FILES["gray 16 png"][0](tmp_path))
    assert deep_of(image.resize((3, 3))) is None
    assert deep_of(image.crop((0, 0, 2, 2))) is None


def test_turned_as_its_file_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRAY16).save(tmp_path / "a.png", exif=exif)
    x, _ = image_to_tensor(read_image(tmp_path / "a.png"), card((WIDTH, HEIGHT)))
    np.testing.assert_allclose(x[0, 0], np.rot90(GRAY16, -1) / 257, atol=1e-4)
