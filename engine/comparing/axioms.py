"""Axioms, checked on the model at hand: sensitivity, dummy, implementation invariance.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (2017), section 2, has sensitivity
(a and b) and implementation invariance; what it calls sensitivity (b) is known as dummy, too.
Completeness is an explanation's own `relative_delta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from ...graph_passes.methods import find_method
from ...graph_passes.prepare.pipeline import prepare
from ..explainer import Explainer
from ..metrics.trial import quiet
from ..running.optimised import optimised
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
    target: Any,
    baseline: np.ndarray,
    channel_axis: int,
    places: int = 4,
) -> Kept:
    """Sensitivity (a): a feature in which input and baseline differ counts, if it moves the score.

    For pixels spread over the picture, x' is x with the baseline's values in one of them. Where the
    score of x' is another one, the attribution of x against x' must not be zero in that pixel;
    methods without a baseline are asked for x alone.

    Args:
        explainer: of the method.
        x: [1, C, H, W] or [1, H, W, C].
        target: as for the explainer.
        baseline: broadcasts to x.
        channel_axis: of x.
        places: pixels along each axis.
    """
    takes = find_method(explainer.method).takes("baseline")
    own = None if takes else explainer(x, target).attribution
    score = explainer.scores(x, target).score[0]
    held = tried = 0
    for pixel in _spread(x.shape, channel_axis, places):
        other = x.copy()
        other[pixel] = np.broadcast_to(baseline, x.shape)[pixel]
        change = abs(score - explainer.scores(other, target).score[0])
        if change <= _ROUNDING * max(abs(score), 1e-3):
            continue
        with quiet():
            found = explainer(x, target, baseline=other).attribution if own is None else own
        here = (
            pixel if found.ndim == 4 else tuple(p for k, p in enumerate(pixel) if k != channel_axis)
        )
        tried += 1
        held += bool(np.abs(found[here]).max() > _ZERO * np.abs(found).max())
    return Kept(held, tried)


def _spread(shape: tuple[int, ...], channel_axis: int, places: int) -> Iterator[tuple[Any, ...]]:
    """Indices of pixels with their channels, in the middle of places x places equal cells."""
    axes = [axis for axis in (1, 2, 3) if axis != channel_axis]
    middles = [((np.arange(places) + 0.5) * shape[axis] / places).astype(int) for axis in axes]
    for down in middles[0]:
        for right in middles[1]:
            pixel: list[Any] = [0, slice(None), slice(None), slice(None)]
            pixel[axes[0]], pixel[axes[1]] = int(down), int(right)
            yield tuple(pixel)


def framed(model: onnx.ModelProto, name: str, channel_axis: int, border: int = BORDER):
    """The same model for pictures with a border, which it crops away before it looks at them.

    Args:
        model: of a file; it is left as it is.
        name: of the input, [N, C, H, W] or [N, H, W, C].
        channel_axis: of the input.
        border: pixels on each side.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    (value,) = [value for value in graph.input if value.name == name]
    value.name = f"{name}{WITH_BORDER}"
    axes = [axis for axis in (1, 2, 3) if axis != channel_axis]
    dims = value.type.tensor_type.shape.dim
    for axis in axes:
        if dims[axis].HasField("dim_value"):
            dims[axis].dim_value += 2 * border
        else:
            dims[axis].ClearField("dim_param")
    version = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), 1)
    starts, ends = [border] * 2, [-border] * 2
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


def dummy(explainer: Explainer, x: np.ndarray, target: Any, channel_axis: int) -> float:
    """Sensitivity (b): what the score cannot depend on gets nothing.

    Args:
        explainer: of the model that `framed` makes.
        x: [1, C, H, W] or [1, H, W, C], with the border.
        target: as for the explainer.
        channel_axis: of x.

    Returns:
        The border's part of all magnitudes: 0 where the axiom holds.
    """
    found = explainer(x, target).attribution
    found = np.abs(found[0] if found.ndim == 3 else found[0].sum(axis=channel_axis - 1))
    inside = found[BORDER:-BORDER, BORDER:-BORDER].sum(dtype=np.float64)
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
