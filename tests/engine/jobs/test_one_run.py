"""How often a job reads an image and runs the file: once, whatever is asked of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from PIL import Image
from support.digits import write_photo

from onnxplain.engine.running.once import Once
from onnxplain.engine.running.session import Session

METHODS = ["-m", "grad-cam", "-m", "deeplift", "-m", "integrated-gradients:steps=2"]
TARGETS = ["-t", "top1", "-t", "rank2"]


class Counted:
    """Calls of a function that stands in a module or class, and what they were of."""

    def __init__(self, patch, owner, name, of):
        self.calls = []
        own = getattr(owner, name)

        def counted(*args, **how):
            self.calls.append(of(*args, **how))
            return own(*args, **how)

        patch.setattr(owner, name, counted)


@pytest.fixture
def runs(monkeypatch):
    """The inputs and outputs of every session that runs, by the run."""
    names = Counted(monkeypatch, Session, "run", lambda own, *a, **k: (own.inputs, own.outputs))
    return names.calls


@pytest.fixture
def decoded(monkeypatch):
    """Every photo that is opened, as Pillow is asked to."""
    return Counted(monkeypatch, Image, "open", lambda given, *a, **k: given).calls


def of_the_file(runs, model):
    graph = onnx.load(model).graph
    own = [one.name for one in graph.input], [one.name for one in graph.output]
    return [run for run in runs if (list(run[0]), list(run[1])) == own]


@pytest.mark.parametrize("more", [[], ["--report"]])
def test_three_methods_and_two_targets_run_the_file_once(
    tmp_path, command, model, runs, decoded, more
):
    photo = write_photo(tmp_path / "seven.png", 7)
    decoded.clear()
    status, _, told = command(
        "explain", model, photo, "-o", tmp_path / "out", *METHODS, *TARGETS, *more
    )
    assert status == 0, told
    assert len(list((tmp_path / "out").glob("*.npz"))) == 6
    assert len(of_the_file(runs, model)) == 1
    assert len(decoded) == 1


def test_several_photos_are_decoded_once_each(tmp_path, command, model, runs, decoded):
    photos = [write_photo(tmp_path / f"{number}.png", number) for number in (3, 7, 9)]
    decoded.clear()
    command("explain", model, *photos, "-o", tmp_path / "out", *METHODS, *TARGETS, "--report")
    # Outputs are compared with the file's own on the first image.
    assert len(of_the_file(runs, model)) == 1
    assert len(decoded) == 3


def test_what_was_done_before_is_decoded_once_for_the_report(tmp_path, command, model, decoded):
    photos = [write_photo(tmp_path / f"{number}.png", number) for number in (3, 7)]
    asked = ["explain", model, *photos, "-o", tmp_path / "out", *METHODS, *TARGETS, "--report"]
    command(*asked)
    first = (tmp_path / "out" / "report.html").read_bytes()
    decoded.clear()
    status, _, _ = command(*asked, "--resume")
    assert status == 0 and len(decoded) == 2
    assert (tmp_path / "out" / "report.html").read_bytes() == first


def test_a_run_is_remembered_for_the_same_numbers_only():
    given = []

    def file(feeds):
        given.append(feeds["x"].copy())
        return {"y": feeds["x"] + 1, "z": feeds["x"] * 2}

    once, x = Once(), np.arange(3.0)
    assert list(once.run("cpu", file, {"x": x}, ["z"])) == ["z"]
    found = once.run("cpu", file, {"x": x.copy()})
    assert len(given) == 1 and found["y"].tolist() == [1, 2, 3]
    for changed in (x + 1, x.astype(np.float32), x[:2]):
        assert once.run("cpu", file, {"x": changed})["z"].tolist() == (2 * changed).tolist()
    once.run("cuda", file, {"x": x[:2]})
    assert len(given) == 5
