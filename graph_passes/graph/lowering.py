"""For which kind of provider a graph is written, where one operator has several good forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_gpu: ContextVar[bool] = ContextVar("gpu", default=False)


@contextmanager
def lowered_for(*, gpu: bool) -> Iterator[None]:
    """Write what is built inside for a GPU, or for a CPU and for files that may run anywhere."""
    before = _gpu.set(gpu)
    try:
        yield
    finally:
        _gpu.reset(before)


def for_gpu() -> bool:
    """Whether the graph that is being built is meant for a GPU."""
    return _gpu.get()
