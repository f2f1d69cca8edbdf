"""Exported files in the oldest ONNX Runtime that has their opset, in an environment of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from support.often import by_night
from support.one_question import FEW, FILES, METHODS, images, source
from support.small import run

import onnxplain
from onnxplain.graph_passes.methods import find_method

PLAIN = Path(__file__).parents[1] / "support" / "plain_runtime.py"
# Of opset 21, which files have unless asked otherwise; this release was built for numpy 1.
OLDEST = ("onnxruntime==1.18.1", "numpy<2")
CASES = list(itertools.product(METHODS, FILES))


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of an environment with nothing but that ONNX Runtime."""
    folder = tmp_path_factory.mktemp("oldest")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = [str(found), "-m", "pip", "install", "-q", "--only-binary", ":all:", *OLDEST]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not fetch {OLDEST[0]} in time")
    if done.returncode:
        pytest.skip(f"pip cannot install {OLDEST[0]} here: {done.stderr.strip()[-200:]}")
    return found


@by_night
@pytest.mark.parametrize("static", [False, True], ids=["plain", "static"])
def test_every_method_on_every_file(tmp_path, python, static):
    """The numbers of the newest to 1e-4; the estimated error of the map to 1e-3."""
    jobs, expected = [], {}
    for number, (method, file) in enumerate(CASES):
        model = source(file, method)
        few = {**FEW, **({"steps": 20} if static else {})}
        few = {name: value for name, value in few.items() if find_method(method).takes(name)}
        explainer = onnxplain.Explainer(model, method, providers="cpu", baseline=0.1, **few)
        names = (tmp_path / f"{number}.{kind}" for kind in ("onnx", "in.npz", "out.npz"))
        job = dict(zip(("model", "inputs", "outputs"), map(str, names), strict=True))
        made = explainer.export(job["model"], static=static, opset=21)
        rows = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        x = images(model, file)[:rows]
        feeds = {made.graph.input[0].name: x, "target": np.full(rows, -1)}
        np.savez(job["inputs"], **feeds)
        jobs.append(job)
        expected[method, file] = run(made, feeds)
    listed = tmp_path / "jobs.json"
    listed.write_text(json.dumps(jobs))
    done = subprocess.run([str(python), str(PLAIN), str(listed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for job, ((method, file), numbers) in zip(jobs, expected.items(), strict=True):
        with np.load(job["outputs"]) as found:
            for name, value in numbers.items():
                size = max(float(np.abs(v).max()) for v in numbers.values())
                size = size if name == "delta" else float(np.abs(value).max())
                within = (1e-3 if name == "map_error" else 1e-4) * size
                apart = float(np.abs(found[name] - value).max())
                assert apart <= within, (method, file, name, apart, size)
