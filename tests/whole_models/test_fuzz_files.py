"""Damaged models, cards and images, through the command line and Python, in processes of their own.

The same at every run; `python tests/fuzz_files.py --inputs 5000` tries new ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.folders import TESTS
from support.often import often


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_damaged_files_end_in_one_line_each() -> None:
    """In a process without threads: only such a one may be forked."""
    script = TESTS / "fuzz_files.py"
    done = subprocess.run(
        [sys.executable, script, "--inputs", str(often(24, 150))], capture_output=True, text=True
    )
    assert done.returncode == 0 and "\nwrong: 0\n" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_judge_sees_what_is_wrong(tmp_path: Path) -> None:
    """Each thing that must not happen, done on purpose."""
    script = TESTS / "fuzz_files.py"
    code = f"""
import sys
sys.path.insert(0, {str(script.parent)!r})
from pathlib import Path
import fuzz_files
fuzz_files.SECONDS = 3
folder = Path({str(tmp_path)!r})

def write(text, status=2):
    sys.stderr.write(text)
    return status

def half_written():
    (folder / "results").mkdir()
    (folder / "results" / "results.json").write_text("[1,")

deeds = [
    lambda: 1 / 0,
    lambda: write("", 5),
    lambda: write("", 2),
    lambda: write("onnxplain: internal error, KeyError\\n"),
    lambda: write("onnxplain: a \\x1b[31m name\\n"),
    lambda: write("[E:onnxruntime] a log line\\n"),
    lambda: len(bytearray(5 * 2**30)),
    lambda: __import__("os").abort(),
    lambda: __import__("time").sleep(60),
    half_written,
]
for deed in deeds:
    found = fuzz_files.problem_of(fuzz_files.apart(deed, folder), folder)
    print(found)
    assert found, deed
(folder / "results" / "results.json").unlink()
outcome = fuzz_files.apart(lambda: write("onnxplain: so\\n"), folder)
assert fuzz_files.problem_of(outcome, folder) is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
