"""SmoothGrad and VarGrad: mean and variance of the gradient at noisy copies of the input.

Smilkov et al.: SmoothGrad (2017). Adebayo et al.: Local Explanation Methods for Deep Neural
Networks Lack Sensitivity to Parameter Values (2018), for VarGrad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..finish import ATTRIBUTION, finish
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import numpy_type
from ..heads.along import POINTS, Moved, Mover, moved, points_at_once, slopes_at
from ..heads.asking import WEIGHTS, added_up, per_token, seeded, total_input
from ..heads.halves import Halves, of_samples
from ..heads.loop import looped
from ..heads.random_numbers import normal
from ..select.subject import Source, Subject
from .method import OF_A_CHANGE, Chosen, Method, Option, Repeated, Stages
from .options import SEED, real_number, samples
from .saliency import unsupported

# The samples of one run, and for VarGrad their share in all samples up to it.
NUMBERS, SHARE = f"{RESERVED}numbers", f"{RESERVED}share"
_MEAN = f"{RESERVED}mean"
# Samples at once in a file.
_AT_ONCE = 2


def noisy(numbers: gs.Variable, noise: float, seed: int) -> Mover:
    """x + noise (max x - min x) z, with z normal, the same for every row; as [K, N, ...]."""

    def mover(emit: Emitter, subject: Subject, source: Source) -> tuple[gs.Tensor, None]:
        start, rank = source.start, len(source.start.shape)
        axes = list(range(1, rank))
        most, least = (emit(op, start, axes, keepdims=1) for op in ("ReduceMax", "ReduceMin"))
        width = (most - least) * noise
        sizes = emit.dims(start, 1)
        count = emit.ReduceProd(sizes, keepdims=0)
        # Inputs that are explained together have noise of their own.
        own = (
            seed + 7919 * [s.input.name for s in subject.sources].index(source.input.name)
        ) % 2**31
        numbers_of = normal(emit, numbers, count, own, start.dtype)
        ahead = emit.Concat(emit.Shape(numbers), [1], sizes, axis=0)
        shift = emit.Reshape(numbers_of, ahead) * emit.Unsqueeze(width, [0])
        return emit.Unsqueeze(start, [0]) + shift, None

    return mover


def _at_noise(subject: Subject, options: Chosen, title: str) -> tuple[Moved, gs.Variable]:
    numbers = gs.Variable(NUMBERS, dtype=np.dtype(np.int64), shape=[POINTS])
    mover = noisy(numbers, options["noise"], options["seed"])
    at = moved(subject, [numbers], mover, title)
    return at, gs.Variable(WEIGHTS, dtype=subject.start.dtype, shape=[POINTS])


def mean_chunk(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """A model of (input, seed, numbers [K], weights [K], total) that adds to the mean gradient.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    at, weights = _at_noise(subject, options, "SmoothGrad")
    slopes = slopes_at(at, "SmoothGrad", weights)
    at.emit.graph.inputs.append(weights)
    parts = {}
    for slope, place in zip(slopes, at.places, strict=True):
        parts[at.subject.name_of(ATTRIBUTION, place.source)] = _shaped(at, place.source, slope)
    return finish(at.emit.graph, added_up(at.emit, parts), own_outputs=False)


