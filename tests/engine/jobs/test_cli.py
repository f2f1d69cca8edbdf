"""The command line: what it prints, where, and the status it ends with."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from support.digits import digit, flat_model, write_model, write_photo
from support.folders import ROOT

from onnxplain import Explainer, __version__
from onnxplain.engine.running import session
from onnxplain.engine.running.process import warn_once
from onnxplain.models.shipped import demo_model, demo_photos

METHODS = ("grad-cam", "integrated-gradients", "deeplift")


@pytest.fixture
def seven(tmp_path):
    return write_photo(tmp_path / "seven.png", 7)


@pytest.mark.parametrize("script", [["-m", "onnxplain.cli"], [str(ROOT / "cli.py")]])
def test_runs_as_a_module_and_in_a_checkout(tmp_path, script):
    done = subprocess.run(
        [sys.executable, *script, "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"onnxplain, version {__version__}\n",
        "",
    )


def test_demo_from_a_checkout(tmp_path):
    """The main job, as a newcomer runs it, with a bar that moves, and nothing else, on stderr."""
    status, out, drawn = run_on_a_terminal("demo", "--json", "-o", tmp_path)
    assert status == 0
    records = json.loads(out)
    assert records == json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [record["method"] for record in records] == list(METHODS) * 2
    assert [record["target"]["label"] for record in records] == ["espresso"] * 3 + ["tiger cat"] * 3
    assert records[2]["relative_delta"] < 1e-5
    assert all((tmp_path / name).is_file() for record in records for name in record["files"])
    assert (tmp_path / "panel.png").is_file()
    assert "coffee.png" in drawn and "chelsea.png" in drawn and "onnxplain:" not in drawn
    percents = [part.split()[-1] for part in drawn.split("%")[:-1]]
    assert len(set(percents)) > 5, percents


def run_on_a_terminal(*arguments):
    """Run `python cli.py` with stderr on a terminal: (exit status, stdout, what was drawn)."""
    ours, theirs = pytest.importorskip("pty").openpty()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        drawn = b""
        # Where the other side of a terminal is closed, Linux gives an error and others no bytes.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                drawn += part
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, out, drawn.decode()


def test_no_progress_bar_elsewhere(tmp_path, model, seven):
    arguments = [sys.executable, "-m", "onnxplain.cli", "explain", model, seven, "-o", tmp_path]
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["explain"], ["export"], ["inspect"], ["demo"]])
def test_help_has_examples_one_a_line(command, arguments):
    status, out, err = command(*arguments, "--help")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    examples = lines[lines.index("  Examples:") + 1 :]
    assert len(examples) >= 2 and all(line.startswith("    onnxplain ") for line in examples)


def test_help_says_what_the_exit_statuses_mean(command):
    _, out, _ = command("--help")
    statuses = [line.split()[0] for line in out.splitlines() if line.startswith("    ")][:3]
    assert statuses == ["0", "1", "2"]


def test_no_arguments_is_wrong_usage(command):
    status, out, err = command()
    assert (status, out) == (2, "") and err.startswith("Usage: onnxplain")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explode"],
        ["explain"],
        ["explain", "model.onnx"],
        ["explain", "model.onnx", "a.png", "-m", "lime"],
        ["explain", "model.onnx", "a.png", "--steps", "0"],
        ["explain", "model.onnx", "a.png", "--provider", "tpu"],
        ["export", "model.onnx", "-o", "out.onnx"],
        ["inspect", "--what"],
    ],
)
def test_wrong_usage(command, arguments):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("onnxplain: ") and err.endswith("(see --help)\n") and err.count("\n") == 1


def test_explain_prints_a_line_for_each_picture(command, tmp_path, model, seven):
    status, out, err = command("explain", model, seven, "-o", tmp_path / "out")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("seven.png: seven 91 % · three 4 % · two 2 % (softmax), score 5.")
    assert [line.split()[0] for line in lines[1:7:2]] == list(METHODS)
    assert all(line.strip().startswith("Hiding the strongest") for line in lines[2:7:2])
    assert "complete to" in lines[3] and "map good to" in lines[3]
    assert str(tmp_path / "out") in lines[7]


def test_profile_says_where_the_time_went(command, tmp_path, model, seven):
    """Its phases add up, and stdout stays what it is without it."""
    status, out, err = command(
        "explain", model, seven, "-o", tmp_path / "out", "--profile", "--json"
    )
    assert status == 0 and len(json.loads(out)) == len(METHODS)
    rows = {line.split()[0]: float(line.split()[-3]) for line in err.splitlines()[:-1]}
    assert list(rows) == ["load", "build", "session", "run", "draw", "other"]
    whole = float(err.splitlines()[-1].split()[-2])
    assert sum(rows.values()) == pytest.approx(whole, abs=0.04) and rows["draw"] > 0


def test_each_rule_of_deeplift(command, tmp_path, model, seven):
    maps = {}
    for rule in ("rescale", "reveal-cancel"):
        folder = tmp_path / rule
        arguments = ("-m", "deeplift", "--rule", rule, "-t", "seven", "-t", "two", "-o", folder)
        assert command("explain", model, seven, *arguments)[0] == 0
        maps[rule] = [np.load(folder / f"seven.deeplift.{k}.npz")["attribution"] for k in (7, 2)]
        for k, found in zip((7, 2), maps[rule], strict=True):
            expected = Explainer(model, "deeplift", rule=rule)(digit(7), k).attribution
            np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.abs(maps["rescale"][0] - maps["reveal-cancel"][0]).max() > 0.1


def test_explain_json_is_results_json(command, tmp_path, model, seven):
    options = ["-m", "deeplift", "-t", "top1", "-t", "four", "--json", "-o", tmp_path]
    status, out, err = command("explain", model, seven, *options)
    assert (status, err) == (0, "")
    assert out == (tmp_path / "results.json").read_text(encoding="utf-8")
    assert [record["target"]["label"] for record in json.loads(out)] == ["seven", "four"]


def test_guesses_about_the_input_are_said(command, tmp_path, seven):
    model = write_model(tmp_path, card=None)
    status, _, err = command("explain", model, seven, "-m", "grad-cam", "-o", tmp_path)
    assert status == 0 and err.count("\n") == 1
    assert "assumed: layout NHWC" in err and "--card" in err


def test_skipped_methods_are_said(command, tmp_path, seven):
    status, out, err = command("explain", flat_model(tmp_path), seven, "-o", tmp_path)
    assert status == 0 and "deeplift" in out
    assert err.startswith("onnxplain: skipped grad-cam: ") and err.count("\n") == 1


def test_cuda_without_cuda_says_so_and_runs_on_the_cpu(
    command, tmp_path, model, seven, monkeypatch
):
    monkeypatch.setattr(session, "_cuda_devices", lambda: 0)
    warn_once.cache_clear()
    options = ["--provider", "cuda", "--json", "-o", tmp_path]
    status, out, err = command("explain", model, seven, *options)
    assert status == 0
    assert {record["provider"] for record in json.loads(out)} == {"CPUExecutionProvider"}
    assert err.startswith("onnxplain: CUDA was asked for, but ") and err.count("\n") == 1


@pytest.mark.parametrize("method", METHODS)
def test_export(command, tmp_path, model, method):
    file = tmp_path / "explained.onnx"
    status, out, err = command("export", model, "-m", method, "-o", file)
    assert (status, err) == (0, "")
    delta = "" if method == "grad-cam" else ", delta"
    delta += ", map_error" if method == "integrated-gradients" else ""
    told = f"{file}: inputs in_0, target; outputs add_out_2, attribution{delta}; opset "
    assert out.startswith(told) and out.count("\n") == 1
    stock = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feeds = {"in_0": digit(7), "target": np.array([-1])}
    ours = Explainer(model, method)(digit(7))
    np.testing.assert_allclose(
        stock.run(["attribution"], feeds)[0], ours.attribution, rtol=1e-5, atol=1e-6
    )


def test_export_with_another_baseline(command, tmp_path, model):
    file = tmp_path / "explained.onnx"
    np.save(tmp_path / "half.npy", np.full((1, 1, 1, 1), 0.5, np.float32))
    expected = Explainer(model, "deeplift", baseline=0.5)(digit(7)).attribution
    arguments = ["export", model, "-m", "deeplift", "-o", file]
    for more in (["--baseline", tmp_path / "half.npy"], ["--baseline-input"]):
        status, out, _ = command(*arguments, *more)
        assert status == 0
        feeds = {"in_0": digit(7), "target": np.array([7])}
        if more == ["--baseline-input"]:
            assert "inputs in_0, target, baseline;" in out
            feeds["baseline"] = np.full_like(digit(7), 0.5)
        stock = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (attribution,) = stock.run(["attribution"], feeds)
        np.testing.assert_allclose(attribution, expected, rtol=1e-5, atol=1e-6)


def test_a_reader_that_leaves_is_no_error(model):
    """As in `onnxplain inspect model.onnx --json | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [sys.executable, "-m", "onnxplain.cli", "inspect", str(model), "--json"]
    done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_output_survives_terminals_without_unicode(tmp_path, model, seven):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("ä" * i + "→" for i in range(10)), encoding="utf-8")
    arguments = [sys.executable, "-m", "onnxplain.cli", "explain", str(model), str(seven), "--json"]
    arguments += ["--labels", str(labels), "-o", str(tmp_path), "-m", "grad-cam"]
    done = subprocess.run(
        arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)[0]["target"]["label"].endswith("→")


def test_an_error_of_ours_is_one_line_too(command, monkeypatch, model):
    def broken(*_, **__):
        raise KeyError("something\nodd")

    monkeypatch.setattr("onnxplain.engine.inspection.inspected", broken)
    status, _, err = command("inspect", model)
    assert status == 2 and err.count("\n") == 1 and "KeyError" in err


def test_demo_files_are_there():
    assert onnx.load(demo_model()).graph.node and all(path.is_file() for path in demo_photos())
