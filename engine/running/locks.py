"""Locks that a fork leaves open, and memory given back when nobody runs anything."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock that its holder may take again.

    In a forked child it is free: the thread that held it in the parent is not there to open it.
    """

    def __init__(self):
        self._inner = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._inner.acquire()

    def __exit__(self, *error: object) -> None:
        self._inner.release()

    def free(self) -> None:
        """As new."""
        self._inner = threading.RLock()


class _Building(Lock):
    """Held while graphs are built and sessions opened. Runs do not wait for it.

    onnx-graphsurgeon is not made for several threads at once, and nobody needs a graph twice.
    Python's search for cycles rests meanwhile: it visits every node that is there, again and again.
    20,000 nodes take Integrated Gradients 9.9 s of CPU so, 14.1 s with it; DeepLIFT 13.8 and 19.9.
    """

    def __init__(self):
        super().__init__()
        self._depth, self._searches = 0, False

    def __enter__(self) -> None:
        super().__enter__()
        if not self._depth:
            self._searches = gc.isenabled()
            gc.disable()
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth and self._searches:
            gc.enable()
        super().__exit__(*error)

    def free(self) -> None:
        """As new."""
        super().free()
        if self._depth and self._searches:
            gc.enable()
        self._depth = 0


BUILDING = _Building()


class _Use:
    """How many explainers are at work, and whether several were since memory was given back."""

    def __init__(self):
        self.lock = Lock()
        self.forget()

    def forget(self) -> None:
        """Nobody is at work."""
        self.running, self.several, self.trimmed = 0, False, 0.0


_use = _Use()
# Seconds between two times that memory is given back.
_PAUSE = 1.0


@contextmanager
def at_work() -> Iterator[None]:
    """Count what runs inside, and give memory back when the last of several has ended.

    The C library keeps a heap for each thread, with all that its runs ever needed: eight threads on
    three explainers of EfficientNet-Lite0 kept 1.3 GB at rest, and 0.7 GB with this. One thread's
    heap stays, since its next run would have to ask for all of it again.
    """
    with _use.lock:
        _use.running += 1
        _use.several = _use.several or _use.running > 1
    try:
        yield
    finally:
        with _use.lock:
            _use.running = max(0, _use.running - 1)
            now = time.monotonic()
            idle = not _use.running and _use.several and now - _use.trimmed > _PAUSE
            if idle:
                _use.several, _use.trimmed = False, now
        if idle:
            _give_back()


def _give_back() -> None:
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim():
    """Glibc's malloc_trim; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _after_fork() -> None:
    for lock in list(_locks):
        lock.free()
    _use.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
