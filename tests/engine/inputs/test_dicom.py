"""DICOM: the standard's own formulas by hand, all of the bits, and nobody's name anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from support.small import node, small, value

import onnxplain
from onnxplain import InvalidInputError

pydicom = pytest.importorskip("pydicom", reason="DICOM files need onnxplain[dicom]")

from support.dicom import PATIENT, write_dicom  # noqa: E402

RANDOM = np.random.default_rng(2)
STORED = RANDOM.integers(0, 4096, (6, 6)).astype(np.uint16)
SIGNED = RANDOM.integers(-1500, 2500, (6, 6)).astype(np.int16)
CARD = {"size": [6, 6], "resize": "stretch", "layout": "NCHW", "channels": "GRAY"}
CARD |= {"scale": 1.0, "mean": 0.0, "std": 1.0, "interpolation": "nearest"}


def model():
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["y"])]
    w = RANDOM.normal(size=(36, 2)).astype(np.float32)
    return small(nodes, [value("x", ["N", 1, 6, 6])], [value("y", ["N", 2])], {"w": w})


def seen(path, **card):
    """What the model gets of a file, 0 to 255."""
    found = onnxplain.Explainer(model(), "saliency", card={**CARD, **card})
    return found.preprocess(path)[0, 0]


def clip(values):
    return np.clip(values, 0, 255)


CASES = {
    "12 of 16 bits": (STORED, {"BitsStored": 12, "HighBit": 11}, STORED / 4095 * 255),
    "all bits": (STORED, {}, STORED / 65535 * 255),
    "signed": (SIGNED, {}, (SIGNED + 32768.0) / 65535 * 255),
    "a window": (
        STORED,
        {"WindowCenter": 2000, "WindowWidth": 1000},
        clip(((STORED - 1999.5) / 999 + 0.5) * 255),
    ),
    "an exact window of rescaled values": (
        SIGNED,
        {
            **{"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": [40, 9]},
            **{"WindowWidth": [400, 9], "VOILUTFunction": "LINEAR_EXACT"},
        },
        clip(((2.0 * SIGNED - 1024 - 40) / 400 + 0.5) * 255),
    ),
    "a sigmoid": (
        STORED,
        {"WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        255 / (1 + np.exp(-4 * (STORED - 2000.0) / 900)),
    ),
    "white is the least": (
        STORED,
        {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"},
        255 - STORED / 4095 * 255,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_as_the_standard_says(tmp_path, case):
    stored, tags, right = CASES[case]
    path = write_dicom(tmp_path / "x.dcm", stored, **tags)
    np.testing.assert_allclose(seen(path), right, atol=1e-3)
    np.testing.assert_allclose(seen(path.read_bytes()), right, atol=1e-3)


def test_the_cards_window_is_of_rescaled_values(tmp_path):
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 1, "WindowWidth": 2}
    path = write_dicom(tmp_path / "x.dcm", STORED, **tags)
    right = clip(((STORED - 1024.0 - 300) / 1500 + 0.5) * 255)
    np.testing.assert_allclose(seen(path, window=[300, 1500]), right, atol=1e-3)


def test_sixteen_bits_are_kept(tmp_path):
    """Two values that 8 bits do not tell apart."""
    stored = np.full((6, 6), 1000, np.uint16)
    stored[0, 0] = 1001
    x = seen(write_dicom(tmp_path / "x.dcm", stored))
    assert x[0, 0] - x[1, 1] == pytest.approx(255 / 65535, rel=1e-2)


def test_colours(tmp_path):
    pixels = RANDOM.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    x = seen(write_dicom(tmp_path / "x.dcm", pixels))
    right = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_allclose(x, right, atol=0.51)


def test_frames(tmp_path):
    frames = np.stack([STORED, STORED // 2, STORED // 4])
    path = write_dicom(tmp_path / "x.dcm", frames)
    np.testing.assert_allclose(seen(f"{path}#2"), frames[1] / 257, atol=1e-3)
    for text, expected in (("", "3 frames; .*x.dcm#1"), ("#4", "3 frames, from 1")):
        with pytest.raises(InvalidInputError, match=expected):
            seen(f"{path}{text}")


def test_frames_as_a_volume(tmp_path):
    frames = RANDOM.integers(-900, 900, (5, 6, 7)).astype(np.int16)
    path = write_dicom(tmp_path / "x.dcm", frames, RescaleSlope=0.5, RescaleIntercept=10)
    w = RANDOM.normal(size=(2, 1, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 6),
        node("ReduceMean", ["c"], ["y"], axes=[2, 3, 4], keepdims=0),
    ]
    taken = small(nodes, [value("x", ["N", 1, 5, 6, 7])], [value("y", ["N", 2])], {"w": w})
    explainer = onnxplain.Explainer(taken, "deeplift", baseline=0.0)
    e = explainer.explain(path)
    np.testing.assert_allclose(e.origin.inputs["x"][0, 0], frames * 0.5 + 10)
    assert e.picture().width > 500
    with pytest.raises(InvalidInputError, match="takes all frames"):
        explainer.explain(f"{path}#1")
    short = write_dicom(tmp_path / "short.dcm", frames[:3])
    with pytest.raises(InvalidInputError, match=r"short\.dcm: expected float32 \[1, 5, 6, 7\]"):
        explainer.explain(short)


def _damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "no pixels":
        file = pydicom.dcmread(path)
        del file.PixelData
        file.save_as(path)
    elif how == "another encoding":
        content = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\x2e")
        path.write_bytes(content)
    else:
        cut = {"empty": 0, "text": 0, "cut off": -30, "a preamble alone": 132}[how]
        path.write_bytes(b"hello" if how == "text" else content[:cut])


@pytest.mark.parametrize(
    "how", ["empty", "text", "cut off", "a preamble alone", "no pixels", "another encoding"]
)
def test_what_is_wrong_is_one_line(tmp_path, how):
    path = write_dicom(tmp_path / "x.dcm", STORED)
    _damaged(path, how)
    with pytest.raises(InvalidInputError, match=r"x\.dcm: ") as refused:
        seen(path)
    said = str(refused.value)
    assert "\n" not in said and PATIENT not in said


def test_nothing_of_the_patient_is_written(tmp_path, command):
    """In records, arrays, pictures, the page and batches."""
    write_dicom(tmp_path / "x.dcm", STORED, WindowCenter=2000, WindowWidth=3000)
    onnx.save(model(), tmp_path / "m.onnx")
    card = tmp_path / "m.json"
    card.write_text(json.dumps(CARD))
    out, rows = tmp_path / "out", tmp_path / "rows"
    asked = tmp_path / "m.onnx", tmp_path / "x.dcm"
    status, text, err = command("explain", *asked, "-m", "deeplift", "-o", out, "--report")
    assert status == 0, err
    status, more, err = command("batch", *asked, "-m", "deeplift", "-o", rows, "--pictures")
    assert status == 0, err
    for file in (*out.rglob("*"), *rows.rglob("*")):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes()
            assert b"Doe" not in file.read_bytes()
    assert PATIENT not in text + more + err


def test_without_pydicom_it_says_how_to_get_it(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "x.dcm", STORED)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'onnxplain\[dicom\]'"):
        seen(path)


@pytest.mark.parametrize("window", [[1], [1, 0], "wide", [1, "x"], [1, 2, 3]])
def test_wrong_windows(window):
    with pytest.raises(InvalidInputError, match="'window': expected"):
        onnxplain.Explainer(model(), "saliency", card={**CARD, "window": window})
