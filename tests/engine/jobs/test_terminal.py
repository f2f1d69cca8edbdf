"""What strangers write on the terminal: nothing but text. And options in the environment."""

import ast
import contextlib
import json
import os
import sys
import time
from pathlib import Path

import click
import onnx
import pytest
from support.digits import write_model, write_photo
from support.folders import TESTS

from onnxplain import cli
from onnxplain.engine.commandline import explaining, looking, terminal
from onnxplain.models import shipped

ROOT = TESTS.parent
HOSTILE = "\x1b]0;OWNED\x07\x1b[2J\r\x9b31m\u202e[blink]x[/blink] :smile:\nonnxplain: all is well"
MAY_WRITE = {"engine/commandline/terminal.py"}


def writers(path):
    """Calls that write to a terminal, by the lines that they stand in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            streams = name.startswith(("sys.stdout.write", "sys.stderr.write", "sys.__std"))
            if name in ("print", "click.echo", "click.secho", "traceback.print_exc") or streams:
                yield f"{name}, line {node.lineno}"
            if last in ("Console", "Progress"):
                yield f"{name}, line {node.lineno}"


def test_one_place_writes():
    """All text goes through it; what else writes is on this list."""
    found = {}
    for folder in ("engine", "graph_passes", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            calls = list(writers(path))
            if calls and name not in MAY_WRITE:
                found[name] = calls
    assert not found
    # The help text is ours.
    assert [call.partition(",")[0] for call in writers(ROOT / "cli.py")] == ["click.echo"]


@pytest.mark.parametrize(
    "write",
    [
        lambda: terminal.say(HOSTILE),
        lambda: terminal.say(HOSTILE, error=True),
        lambda: terminal.complain(HOSTILE),
        lambda: terminal.print_json({HOSTILE: [HOSTILE]}),
        lambda: terminal.print_table([(HOSTILE, HOSTILE)]),
        lambda: terminal.print_lines([HOSTILE], ".", [HOSTILE]),
    ],
)
def test_nothing_commands_the_terminal(capsys, write):
    write()
    out, err = capsys.readouterr()
    assert all(character.isprintable() or character == "\n" for character in out + err)
    assert out or err


def on_a_terminal(act):
    """What is written to stderr, a terminal, and to stdout, a pipe, by a child that acts."""
    import pty

    reading, writing = pty.openpty()
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        os.dup2(into, 1)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        os.environ.update(COLUMNS="200", TERM="xterm")
        with contextlib.suppress(SystemExit):
            act()
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    os.close(into)
    seen = b""
    while True:
        try:
            part = os.read(reading, 2**16)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.waitpid(child, 0)
    os.close(reading)
    with os.fdopen(out, "rb") as file:
        return seen, file.read()


def with_a_bar(pause=0.02, **how):
    def act():
        with terminal.progress_bar(**how) as tell:
            terminal.say("a result")
            tell(HOSTILE, 0.5)
            time.sleep(pause)

    return act


posix = pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")


@posix
def test_nor_does_the_progress_bar():
    """On a terminal, where the bar is drawn: no name's escapes, and its brackets as they are."""
    seen, out = on_a_terminal(with_a_bar())
    assert b"[blink]x[/blink] :smile:" in seen and b"OWNED" in seen
    assert b"\x1b]0" not in seen and b"\x1b[2J" not in seen and b"\x9b" not in seen
    # Results that are on their way to a file are not drawn.
    assert out == b"a result\n" and b"a result" not in seen
    assert b"done, left" in seen and b"50%" in seen


@posix
def test_a_bar_waits_and_is_quiet_where_that_is_asked():
    for how in ({"quiet": True}, {"wait": 30.0}):
        assert on_a_terminal(with_a_bar(**how)) == (b"", b"a result\n")
    # It is drawn anew ten times a second.
    seen, _ = on_a_terminal(with_a_bar(wait=1e-3, pause=1))
    assert b"OWNED" in seen


@posix
@pytest.mark.parametrize("name", ["doctor", "inspect", "export", "explain", "demo"])
def test_commands_tell_how_far_they_are(tmp_path, monkeypatch, name):
    """Each that may take its time has a bar of several steps; piped there is none."""
    steps = []

    @contextlib.contextmanager
    def bar(quiet=False, wait=0.0):
        yield lambda text, done: steps.append((text, done))

    for module in (explaining, looking):
        monkeypatch.setattr(module, "progress_bar", bar)
    model, photo = write_model(tmp_path), write_photo(tmp_path / "7.png", 7)
    monkeypatch.setattr(shipped, "demo_model", lambda: model)
    monkeypatch.setattr(shipped, "demo_photos", lambda: [photo])
    monkeypatch.chdir(tmp_path)
    arguments = {
        "inspect": [model],
        "export": [model, "-m", "grad-cam", "-o", "e.onnx"],
        "explain": [model, photo],
    }
    with contextlib.suppress(SystemExit):
        cli.main([name, *map(str, arguments.get(name, []))])
    parts = [done for _, done in steps]
    assert len(set(parts)) > 2 and parts == sorted(parts) and 0 <= parts[0] <= parts[-1] <= 1


