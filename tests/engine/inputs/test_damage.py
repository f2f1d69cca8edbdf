"""Which formats are read, and image files that are damaged though they have pixels."""

import io
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.batches import rows_in
from support.digits import write_model, write_photo

from onnxplain import Explainer, InvalidInputError
from onnxplain.engine.inputs.decoding import FORMATS, _printed, damage_of, image_extensions
from onnxplain.engine.inputs.image import read_image, read_image_bytes
from onnxplain.engine.inputs.jpeg import EARLY, LATE

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
%%EndComments
showpage
%%EOF
"""
WAYS = {
    "plain": {},
    "whole colours": {"subsampling": 0},
    "rough": {"quality": 20},
    "restarts": {"restart_marker_blocks": 8},
    "progressive": {"progressive": True},
    "own codes": {"optimize": True},
}


def soft(width=200, height=160, mode="RGB"):
    small = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def jpeg(image=None, **how):
    buffer = io.BytesIO()
    (image or soft()).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def found(content):
    return damage_of(read_image_bytes(content, "it"))


def cut(content, part):
    """So much of a file's data, and its end."""
    begin = content.find(b"\xff\xda")
    return content[: begin + int((len(content) - begin) * part)] + b"\xff\xd9"


@pytest.mark.skipif(os.name != "posix", reason="a script as a program")
@pytest.mark.parametrize("ending", ["png", "jpg", "eps", "ps", "tif"])
def test_no_program_is_started(tmp_path, monkeypatch, ending):
    """Whatever a file is called, its content is none of a photo's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / f"cat.{ending}"
    path.write_bytes(EPS)
    with pytest.raises(InvalidInputError, match="expected an image, got something else"):
        read_image(path)
    with pytest.raises(InvalidInputError, match="expected an image, got something else"):
        read_image_bytes(EPS, "cell")
    assert not (tmp_path / "started").exists()


def test_only_the_formats_of_photos():
    """No other of Pillow's is opened, and none of them starts a program or reads another file."""
    Image.init()
    others = {"EPS", "WMF", "GRIB", "BUFR", "HDF5", "IPTC", "PSD", "FITS", "SPIDER", "PDF", "CUR"}
    assert not others & set(FORMATS) and len(set(FORMATS)) == len(FORMATS)
    ends = image_extensions()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".bmp", ".gif"} <= ends
    assert not {".eps", ".ps", ".wmf", ".emf", ".psd", ".fits", ".pdf"} & ends


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_told_by_its_content(tmp_path, kind):
    path = tmp_path / "photo.eps"
    try:
        soft(64, 48).save(path, kind)
    except (KeyError, OSError, ValueError):
        pytest.skip(f"this Pillow does not write {kind}")
    image = read_image(path)
    assert image.mode == "RGB" and damage_of(image) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("way", WAYS)
def test_whole_files_are_whole(mode, way):
    """And decode to the very pixels of Pillow, at every size and in every colour."""
    for width, height in ((200, 160), (9, 7), (8, 8), (3, 50), (50, 3), (1, 1), (33, 65)):
        content = jpeg(soft(width, height, mode), **WAYS[way])
        image = read_image_bytes(content, "it")
        with Image.open(io.BytesIO(content)) as right:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(right.convert("RGB")))
        assert damage_of(image) is None, (width, height)
        assert found(content + b"more after the end") is None
    for colour in ("white", "black", "gray"):
        assert found(jpeg(Image.new("RGB", (99, 77), colour), **WAYS[way])) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8, 0.95])
def test_data_that_end_too_early(way, part):
    content = jpeg(soft(400, 320), **WAYS[way])
    try:
        assert found(cut(content, part)) == EARLY
    except InvalidInputError as error:
        # Of some, Pillow itself says so.
        assert "truncated" in str(error) or "broken" in str(error)
    with pytest.raises(InvalidInputError, match="truncated"):
        read_image_bytes(content[: int(len(content) * part)], "it")


def test_data_that_are_others():
    """Zeros, or any bytes, in the midst of the data: most such files are found, no whole one."""
    content, random = jpeg(quality=60), np.random.default_rng(0)
    begin, seen = content.find(b"\xff\xda") + 20, []
    for k in range(60):
        at = int(random.integers(begin, len(content) - 300))
        other = bytes(200) if k % 2 else random.integers(0, 255, 200, np.uint8).tobytes()
        try:
            seen.append(found(content[:at] + other + content[at + 200 :]))
        except InvalidInputError:
            seen.append(EARLY)
    assert seen.count(None) < 30
    assert found(content[:-2] + bytes(range(1, 100)) + b"\xff\xd9") == LATE


