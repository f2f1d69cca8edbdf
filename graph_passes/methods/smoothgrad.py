"""SmoothGrad and VarGrad: mean and variance of the gradient at noisy copies of the input.

Smilkov et al.: SmoothGrad (2017). Adebayo et al.: Local Explanation Methods for Deep Neural
Networks Lack Sensitivity to Parameter Values (2018), for VarGrad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, finish
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import numpy_type
from ..heads.along import (
    POINTS,
    Moved,
    Mover,
    attributions_at,
    begins_at_logits,
    moved,
    points_at_once,
)
from ..heads.asking import (
    WEIGHTS,
    added_up,
    per_token,
    seeded,
    table_refusals,
    total_input,
)
from ..heads.halves import Halves, of_samples
from ..heads.loop import looped
from ..heads.random_numbers import normal
from ..heads.walks import SLOPE, Walk, times_point
from ..rules.rectifiers import GUIDED
from ..rules.table import GRADIENT
from ..select.subject import Source, Subject
from . import deeplift, lrp
from .method import OF_A_CHANGE, Chosen, Method, Option, Repeated, Stages
from .options import SEED, choice, real_number, samples

# The samples of one run, and for VarGrad their share in all samples up to it.
NUMBERS, SHARE = f"{RESERVED}numbers", f"{RESERVED}share"
_MEAN = f"{RESERVED}mean"
# (options) -> what is walked back at each copy.
WalkOf = Callable[[Chosen], Walk]
# Samples at once in a file.


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


def _at_noise(subject: Subject, options: Chosen, walk: Walk) -> tuple[Moved, gs.Variable]:
    numbers = gs.Variable(NUMBERS, dtype=np.dtype(np.int64), shape=[POINTS])
    mover = noisy(numbers, options["noise"], options["seed"])
    at = moved(subject, [numbers], mover, walk)
    return at, gs.Variable(WEIGHTS, dtype=subject.start.dtype, shape=[POINTS])


def mean_chunk(subject: Subject, options: Chosen, walk: Walk) -> onnx.ModelProto:
    """A model of (input, seed, numbers [K], weights [K], total) that adds to the mean.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    at, weights = _at_noise(subject, options, walk)
    slopes = attributions_at(at, walk, weights)
    at.emit.graph.inputs.append(weights)
    parts = {}
    for slope, place in zip(slopes, at.places, strict=True):
        parts[at.subject.name_of(ATTRIBUTION, place.source)] = _shaped(at, place.source, slope)
    return finish(at.emit.graph, added_up(at.emit, parts), own_outputs=False)


def variance_chunk(subject: Subject, options: Chosen, walk: Walk) -> onnx.ModelProto:
    """The same for the variance, and the mean beside it.

    Of n samples with mean m and variance v, and K more with m' and v', all have the mean
    m + s (m' - m) and the variance (1 - s) v + s v' + s (1 - s) (m' - m)^2, with s = K / (n + K)
    (Chan, Golub, LeVeque 1979): no difference of two large numbers.
    """
    at, weights = _at_noise(subject, options, walk)
    slopes = attributions_at(at, walk)
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


def _stages(chunk: Callable[..., onnx.ModelProto], mean: bool, walk_of: WalkOf) -> dict[str, Any]:
    def halves(size: int, rows: Mapping[str, np.ndarray]) -> Halves | None:
        del size
        return of_samples(rows[WEIGHTS], mean=not mean)

    def stages(subject: Subject, options: Chosen) -> Stages:
        walk, rows = walk_of(options), _rows(options, numpy_type(subject.start.dtype), mean)
        along = Repeated(chunk(subject, options, walk), rows, options["samples"], halves)
        return Stages(seeded(subject, begins_at_logits(walk)), along=along)

    def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
        walk = walk_of(options)
        once = points_at_once(subject, options["at_once"], 1, options["samples"])
        rows = _rows(options, numpy_type(subject.start.dtype), mean)(once, {})
        kinds = [ATTRIBUTION] if mean else [ATTRIBUTION, _MEAN]
        sizes = {subject.name_of(k, s): s.input.name for s in subject.sources for k in kinds}
        first = seeded(subject, begins_at_logits(walk))
        return looped(first, chunk(subject, options, walk), rows, sizes)

    def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
        return table_refusals(subject, walk_of(options).table)

    return {"stages": stages, "whole": whole, "unsupported": unsupported}


