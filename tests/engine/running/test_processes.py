"""An explainer in servers: threads, forks, pools of workers, copies; and what explanations say."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.digits import digit
from support.folders import TESTS

import onnxplain
from onnxplain.engine.running.process import BUILDING
from onnxplain.graph_passes.methods import default_methods

METHODS = default_methods()
X = np.concatenate([digit(k) for k in (3, 7, 8)])
OPTIONS = {"providers": "cpu", "threads": 2}


def both(explainer: onnxplain.Explainer) -> tuple[onnxplain.Explanation, float]:
    return explainer(X), explainer.verify(X[:1]).outputs


def test_pickles_give_equal_numbers_in_spawned_workers(tmp_path: Path, model: Path) -> None:
    """Of a path, of bytes, of a file whose weights lie beside it, with options of every kind."""
    beside = tmp_path / "beside"
    beside.mkdir()
    proto = onnx.load(model)
    onnx.save(
        onnx.load(model),
        beside / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    explainers = [onnxplain.Explainer(model, method, **OPTIONS) for method in METHODS]
    explainers += [
        onnxplain.Explainer(model.read_bytes(), "deeplift", baseline=X[0] / 2, **OPTIONS),
        onnxplain.Explainer(proto, "integrated-gradients", steps=7, score="output", **OPTIONS),
        onnxplain.Explainer(beside / "m.onnx", "deeplift", rule="reveal-cancel", **OPTIONS),
    ]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        asked = [pool.submit(explainer, X) for explainer in explainers]
        found = [future.result(timeout=60) for future in asked]
    for explainer, e in zip(explainers, found, strict=True):
        assert e == explainer(X)


def test_a_pickle_of_a_path_is_small_and_of_bytes_holds_them(model: Path) -> None:
    weights = model.stat().st_size
    of_path = pickle.dumps(onnxplain.Explainer(model, **OPTIONS))
    of_bytes = pickle.dumps(onnxplain.Explainer(model.read_bytes(), **OPTIONS))
    assert len(of_path) < 2000 < weights < len(of_bytes)
    assert pickle.loads(of_path) is pickle.loads(of_path), "a pool builds it once"
    model.write_bytes(model.read_bytes() + b"\x12\x00")
    with pytest.raises(onnxplain.UnsupportedModelError, match="has changed"):
        pickle.loads(of_path)
    model.unlink()
    with pytest.raises(onnxplain.UnsupportedModelError, match="no such file"):
        pickle.loads(of_path)
    assert pickle.loads(of_bytes)(X).attribution.any()


@pytest.mark.parametrize("method", METHODS)
def test_copies(model: Path, method: str) -> None:
    explainer = onnxplain.Explainer(model, method, **OPTIONS)
    e = explainer(X)
    assert copy.deepcopy(explainer)(X) == e == copy.copy(explainer)(X)
    for same in (copy.copy(e), copy.deepcopy(e), pickle.loads(pickle.dumps(e))):
        assert same == e


FORKED = """
import os, pickle, sys
sys.path[:0] = {tests!r}
import onnxplain
from test_processes import OPTIONS, X, METHODS, both
explainers = [onnxplain.Explainer({model!r}, method, **OPTIONS) for method in METHODS]
several = [0, 1, 2]
before = [(both(e), e(X[:1], several)) for e in explainers]
read, write = os.pipe()
child = os.fork()
if not child:
    again = [(both(e), e(X[:1], several)) for e in explainers]
    os.write(write, b"same" if again == before else b"other")
    os._exit(0)
