"""What every method costs, in plain forward passes and beside Captum.

    python tests/benchmarks/run.py [--network NAME] [--repeats 9] [--part cost|process|throughput]
                                   [--provider cpu|cuda]

A forward is the plain file in ONNX Runtime at batch 1, with as many threads. Every two things that
are compared take turns, and ratios are those of their medians; quartiles in brackets. The last
columns say how much longer PyTorch's own forward pass, Captum and shap take. With `--provider cuda`
all of them run on that device, in float32 without TensorFloat-32; without one the script says why
and ends with status 2.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import captum.attr
import numpy as np
import onnxruntime
import torch
from measure import Time, alternate, machine, table
from subjects import NETWORKS, Network

import onnxplain
from onnxplain.engine.running.session import CUDA, cuda_problem

STEPS = 50
# Captum as it is called, Captum with an internal batch size of 4, shap's DeepExplainer.
OTHERS = ("captum", "in fours", "shap")
BATCHES = (1, 2, 4, 8, 16)
METHODS: dict[str, dict[str, Any]] = {
    "grad-cam": {},
    "integrated-gradients": {"steps": 8},
    "deeplift": {},
}
_CHILD = """
import resource, sys, time, numpy as np
began = time.perf_counter()
import onnx
known = time.perf_counter()
import onnxplain
imported = time.perf_counter()
{work}
print(imported - known, time.perf_counter() - imported)
try:
    # On Linux the peak that getrusage tells starts at that of the process which started this one.
    with open("/proc/self/status") as file:
        print(next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10)
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (2**20 if sys.platform == "darwin" else 2**10))
"""


class Where(NamedTuple):
    """What everything runs on: "cpu" or "cuda", and how many threads of the CPU."""

    provider: str
    threads: int

    def torch(self, array: np.ndarray) -> torch.Tensor:
        """The array as a tensor there."""
        return torch.from_numpy(array).to(self.provider)

    def finished(self, job: Callable[[], Any]) -> Callable[[], Any]:
        """PyTorch's job and the wait for its end: a GPU's goes on behind the call."""
        if self.provider == "cpu":
            return job

        def whole() -> Any:
            result = job()
            torch.cuda.synchronize()
            return result

        return whole


def explainer_of(network: Network, method: str, where: Where, **options) -> onnxplain.Explainer:
    given = {"providers": where.provider, "threads": where.threads, **options}
    return onnxplain.Explainer(network.model, method, **given)


def forward_of(network: Network, where: Where) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = where.threads
    # As in onnxplain's own: else this session's idle threads would slow down what is beside it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if where.provider == "cuda":
        providers.insert(0, (CUDA, {"use_tf32": "0"}))
    session = onnxruntime.InferenceSession(network.model, options, providers=providers)
    name, x = session.get_inputs()[0].name, network.x[:1]
    return lambda: session.run(None, {name: x})


def shap_of(network: Network, where: Where) -> dict[str, Callable]:
    """Shap's DeepExplainer for the top class, where shap is installed."""
    try:
        shap = importlib.import_module("shap")
    except ImportError:
        return {}
    deep = shap.DeepExplainer(network.module, where.torch(network.baseline))
    inputs = where.torch(network.x[:1])
    # Its own check of the sum fails on activations that it has no rule for, such as ReLU6.
    return {"shap": lambda: deep.shap_values(inputs, ranked_outputs=1, check_additivity=False)}


def jobs_of(network: Network, where: Where) -> dict[str, tuple[dict[str, Callable], int]]:
    """Figure -> what takes turns in it ("ours", "captum"), and how many passes that is."""
    x, start = network.x[:1], network.baseline
    inputs, torch_start, finished = where.torch(x), where.torch(start), where.finished
    with torch.no_grad():
        ranked = network.module(inputs)[0].argsort(descending=True)[:5].tolist()
    top = ranked[0]
    cam = explainer_of(network, "grad-cam", where)
    ig = explainer_of(network, "integrated-gradients", where, steps=STEPS)
    lift = explainer_of(network, "deeplift", where, baseline=start)
    captum_cam = captum.attr.LayerGradCam(network.module, network.layer)
    captum_ig = captum.attr.IntegratedGradients(network.module)
    captum_lift = captum.attr.DeepLift(network.module)
    resize = captum.attr.LayerAttribution.interpolate
    five, size = np.repeat(x, 5, axis=0), x.shape[2:]
    return {
        "Grad-CAM": (
            {
                "ours": lambda: cam(x, top),
                "captum": finished(lambda: resize(captum_cam.attribute(inputs, top), size)),
            },
            1,
        ),
        f"Integrated Gradients, a step of {STEPS}": (
            {
                "ours": lambda: ig(x, top, baseline=start),
                "captum": finished(
                    lambda: captum_ig.attribute(inputs, torch_start, top, n_steps=STEPS)
                ),
                "in fours": finished(
                    lambda: captum_ig.attribute(
                        inputs, torch_start, top, n_steps=STEPS, internal_batch_size=4
                    )
                ),
            },
            STEPS,
        ),
        "DeepLIFT, fixed baseline": (
            {
                "ours": lambda: lift(x, top),
                "captum": finished(lambda: captum_lift.attribute(inputs, torch_start, top)),
                **shap_of(network, where),
            },
            1,
        ),
        "Grad-CAM, five targets of one image": (
            {
                "ours": lambda: cam(five, ranked),
                "captum": finished(
                    lambda: [captum_cam.attribute(inputs, t) for t in ranked],
                ),
            },
            1,
        ),
    }


