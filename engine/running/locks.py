"""Locks that a fork leaves open."""

from __future__ import annotations

import gc
import os
import threading
import weakref

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


def _after_fork() -> None:
    for lock in list(_locks):
        lock.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
