"""JSON, masks and arrays that somebody has made on purpose: one line each."""

import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from support.digits import CARD, write_model, write_photo

from onnxplain import InvalidInputError, OnnxplainError
from onnxplain.engine.inputs.regions import Regions
from onnxplain.models.card import read_card
from onnxplain.models.files import parse_json

BAD = {
    "deep lists": "[" * 200_000 + "]" * 200_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "only opened": "[" * 200_000,
    "long number": "9" * 5_000,
    "long number inside": f'{{"a.png": [[0, 0, {"9" * 5_000}, 5]]}}',
    "words": "not json",
    "nothing": "",
    "cut": '{"a": [1, 2',
    "no UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("name", BAD)
def test_json_that_is_none(name):
    with pytest.raises(InvalidInputError, match="it: expected JSON") as raised:
        parse_json(BAD[name], "it")
    assert len(str(raised.value)) < 200


def readers(folder):
    model = write_model(folder)
    write_photo(folder / "a.png", 7)

    def batch(path):
        from onnxplain.engine.records.manifest import agree

        (folder / "out").mkdir()
        os.replace(path, folder / "out" / "_manifest.json")
        agree(folder / "out", {"a": 1}, resume=True)

    def journal(path):
        from onnxplain.engine.jobs.explain import Options, explain_files

        (folder / "out").mkdir()
        os.replace(path, folder / "out" / "results.json")
        explain_files(
            model, [str(folder / "a.png")], folder / "out", Options(methods=("saliency",))
        )

    return {
        "boxes": lambda path: Regions(None, path),
        "card": read_card,
        "manifest": batch,
        "results": journal,
    }


@pytest.mark.parametrize("reader", ["boxes", "card", "manifest", "results"])
@pytest.mark.parametrize("name", BAD)
def test_every_reader_says_so(tmp_path, name, reader):
    if reader == "manifest":
        pytest.importorskip("pyarrow")
    path, text = tmp_path / "x.json", BAD[name]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OnnxplainError) as raised:
        readers(tmp_path)[reader](path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_nested_to_the_edge_of_what_is_read(tmp_path):
    """What the reader takes just so is refused by what it means, not by its printing."""
    for depth in (50, 300, 500, 900, 980, 990):
        (tmp_path / "b.json").write_text('{"a.png":' + "[" * depth + "]" * depth + "}")
        with pytest.raises(InvalidInputError) as raised:
            Regions(None, tmp_path / "b.json")
        assert len(str(raised.value)) < 400
        (tmp_path / "c.json").write_text(
            json.dumps({**CARD, "mean": "X"}).replace('"X"', "[" * depth + "]" * depth)
        )
        with pytest.raises(InvalidInputError):
            read_card(tmp_path / "c.json")


@pytest.mark.skipif(os.name != "posix", reason="pipes, and links to devices")
def test_masks_that_are_none(tmp_path, command):
    model, masks = write_model(tmp_path), tmp_path / "masks"
    photos = tmp_path / "photos"
    masks.mkdir()
    photos.mkdir()
    for k in range(5):
        write_photo(photos / f"{k}.png", k)
    write_photo(photos / ("n" * 251 + ".png"), 5)
    (masks / "0.png").mkdir()
    (masks / "1.png").symlink_to("/dev/zero")
    os.mkfifo(masks / "2.png")
    (masks / "3.png").symlink_to(tmp_path / "nowhere")
    Image.new("L", (8, 8), 255).save(masks / "4.png")
    asked = ("evaluate", model, photos, "-m", "saliency", "--metric", "pointing-game")
    status, _, err = command(*asked, "--masks", masks, "-o", tmp_path / "out")
    assert status == 1 and "internal" not in err
    for name, says in (
        ("0", "expected a file, got a directory"),
        ("1", "expected a regular file, got a device"),
        ("2", "expected a regular file, got a pipe"),
        ("3", "no such file"),
    ):
        assert f"{name}.png: {says}" in err


def npy(header, data=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N."),
        npy("(" * 9000),
        npy("{'descr': " + "[" * 3000 + "}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (8, 8, 1), }", bytes(5)),
        "an archive",
    ],
)
def test_baselines_that_are_none(tmp_path, command, content):
    path = tmp_path / "b.npy"
    if content == "an archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", npy("{}"))
    else:
        path.write_bytes(content)
    model, photo = write_model(tmp_path), write_photo(tmp_path / "a.png", 7)
    asked = ("explain", model, photo, "-m", "deeplift", "--baseline", path, "-o", tmp_path / "o")
    status, _, err = command(*asked)
    assert status == 2 and "b.npy: expected" in err and err.count("\n") == 1


def test_a_baseline_is_read(tmp_path, command):
    np.save(tmp_path / "b.npy", np.full((8, 8, 1), 0.5, np.float32))
    model, photo = write_model(tmp_path), write_photo(tmp_path / "a.png", 7)
    asked = ("explain", model, photo, "-m", "deeplift", "-o", tmp_path / "o")
    assert command(*asked, "--baseline", tmp_path / "b.npy")[0] == 0
