"""What this checkout costs beside another revision, in turns, in one run.

    python tests/benchmarks/against.py REV [--model FILE] [--threads N] [--turns 9]

Both run on the packages of this environment, each in a process of its own that waits while the
other works: the three best known methods (the second call on), `import onnxplain`, and `explain`
with one method from a cold start. A ratio above 1 says that this checkout is slower. Page faults
are those of one call; they count the same on a busy machine, where times only hint.

Run it before you say "no slower"; the machine must be quiet, and the first line says whether it is.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measure import machine, table

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "demo"
# Name -> method, its options, and the passes that its time is shared out over.
JOBS: dict[str, tuple[str, dict[str, Any], int]] = {
    "Grad-CAM": ("grad-cam", {}, 1),
    "Integrated Gradients, a step of 50": ("integrated-gradients", {"steps": 50}, 50),
    "DeepLIFT, second image on": ("deeplift", {}, 1),
}
# Answers each line with seconds and page faults of one call; the job is built on its first line.
_CHILD = """
import json, logging, resource, sys, time, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
import numpy as np, onnxruntime, onnxplain
model, threads, jobs = json.loads(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.add_session_config_entry("session.force_spinning_stop", "1")
plain = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
given = plain.get_inputs()[0]
shape = [d if isinstance(d, int) else 1 for d in given.shape]
x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
built = {"forward": lambda: plain.run(None, {given.name: x})}
for line in sys.stdin:
    name = line.strip()
    if name not in built:
        method, more, _ = jobs[name]
        baseline = {} if method == "grad-cam" else {"baseline": 0.0}
        explainer = onnxplain.Explainer(model, method, threads=threads, **more, **baseline)
        built[name] = lambda explainer=explainer: explainer(x)
        built[name]()
    built[name]()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    began = time.perf_counter()
    built[name]()
    took = time.perf_counter() - began
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, flush=True)
"""
_IMPORT = (
    "import numpy, onnx, time; b = time.perf_counter(); import onnxplain; import onnxplain.cli"
)
_IMPORT += "; print(time.perf_counter() - b)"
_COLD = "import sys; from onnxplain.cli import main; sys.argv[0] = 'onnxplain'; main()"


class Side(NamedTuple):
    """One of the two: its name, what Python finds it by, and the process that runs its jobs."""

    name: str
    environment: dict[str, str]
    child: subprocess.Popen[str]

    def ask(self, job: str) -> tuple[float, float]:
        """Seconds and page faults of one call."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(f"{job}\n")
        self.child.stdin.flush()
        seconds, faults = self.child.stdout.readline().split()
        return float(seconds), float(faults)

    def fresh(self, *arguments: str) -> str:
        """What a new Python prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout


def unpacked(revision: str, folder: Path) -> Path:
    """A folder for PYTHONPATH that holds the package as it was in a revision.

    Raises:
        SystemExit: git knows no such revision.
    """
    if revision == "this checkout":
        folder.mkdir()
        (folder / "onnxplain").symlink_to(ROOT, target_is_directory=True)
        return folder
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True)
    if packed.returncode:
        raise SystemExit(f"{revision}: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder / "onnxplain", filter="data")
    return folder


def started(revision: str, folder: Path, model: str, threads: int) -> Side:
    environment = {**os.environ, "PYTHONPATH": str(unpacked(revision, folder))}
    # As where it is installed: compiled once.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    given = json.dumps([model, threads, JOBS])
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, given],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    return Side(revision, environment, child)


def in_turns(sides: list[Side], ask: Callable[[Side], Any], turns: int) -> list[list[Any]]:
    """What each side answers, side by side, after one answer that does not count."""
    answers: list[list[Any]] = [[] for _ in sides]
    for turn in range(turns + 1):
        for side, kept in zip(sides, answers, strict=True):
            time.sleep(0.05)
            answer = ask(side)
            if turn:
                kept.append(answer)
    return answers


def cold(side: Side, model: str) -> float:
    """Seconds of `explain` with one method on one photo, the process's start included."""
    with tempfile.TemporaryDirectory() as folder:
        photo, began = str(DEMO / "coffee.png"), time.perf_counter()
        side.fresh("-c", _COLD, "explain", model, photo, "-m", "grad-cam", "-o", folder)
        return time.perf_counter() - began


def rows_of(sides: list[Side], model: str, turns: int) -> list[list[str]]:
    """The table: forward passes are this environment's own on both sides."""
    rows, forward = [], 0.0
    for job in ("forward", *JOBS):
        answers = in_turns(sides, lambda side, job=job: side.ask(job), turns)
        passes = JOBS[job][2] if job in JOBS else 1
        new, old = (median(seconds for seconds, _ in kept) / passes for kept in answers)
        faults = [median(count for _, count in kept) for kept in answers]
        forward = forward or min(new, old)
        parts = [f"{1e3 * s:.1f} ms ({s / forward:.2f} forwards)" for s in (new, old)]
        rows.append([job, *parts, f"{new / old:.2f}", " / ".join(f"{n:.0f}" for n in faults)])
    quick = in_turns(sides, lambda side: float(side.fresh("-c", _IMPORT)), turns)
    starts = in_turns(sides, lambda side: cold(side, model), min(turns, 5))
    for name, answers in (("import", quick), ("cold start of explain, Grad-CAM", starts)):
        new, old = map(median, answers)
        rows.append([name, f"{new:.2f} s", f"{old:.2f} s", f"{new / old:.2f}", ""])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision")
    parser.add_argument("--model", default=str(DEMO / "efficientnet-lite0-w16.onnx"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=9)
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as work:
        names = ("this checkout", asked.revision)
        sides = [
            started(name, Path(work) / str(k), asked.model, asked.threads)
            for k, name in enumerate(names)
        ]
        try:
            rows = rows_of(sides, asked.model, asked.turns)
        finally:
            for side in sides:
                side.child.kill()
                side.child.wait()
    print(table(["", *names, "ratio", "page faults a call"], rows))


if __name__ == "__main__":
    main()
