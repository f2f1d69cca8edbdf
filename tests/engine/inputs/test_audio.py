"""Sounds: every way in which WAV files hold samples, against numbers made by hand."""

from __future__ import annotations

import io
import json
import struct
import wave

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.io import wavfile
from support.small import node, small, value

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.pictures.sound import COLUMNS, pooled

T = 48
PARTS = np.linspace(-0.9, 0.9, T)


def summing(shape=("N", 1, T), kind=1):
    """y = (sum of the first half, sum of the second): what is right is the input itself."""
    w = np.zeros((T, 2), np.float32)
    w[: T // 2, 0] = w[T // 2 :, 1] = 1
    flat = np.array([0, T])
    nodes = [
        node("Cast", ["x"], ["f"], to=1),
        node("Reshape", ["f", "s"], ["r"]),
        node("MatMul", ["r", "w"], ["y"]),
    ]
    weights = {"w": w, "s": flat}
    return small(nodes, [value("x", list(shape), kind)], [value("y", ["N", 2])], weights)


def pcm(bits, samples=PARTS, channels=1, rate=8000):
    """A file as the standard library writes it; 8 bits have no sign."""
    whole = np.rint(samples * 2 ** (bits - 1)).astype(np.int64)
    raw = b"".join(int(v + 128 * (bits == 8)).to_bytes(bits // 8, "little", signed=bits > 8)
                   for v in np.repeat(whole, channels))  # fmt: skip
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(channels)
        made.setsampwidth(bits // 8)
        made.setframerate(rate)
        made.writeframes(raw)
    return file.getvalue()


def floats(kind):
    file = io.BytesIO()
    wavfile.write(file, 8000, PARTS.astype(kind))
    return file.getvalue()


def extensible():
    """24 bits as most recorders write them: the format is told by a GUID."""
    content = pcm(24)
    data = content[content.index(b"data") :]
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    body = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 24000, 3, 24, 22, 24, 4) + guid
    whole = b"WAVE" + b"fmt " + struct.pack("<I", len(body)) + body + data
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


FORMS = {f"{bits} bits": (pcm(bits), 1.1 / 2 ** (bits - 1)) for bits in (8, 16, 24, 32)}
FORMS |= {"float32": (floats(np.float32), 1e-6), "float64": (floats(np.float64), 1e-6)}
FORMS |= {"extensible": (extensible(), 1e-6), "stereo": (pcm(16, channels=2), 1e-4)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [("N", T), ("N", 1, T), ("N", T, 1), ("N", "T")])
def test_samples_are_parts_of_the_loudest(tmp_path, form, shape):
    content, near = FORMS[form]
    (tmp_path / "x.wav").write_bytes(content)
    card = {"kind": "audio"}
    explainer = onnxplain.Explainer(summing(shape), "deeplift", card=card, baseline="silence")
    e = explainer.explain(tmp_path / "x.wav", 1)
    right = np.where(np.arange(T) < T // 2, 0, PARTS)
    assert e.attribution.shape == tuple(1 if d == "N" else T if d == "T" else d for d in shape)
    np.testing.assert_allclose(e.attribution.reshape(-1), right, atol=near)
    np.testing.assert_array_equal(explainer.explain(content, 1).attribution, e.attribution)
    assert e.picture().width > 500


def test_both_channels_where_the_model_takes_two(tmp_path):
    stereo = np.stack([PARTS[: T // 2], -PARTS[: T // 2]], 1)
    wavfile.write(tmp_path / "x.wav", 8000, stereo.astype(np.float32))
    explainer = onnxplain.Explainer(summing(("N", 2, T // 2)), "saliency")
    np.testing.assert_allclose(explainer.preprocess(tmp_path / "x.wav")[0], stereo.T, atol=1e-6)
    (tmp_path / "mono.wav").write_bytes(pcm(16, PARTS[: T // 2]))
    with pytest.raises(InvalidInputError, match=r"mono\.wav: expected 2 channels.*got 1"):
        explainer.explain(tmp_path / "mono.wav")


@pytest.mark.parametrize(("mix", "right"), [("mean", 0.25), ("first", 0.5)])
def test_one_channel_of_several(tmp_path, mix, right):
    stereo = np.tile(np.array([[0.5, 0.0]], np.float32), (T, 1))
    wavfile.write(tmp_path / "x.wav", 8000, stereo)
    card = {"kind": "audio", "mix": mix}
    x = onnxplain.Explainer(summing(), "saliency", card=card).preprocess(tmp_path / "x.wav")
    np.testing.assert_allclose(x, np.full((1, 1, T), right))


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT16, onnx.TensorProto.INT32])
def test_whole_numbers_are_the_files_own(tmp_path, kind):
    (tmp_path / "x.wav").write_bytes(pcm(16))
    x = onnxplain.Explainer(summing(kind=kind), "saliency").preprocess(tmp_path / "x.wav")
    assert x.dtype == onnx.helper.tensor_dtype_to_np_dtype(kind)
    np.testing.assert_array_equal(x[0, 0], np.rint(PARTS * 32768))


def test_the_cards_scale_and_rate(tmp_path):
    """A slow sine stays itself at another rate; samples as large as those of 16 bits."""
    slow = np.sin(2 * np.pi * 5 * np.arange(2 * T) / 16000 + 0.3)
    (tmp_path / "x.wav").write_bytes(pcm(32, 0.5 * slow, rate=16000))
    card = {"kind": "audio", "sample_rate": 8000, "scale": 32768}
    e = onnxplain.Explainer(summing(), "saliency", card=card).explain(tmp_path / "x.wav")
    x = e.origin.inputs["x"][0, 0]
    np.testing.assert_allclose(x[12:-12], 0.5 * 32768 * slow[::2][12:-12], rtol=0.02)


WRONG = {
    "empty": b"",
    "text": b"this is no sound",
    "a header alone": pcm(16)[:20],
    "no samples": pcm(16, PARTS[:0]),
    "another length": pcm(16, PARTS[:7]),
    "a picture": b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0",
    "no channels": pcm(16)[:22] + b"\0\0" + pcm(16)[24:],
    "not finite": floats(np.float32).replace(np.float32(PARTS[3]).tobytes(), b"\0\0\xc0\x7f"),
    "mu-law": pcm(8)[:20] + b"\x07\0" + pcm(8)[22:],
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(tmp_path, case):
    (tmp_path / "x.wav").write_bytes(WRONG[case])
    with pytest.raises(InvalidInputError, match=r"x\.wav: expected") as refused:
        onnxplain.Explainer(summing(), "saliency").explain(tmp_path / "x.wav")
    assert "\n" not in str(refused.value)


def test_a_file_that_was_cut_off(tmp_path, caplog):
    """Of an open length it is explained as far as it goes, and --strict refuses it."""
    model = tmp_path / "m.onnx"
    onnx.save(_mean(), model)
    (tmp_path / "x.wav").write_bytes(pcm(16)[:-20])
    explainer = onnxplain.Explainer(model, "saliency")
    e = explainer.explain(tmp_path / "x.wav")
    assert e.attribution.shape == (1, 1, T - 10) and "ends too early" in caplog.text


def test_strictly_it_is_refused(tmp_path, command):
    onnx.save(_mean(), tmp_path / "m.onnx")
    (tmp_path / "x.wav").write_bytes(pcm(16)[:-20])
    asked = "explain", tmp_path / "m.onnx", tmp_path / "x.wav", "-m", "saliency"
    status, _, err = command(*asked, "-o", tmp_path / "out", "--strict")
    assert status == 1 and "ends too early" in err
    status, _, err = command(*asked, "-o", tmp_path / "out")
    assert status == 0 and "ends too early" in err
    (record,) = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "ends too early" in record["damage"]


def _mean():
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("ReduceMean", ["c"], ["y"], axes=[2], keepdims=0),
    ]
    weights = {"w": np.ones((2, 1, 3), np.float32)}
    return small(nodes, [value("x", ["N", 1, "T"])], [value("y", ["N", 2])], weights)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"sample_rate": 0}, "samples a second"),
        ({"sample_rate": "16k"}, "samples a second"),
        ({"scale": -1}, "a number above 0"),
        ({"mix": "sum"}, "mean or first"),
        ({"rate": 8000}, "unknown key 'rate'"),
    ],
)
def test_wrong_cards(card, expected):
    with pytest.raises(InvalidInputError, match=expected):
        onnxplain.Explainer(summing(), "saliency", card={"kind": "audio", **card})


def test_pictures_that_begin_alike_stay_pictures():
    """WebP and WAV are both RIFF."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "WEBP")
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    model = small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 3])])
    card = {"size": [8, 8], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    card |= {"scale": 1.0, "mean": 0.0, "std": 1.0}
    e = onnxplain.Explainer(model, "saliency", card=card).explain(file.getvalue())
    assert e.target[0] == 0


@pytest.mark.parametrize("length", [5, COLUMNS, COLUMNS + 1, 16000])
def test_columns_keep_the_sum(length):
    values = np.random.default_rng(0).normal(size=(2, length))
    shown = pooled(values, mean=False)
    assert shown.shape[1] == min(length, COLUMNS)
    np.testing.assert_allclose(shown.sum(axis=1), values.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(pooled(np.ones((1, length)), mean=True), 1.0)
