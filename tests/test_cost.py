"""What the three best known methods cost, counted: each pinned number may only fall.

A number that rose is a loss of speed that no test of results would see. One that fell is pinned
anew. Times are `tests/benchmarks/against.py`'s.
"""

import platform
import sys
from functools import cache

import numpy as np
import pytest
from support import zoo
from support.costs import Work, faults, stages_of, traffic, work

import onnxplain

METHODS = {
    "grad-cam": {},
    "integrated-gradients": {"steps": 8, "baseline": 0.0},
    "deeplift": {"baseline": 0.0},
}
NETWORKS = ("demo", "resnet-torchscript13", "vit-torchscript13")
CASES = [(network, method) for network in NETWORKS for method in METHODS]
# Multiply-adds of one run behind the first one's, as parts of the file's own: of Grad-CAM, of a
# point of Integrated Gradients, of DeepLIFT's second image.
MOST_WORK = {"grad-cam": 1.1, "integrated-gradients": 2.0, "deeplift": 2.0}
# Of DeepLIFT where a product of two activations has a rule for each, in attention.
ATTENTION = {("vit-torchscript13", "grad-cam"): 1.5, ("vit-torchscript13", "deeplift"): 3.0}
# (network, method) -> runs of sessions in a call, and kB that leave them as arrays.
TRAFFIC = {}
# (network, method) -> changes of layout, and elementwise operators, in one run (x86-64, AVX2).
NODES = {}


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
    one(feeds, 0), one(feeds, 0)
    counted = min(faults(lambda: one(feeds, 0)) for _ in range(3))
    assert counted <= 200, f"a second call has {counted} page faults: who gives memory back?"


@pytest.mark.parametrize(("network", "method"), CASES)
def test_multiply_adds(network, method):
    own, whole = own_work(network).multiply_adds, whole_work(network, method).multiply_adds
    most = ATTENTION.get((network, method), MOST_WORK[method])
    print(network, method, "work", round(whole / own, 3))
    assert whole <= most * own * 1.02, f"{whole / own:.2f} forward passes of multiply-adds"


@pytest.mark.parametrize(("network", "method"), CASES)
def test_runs_and_bytes_between_them(network, method):
    one, feeds = explainer(network, method), one_row(network)
    one(feeds, 0)
    with traffic() as seen:
        one(feeds, 0)
    runs, kilobytes = seen[0].runs, round(seen[0].bytes_out / 1000)
    print(network, method, "traffic", (runs, kilobytes))
    most = TRAFFIC[network, method]
    assert runs <= most[0], f"sessions run {runs} times, {most[0]} before"
    assert kilobytes <= most[1], f"{kilobytes} kB leave sessions as arrays, {most[1]} before"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="layouts of x86-64")
@pytest.mark.parametrize(("network", "method"), CASES)
def test_nodes_of_the_optimised_graph(network, method):
    found = whole_work(network, method)
    print(network, method, "nodes", (found.reorders, found.elementwise))
    most = NODES[network, method]
    assert found.reorders <= most[0], f"{found.reorders} changes of layout, {most[0]} before"
    assert found.elementwise <= most[1], f"{found.elementwise} elementwise, {most[1]} before"


def test_every_default_method_is_pinned():
    names = {m.name for m in onnxplain.methods().values() if m.default}
    assert names == set(METHODS) == set(MOST_WORK)
    assert set(TRAFFIC) == set(NODES) == set(CASES)
