"""The README keeps its promises: its code runs, its files exist."""

import re
import subprocess
import sys

from support.folders import ROOT

from onnxplain.models.shipped import demo_model

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3 and all(len(block.splitlines()) <= 10 for block in blocks)
    script = "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[967]")
    assert "(1, 3, 224, 224) (1, 1000)\n" in done.stdout
    assert done.stdout.endswith("(1, 224, 224)\n")


def test_files_exist():
    for name in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / name).is_file()


def test_the_card_is_the_demo_models():
    (card,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    shipped = demo_model().with_suffix(".json").read_text(encoding="utf-8")
    assert "".join(card.split()) == "".join(shipped.split())
