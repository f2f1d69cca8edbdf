"""Axioms asked of a method on one image, by an `ImageExplainer`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import OnnxplainError
from ...graph_passes.methods import find_method
from ...graph_passes.select.features import Features
from ..comparing.axioms import (
    BORDER,
    WITH_BORDER,
    WRITTEN_OTHERWISE,
    Alike,
    Kept,
    alike,
    dummy,
    framed,
    sensitivity,
)
from ..explaining.explainer import Explainer
from ..inputs.baselines import default_baseline
from ..inputs.kind import ModelInput
from ..running.stopping import check_stopped
from ..targets.target import Again

AXIOMS = ("sensitivity", "dummy", *WRITTEN_OTHERWISE)


def axiom(
    explainer: Explainer,
    into: ModelInput,
    what: str,
    x: np.ndarray,
    target: Again,
) -> Kept | float | Alike | None:
    """What one of `AXIOMS` comes to for one method; from any thread.

    Args:
        explainer: of the method, `in_few_passes`.
        into: what the model takes.
        what: which axiom.
        x: the model's input.
        target: as for the explainer.
    """
    check_stopped()
    baseline, features = default_baseline(into), into.features
    if what == "sensitivity":
        return sensitivity(explainer, x, target, baseline, features)
    if what == "dummy":
        return _dummy(explainer, x, target, baseline, features)
    return _invariance(explainer, what, x, target, baseline)


def against(method: str, baseline: np.ndarray) -> dict[str, Any]:
    """The baseline as an argument, for methods that take one."""
    return {"baseline": baseline} if find_method(method).takes("baseline") else {}


def in_few_passes(explainer: Explainer) -> Explainer:
    """The method with few fixed points, where it would look for many: axioms hold for any.

    Against a baseline that differs in a pixel, no path is close to its sum: 200 passes each.
    """
    if not find_method(explainer.method).takes("tolerance"):
        return explainer
    few = {"tolerance": None, "map_tolerance": None, "steps": 4, "quadrature": None}
    return explainer.changed(lambda model: model, **few)


def _dummy(
    explainer: Explainer,
    x: np.ndarray,
    target: Again,
    baseline: np.ndarray,
    features: Features,
) -> float | None:
    if not features.spatial_axes:
        return None
    name = explainer.subject.input.name
    wide = [(BORDER, BORDER) if a in features.spatial_axes else (0, 0) for a in range(x.ndim)]
    around = np.pad(x, wide, mode="edge")
    black = np.broadcast_to(baseline, x.shape)
    more = against(explainer.method, np.pad(black, wide, mode="edge"))
    more["input"] = f"{name}{WITH_BORDER}"
    try:
        bordered = explainer.changed(lambda model: framed(model, name, features), **more)
        return dummy(bordered, around, target, features)
    except OnnxplainError:
        return None


def _invariance(
    explainer: Explainer,
    written: str,
    x: np.ndarray,
    target: Again,
    baseline: np.ndarray,
) -> Alike:
    how = against(explainer.method, baseline)
    try:
        other = explainer.changed(WRITTEN_OTHERWISE[written], **how)
        return alike(explainer(x, target, **how).attribution, other(x, target, **how).attribution)
    except OnnxplainError as error:
        return Alike(float("nan"), float("nan"), str(error))
