"""What importing and running leave of the process: all as it was, but for what is documented."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from support.folders import ROOT

_STATE = """
import gc, locale, logging, os, signal, sys, threading, warnings
import numpy, onnx

def state():
    handlers = {n: signal.getsignal(n) for n in signal.valid_signals()}
    loggers = {name: (one.level, list(one.handlers), one.propagate)
               for name, one in logging.root.manager.loggerDict.items()
               if isinstance(one, logging.Logger) and not name.startswith("onnxplain")}
    return {
        "collector": (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)),
        "frozen": gc.get_freeze_count(),
        "signals": handlers,
        "environment": dict(os.environ),
        "warnings": [str(one) for one in warnings.filters],
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "own logger": list(logging.getLogger("onnxplain").handlers),
        "loggers": loggers,
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": threading.active_count(),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
        "folder": os.getcwd(),
        "recursion": sys.getrecursionlimit(),
        "errors of numpy": numpy.geterr(),
        "print options": repr(numpy.get_printoptions()),
        "generator": numpy.random.get_state()[1].tolist(),
    }

def changes(before, after):
    return sorted(name for name in before if before[name] != after[name])

before = state()
"""
_RUN = """
import numpy as np
from onnx import helper, numpy_helper, TensorProto
w = numpy_helper.from_array(np.arange(12, dtype="f4").reshape(4, 3), "w")
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
graph = helper.make_graph(nodes, "g", [x], [y], [w])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

def explained():
    for method in ("deeplift", "integrated-gradients"):
        explainer = onnxplain.Explainer(model, method, baseline=0.0, threads=1)
        explainer(np.ones((2, 4), "f4"))
"""


def printed(script: str, **environment: str) -> list[str]:
    """The lines that a script prints in a process of its own, which is told nothing else."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("ONNXPLAIN")}
    command = [sys.executable, "-c", _STATE + script]
    done = subprocess.run(
        command, env={**plain, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_import_changes_nothing():
    script = """
watched = []
os.register_at_fork = lambda **functions: watched.append(functions)
import onnxplain
print(changes(before, state()), watched)
heavy = {"onnxruntime", "PIL", "matplotlib", "torch", "scipy", "pyarrow", "ray", "rich", "jinja2"}
print(sorted(heavy & set(sys.modules)))
"""
    assert printed(script) == ["[] []", "[]"]


def test_the_engine_changes_nothing_at_import():
    """Not before something is built: of all modules that the public ones bring."""
    script = """
import onnxruntime
calls = []
onnxruntime.set_default_logger_severity = calls.append
onnxruntime.create_and_register_allocator = lambda *args: calls.append(args)
import onnxplain
from onnxplain.engine import inspection
from onnxplain.engine.explaining import explainer, verification
from onnxplain.engine.running import process, session, prepared
seen = state()
seen["loggers"] = before["loggers"]  # libraries have loggers of their own
print(changes(before, seen), calls, process._process.watched)
"""
    assert printed(script) == ["[] [] False"]


@pytest.mark.parametrize("searching", [True, False], ids=["with a collector", "without"])
def test_a_run_leaves_all_as_it_was(searching):
    script = f"""
import onnxplain
{_RUN}
import onnxruntime
from onnxplain.engine.explaining import explainer
{"" if searching else "gc.disable()"}
before = state()
explained()
try:
    onnxplain.Explainer(b"no model", "deeplift")
except onnxplain.UnsupportedModelError:
    pass
after = state()
after["loggers"] = before["loggers"]
print(changes(before, after), gc.isenabled())
"""
    assert printed(script) == [f"[] {searching}"]


_TOLD = f"""
import ctypes, onnxruntime, onnxplain
{_RUN}
from onnxplain.engine.running import process
touched = set()
def told(what, real):
    def call(*args, **more):
        touched.add(what)
        return real(*args, **more)
    return call
gc.disable = told("collector", gc.disable)
onnxruntime.set_default_logger_severity = told("logger", onnxruntime.set_default_logger_severity)
onnxruntime.create_and_register_allocator = told("arena", onnxruntime.create_and_register_allocator)
process._malloc_trim = lambda: lambda size: touched.add("heap")
explained()
gc.collect()
from onnxplain.engine.running import session, prepared
print(sorted(touched), bool(len(session._cache)), bool(len(prepared._kept)))
"""


def test_the_switch_leaves_the_process_alone():
    assert printed(_TOLD) == ["['arena', 'collector', 'heap', 'logger'] True True"]
    assert printed(_TOLD, ONNXPLAIN_PROCESS="0") == ["[] False False"]


def test_answers_are_the_same_without():
    script = f"""
import onnxplain
{_RUN}
e = onnxplain.Explainer(model, "deeplift", baseline=0.0, threads=1)(np.ones((2, 4), "f4"))
print(e.attribution.tobytes().hex(), e.delta.tolist())
"""
    assert printed(script) == printed(script, ONNXPLAIN_PROCESS="0")


# What changes a process; who may: the one file, and what only commands and their workers call.
TOUCHING = {
    "gc.disable",
    "gc.enable",
    "gc.freeze",
    "gc.set_threshold",
    "os.register_at_fork",
    "os.environ",
    "os.putenv",
    "os.chdir",
    "signal.signal",
    "signal.pthread_sigmask",
    "atexit.register",
    "locale.setlocale",
    "warnings.simplefilter",
    "warnings.filterwarnings",
    "onnxruntime.set_default_logger_severity",
    "onnxruntime.create_and_register_allocator",
    "sys.setrecursionlimit",
    "np.seterr",
    "np.random.seed",
    "OrderedDict",
}
MAY_TOUCH = {
    "engine/running/process.py": "the library's effects, documented and switchable",
    "engine/running/stopping.py": "signals, while a command runs",
    "engine/commandline/terminal.py": "the command's own process",
    "engine/jobs/batch/work.py": "worker processes of `batch`",
    "engine/jobs/batch/processes.py": "the same",
    "engine/jobs/batch/ray.py": "the same, on a cluster",
    "engine/inputs/decoding.py": "inside warnings.catch_warnings",
    "engine/inputs/audio.py": "the same",
    "engine/inputs/dicom.py": "the same",
    "cli.py": "the command's own process",
}


def touching(name: str) -> set[str]:
    """What a file has of `TOUCHING`."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    calls = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name)}
    return calls & TOUCHING


def files() -> list[str]:
    found = [ROOT / "__init__.py", ROOT / "cli.py"]
    found += [p for f in ("engine", "graph_passes", "models") for p in (ROOT / f).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT).as_posix()) for path in found)


def test_one_file_touches_the_process():
    touched = {name: found for name in files() if (found := touching(name))}
    assert touched.keys() == MAY_TOUCH.keys(), touched


def test_no_import_for_its_effect():
    """But for registrations of rules and decompositions, which concern the package alone."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in files()}
    odd = [name for name, text in texts.items() if "noqa: F401" in text and "registers" not in text]
    assert not odd
