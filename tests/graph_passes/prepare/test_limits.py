"""Files built to exhaust: one line that names the limit and the node, within seconds and memory."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import hostile
import numpy as np
import onnx
import pytest
from support import hostile_models
from support.digits import write_model, write_photo
from support.folders import ROOT
from support.often import NIGHTLY, by_day

import onnxplain
from onnxplain import Limits
from onnxplain.models.shipped import demo_model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# What is no matter of cost: refused for what it is, or explained.
HARMLESS = {
    *("a_long_name", "half_a_million_integers", "deep_message", "function_that_calls_itself"),
    *("loop_as_long_as_the_input_says", "nested_loops", "power_of_shapes", "doubled_sixty_times"),
    *("ten_thousand_initializers", "ranged_integers", "einsum"),
    *hostile_models.HARMLESS,
}


# Takes as long as its limit allows: has a test of its own.
ENDLESS = "loop_beside_the_path"
# What takes most of the time; of each there is a smaller kin.
LONG = {"reduced_again_and_again", "recurrent", "many_sparse_constants"}
LEFT_OUT = {ENDLESS} | (set() if NIGHTLY else LONG)


@cache
def outcomes() -> dict[str, dict]:
    """All of them, tried in processes of their own by one without threads."""
    script = Path(hostile.__file__)
    done = subprocess.run(
        [sys.executable, script, "--json", "--without", *LEFT_OUT], capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout.splitlines()[-1])}


NAMES = by_day([*sorted({*hostile.BUILDERS} - {ENDLESS}), "deep_message"], LONG)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file(name: str) -> None:
    found = outcomes()[name]
    assert found["bytes"] < 2**20 and found["problem"] is None, found
    assert found["mb"] < 1024, found
    if name not in HARMLESS:
        # The limit, and where there is one, the node.
        assert re.search(r"--limit [a-z_]+=N", found["said"]), found


def chain(nodes: int) -> bytes:
    body = "t0 = Relu (x) " + " ".join(f"t{k} = Relu (t{k - 1})" for k in range(1, nodes - 1))
    return hostile.parsed(f"{body} y = Identity (t{nodes - 2})").SerializeToString()


def test_limits_are_raised_lowered_and_kept() -> None:
    data, x = chain(50), np.ones((1, 4), np.float32)
    options = {"baseline": 0, "providers": "cpu"}
    loose = onnxplain.Explainer(data, "deeplift", **options)
    with pytest.raises(
        onnxplain.UnsupportedModelError, match=r"nodes: expected at most 49, got 50"
    ):
        onnxplain.Explainer(data, "deeplift", limits=Limits(nodes=49), **options)
    raised = onnxplain.Explainer(data, "deeplift", limits=Limits(nodes=21_000), **options)
    again = pickle.loads(pickle.dumps(raised))
    assert loose(x, 0) == raised(x, 0) == again(x, 0)
    assert again._limits.nodes == 21_000
    for call in (onnxplain.inspect, onnxplain.vjp):
        call(data)
        with pytest.raises(onnxplain.UnsupportedModelError, match="limit nodes="):
            call(data, limits=Limits(nodes=49))


@pytest.mark.parametrize("value", [0, -1, 1.5, "9", None, True])
def test_a_limit_is_a_whole_number(value) -> None:
    with pytest.raises(onnxplain.InvalidInputError, match="limit batch: expected a whole number"):
        Limits(batch=value)


def test_an_endless_loop_is_ended() -> None:
    data = hostile.BUILDERS[ENDLESS]().SerializeToString()
    explainer = onnxplain.Explainer(data, "deeplift", baseline=0, limits=Limits(loop_seconds=1))
    with pytest.raises(onnxplain.UnsupportedModelError, match="--limit loop_seconds=N"):
        explainer(np.ones((1, 4), np.float32), 0)


def test_verifying_is_held_to_the_limits_too() -> None:
    """And a limit above what a clock can wait for is none."""
    x = np.ones((1, 4), np.float32)

    def explainer(turns: float, seconds: int) -> onnxplain.Explainer:
        model = hostile.BUILDERS[ENDLESS]()
        (much,) = (t for t in model.graph.initializer if t.name == "much")
        much.CopyFrom(onnx.numpy_helper.from_array(np.array([turns], np.float32), "much"))
        limits = Limits(loop_seconds=seconds)
        data = model.SerializeToString()
        return onnxplain.Explainer(data, "deeplift", baseline=0, limits=limits)

    quick = explainer(3, 10**30)
    assert quick.verify(x, 0).outputs == 0
    with pytest.raises(onnxplain.UnsupportedModelError, match="at most 1, got more"):
        explainer(4e18, 1).check_outputs(x, quick(x, 0))


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "onnxplain.cli", *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize("command", ["inspect", "explain", "export"])
def test_limits_on_the_command_line(tmp_path: Path, command: str) -> None:
    model, photo = str(write_model(tmp_path)), str(write_photo(tmp_path / "3.png", 3))
    more = {
        "inspect": [],
        "explain": [photo, "-o", str(tmp_path / "out"), "-m", "grad-cam"],
        "export": ["-m", "grad-cam", "-o", str(tmp_path / "e.onnx")],
    }[command]
    done = run(command, model, *more, "--limit", "nodes=3", "--limit", "batch=7")
    assert done.returncode == 2 and "expected at most 3, got" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run(command, model, *more, "--limit", "nodes=30_000").returncode == 0


@pytest.mark.parametrize(
    "given, said",
    [
        ("nods=3", "limit 'nods': expected one of nodes, "),
        ("nodes", "limit nodes: expected a whole number, got ''"),
        ("nodes=-3", "limit nodes: expected a whole number of at least 1, got -3"),
        ("nodes=1e9", "limit nodes: expected a whole number, got '1e9'"),
    ],
)
def test_wrong_limits_are_one_line(given: str, said: str) -> None:
    done = run("inspect", str(demo_model()), "--limit", given)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_limits_are_documented() -> None:
    """Every one, with its default, in SECURITY.md."""
    text = (ROOT / ".github" / "SECURITY.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.M))
    units = {"MiB": 2**20, "GiB": 2**30}

    def number(words: str) -> int:
        base, _, exponent = words.strip().replace(",", "").partition("^")
        if exponent:
            return int(base) ** int(exponent)
        count, _, unit = base.partition(" ")
        return int(count) * units.get(unit, 1)

    assert {name: number(words) for name, words in rows.items()} == vars(Limits())
