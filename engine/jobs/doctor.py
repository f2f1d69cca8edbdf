"""What this installation has, why CUDA is not used, and whether its numbers are right."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import OnnxplainError
from ...graph_passes.methods import find_method
from ...models.shipped import demo_model, demo_numbers, demo_photos
from ..explaining.explainer import Explainer
from ..export.facts import versions
from ..running.installed import builds, overlap
from ..running.session import available_providers, cuda_problem

# Of the score and of the sum: other processors round otherwise.
_CLOSE = 1e-2


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        rows: names and texts, for people to read.
        problems: what is wrong, in words; none: all is well.
    """

    rows: list[tuple[str, str]]
    problems: list[str]


def examine(tell: Callable[[str, float], None] = lambda text, done: None) -> Health:
    """Look at versions, providers and cores, and explain the demo model against stored numbers.

    Args:
        tell: called with a text and the part of the work that is done.
    """
    tell("looking at what is installed", 0.0)
    found = versions()
    rows = [(name, version) for name, version in found.items()]
    rows.insert(1, ("python", f"{platform.python_version()}, {sys.platform} {platform.machine()}"))
    rows.append(("providers", ", ".join(available_providers())))
    problem = cuda_problem()
    rows.append(("cuda", "used, unless --provider cpu" if problem is None else f"not: {problem}"))
    rows.append(("cores", _cores()))
    known = builds()
    lies = overlap(known)
    problems = [] if lies is None else [lies]
    if lies is not None:
        rows.append(("builds", lies))
    numbers = demo_numbers()
    for place, (method, size) in enumerate(numbers["sizes"].items()):
        tell(f"trying {method}", place / len(numbers["sizes"]))
        text, wrong = _tried(method, size, numbers)
        rows.append((f"self-test {method}", text))
        problems += [f"{method}: {text}"] * wrong
    return Health(rows, problems)


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} of {os.cpu_count()} may be used"


def _tried(method: str, size: float, numbers: Mapping[str, Any]) -> tuple[str, bool]:
    """What came of one method, in words, and whether it is wrong."""
    takes = find_method(method).takes("steps")
    options: dict[str, Any] = {"steps": numbers["steps"]} if takes else {}
    score, began = numbers["score"], time.perf_counter()
    try:
        explainer = Explainer(demo_model(), method, **options)
        e = next(explainer.images(demo_photos()[:1], numbers["target"]))
    except OnnxplainError as error:
        return f"failed: {error}", True
    own = float(e.score[0]), float(np.abs(e.attribution.astype(np.float64)).sum())
    wrong = any(abs(a - b) > _CLOSE * abs(b) for a, b in zip(own, (score, size), strict=True))
    said = f"score {own[0]:.4f} and sum {own[1]:.5g}"
    if wrong:
        return f"{said}, expected {score:.4f} and {size:.5g}", True
    return f"{said}, as stored; {e.provider}, {time.perf_counter() - began:.1f} s", False
