"""What this installation has, why CUDA is not used, and whether its numbers are right."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass

import numpy as np

from ... import OnnxplainError
from ...models.shipped import demo_model, demo_photos
from ..explainer import Explainer
from ..facts import versions
from ..running.session import available_providers, cuda_problem

# The demo model's espresso on the demo's first photo: score, and the sum of the map's magnitudes.
TARGET = 967
STORED = {
    "grad-cam": (11.408733, 11599.667),
    "integrated-gradients": (11.408733, 2402.337),
    "deeplift": (11.408733, 394.5835),
}
# Passes of Integrated Gradients: always the same ones.
_STEPS = 50
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


def examine() -> Health:
    """Look at versions, providers and cores, and explain the demo model against stored numbers."""
    found = versions()
    rows = [(name, version) for name, version in found.items()]
    rows.insert(1, ("python", f"{platform.python_version()}, {sys.platform} {platform.machine()}"))
    rows.append(("providers", ", ".join(available_providers())))
    problem = cuda_problem()
    rows.append(("cuda", "used, unless --provider cpu" if problem is None else f"not: {problem}"))
    rows.append(("cores", _cores()))
    problems = []
    for method, (score, size) in STORED.items():
        text, wrong = _tried(method, score, size)
        rows.append((f"self-test {method}", text))
        problems += [f"{method}: {text}"] * wrong
    return Health(rows, problems)


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} of {os.cpu_count()} may be used"


def _tried(method: str, score: float, size: float) -> tuple[str, bool]:
    """What came of one method, in words, and whether it is wrong."""
    options = {"steps": _STEPS} if method == "integrated-gradients" else {}
    began = time.perf_counter()
    try:
        explainer = Explainer(demo_model(), method, **options)
        e = next(explainer.images(demo_photos()[:1], TARGET))
    except OnnxplainError as error:
        return f"failed: {error}", True
    own = float(e.score[0]), float(np.abs(e.attribution.astype(np.float64)).sum())
    wrong = any(abs(a - b) > _CLOSE * abs(b) for a, b in zip(own, (score, size), strict=True))
    said = f"score {own[0]:.4f} and sum {own[1]:.5g}"
    if wrong:
        return f"{said}, expected {score:.4f} and {size:.5g}", True
    return f"{said}, as stored; {e.provider}, {time.perf_counter() - began:.1f} s", False