def variance_chunk(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """The same for the variance, and the mean beside it.

    Of n samples with mean m and variance v, and K more with m' and v', all have the mean
    m + s (m' - m) and the variance (1 - s) v + s v' + s (1 - s) (m' - m)^2, with s = K / (n + K)
    (Chan, Golub, LeVeque 1979): no difference of two large numbers.
    """
    at, weights = _at_noise(subject, options, "VarGrad")
    slopes = slopes_at(at, "VarGrad")
    emit = at.emit
    emit.graph.inputs.append(weights)
    share = emit.input(SHARE, subject.start.dtype, [])
    outputs = {}
    for slope, place in zip(slopes, at.places, strict=True):
        rank = len(place.source.start.shape)
        column = emit.Reshape(weights, [-1] + [1] * rank)
        mean = emit.ReduceSum(slope * column, [0], keepdims=0)
        apart = slope - mean
        squares = apart * apart * column
        variance = emit.ReduceSum(squares, [0], keepdims=0)
        mean, variance = (_shaped(at, place.source, part) for part in (mean, variance))
        names = [at.subject.name_of(kind, place.source) for kind in (ATTRIBUTION, _MEAN)]
        before, mean_before = (total_input(emit, name, mean) for name in names)
        gap, rest = mean - mean_before, 1.0 - share
        moved_by = gap * gap * rest * share
        now = before * rest + variance * share
        outputs[names[0]] = now + moved_by
        outputs[names[1]] = mean_before + gap * share
        for name in names:
            outputs[name].shape = mean.shape
    return finish(emit.graph, outputs, own_outputs=False)


def _shaped(at: Moved, source: Source, part: gs.Tensor) -> gs.Tensor:
    """In the input's shape, or summed over each embedding's row."""
    part.shape = source.start.shape
    summed = per_token(at.emit, source, part)
    summed.shape = source.start.shape[: len(source.start.shape) - source.embedded]
    return summed


def _rows(options: Chosen, dtype: np.dtype, mean: bool):
    """Numbers of all samples, and their weights: in all of them, or in those of one run."""
    count = options["samples"]

    def rows(size: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        del feeds
        padded = -(-count // size) * size
        numbers = np.arange(padded, dtype=np.int64).reshape(-1, size)
        real = (numbers < count).sum(axis=1)
        of = np.full(len(numbers), count) if mean else real
        weights = ((numbers < count) / of[:, None]).astype(dtype)
        found = {NUMBERS: numbers, WEIGHTS: weights}
        return found if mean else {**found, SHARE: (real / np.cumsum(real)).astype(dtype)}

    return rows


def _stages(chunk: Callable[[Subject, Chosen], onnx.ModelProto], mean: bool):
    def halves(size: int, rows: Mapping[str, np.ndarray]) -> Halves | None:
        del size
        return of_samples(rows[WEIGHTS], mean=not mean)

    def stages(subject: Subject, options: Chosen) -> Stages:
        rows = _rows(options, numpy_type(subject.start.dtype), mean)
        along = Repeated(chunk(subject, options), rows, options["samples"], halves)
        return Stages(seeded(subject), along=along)

    def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
        once = points_at_once(subject, _AT_ONCE, 1, options["samples"])
        rows = _rows(options, numpy_type(subject.start.dtype), mean)(once, {})
        kinds = [ATTRIBUTION] if mean else [ATTRIBUTION, _MEAN]
        sizes = {subject.name_of(k, s): s.input.name for s in subject.sources for k in kinds}
        return looped(seeded(subject), chunk(subject, options), rows, sizes)

    return {"stages": stages, "whole": whole}


_NOISE = Option(
    "noise",
    "Standard deviation of the noise, as a part of the input's range.  [default: 0.15]",
    real_number("noise"),
    0.15,
    kind=float,
    metavar="PART",
)
_OPTIONS = (samples(25, "Noisy copies of the input.  [default: 25]"), _NOISE, SEED)

METHODS = (
    Method(
        name="smoothgrad",
        sign=OF_A_CHANGE,
        title="SmoothGrad",
        cite="Smilkov et al. 2017",
        summary="The gradient averaged over noisy copies of the input.",
        options=_OPTIONS,
        unsupported=unsupported,
        place=30,
        **_stages(mean_chunk, True),
    ),
    Method(
        name="vargrad",
        title="VarGrad",
        cite="Adebayo et al. 2018",
        summary="The variance of the gradient over noisy copies of the input.",
        options=_OPTIONS,
        unsupported=unsupported,
        place=30,
        signed=False,
        **_stages(variance_chunk, False),
    ),
)
