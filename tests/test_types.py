"""A user's script under pyright's strict rules, against the package as it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.folders import ROOT

SCRIPT = """
import numpy as np
import onnxplain

explainer = onnxplain.Explainer("model.onnx", "grad-cam", threads=2)
for e in explainer.images(["cat.png"], "rank2"):
    print(e.image, float(e.score[0]), e.delta, e.relative_delta)
    e.picture(smooth=3.0).save("cat.png")
    e.save("cat.npz")
x = np.zeros((1, 3, 224, 224), np.float32)
explanation: onnxplain.Explanation = explainer(x, target=["tabby", 3])
model = explainer.export("explained.onnx")
print(model.graph.name, explainer.verify(x).outputs)
print([method.title for method in onnxplain.methods().values()])
print(onnxplain.inspect("model.onnx").input)
comparison = onnxplain.compare("model.onnx", ["cat.png"])
print([row["method"] for row in comparison.table()], comparison.claims)
drift = onnxplain.compare("model.onnx", "cat.png", against="other.onnx")
print(drift.mean_spearman, drift.findings)
evaluation = onnxplain.evaluate("model.onnx", ["photos"], metrics=["srg"])
evaluation.save("out")
print(onnxplain.metrics.srg(explainer, x, explanation).mean())
try:
    onnxplain.vjp("model.onnx")
except onnxplain.OnnxplainError as error:
    print(error)
"""


def test_a_users_script_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed (pip install '.[lint]')")
    site = tmp_path / "site" / "onnxplain"
    skipped = shutil.ignore_patterns("__pycache__", "demo")
    for name in ("engine", "graph_passes", "models"):
        shutil.copytree(ROOT / name, site / name, ignore=skipped)
    for name in ("__init__.py", "cli.py", "py.typed"):
        shutil.copyfile(ROOT / name, site / name)
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = {"typeCheckingMode": "strict", "extraPaths": ["site"], "include": ["script.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert [f"{one['range']['start']['line']}: {one['message']}" for one in found] == []


@pytest.mark.parametrize("name", ["Explainer", "Explanation", "compare", "evaluate", "metrics"])
def test_pydoc_has_a_page(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pydoc", f"onnxplain.{name}"], capture_output=True, text=True
    )
    assert (done.returncode == 0 and "Args:" in done.stdout) or name in ("Explanation", "metrics")
    assert len(done.stdout) > 500
