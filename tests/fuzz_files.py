"""Damaged files in a process of their own: `python tests/fuzz_files.py --inputs 5000 [--seed 0]`.

Models, cards, images, tables, names and whole runs of the command line. Whatever comes: no
traceback, one line for each complaint, exit status 0, 1 or 2, at most 60 s and 4 GB. Prints the
counts, the worst ten files and what was found, whose files it keeps (`--keep FOLDER`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from support.damage import damage_message, damaged_bytes, damaged_json
from support.drawn_models import drawn_model
from support.hostile_inputs import DRAWERS

import onnxplain
import onnxplain.engine.jobs.explain
import onnxplain.engine.jobs.export
import onnxplain.engine.jobs.trace
from onnxplain import cli
from onnxplain.engine.commandline.terminal import log_to_stderr
from onnxplain.graph_passes.methods import default_methods

SECONDS, BYTES = 60, 4 * 2**30
KINDS = ("model", "card", "image", "api", "drawn", *DRAWERS)
_LARGEST = 2**20
# What only a terminal's commands, or lines that are no complaint of ours, look like.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


class Outcome(NamedTuple):
    """What became of a process: exit status (minus the signal that killed it), time and memory."""

    status: int
    seconds: float
    peak: int
    out: str
    err: str


class Finding(NamedTuple):
    """One input: what was damaged, what became of it, and what is wrong about that."""

    kind: str
    outcome: Outcome
    problem: str | None


def apart(work: Callable[[], int | None], folder: Path) -> Outcome:
    """Run `work` in a forked child, with at most 4 GB, for at most 60 s; it returns the status."""
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        status = 70
        try:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            sys.stdout, sys.stderr = (os.fdopen(k, "w", closefd=False) for k in (1, 2))
            resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
            status = work() or 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not by sys.exit: ONNX Runtime waits at its end for threads that only the parent has.
            os._exit(status)
    usage, code = None, 0
    while usage is None:
        done, code, found = os.wait4(child, os.WNOHANG)
        if done:
            usage = found
        elif time.monotonic() - started > SECONDS:
            os.kill(child, signal.SIGKILL)
            _, code, usage = os.wait4(child, 0)
        else:
            time.sleep(0.01)
    texts = ((folder / name).read_text("utf-8", "backslashreplace") for name in ("out", "err"))
    status = os.waitstatus_to_exitcode(code)
    return Outcome(status, time.monotonic() - started, usage.ru_maxrss * 1024, *texts)


def problem_of(outcome: Outcome, folder: Path) -> str | None:
    """What is wrong about how a run ended, or None."""
    if outcome.seconds > SECONDS:
        return f"over {SECONDS} s"
    if outcome.status not in (0, 1, 2):
        return f"exit status {outcome.status}"
    if outcome.peak > BYTES:
        return f"{outcome.peak / 2**30:.1f} GB"
    for word in ("Traceback", "internal error", "out of memory", "bad_alloc", "Unable to allocate"):
        if word in outcome.err:
            return word
    lines = outcome.err.split("\n")
    for line in lines:
        if line and not line.startswith(("onnxplain: ", "Usage: ", "refused: ")):
            return f"a line that is not ours: {line[:200]}"
    if _CONTROL.search(outcome.out + outcome.err):
        return "control characters"
    if outcome.status and not outcome.err.strip():
        return "no reason given"
    results = folder / "results" / "results.json"
    if results.exists():
        try:
            json.loads(results.read_bytes())
        except ValueError as error:
            return f"results.json: {error}"
    return None


@cache
def models() -> list[bytes]:
    """Every operator's own tests."""
    from support.node_suite import node_tests

    found = [test.model.SerializeToString() for test in node_tests()]
    return [data for data in found if len(data) < _LARGEST // 4]


@cache
def networks() -> list[bytes]:
    """Random networks of a few layers."""
    from fuzz import built_from

    return [built_from(k).model.SerializeToString() for k in range(60)]


@cache
def network() -> tuple[bytes, dict[str, Any]]:
    """The model of digits and its card, for runs of the command line."""
    from support.digits import CARD, DATA

    return (DATA / "jax_digits.onnx").read_bytes(), CARD


@cache
def classifiers() -> list[bytes]:
    """Models of images: digits, a text's orientation, and small ones of each make."""
    from support.digits import DATA

    return [network()[0], (DATA / "ch_ppocr_mobile_v2.0_cls_mobile.onnx").read_bytes(), *made()]


def made() -> list[bytes]:
    """Of 8 x 8 gray pixels: plain, with an If, with a Loop, with a function, quantised."""
    plain = """
        <ir_version: 9, opset_import: ["" : 21, "own" : 1]>
        net (float[N, 8, 8, 1] x) => (float[N, 3] y)
        <float[4, 1, 3, 3] k = {%s}, float[4, 3] w = {1,2,3,4,5,6,-1,-2,-3,0.5,0.25,0.125},
         float s = {0.05}, uint8 z = {128}, int64 n = {3}, bool go = {1}>
        { t = Transpose <perm = [0, 3, 1, 2]> (x)
          c = Conv <pads = [1, 1, 1, 1]> (t, k)  r = Relu (c)
          %s
          p = GlobalAveragePool (m)  f = Flatten (p)
          l = MatMul (f, w)  y = Softmax <axis = 1> (l) }
    """
    kernel = ", ".join(str(k % 7 - 3) for k in range(36))
    middles = {
        "": "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)",
        "if": """h = ReduceMax <keepdims = 0> (r)  b = Greater (h, s)
            m = If (b) <then_branch = yes () => (float[N, 4, 8, 8] a) { a = Sigmoid (r) },
                        else_branch = no () => (float[N, 4, 8, 8] e) { e = Tanh (r) }>""",
        "loop": """m = Loop (n, go, r) <body = turn (int64 i, bool c0, float[N, 4, 8, 8] v0) =>
            (bool c1, float[N, 4, 8, 8] v1) { c1 = Identity (c0)  v1 = Softplus (v0) }>""",
        "function": "m = own.twice (r)",
        "quantised": "q = QuantizeLinear (r, s, z)  m = DequantizeLinear (q, s, z)",
    }
    function = """<domain: "own", opset_import: ["" : 21]> twice (a) => (d)
        { b = Exp (a)  d = Add (a, b) }"""
    return [
        onnx.parser.parse_model(
            plain % (kernel, middle) + (function if name == "function" else "")
        ).SerializeToString()
        for name, middle in middles.items()
    ]


@cache
def pictures() -> list[bytes]:
    """Small pictures of every kind that Pillow writes here."""
    colours = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000"):
        for mode in ("RGB", "L", "P", "1", "CMYK", "I;16", "RGBA", "F"):
            buffer = io.BytesIO()
            try:
                Image.fromarray(colours).convert(mode).save(buffer, kind)
            except (OSError, ValueError, KeyError, RuntimeError):
                continue
            found.append(buffer.getvalue())
    return found


def damaged_model(random: Random, data: bytes) -> bytes:
    """Another file: its bytes changed, or what they say."""
    if random.random() < 0.3:
        return damaged_bytes(random, data)
    model = onnx.ModelProto.FromString(data)
    damage_message(random, model)
    changed = model.SerializeToString()
    return changed if len(changed) < _LARGEST else damaged_bytes(random, data)


def write_case(random: Random, kind: str, folder: Path) -> Callable[[], int | None]:
    """Write damaged files into a folder; returns what is to be done with them."""
    data, card = network()
    model, image, beside = folder / "m.onnx", folder / "image.png", folder / "m.json"
    photo = random.choice(pictures())
    text = json.dumps(card).encode()
    if kind in DRAWERS:
        model.write_bytes(data)
        beside.write_bytes(text)
        image.write_bytes(pictures()[0])
        drawn = Random(random.randrange(2**32))
        # There, and not here: the libraries that write tables have threads, which no fork takes.
        return lambda: cli.main(DRAWERS[kind](drawn, folder, str(model), pictures()))
    if kind == "drawn":
        data = drawn_model(random)
    elif kind in ("model", "api"):
        whole = classifiers()
        if kind == "api":
            whole = random.choice((whole, networks(), models()))
        data = damaged_model(random, random.choice(whole))
    elif kind == "card":
        text = json.dumps(damaged_json(random, card)).encode()
        text = damaged_bytes(random, text) if random.random() < 0.2 else text
    else:
        photo = damaged_bytes(random, photo)
    model.write_bytes(data)
    image.write_bytes(photo)
    if kind in ("api", "drawn"):
        number = random.randrange(2**32)
        return lambda: by_python(number, str(model))
    if kind == "card" and random.random() < 0.3:
        held = onnx.ModelProto.FromString(data)
        onnx.helper.set_model_props(held, {"onnxplain.card": text.decode("utf-8", "replace")})
        model.write_bytes(held.SerializeToString())
    else:
        beside.write_bytes(text)
    arguments = command(random, str(model), str(image), folder)
    return lambda: cli.main(arguments)


def command(random: Random, model: str, image: str, folder: Path) -> list[str]:
    """Arguments of a run, most often `explain`."""
    method = random.choice(default_methods())
    kind = random.randrange(8)
    if kind == 0:
        return ["inspect", model, *random.choice(([], ["--json"], ["--trace-delta", image]))]
    if kind == 1:
        return ["export", model, "-m", method, "-o", str(folder / "exported.onnx")]
    options = ["-o", str(folder / "results"), "--provider", "cpu", "--steps", "4"]
    if random.random() < 0.6:
        options += ["-m", method]
    if random.random() < 0.3:
        options += ["-t", random.choice(("rank2", "3", "three", "1,2", "top99", "rank3"))]
    if random.random() < 0.3:
        options += ["--baseline", random.choice(("white", "blur", "mean", image))]
    return ["explain", model, image, *options, *random.choice(([], ["--json"], ["--no-pictures"]))]


def by_python(number: int, path: str) -> int:
    """Explain, inspect and differentiate in Python; an OnnxplainError is status 2."""
    log_to_stderr()
    status, random = 0, np.random.default_rng(number)

    def trial(work: Callable[[], Any]) -> Any:
        nonlocal status
        try:
            return work()
        except onnxplain.OnnxplainError as error:
            print(f"refused: {error}", file=sys.stderr)
            status = 2
        return None

    trial(lambda: onnxplain.inspect(path))
    trial(lambda: onnxplain.vjp(path))
    for method in default_methods():
        options: dict[str, Any] = {} if method == "grad-cam" else {"baseline": 0}
        options |= {"steps": 3} if method == "integrated-gradients" else {}
        explainer = trial(
            lambda m=method, o=options: onnxplain.Explainer(path, m, providers="cpu", **o)
        )
        if explainer is not None:
            trial(lambda e=explainer: e(feeds_of(e, random), target_of(e)))
    return status


def feeds_of(explainer: onnxplain.Explainer, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Something for every input of the file."""
    from onnxplain.graph_passes.graph.tensors import numpy_type

    found = {}
    for tensor in explainer.subject.graph.inputs:
        shape = [d if isinstance(d, int) else 2 for d in tensor.shape or []]
        if int(np.prod(shape, dtype=object)) > 2**24:
            raise onnxplain.InvalidInputError("an input of this size is not tried")
        values = random.standard_normal(shape)
        found[tensor.name] = np.asarray(values * 3).astype(numpy_type(tensor.dtype))
    return found


def target_of(explainer: onnxplain.Explainer) -> tuple[int, ...] | None:
    """The first score, where no class names one."""
    subject = explainer.subject
    return (0,) * (len(subject.logits.shape) - 1) if subject.by_index else None


def check(random: Random, kind: str, keep: Path | None = None) -> Finding:
    """Damage, run, judge; what is wrong is kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = apart(write_case(random, kind, folder), folder)
        problem = problem_of(outcome, folder)
        if keep is not None and (problem is not None or outcome.seconds > 10):
            place = keep / f"{kind}-{len(list(keep.iterdir()))}"
            shutil.copytree(folder, place, symlinks=True)
    return Finding(kind, outcome, problem)


def findings(count: int, start: int, keep: Path | None, kinds: Sequence[str]) -> list[Finding]:
    """As many inputs as asked, the same for the same `start`."""
    found: list[Finding] = []

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(list(kinds)), st.randoms(use_true_random=True))
    def one(kind: str, random: Random) -> None:
        found.append(check(random, kind, keep))
        problem = found[-1].problem
        if problem is not None:
            print(f"{len(found)} {found[-1].kind}: {problem}", flush=True)

    one()
    return found


def main() -> int:
    """Run, and print what was found; exit status 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    found = findings(options.inputs, options.seed, options.keep, options.kind or KINDS)
    counts = Counter((f.kind, f.outcome.status) for f in found)
    print(f"{len(found)} inputs")
    for (kind, status), number in sorted(counts.items()):
        print(f"  {kind:8} exit status {status}: {number}")
    worst = sorted(found, key=lambda f: -max(f.outcome.seconds / SECONDS, f.outcome.peak / BYTES))
    for finding in worst[:10]:
        _, seconds, peak, _, err = finding.outcome
        print(f"  {seconds:5.1f} s {peak / 2**20:5.0f} MB {finding.kind:8} {err.strip()[:120]}")
    wrong = [finding for finding in found if finding.problem is not None]
    print(f"wrong: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
