"""One arena for the process: it acts, gives back, and lives with forks and with others' arenas.

Each case runs in a process of its own, for what is measured belongs to the whole process.
"""

import os
import subprocess
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
_BEGIN = """
import os, resource, threading, time
import numpy as np, onnxruntime as ort, onnxplain
from onnxplain.engine.running import process
from onnxplain.models.shipped import demo_model

x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("f4")

def faults_of(job):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    job()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def megabytes(kind="VmRSS"):
    line = next(line for line in open("/proc/self/status") if line.startswith(kind))
    return int(line.split()[1]) / 1024

def registered(**settings):
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    where = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(settings))

def deeplift(**more):
    explainer = onnxplain.Explainer(demo_model(), "deeplift", threads=1, **more)
    explainer(x), explainer(x)
    return explainer
"""


def printed(script: str, **environment: str) -> list[float]:
    """The numbers that a script prints, run in a new process."""
    whole = {**os.environ, **environment}
    command = [sys.executable, "-c", _BEGIN + script]
    done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_the_switch_acts():
    """With the arena a second call clears no page; without any it clears each tensor's."""
    script = "explainer = deeplift()\nprint(faults_of(lambda: explainer(x)))"
    assert printed(script)[0] <= 200
    off = "process.share_arena = 0\nfrom onnxplain.engine.running import session\n"
    off += "def none(options): options.enable_cpu_mem_arena = False\nsession.share_arena = none\n"
    # Else malloc raises the size from which it gives memory back, and now and then keeps all of it.
    assert printed(off + script, MALLOC_MMAP_THRESHOLD_="131072")[0] > 2000
    sees = "process.share_arena(ort.SessionOptions())\nprint(process._process.registered)"
    sees = sees.replace("print(", "print(int(").replace("registered)", "registered))")
    assert printed(sees) == [1] and printed(sees, ONNXPLAIN_ARENA="0") == [0]


@linux
def test_what_many_threads_needed_is_given_back():
    script = """
explainer = deeplift()
alone = megabytes()
threads = [threading.Thread(target=explainer, args=(x,)) for _ in range(6)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(megabytes("VmHWM") - alone, megabytes() - alone)
"""
    peak, rest = printed(script)
    assert peak > 60 and rest < peak / 2


@linux
def test_an_explainer_that_is_let_go_gives_back():
    script = """
explainer = onnxplain.Explainer(demo_model(), "grad-cam", threads=1)
explainer(np.repeat(x, 4, axis=0) + np.arange(4, dtype="f4").reshape(4, 1, 1, 1))
before = megabytes()
process._process.trimmed = -10.0
del explainer
print(before - megabytes())
"""
    assert printed(script)[0] > 10


@linux
@pytest.mark.parametrize(("method", "target"), [("grad-cam", "rank2"), ("deeplift", None)])
def test_many_rows_hold_no_more_than_a_few(method, target):
    """But for what goes in and comes out, four times: parts, the whole, and what checks them."""
    script = f"""
explainer = onnxplain.Explainer(demo_model(), {method!r}, threads=1, baseline=0.0)
peaks = []
for count in (8, 32):
    rows = np.concatenate([x + k for k in range(count)])
    explainer(rows, {target!r})
    peaks.append(megabytes("VmHWM"))
print(peaks[1] - peaks[0], rows.nbytes / 2**20)
"""
    grown, rows = printed(script)
    assert grown < 4 * rows


def test_forked_while_another_thread_runs():
    script = """
explainer = deeplift()
expected, going = explainer(x).attribution, True

def work():
    while going:
        explainer(x)

thread = threading.Thread(target=work)
thread.start()
for _ in range(3):
    child = os.fork()
    if not child:
        same = np.array_equal(explainer(x).attribution, expected)
        faults = faults_of(lambda: explainer(x))
        os._exit(0 if same and faults < 2000 else 1)
    print(os.waitpid(child, 0)[1])
going = False
thread.join()
"""
    assert printed(script) == [0, 0, 0]


@pytest.mark.parametrize("first", [True, False])
def test_beside_an_arena_that_someone_else_registered(first):
    own = "registered(arena_extend_strategy=0)\n"
    script = """
explainer = deeplift()
OWN
options = ort.SessionOptions()
options.add_session_config_entry("session.use_env_allocators", "1")
session = ort.InferenceSession(demo_model(), options, providers=["CPUExecutionProvider"])
run = lambda: session.run(["logits"], {"input": x})
run(), run(), run(), explainer(x)
print(faults_of(run), faults_of(lambda: explainer(x)))
"""
    text = own + script.replace("OWN", "") if first else script.replace("OWN", own)
    assert max(printed(text)) <= 200
