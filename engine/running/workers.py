"""Work done side by side by threads of this process, in which ONNX Runtime computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ...graph_passes.graph.limits import in_force, within
from .session import CPU, resolve_providers

T = TypeVar("T")


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shared_out(
    providers: str | Sequence[str] | None, threads: int | None, jobs: int
) -> tuple[int, int | None]:
    """How many of some jobs to do at once, and on how many threads each.

    On a CPU jobs of one thread each, as many as there are cores: what is not convolution runs
    hardly faster on two threads than on one. DeepLIFT of EfficientNet-Lite0 takes 46 ms on one
    thread and 44 on two; two jobs at once get through 1.5 times as many. On a device one at a time.

    Args:
        providers: see `open_session`.
        threads: that were asked for, of each job; None: not said.
        jobs: how many there are.
    """
    if resolve_providers(providers)[0] != CPU:
        return 1, threads
    at_once = max(1, min(jobs, usable_cores() // (threads or 1)))
    return at_once, threads if threads is not None or at_once == 1 else 1


def side_by_side(jobs: Iterable[Callable[[], T]], at_once: int) -> Iterator[T]:
    """What jobs return, in their order; at most twice as many are begun as go at once.

    Each is held to the limits in force here. With one at a time they run in the caller's thread.
    Where the caller stops, those that are not begun are not done.
    """
    if at_once == 1:
        yield from (job() for job in jobs)
        return
    # A thread begins with limits of its own: the defaults.
    limits, pool = in_force(), ThreadPoolExecutor(at_once)

    def held(job: Callable[[], T]) -> T:
        with within(limits):
            return job()

    waiting: deque[Future[T]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(held, job))
            if len(waiting) >= 2 * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