def costs(network: Network, where: Where, repeats: int) -> str:
    """Every figure in forwards and beside Captum."""
    forward = forward_of(network, where)
    module, inputs = network.module.to(where.provider), where.torch(network.x[:1])

    def eager() -> Any:
        with torch.no_grad():
            return module(inputs)

    times = alternate({"ours": forward, "captum": where.finished(eager)}, 3 * repeats)
    eagerly = f"{times['captum'] / times['ours']:.1f}x"
    rows = [["forward", str(times["ours"]), "1", eagerly, "", ""]]
    for figure, (jobs, passes) in jobs_of(network, where).items():
        several = passes > 1
        # Forwards are timed beside each figure again: the load of the machine changes.
        times = alternate(
            {"forward": forward, **jobs}, max(2, repeats // 3) if several else repeats
        )
        one = Time(*(seconds / passes for seconds in times["ours"]))
        rows.append(
            [
                figure,
                str(one),
                f"{one / times['forward']:.2f}",
                *(f"{times[k] / times['ours']:.1f}x" if k in times else "" for k in OTHERS),
            ]
        )
    heads = [network.name, "one takes", "forwards", "PyTorch, Captum", "Captum in fours", "shap"]
    return table(heads, rows)


def child(work: str) -> tuple[float, float, float]:
    """Seconds for `import onnxplain` and for `work`, and peak MiB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(work=work)], capture_output=True, text=True, check=True
    )
    imported, seconds, peak = map(float, done.stdout.split()[-3:])
    return imported, seconds, peak


def processes(network: Network, where: Where, repeats: int, steps: tuple[int, int]) -> str:
    """Building, memory and import, each measured in fresh processes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = network.model
        if isinstance(path, bytes):
            path = str(Path(folder) / "model.onnx")
            Path(path).write_bytes(network.model)  # type: ignore[arg-type]

        def build(method: str, **options) -> str:
            return (
                f"e = onnxplain.Explainer({path!r}, {method!r}, providers={where.provider!r}, "
                f"threads={where.threads}, **{options!r})"
            )

        imports, runs = [], max(2, repeats // 3)
        for method in METHODS:
            found = [child(f"{build(method)}; e._default_plan.provider") for _ in range(runs)]
            imports += [imported for imported, _, _ in found]
            seconds = np.median([seconds for _, seconds, _ in found])
            rows.append([f"building {method} and its first session", f"{seconds:.2f} s"])
        one = f"; e(np.zeros({network.baseline.shape}, np.float32), 0, baseline=-1.0)"
        for quadrature in ("gauss-legendre", "adaptive"):
            peaks = []
            for count in (2, *steps):
                options = {"steps": count, "quadrature": quadrature}
                peaks.append(child(build("integrated-gradients", **options) + one)[2])
            figures = ", ".join(
                f"{peak:.0f} MiB at {count}" for peak, count in zip(peaks, (2, *steps), strict=True)
            )
            rows.append([f"peak memory of {quadrature} steps", figures])
        rows.append(["import onnxplain beyond numpy and onnx", f"{np.median(imports):.2f} s"])
    return table([network.name, "process"], rows)


def _all(jobs: Sequence[Callable]) -> None:
    for job in jobs:
        job()


def throughput(network: Network, where: Where, repeats: int) -> str:
    """Milliseconds for an image, N at once; a ratio to N images one by one in brackets."""
    rows = []
    # What fills a GPU takes more of its memory, and more images at once.
    batches = BATCHES if where.provider == "cpu" else (*BATCHES, 32, 64)
    copies = -(-batches[-1] // len(network.x))
    images = np.concatenate([network.x] * copies)[: batches[-1]]
    for method, options in METHODS.items():
        explainer = explainer_of(network, method, where, **options)
        extra = {} if method == "grad-cam" else {"baseline": network.baseline}
        row = [f"{method}, {options['steps']} steps" if options else method]
        for count in batches:
            x = images[:count]

            at_once = partial(explainer, x, 0, **extra)
            singles = [partial(explainer, x[i : i + 1], 0, **extra) for i in range(count)]
            enough = max(3, repeats // (1 if count < 8 else 2))
            jobs = {"at once": at_once, "one by one": partial(_all, singles)}
            times = alternate(jobs, enough)
            each = 1e3 * times["at once"].median / count
            row.append(f"{each:.1f} ms ({times['at once'] / times['one by one']:.2f})")
        rows.append(row)
    return table([network.name, *(f"N = {count}" for count in batches)], rows)


def on_a_device() -> None:
    """Exact products in PyTorch too; ends with status 2 where there is no device to run on."""
    problem = cuda_problem()
    if problem is None and not torch.cuda.is_available():
        problem = "this PyTorch sees no CUDA device"
    if problem is not None:
        print(f"no CUDA: {problem}", file=sys.stderr)
        sys.exit(2)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--part", action="append", choices=["cost", "process", "throughput"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--provider", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--memory-steps", type=int, nargs=2, default=(20, 2000))
    chosen = parser.parse_args()
    parts = chosen.part or ["cost", "process", "throughput"]
    if chosen.provider == "cuda":
        on_a_device()
    where = Where(chosen.provider, chosen.threads)
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")  # Captum warns of the hooks that it sets
    logging.getLogger("onnxplain").setLevel(logging.ERROR)
    print(machine())
    if where.provider == "cuda":
        print(f"Everything on {torch.cuda.get_device_name()}")
    for name in chosen.network or NETWORKS:
        network = NETWORKS[name]()
        if "cost" in parts:
            print("\n" + costs(network, where, chosen.repeats), flush=True)
        if "process" in parts:
            steps = tuple(chosen.memory_steps)
            print("\n" + processes(network, where, chosen.repeats, steps), flush=True)
        if "throughput" in parts:
            print("\n" + throughput(network, where, chosen.repeats), flush=True)


if __name__ == "__main__":
    main()