def options_of(command):
    with click.Context(command) as context:
        return [one for one in command.get_params(context) if isinstance(one, click.Option)]


@pytest.mark.parametrize("name", sorted(cli.cli.commands))
def test_one_name_an_option_in_the_environment(name):
    """Of each option as people write it: --output-dir is ONNXPLAIN_OUTPUT_DIR."""
    for option in options_of(cli.cli.commands[name]):
        if "--help" in option.opts:
            continue
        # A file's target is not the one of photos.
        if (name, option.name) == ("export", "target"):
            assert option.envvar is None
            continue
        (long,) = (text for text in option.opts if text.startswith("--"))
        assert option.envvar == "ONNXPLAIN_" + long[2:].replace("-", "_").upper()
    assert "auto_envvar_prefix" not in cli.cli.commands[name].context_settings


def test_methods_targets_and_folders_of_the_environment(command, monkeypatch, tmp_path: Path):
    model, photo = write_model(tmp_path), write_photo(tmp_path / "seven.png", 7)
    monkeypatch.setenv("ONNXPLAIN_METHOD", "saliency")
    monkeypatch.setenv("ONNXPLAIN_TARGET", "3 top1")
    monkeypatch.setenv("ONNXPLAIN_OUTPUT_DIR", str(tmp_path / "there"))
    assert command("explain", model, photo)[0] == 0
    records = json.loads((tmp_path / "there" / "results.json").read_text())
    assert [(r["method"], r["target"]["index"]) for r in records] == [
        ("saliency", 3),
        ("saliency", 7),
    ]
    assert command("explain", model, photo, "-m", "occlusion", "-t", "4")[0] == 0
    records = json.loads((tmp_path / "there" / "results.json").read_text())
    assert [r["method"] for r in records if r["target"]["index"] == 4] == ["occlusion"]
    monkeypatch.setenv("ONNXPLAIN_OUTPUT_FILE", str(tmp_path / "e.onnx"))
    assert command("export", model)[0] == 0 and (tmp_path / "e.onnx").exists()
    for name in ("evaluate", "compare"):
        monkeypatch.setenv("ONNXPLAIN_OUTPUT_DIR", str(tmp_path / name))
        monkeypatch.setenv("ONNXPLAIN_TARGET", "4")
        monkeypatch.setenv("ONNXPLAIN_METRIC", "deletion")
        assert command(name, model, photo)[0] == 0 and (tmp_path / name).is_dir()


def test_what_is_typed_wins_over_the_environment(command, monkeypatch, tmp_path: Path):
    """A default must not break another choice, nor one that has no use for it."""
    model, photo = write_model(tmp_path), write_photo(tmp_path / "seven.png", 7)
    file = tmp_path / "e.onnx"
    for name, value in {
        "OUTPUT_FILE": file,
        "RUNTIME": tmp_path / "nowhere",
        "CALIBRATE": photo,
        "BASELINE": "white",
        "STEPS": "7",
        "LABEL": "seven",
        "FAIL_UNDER": "0.5",
        "PICTURE": "1",
    }.items():
        monkeypatch.setenv(f"ONNXPLAIN_{name}", str(value))
    # The page is begun: it fails at the runtime, not at the file of the environment.
    status, _, err = command("export", model, "-m", "saliency", "--page", tmp_path / "site")
    assert status == 2 and "nowhere" in err and "expected one of" not in err
    assert not file.exists()
    status, _, err = command(
        "export", model, "-m", "deeplift", "-o", tmp_path / "d.onnx", "--baseline-input"
    )
    assert status == 0, err
    assert "baseline" in {value.name for value in onnx.load(tmp_path / "d.onnx").graph.input}
    assert command("export", model, "-m", "saliency")[0] == 0 and file.exists()
    assert command("card", model)[0] == 0
    status, _, err = command("compare", model, photo, "-o", tmp_path / "c", "-m", "saliency")
    assert status == 0, err
    # What is typed is refused as before.
    again = ("-o", tmp_path / "f.onnx", "--page", tmp_path / "site")
    assert command("export", model, "-m", "saliency", *again)[0] == 2
    assert command("export", model, "-m", "saliency", "--steps", "3")[0] == 2
    assert command("card", model, "--label", "seven")[0] == 2
    assert command("compare", model, photo, "-o", tmp_path / "c", "--fail-under", "0.5")[0] == 2
