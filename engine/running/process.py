"""All that the library does to the process it runs in, and the switch that leaves it alone.

Nothing is done at import. From the first graph that is built or run on:

- Python's search for cycles rests while graphs are built (`BUILDING`).
- ONNX Runtime's default logger, which has the lines of sessions that set none, is quiet.
- One arena holds the memory of all CPU sessions, and is given back when work ends (`share_arena`,
  `at_work`), as are the C library's heaps.
- The last graphs and sessions are kept, for who explains the same model again (`Kept`).
- A forked child frees locks and opens sessions anew (`in_child`).
- A warning that holds for all of the process is logged once (`warn_once`).

`ONNXPLAIN_PROCESS=0` in the environment leaves out all but the last two, which change nothing for
anybody else. Signals are left to the command line (`stopping.py`).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime

logger = logging.getLogger("onnxplain")
# "0": the process is somebody else's, and is left as it is.
SWITCH = "ONNXPLAIN_PROCESS"
# "0" leaves each session's memory alone to ONNX Runtime's own settings for it.
ARENA = "ONNXPLAIN_ARENA"
# Seconds between two times that memory is given back.
_PAUSE = 1.0
# How OrtArenaCfg calls an arena that grows by what is asked, and not by doubling.
_AS_REQUESTED = 1
# ONNX Runtime's levels: 4 is fatal errors alone, which it raises as well.
_FATAL = 4

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()
_in_child: list[Callable[[], None]] = []


def is_ours() -> bool:
    """Whether the library may change how the process works for its own sake."""
    return os.environ.get(SWITCH) != "0"


class Lock:
    """A lock that its holder may take again.

    In a forked child it is free: the thread that held it in the parent is not there to open it.
    """

    def __init__(self):
        self._inner = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        _process.watch_forks()
        self._inner.acquire()

    def __exit__(self, *error: object) -> None:
        self._inner.release()

    def free(self) -> None:
        """As new."""
        self._inner = threading.RLock()


class _Process:
    """What this process has of ONNX Runtime's memory, and how many runs are using it."""

    def __init__(self):
        self.watched = self.quiet = False
        self.lock = Lock()
        self.forget()

    def forget(self) -> None:
        """As in a process that has not begun: nobody is at work, and no arena is registered."""
        self.running, self.several, self.trimmed = 0, False, 0.0
        self.registered = False
        self.shrinker: onnxruntime.InferenceSession | None = None

    def watch_forks(self) -> None:
        """Have `_after_fork` called in every forked child, from the first lock that is taken on."""
        if not self.watched:
            self.watched = True
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(
                    before=BUILDING.wait,
                    after_in_parent=BUILDING.go_on,
                    after_in_child=_after_fork,
                )


_process = _Process()


def in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called in every forked child, once its locks are free."""
    _in_child.append(function)
    return function


def leave_behind(thing: object) -> None:
    """In a forked child: never let what is the parent's end.

    A session's end waits for its threads, which are not there; a tensor's for the lock of the
    arena, which another thread may have held.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _after_fork() -> None:
    for lock in list(_locks):
        lock.free()
    if _process.shrinker is not None:
        leave_behind(_process.shrinker)
    _process.forget()
    for function in _in_child:
        function()


# Seconds that a fork waits for what is being built.
_PATIENCE = 10.0


class _Building(Lock):
    """Held while graphs are built and sessions opened. Runs do not wait for it.

    onnx-graphsurgeon is not made for several threads at once, and nobody needs a graph twice.
    Python's search for cycles rests meanwhile, and is as it was afterwards: it visits every node
    that is there, again and again. 20,000 nodes take Integrated Gradients 9.9 s of CPU so, 14.1 s
    with it; DeepLIFT 13.8 and 19.9.
    """

    def __init__(self):
        super().__init__()
        self._depth, self._searches, self._waited = 0, False, False

    def __enter__(self) -> None:
        super().__enter__()
        if not self._depth:
            self._searches = gc.isenabled() and is_ours()
            if self._searches:
                gc.disable()
            quieten_runtime()
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth and self._searches:
            gc.enable()
        super().__exit__(*error)

    def wait(self) -> None:
        """Wait until no other thread builds, for a while: then the process may fork.

        A child finds ONNX Runtime's own locks as they were. One that another thread held while it
        opened a session, nobody would ever open there.
        """
        self._waited = self._inner.acquire(timeout=_PATIENCE)

    def go_on(self) -> None:
        """Behind a fork, in the parent."""
        if self._waited:
            self._inner.release()

    def free(self) -> None:
        """As new."""
        super().free()
        if self._depth and self._searches:
            gc.enable()
        self._depth = 0


