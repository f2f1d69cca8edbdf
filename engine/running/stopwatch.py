"""Where the time of a command goes: load, build, session, run, draw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PHASES = ("load", "build", "session", "run", "draw")
OTHER = "other"

_spent: ContextVar[dict[str, float] | None] = ContextVar("spent", default=None)
_inner: ContextVar[list[float]] = ContextVar("inner")


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Seconds for each phase of what happens inside, and OTHER for what belongs to none.

    They add up to the whole; the dict is filled in at the end.
    """
    spent: dict[str, float] = {}
    outer, stack = _spent.set(spent), _inner.set([0.0])
    began = time.perf_counter()
    try:
        yield spent
    finally:
        spent[OTHER] = time.perf_counter() - began - sum(spent.values())
        _inner.reset(stack)
        _spent.reset(outer)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count what happens inside to a phase, but for what an inner phase counts to itself."""
    spent = _spent.get()
    if spent is None:
        yield
        return
    stack = _inner.get()
    stack.append(0.0)
    began = time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - began
        spent[name] = spent.get(name, 0.0) + whole - stack.pop()
        stack[-1] += whole


def profile_rows(spent: dict[str, float]) -> list[tuple[str, str]]:
    """The phases as (what, text) rows for people to read."""
    whole = sum(spent.values())
    rows = [(name, spent.get(name, 0.0)) for name in (*PHASES, OTHER)]
    texts = [(name, f"{seconds:7.2f} s  {seconds / whole:4.0%}") for name, seconds in rows]
    return [*texts, ("in all", f"{whole:7.2f} s")]
