"""Life on the command line: doctor, completion, quiet, defaults from the environment, links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.digits import write_photo

import onnxplain
from onnxplain.engine.commandline.terminal import print_lines
from onnxplain.engine.jobs import doctor
from onnxplain.models.shipped import demo_numbers


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "7.png", 7)


def test_doctor(command, monkeypatch) -> None:
    status, out, err = command("doctor", "--json")
    found = json.loads(out)
    assert status == 0 and not err and found["problems"] == []
    assert (
        found["onnxplain"] == onnxplain.__version__ and "CPUExecutionProvider" in found["providers"]
    )
    assert all("as stored" in found[f"self-test {method}"] for method in demo_numbers()["sizes"])
    numbers = demo_numbers()
    numbers["sizes"]["deeplift"] = 300.0
    monkeypatch.setattr(doctor, "demo_numbers", lambda: numbers)
    status, out, err = command("doctor")
    assert status == 1 and "expected 11.4087 and 300" in err and err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(command, shell: str) -> None:
    status, out, _ = command("completion", shell)
    assert status == 0 and "_ONNXPLAIN_COMPLETE" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [("explain --st", "--steps"), ("ex", "explain"), ("explain -m integ", "integrated-gradients")],
)
def test_a_shell_completes(words: str, expected: str) -> None:
    count = len(words.split())
    more = {"_ONNXPLAIN_COMPLETE": "bash_complete", "COMP_WORDS": f"onnxplain {words}"}
    done = subprocess.run(
        [sys.executable, "-c", "from onnxplain.cli import main; main()"],
        env={**os.environ, **more, "COMP_CWORD": str(count)},
        capture_output=True,
        text=True,
    )
    assert f"plain,{expected}" in done.stdout.splitlines()


def test_quiet_says_what_went_wrong_only(command, tmp_path: Path, model: Path, seven: Path) -> None:
    quiet = ["explain", model, seven, "-m", "saliency", "-o", tmp_path / "out", "-q"]
    assert command(*quiet) == (0, "", "")
    (tmp_path / "bad.png").write_bytes(b"")
    status, out, err = command(*quiet, tmp_path / "bad.png")
    assert (status, out) == (1, "") and "bad.png" in err and err.count("\n") == 1


def test_defaults_from_the_environment(command, monkeypatch, tmp_path, model, seven) -> None:
    monkeypatch.setenv("ONNXPLAIN_OUTPUT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ONNXPLAIN_STEPS", "7")
    status, *_ = command("explain", model, seven, "-m", "integrated-gradients")
    (record,) = json.loads((tmp_path / "elsewhere" / "results.json").read_text())
    assert status == 0 and record["options"]["steps"] == record["steps"] == 7
    command("explain", model, seven, "-m", "integrated-gradients", "--steps", "9")
    records = json.loads((tmp_path / "elsewhere" / "results.json").read_text())
    assert [r["steps"] for r in records] == [7, 9]
    monkeypatch.setenv("ONNXPLAIN_STEPS", "many")
    status, _, err = command("explain", model, seven)
    assert status == 2 and "many" in err and err.count("\n") == 1


def test_an_image_on_standard_input(tmp_path: Path, model: Path, seven: Path) -> None:
    arguments = ["explain", str(model), "-", "-m", "saliency", "-m", "deeplift", "--resume"]
    run = [sys.executable, "-c", "from onnxplain.cli import main; main()", *arguments]
    expected = onnxplain.Explainer(model, "saliency")
    (e,) = expected.images(seven)
    for content, status in ((seven.read_bytes(), 0), (seven.read_bytes(), 0), (b"nothing", 1)):
        done = subprocess.run(
            [*run, "-o", str(tmp_path / "out")], input=content, capture_output=True
        )
        assert done.returncode == status, done.stderr
    with np.load(tmp_path / "out" / "stdin.saliency.7.npz") as arrays:
        np.testing.assert_array_equal(arrays["attribution"], e.attribution)
    records = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {r["image"] for r in records} == {"-"}


def test_smooth_draws_a_blob(command, tmp_path: Path, model: Path, seven: Path) -> None:
    for name, more in (("plain", []), ("blob", ["--smooth", "1"])):
        status, *_ = command(
            "explain", model, seven, "-m", "deeplift", "-o", tmp_path / name, *more
        )
        assert status == 0
    drawn = [np.asarray(Image.open(tmp_path / n / "7.deeplift.7.png")) for n in ("plain", "blob")]
    assert drawn[0].shape[1] == drawn[1].shape[1] and not np.array_equal(*drawn)
    arrays = [np.load(tmp_path / n / "7.deeplift.7.npz")["attribution"] for n in ("plain", "blob")]
    np.testing.assert_array_equal(*arrays)
    status, _, err = command("explain", model, seven, "--smooth", "-1")
    assert status == 2 and "--smooth" in err


def test_open_shows_the_first_picture(command, monkeypatch, tmp_path, model, seven) -> None:
    shown: list[str] = []
    monkeypatch.setattr("click.launch", lambda path: shown.append(path))
    status, *_ = command(
        "explain", model, seven, "-m", "deeplift", "-m", "saliency", "-o", tmp_path / "o", "--open"
    )
    assert status == 0
    assert shown == [os.path.join(tmp_path / "o", "7.deeplift.7.png")]


def test_links_where_there_is_a_terminal(capsys, monkeypatch, tmp_path: Path) -> None:
    lines, files = ["cat: tabby", "  saliency  cat\x1b[1m.png"], ["cat\x1b[1m.png"]
    print_lines(lines, str(tmp_path), files)
    assert capsys.readouterr().out == "cat: tabby\n  saliency  cat\\x1b[1m.png\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    print_lines(lines, str(tmp_path), files)
    out = capsys.readouterr().out
    assert "]8;;file://" in out and "cat\\x1b[1m.png" in out