@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_lzw", "jpeg", "packbits"])
def test_what_libtiff_prints_is_not_on_stderr(capfd, compression):
    """A damaged file is refused, or said to be damaged, or decodes to something."""
    buffer = io.BytesIO()
    soft().save(buffer, "TIFF", compression=compression)
    content = buffer.getvalue()
    assert found(content) is None
    random = np.random.default_rng(0)
    for _ in range(20):
        data = bytearray(content)
        at = int(random.integers(20, len(data) - 300))
        data[at : at + 20] = random.integers(0, 255, 20, np.uint8).tobytes()
        try:
            damage = found(bytes(data))
            assert damage is None or damage.startswith("the file is damaged: ")
        except InvalidInputError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="prints as a library does")
def test_what_a_library_prints_is_told():
    with _printed() as said:
        os.write(2, b"  one: bad code\nTIFFReadDirectory: Warning, no such tag\n")
    assert said == ["one: bad code"]


def test_a_file_cannot_say_so_itself():
    from PIL.PngImagePlugin import PngInfo

    buffer, info = io.BytesIO(), PngInfo()
    info.add_text("onnxplain: damage", "so says the file")
    soft().save(buffer, "PNG", pnginfo=info)
    assert found(buffer.getvalue()) is None


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "half.jpg"
    path.write_bytes(cut(jpeg(), 0.5))
    return path


def test_it_is_in_the_record_and_on_the_picture(tmp_path, damaged, command):
    from onnxplain.engine.records.captions import subtitle_of
    from onnxplain.engine.records.record import outcome_of_json

    model, out = write_model(tmp_path), tmp_path / "out"
    whole = write_photo(tmp_path / "whole.png", 7)
    asked = ("explain", model, damaged, whole, "-m", "saliency", "-o", out)
    status, _, err = command(*asked, "--json")
    assert status == 0 and err.count("\n") == 1 and f"{damaged}: {EARLY}" in err
    one, two = json.loads((out / "results.json").read_text())
    assert one["damage"] == EARLY and "damage" not in two
    assert EARLY in subtitle_of(outcome_of_json(one))
    assert EARLY not in subtitle_of(outcome_of_json(two))
    status, _, err = command(*asked, "--strict")
    assert status == 1 and f"{damaged}: {EARLY}" in err and err.count("\n") == 1


def test_of_python(tmp_path, damaged, caplog):
    (e,) = Explainer(write_model(tmp_path), "saliency").images(damaged)
    assert e.origin is not None and e.origin.damage == EARLY and EARLY in caplog.text


@pytest.mark.parametrize("workers", ["0", "1"])
def test_of_batches(tmp_path, damaged, command, workers):
    pytest.importorskip("pyarrow")
    model = write_model(tmp_path)
    write_photo(tmp_path / "whole.png", 7)
    asked = ("batch", model, tmp_path / "*.*g", "-m", "grad-cam", "--workers", workers)
    status, _, err = command(*asked, "-o", tmp_path / "one")
    assert status == 0 and err.count("\n") == 1 and f"{damaged}: {EARLY}" in err
    assert [row["error"] for row in rows_in(tmp_path / "one")] == [None, None]
    status, _, err = command(*asked, "-o", tmp_path / "two", "--strict")
    assert status == 1 and err.count("\n") == 1
    assert [row["error"] is None for row in rows_in(tmp_path / "two")] == [False, True]


@pytest.mark.parametrize("name", ["evaluate", "compare"])
def test_of_what_measures(tmp_path, damaged, command, name):
    model = write_model(tmp_path)
    more = ("--metric", "deletion") if name == "evaluate" else ()
    asked = (name, model, damaged, "-m", "saliency", *more, "-o", tmp_path / "out")
    status, _, err = command(*asked)
    assert status == 0 and EARLY in err
    status, _, err = command(*asked, "--strict")
    assert status != 0 and EARLY in err


def test_what_a_library_logs_stays_off_the_terminal():
    """Pillow logs strange TIFFs as errors, which Python prints where nobody listens."""
    script = """
import logging
from onnxplain.engine.commandline.terminal import log_to_stderr
log_to_stderr()
logging.getLogger("PIL.TiffImagePlugin").error("raw \\x1b[2J")
logging.getLogger("onnxplain").warning("ours")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "onnxplain: ours\n")
