"""What the three best known methods cost, counted: each pinned number may only fall.

A number that rose is a loss of speed that no test of results would see. One that fell is pinned
anew. Times are `tests/benchmarks/against.py`'s.
"""

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support import zoo
from support.costs import Work, faults, stages_of, traffic, work

import onnxplain
from onnxplain.models.shipped import demo_model, demo_photos

METHODS = {
    "grad-cam": {},
    "integrated-gradients": {"steps": 8, "baseline": 0.0},
    "deeplift": {"baseline": 0.0},
}
NETWORKS = ("demo", "resnet-torchscript17-dynamic", "vit-torchscript17-dynamic")
CASES = [(network, method) for network in NETWORKS for method in METHODS]
RESNET, VIT = NETWORKS[1:]
# Multiply-adds of one run, as parts of the file's own: of Grad-CAM, of a point of Integrated
# Gradients, of DeepLIFT's second image. Asked for are 1.1, 2.0 and 2.0. Above that lie the first
# layer's way back (3 channels in 4 phases fill blocks of 8, which counts in a ResNet of 0.8
# million multiply-adds), and in attention what leads from the scores to the map.
WORK = {
    ("demo", "grad-cam"): 1.002,
    ("demo", "integrated-gradients"): 2.034,
    ("demo", "deeplift"): 2.036,
    (RESNET, "grad-cam"): 1.001,
    (RESNET, "integrated-gradients"): 2.511,
    (RESNET, "deeplift"): 2.507,
    (VIT, "grad-cam"): 1.408,
    (VIT, "integrated-gradients"): 2.068,
    (VIT, "deeplift"): 2.068,
}
# Runs of sessions in a call, and kB that leave them as arrays.
TRAFFIC = {
    ("demo", "grad-cam"): (1, 205),
    ("demo", "integrated-gradients"): (5, 9),
    ("demo", "deeplift"): (1, 606),
    (RESNET, "grad-cam"): (1, 8),
    (RESNET, "integrated-gradients"): (5, 0),
    (RESNET, "deeplift"): (1, 23),
    (VIT, "grad-cam"): (1, 3),
    (VIT, "integrated-gradients"): (5, 0),
    (VIT, "deeplift"): (1, 9),
}
# Changes of layout, and elementwise operators, in one run (x86-64 without AVX-512). One of those
# looks at the target alone.
NODES = {
    ("demo", "grad-cam"): (1, 5),
    ("demo", "integrated-gradients"): (48, 87),
    ("demo", "deeplift"): (143, 240),
    (RESNET, "grad-cam"): (2, 6),
    (RESNET, "integrated-gradients"): (47, 62),
    (RESNET, "deeplift"): (51, 111),
    (VIT, "grad-cam"): (1, 50),
    (VIT, "integrated-gradients"): (3, 92),
    (VIT, "deeplift"): (3, 322),
}


def blocks_of_eight() -> bool:
    """Whether ONNX Runtime blocks channels as where NODES was counted."""
    if platform.machine() not in ("x86_64", "AMD64") or sys.platform != "linux":
        return False
    return "avx512f" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")


@cache
def explainer(network, method):
    model = onnxplain.models.shipped.demo_model() if network == "demo" else zoo.model(network)
    return onnxplain.Explainer(model, method, threads=1, **METHODS[method])


@cache
def one_row(network):
    if network == "demo":
        x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
        return {"input": x}
    return {name: value[:1] for name, value in zoo.feeds(network).items()}


@cache
def own_work(network):
    """The file's own."""
    model = onnxplain.models.shipped.demo_model() if network == "demo" else zoo.model(network)
    return work(model, one_row(network))


@cache
def whole_work(network, method) -> Work:
    """Of one run of the graph that repeats, or else of all of them."""
    stages = stages_of(explainer(network, method), one_row(network))
    return work(*stages[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="counts the kernel's page faults")
@pytest.mark.parametrize(("network", "method"), CASES)
def test_no_memory_is_asked_for_again(network, method):
    one, feeds = explainer(network, method), one_row(network)
    for _ in range(2):
        one(feeds, 0)
    counted = min(faults(lambda: one(feeds, 0)) for _ in range(3))
    assert counted <= 200, f"a second call has {counted} page faults: who gives memory back?"


@pytest.mark.parametrize(("network", "method"), CASES)
def test_multiply_adds(network, method):
    part = whole_work(network, method).multiply_adds / own_work(network).multiply_adds
    most = WORK[network, method]
    assert part <= most, f"multiply-adds of {part:.3f} forward passes, {most} before"


@pytest.mark.parametrize(("network", "method"), CASES)
def test_runs_and_bytes_between_them(network, method):
    one, feeds = explainer(network, method), one_row(network)
    one(feeds, 0)
    with traffic() as seen:
        one(feeds, 0)
    runs, kilobytes = seen[0].runs, round(seen[0].bytes_out / 1000)
    most = TRAFFIC[network, method]
    assert runs <= most[0], f"sessions run {runs} times, {most[0]} before"
    assert kilobytes <= most[1], f"{kilobytes} kB leave sessions as arrays, {most[1]} before"


@pytest.mark.skipif(not blocks_of_eight(), reason="counted on x86-64 without AVX-512")
@pytest.mark.parametrize(("network", "method"), CASES)
def test_nodes_of_the_optimised_graph(network, method):
    found, most = whole_work(network, method), NODES[network, method]
    assert found.reorders <= most[0], f"{found.reorders} changes of layout, {most[0]} before"
    assert found.elementwise <= most[1], f"{found.elementwise} elementwise, {most[1]} before"


def test_every_default_method_is_pinned():
    names = {m.name for m in onnxplain.methods().values() if m.default}
    assert names == set(METHODS)
    assert set(WORK) == set(TRAFFIC) == set(NODES) == set(CASES)


# Libraries that `explain` with one method brings: each of others would lengthen its cold start
# (scipy.stats takes 0.4 s). What a method, a page or a format needs beyond, it asks for there.
LIBRARIES = {
    *("click", "cmap", "filelock", "google", "ml_dtypes", "numpy", "onnx", "onnx_graphsurgeon"),
    *("onnxruntime", "PIL", "typing_extensions"),
}


def test_what_a_cold_start_brings(tmp_path):
    model, photo = demo_model(), demo_photos()[0]
    script = (
        "import sys; before = set(sys.modules); from importlib import metadata\n"
        "from onnxplain.cli import main\n"
        f"sys.argv = ['onnxplain', 'explain', {str(model)!r}, {str(photo)!r}, '-m', 'grad-cam',"
        f" '-o', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "brought = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(brought & set(metadata.packages_distributions())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    brought = set(done.stdout.splitlines()[-1].split()) - {"onnxplain"}
    assert brought <= LIBRARIES, f"cold start brings {sorted(brought - LIBRARIES)}, too"