pid, status = os.waitpid(child, 0)
assert os.read(read, 9) == b"same" and status == 0
assert before == [(both(e), e(X[:1], several)) for e in explainers]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_goes_on(model: Path) -> None:
    """Sessions' threads stay in the parent; the child opens its own.

    It leaves by os._exit, as multiprocessing's children do: by sys.exit, ONNX Runtime itself waits
    for threads that only the parent has.
    """
    script = FORKED.format(tests=[str(Path(__file__).parent), str(TESTS)], model=str(model))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_others_are_at_work(model: Path) -> None:
    """What another thread holds at that moment, nobody in the child would ever let go."""
    explainer = onnxplain.Explainer(model, "deeplift", **OPTIONS)
    expected = explainer(X)
    going = True

    def busy() -> None:
        while going:
            onnxplain.Explainer(model, "grad-cam", **OPTIONS)(X)

    with ThreadPoolExecutor(2) as threads, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        working = [threads.submit(busy) for _ in range(2)]
        context = multiprocessing.get_context("fork")
        try:
            for _ in range(40):
                answers = context.SimpleQueue()
                child = context.Process(target=lambda q=answers: q.put(explainer(X) == expected))
                child.start()
                child.join(60)
                alive = child.is_alive()
                child.kill()
                assert not alive and child.exitcode == 0 and answers.get()
        finally:
            # Else the pool waits for them for ever.
            going = False
        for work in working:
            work.result()


@pytest.mark.parametrize("method", METHODS)
def test_many_threads_get_the_numbers_of_one(model: Path, method: str) -> None:
    """Of new explainers, whose sessions nobody has opened; with other targets and baselines."""
    serial = onnxplain.Explainer(model, method, **OPTIONS)
    starts = [None] if method == "grad-cam" else [None, 0.25, X[1] / 3]
    jobs = [
        {"x": X[rows : rows + 1], "target": target, "baseline": start}
        for rows in range(3)
        for target in (None, 4, [1, 2, 9])
        for start in starts
    ]
    expected = [serial(**job) for job in jobs]
    for _ in range(3):
        explainer = onnxplain.Explainer(model, method, **OPTIONS)
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda job, e=explainer: e(**job), jobs)) == expected
            models = list(threads.map(lambda _, e=explainer: e.model.ByteSize(), range(8)))
        assert len(set(models)) == 1


def test_explainers_are_made_by_many_threads(model: Path) -> None:
    expected = {method: onnxplain.Explainer(model, method, **OPTIONS)(X) for method in METHODS}
    with ThreadPoolExecutor(8) as threads:
        made = threads.map(lambda m: onnxplain.Explainer(model, m, **OPTIONS)(X), METHODS * 4)
        assert all(e == expected[e.method] for e in made)


def test_explanations_compare_by_value(model: Path) -> None:
    explainer = onnxplain.Explainer(model, "deeplift", **OPTIONS)
    e, other = explainer(X), explainer(X, 1)
    assert e == explainer(X) and e != other and e != "e" and e != explainer(X[:1])
    holed = copy.deepcopy(e)
    holed.attribution[0] = np.nan
    assert holed != e and holed == copy.deepcopy(holed)
    with pytest.raises(TypeError, match="unhashable"):
        hash(e)


@pytest.mark.parametrize("method", METHODS)
def test_repr_is_a_screen(model: Path, method: str) -> None:
    explainer = onnxplain.Explainer(model, method, **OPTIONS)
    many = np.concatenate([X] * 40)
    e = explainer(many, 3)
    holed = copy.deepcopy(e)
    holed.attribution[:] = np.nan
    shown = [explainer, e, holed, explainer.verify(X[:1]), onnxplain.inspect(model)]
    for text in map(repr, shown):
        assert len(text) < 2000 and text.count("\n") < 40
        assert all(len(line) < 800 for line in text.splitlines())
    assert method in repr(explainer) and f"float32{list(e.attribution.shape)} from" in repr(e)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_what_is_being_built(model: Path) -> None:
    """A child finds the locks of ONNX Runtime as they were; the parent goes on."""
    onnxplain.Explainer(model, "saliency", **OPTIONS)  # the first lock that is taken
    order: list[str] = []
    began, may_end = threading.Event(), threading.Event()

    def build() -> None:
        with BUILDING:
            began.set()
            may_end.wait(30)
            order.append("built")

    building = threading.Thread(target=build)
    building.start()
    began.wait(30)
    threading.Timer(0.2, may_end.set).start()
    child = os.fork()
    if not child:
        with BUILDING:
            os._exit(7)
    order.append("forked")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    building.join()
    assert order == ["built", "forked"]
    with BUILDING:
        assert onnxplain.Explainer(model, "saliency", **OPTIONS)(X) is not None
