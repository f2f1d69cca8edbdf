"""Timing that holds on a busy machine: things to compare take turns; median and quartiles."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import captum
import numpy as np
import onnx
import onnxruntime
import torch

# Seconds; and how often a short job is timed in its turn.
_PAUSE, _SHORT = 0.05, 0.5
_TIMES = 5


class Time(NamedTuple):
    """Seconds: median, and the quartiles around it."""

    median: float
    low: float
    high: float

    def __truediv__(self, other: Time) -> float:  # type: ignore[override]
        return self.median / other.median

    def __str__(self) -> str:
        return f"{1e3 * self.median:.1f} ms ({1e3 * self.low:.1f}-{1e3 * self.high:.1f})"


def alternate(jobs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Time]:
    """Each job once to warm up, then all in turn `repeats` times, so that load hits them alike.

    A pause before each lets the threads of the one before it come to rest: they spin for a while,
    PyTorch's too, and would slow down what comes next. Short jobs run once before they are timed,
    since the one before them has taken the caches, and then several times, since a few milliseconds
    alone say little beside a job of a second.
    """
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            time.sleep(_PAUSE)
            short = seconds[name] == [] or seconds[name][-1] < _SHORT
            if short:
                job()
            for _ in range(_TIMES if short else 1):
                began = time.perf_counter()
                job()
                seconds[name].append(time.perf_counter() - began)
    return {
        name: Time(float(np.median(s)), *(float(np.quantile(s, q)) for q in (0.25, 0.75)))
        for name, s in seconds.items()
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Processor, threads, load and versions, in one paragraph."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    versions = ", ".join(
        f"{module.__name__} {module.__version__}"
        for module in (np, onnx, onnxruntime, torch, captum)
    )
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads for each side; "
        f"load before: {load}; Python {sys.version.split()[0]}, {versions}"
    )


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
