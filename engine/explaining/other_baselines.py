"""Baselines to offer where the one that was asked for makes no numbers: tried, not guessed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ... import OnnxplainError
from ..running.plan import Plan
from ..running.session import open_session

# As a part of the input's own spread.
_NOISE = 1e-3


def other_baselines(plan: Plan, feeds: Mapping[str, np.ndarray]) -> str:
    """What to say of other baselines, for the end of a message; "" where a method has none.

    Each is tried where the path begins, in its middle and at its end, which takes three passes.
    """
    names = plan.baseline_names
    if not any(name in feeds and feeds[name].dtype.kind == "f" for name in names):
        return ""
    for words, baselines in _candidates(feeds, names).items():
        if _works(plan, {**feeds, **baselines}):
            return f"; {words} works as the baseline"
    return "; neither the input's mean nor small noise helps as the baseline"


def _candidates(
    feeds: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> dict[str, dict[str, np.ndarray]]:
    """In words -> the baselines by their names in the graphs."""
    random = np.random.default_rng(0)
    means, noises = {}, {}
    for name, given in names.items():
        x, like = feeds[given], feeds[name]
        if x.dtype.kind != "f" or like.dtype.kind != "f":
            x = like
        means[name] = np.full_like(like, x.mean())
        scale = _NOISE * max(float(x.std()), float(np.finfo(np.float32).tiny) / _NOISE)
        noises[name] = like + (scale * random.standard_normal(like.shape)).astype(like.dtype)
    noise = f"this one with small noise added ({_NOISE:g} of the input's standard deviation)"
    return {"the input's mean (--baseline mean)": means, noise: noises}


def _works(plan: Plan, feeds: Mapping[str, np.ndarray]) -> bool:
    """Whether every graph of a plan returns finite numbers."""
    try:
        for model, given in plan.stages(feeds):
            found = open_session(model, [plan.provider]).run(given)
            if not all(np.isfinite(v).all() for v in found.values() if v.dtype.kind == "f"):
                return False
    except OnnxplainError:
        return False
    return True
