"""Photos whose names are no UTF-8: every command writes them as escapes."""

import os
import shutil
import sys

import pytest
from support.digits import write_model, write_photo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")


@pytest.mark.parametrize(
    "asked",
    [
        ("explain", "-m", "saliency", "--report"),
        ("compare", "-m", "saliency"),
        ("compare", "-m", "saliency", "--against"),
        ("evaluate", "-m", "saliency", "--metric", "pointing-game"),
        ("batch", "-m", "saliency", "--workers", "0"),
    ],
)
def test_a_name_of_bytes(command, tmp_path, asked):
    model = write_model(tmp_path)
    photo = os.fsencode(write_photo(tmp_path / "7.png", 7))
    name = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"bad\xff\n.png"))
    shutil.copy(photo, name)
    name_of, *more = asked
    if "--against" in more:
        more.append(shutil.copy(model, tmp_path / "other.onnx"))
        shutil.copy(model.with_suffix(".json"), tmp_path / "other.json")
    status, out, err = command(name_of, model, name, "-o", tmp_path / "out", *more)
    assert status in (0, 1) and "internal error" not in err, err
    assert "\udcff" not in out + err
    written = [p for p in (tmp_path / "out").iterdir() if p.suffix in (".json", ".html", ".md")]
    for file in written:
        assert "bad\udcff" not in file.read_text(encoding="utf-8")