class Single(NamedTuple):
    """What is done at each noisy copy.

    Attributes:
        title: as it is printed.
        walk: (options) -> the walk.
        options: of its own.
        sign: see `Method`.
    """

    title: str
    walk: WalkOf
    options: tuple[Option, ...] = ()
    sign: tuple[str, str] = Method.sign


def _fixed(walk: Walk) -> WalkOf:
    return lambda options: walk


_GRADIENT = "gradient"
SINGLES = {
    "input-x-gradient": Single(
        "Input x Gradient", _fixed(Walk("Input x Gradient", GRADIENT, times_point))
    ),
    "guided-backprop": Single(
        "Guided Backpropagation", _fixed(Walk("Guided Backpropagation", GUIDED)), sign=OF_A_CHANGE
    ),
    "deeplift": Single("DeepLIFT", deeplift.walk, deeplift.METHODS[0].options),
    "lrp": Single("LRP", lrp.walk, lrp.METHODS[0].options),
}
"""What else than the gradient can be averaged: methods that are one walk back from each copy."""

_NOISE = Option(
    "noise",
    "Standard deviation of the noise, as a part of the input's range.  [default: 0.15]",
    real_number("noise"),
    0.15,
    kind=float,
    metavar="PART",
)
_WHAT = "What is computed at each noisy copy.  [default: gradient]"
_OF = choice("of", _WHAT, (_GRADIENT, *SINGLES), _GRADIENT)._replace(command_line=False)
_OPTIONS = (samples(25, "Noisy copies of the input.  [default: 25]"), _NOISE, SEED)


def _composed(
    name: str, title: str, how: str, chunk: Callable[..., onnx.ModelProto], mean: bool, cite: str
) -> tuple[Method, ...]:
    """The same of each of `SINGLES`."""

    def record(of: str, single: Single) -> Method:
        def walk(options: Chosen) -> Walk:
            found = single.walk(options)
            return found._replace(title=f"{title} of {found.title}")

        return Method(
            name=f"{name}-of-{of}",
            title=f"{title} of {single.title}",
            cite=cite,
            summary=f"{how.format(single.title)} over noisy copies of the input.",
            options=(*_OPTIONS, *single.options),
            place=30,
            signed=mean,
            sign=single.sign,
            of=of,
            **_stages(chunk, mean, walk),
        )

    return tuple(record(of, single) for of, single in SINGLES.items())


def _facts(options: Chosen) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "of"}


METHODS = (
    Method(
        name="smoothgrad",
        sign=OF_A_CHANGE,
        title="SmoothGrad",
        cite="Smilkov et al. 2017",
        summary="The gradient averaged over noisy copies of the input.",
        options=(*_OPTIONS, _OF),
        place=30,
        facts=_facts,
        of=_GRADIENT,
        compositions=_composed(
            "smoothgrad", "SmoothGrad", "{} averaged", mean_chunk, True, "Smilkov et al. 2017"
        ),
        **_stages(mean_chunk, True, _fixed(SLOPE._replace(title="SmoothGrad"))),
    ),
    Method(
        name="vargrad",
        title="VarGrad",
        cite="Adebayo et al. 2018",
        summary="The variance of the gradient over noisy copies of the input.",
        options=(*_OPTIONS, _OF),
        place=30,
        signed=False,
        facts=_facts,
        of=_GRADIENT,
        compositions=_composed(
            "vargrad", "VarGrad", "The variance of {}", variance_chunk, False, "Adebayo et al. 2018"
        ),
        **_stages(variance_chunk, False, _fixed(SLOPE._replace(title="VarGrad"))),
    ),
)
