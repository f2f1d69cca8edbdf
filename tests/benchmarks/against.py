"""What this checkout costs beside another revision, in turns, in one run.

    python tests/benchmarks/against.py REV [--model FILE] [--threads N] [--turns 9]
        [--processes 4]

Both run on the packages of this environment, each in a process of its own that waits while the
other works: the three best known methods (the second call on), `import onnxplain`, and `explain`
with one method from a cold start. A ratio above 1 says that this checkout is slower. Page faults
are those of one call; they count the same on a busy machine, where times only hint.

Where two threads share a core, one and the same forward pass takes 2.6 ms in one process and 8.5 in
the next. So each side runs in several processes, one after the other, and of the processes'
medians the smallest counts.

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
    """One of the two: its name, and what Python finds it by."""

    name: str
    environment: dict[str, str]

    def fresh(self, *arguments: str) -> str:
        """What a new Python prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def started(self, model: str, threads: int) -> subprocess.Popen[str]:
        """A process that waits for names of jobs."""
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps([model, threads, JOBS])],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tempfile.gettempdir(),
        )


def ask(child: subprocess.Popen[str], job: str) -> tuple[float, float]:
    """Seconds and page faults of one call."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(f"{job}\n")
    child.stdin.flush()
    seconds, faults = child.stdout.readline().split()
    return float(seconds), float(faults)


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


def side_of(revision: str, folder: Path) -> Side:
    """A revision, unpacked into a folder."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked(revision, folder))}
    # As where it is installed: compiled once.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return Side(revision, environment)


def in_turns(sides: list[Any], asked: Callable[[Any], Any], turns: int) -> list[list[Any]]:
    """What each side answers, side by side, after one answer that does not count."""
    answers: list[list[Any]] = [[] for _ in sides]
    for turn in range(turns + 1):
        for side, kept in zip(sides, answers, strict=True):
            time.sleep(0.05)
            answer = asked(side)
            if turn:
                kept.append(answer)
    return answers


def cold(side: Side, model: str) -> float:
    """Seconds of `explain` with one method on one photo, the process's start included."""
    with tempfile.TemporaryDirectory() as folder:
        photo, began = str(DEMO / "coffee.png"), time.perf_counter()
        side.fresh("-c", _COLD, "explain", model, photo, "-m", "grad-cam", "-o", folder)
        return time.perf_counter() - began


def measured(sides: list[Side], model: str, threads: int, turns: int) -> dict[str, Any]:
    """Job -> the answers of each side, of a new process each."""
    children = [side.started(model, threads) for side in sides]
    try:
        jobs = ("forward", *JOBS)
        return {job: in_turns(children, lambda c, job=job: ask(c, job), turns) for job in jobs}
    finally:
        for child in children:
            child.kill()
            child.wait()


def rows_of(
    sides: list[Side], model: str, threads: int, turns: int, processes: int
) -> list[list[str]]:
    """The table: forward passes are this environment's own on both sides."""
    rows, forward = [], 0.0
    runs = [measured(sides, model, threads, turns) for _ in range(processes)]
    for job in ("forward", *JOBS):
        passes = JOBS[job][2] if job in JOBS else 1
        of_each = list(zip(*(run[job] for run in runs), strict=True))
        new, old = (min(median(s for s, _ in kept) for kept in own) / passes for own in of_each)
        faults = [median(count for kept in own for _, count in kept) for own in of_each]
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
    parser.add_argument("--processes", type=int, default=4)
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as work:
        names = ("this checkout", asked.revision)
        sides = [side_of(name, Path(work) / str(k)) for k, name in enumerate(names)]
        rows = rows_of(sides, asked.model, asked.threads, asked.turns, asked.processes)
    print(table(["", *names, "ratio", "page faults a call"], rows))


if __name__ == "__main__":
    main()
