"""Axioms, checked on the model at hand: sensitivity, dummy, implementation invariance.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (2017), section 2, has sensitivity
(a and b) and implementation invariance; what it calls sensitivity (b) is known as dummy, too.
Completeness is an explanation's own `relative_delta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from ...graph_passes.methods import find_method
from ...graph_passes.prepare.pipeline import prepare
from ...graph_passes.select.features import Features
from ..explaining.explainer import Explainer
from ..metrics.trial import quiet
from ..running.optimised import optimised
from ..targets.target import Again
from .likeness import relative_difference, spearman

# A change of the score below this part of it is rounding, and no sign of a dependence.
_ROUNDING = 1e-4
# Attributions below this part of the largest one are float32's rounding.
_ZERO = 1e-6
# The border that a model is made to crop away, in pixels.
BORDER = 8
WITH_BORDER = "_with_border"


class Kept(NamedTuple):
    """In how many of the places that were tried an axiom held."""

    held: int
    tried: int


class Alike(NamedTuple):
    """How far a map of the same function, written otherwise, is from the file's own.

    Attributes:
        difference: |other - own| / |own|, Euclidean; NaN where the method cannot run on it.
        rank: Spearman's correlation of the two.
        problem: why it could not run, or "".
    """

    difference: float
    rank: float
    problem: str = ""


def sensitivity(
    explainer: Explainer,
    x: np.ndarray,
    target: Again,
    baseline: np.ndarray,
    features: Features,
    places: int = 4,
) -> Kept:
    """Sensitivity (a): a feature in which input and baseline differ counts, if it moves the score.

    For places spread over the input, x' is x with the baseline's values in one of them. Where the
    score of x' is another one, the attribution of x against x' must not be zero in that pixel;
    methods without a baseline are asked for x alone.

    Args:
        explainer: of the method.
        x: of a picture [1, C, H, W] or [1, H, W, C].
        target: as for the explainer.
        baseline: broadcasts to x.
        features: where x's channels and positions lie.
        places: along each axis.
    """
    takes = find_method(explainer.method).takes("baseline")
    own = None if takes else explainer(x, target).attribution
    score = explainer.scores(x, target).score[0]
    held = tried = 0
    for pixel in _spread(x.shape, features, places):
        other = x.copy()
        other[pixel] = np.broadcast_to(baseline, x.shape)[pixel]
        change = abs(score - explainer.scores(other, target).score[0])
        if change <= _ROUNDING * max(abs(score), 1e-3):
            continue
        with quiet():
            found = explainer(x, target, baseline=other).attribution if own is None else own
        whole = found.ndim == x.ndim
        here = pixel if whole else tuple(pixel[k] for k in (0, *features.axes))
        tried += 1
        held += bool(np.abs(found[here]).max() > _ZERO * np.abs(found).max())
    return Kept(held, tried)


def _spread(shape: tuple[int, ...], features: Features, places: int) -> Iterator[tuple[Any, ...]]:
    """Indices of places with their channels, in the middle of equal cells along each axis."""
    along = [(axis, min(places, shape[axis])) for axis in features.axes]
    middles = [((np.arange(n) + 0.5) * shape[axis] / n).astype(int) for axis, n in along]
    for at in product(*middles):
        pixel: list[Any] = [0, *[slice(None)] * (len(shape) - 1)]
        for axis, index in zip(features.axes, at, strict=True):
            pixel[axis] = int(index)
        yield tuple(pixel)


def framed(model: onnx.ModelProto, name: str, features: Features, border: int = BORDER):
    """The same model for inputs with a border, which it crops away before it looks at them.

    Args:
        model: of a file; it is left as it is.
        name: of the input.
        features: where its channels and positions lie.
        border: places on each side.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    (value,) = [value for value in graph.input if value.name == name]
    value.name = f"{name}{WITH_BORDER}"
    axes = list(features.spatial_axes)
    dims = value.type.tensor_type.shape.dim
    for axis in axes:
        if dims[axis].HasField("dim_value"):
            dims[axis].dim_value += 2 * border
        else:
            dims[axis].ClearField("dim_param")
    version = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), 1)
    starts, ends = [border] * len(axes), [-border] * len(axes)
    if version < 10:
        crop = helper.make_node("Slice", [value.name], [name], starts=starts, ends=ends, axes=axes)
    else:
        parts = {"starts": starts, "ends": ends, "axes": axes}
        for part, numbers in parts.items():
            array = np.asarray(numbers, np.int64)
            graph.initializer.append(numpy_helper.from_array(array, f"{value.name}/{part}"))
        names = [value.name, *(f"{value.name}/{part}" for part in parts)]
        crop = helper.make_node("Slice", names, [name])
    graph.node.insert(0, crop)
    return copy


def dummy(explainer: Explainer, x: np.ndarray, target: Again, features: Features) -> float:
    """Sensitivity (b): what the score cannot depend on gets nothing.

    Args:
        explainer: of the model that `framed` makes.
        x: with the border along its spatial axes.
        target: as for the explainer.
        features: where its channels and positions lie.

    Returns:
        The border's part of all magnitudes: 0 where the axiom holds.
    """
    found = explainer(x, target).attribution[0]
    axis = features.in_row(found.ndim)
    found = np.abs(found if axis is None else found.sum(axis=axis))
    inner = slice(BORDER, -BORDER)
    cut = tuple(inner if a in features.spatial_axes else slice(None) for a in features.axes)
    inside = found[cut].sum(dtype=np.float64)
    total = found.sum(dtype=np.float64)
    return float((total - inside) / total) if total else 0.0


# The same function, written otherwise.
WRITTEN_OTHERWISE: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "prepared": lambda model: gs.export_onnx(prepare(model), do_type_check=False),
    "optimised": optimised,
}


def alike(own: np.ndarray, other: np.ndarray) -> Alike:
    """Implementation invariance: another way to write the model beside the file's own map."""
    return Alike(relative_difference(own, other), spearman(own, other))