BUILDING = _Building()


class Kept:
    """The last few things that were made, by a key. Callers hold `BUILDING`."""

    def __init__(self, most: int):
        self._most = most
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for the key, or is made now."""
        if key not in self._made:
            made = make()
            if not is_ours():
                return made
            self._made[key] = made
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]

    def clear(self) -> None:
        """Let all of it go."""
        self._made.clear()


@cache
def warn_once(message: str) -> None:
    """Log a warning that holds for all of the process."""
    logger.warning(message)


def quieten_runtime() -> None:
    """Leave ONNX Runtime's default logger to fatal errors, once.

    What it logs, also where onnx-graphsurgeon folds constants, is what no user can do anything
    about, or what it raises as well. Nobody can ask for its level, and so none can be put back.
    """
    if not _process.quiet and is_ours():
        _process.quiet = True
        onnxruntime.set_default_logger_severity(_FATAL)


def share_arena(options: onnxruntime.SessionOptions) -> None:
    """Let a session take its CPU tensors from the one arena of the process.

    It grows by what is asked, and is shrunk when work ends (`at_work`). EfficientNet-Lite0 on 2
    quiet cores, each way alone and in turns:

    | | this arena | one a session (ONNX Runtime's) | none |
    |---|---|---|---|
    | DeepLIFT, a call | 31 ms | 31 ms | 131 ms |
    | 50 steps of Integrated Gradients | 0.86 s | 0.86 s | 1.8 s |
    | page faults of a call of each | 0, 0 | 0, 0 | 15,700, 396,000 |
    | 8 threads on 3 explainers, peak and rest | 1.1, 0.7 GB | 2.3, 2.3 GB | 1.4, 0.7 GB |

    Each tensor is asked for by itself: one block for all of a run (a memory pattern) is as fast,
    and those threads peak at 1.4 GB. In a forked child the arena is a new one, since a thread of
    the parent may have held the old one's lock.
    """
    if not is_ours() or os.environ.get(ARENA) == "0":
        return
    _register()
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.use_env_allocators", "1")


def _register() -> None:
    """Register the arena with ONNX Runtime, once; one that is there already will do as well."""
    with _process.lock:
        if _process.registered:
            return
        _process.registered = True
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        where = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        settings = onnxruntime.OrtArenaCfg({"arena_extend_strategy": _AS_REQUESTED})
        try:
            onnxruntime.create_and_register_allocator(where, settings)
        except Exception as error:  # older versions refuse a second one
            logger.debug("an arena is registered already: %s", error)


@contextmanager
def at_work() -> Iterator[None]:
    """Count what runs inside, and give memory back when the last of several has ended.

    The arena and the C library's heaps, one for each thread, keep all that runs at once ever
    needed. What one thread needs stays, since its next run would have to ask for all of it again.
    """
    with _process.lock:
        _process.running += 1
        _process.several = _process.several or _process.running > 1
    try:
        yield
    finally:
        with _process.lock:
            _process.running = max(0, _process.running - 1)
            several = _process.several
        if several and is_ours():
            _give_back()


def given_back_after(owner: object) -> None:
    """Give memory back when its owner is let go, unless somebody else is at work then."""
    if is_ours():
        weakref.finalize(owner, _give_back).atexit = False


def _give_back() -> None:
    """Return to the system what the arena and the C library hold, if nobody is at work.

    Not twice within a second: who makes and drops many explainers would ask for it again and again.
    """
    with _process.lock:
        now = time.monotonic()
        if _process.running or now - _process.trimmed <= _PAUSE:
            return
        _process.several, _process.trimmed = False, now
        if _process.registered:
            _shrink()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def _shrink() -> None:
    """Free the arena's unused blocks: ONNX Runtime does so behind a run that asks for it."""
    if _process.shrinker is None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.use_env_allocators", "1")
        _process.shrinker = onnxruntime.InferenceSession(
            _copying().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    behind = onnxruntime.RunOptions()
    behind.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    _process.shrinker.run(None, {"x": np.zeros(1, np.float32)}, behind)


def _copying() -> onnx.ModelProto:
    """The smallest model: y = x."""
    kind = onnx.TensorProto.FLOAT
    x, y = (onnx.helper.make_tensor_value_info(name, kind, [1]) for name in "xy")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "copy", [x], [y])
    opset = onnx.helper.make_opsetid("", 13)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


@cache
def _malloc_trim():
    """Glibc's malloc_trim; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
