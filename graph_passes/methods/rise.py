"""RISE: what the score has to do with places being seen, over random masks.

Petsiuk, Das, Saenko: RISE, Randomized Input Sampling for Explanation of Black-box Models (2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, finish
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import Value, numpy_type
from ..heads.along import POINTS, points_at_once, scores_at
from ..heads.asking import WEIGHTS, seeded, total_input
from ..heads.halves import Halves, of_samples
from ..heads.hidden import NUMBERS, check_one_input, flat, in_places, with_parts_hidden
from ..heads.loop import looped
from ..heads.random_numbers import uniform
from ..select.subject import Subject
from .method import Chosen, Method, Repeated, Stages
from .options import BASELINE, SEED, samples

_TITLE = "RISE"
# Cells of a picture's mask along each axis, and how probably each is seen (section 4.1).
CELLS, SEEN = 7, 0.5
SHARE = f"{RESERVED}share"
_MEAN_SCORE, _MEAN_MASK = f"{RESERVED}mean_score", f"{RESERVED}mean_mask"


def masks(emit: Emitter, lengths: Sequence[gs.Tensor], numbers: gs.Tensor, seed: int) -> gs.Tensor:
    """How much of each place is seen, float32 [K, lengths...].

    A picture's: a grid of cells that are seen or not, interpolated linearly between their middles
    and shifted by a random part of a cell (section 3.2). Else each place is seen or not by itself.
    """
    if len(lengths) != 2:
        sizes = emit.Concat(*lengths, axis=0)
        count = emit.ReduceProd(sizes, keepdims=0)
        bits = _bits(emit, numbers, emit.Range(np.int64(0), count, np.int64(1)), seed)
        return emit.Reshape(bits, emit.Concat([-1], sizes, axis=0))
    nodes = CELLS + 2
    bits = _bits(emit, numbers, emit.constant(np.arange(nodes * nodes)), seed)
    grid = emit.Reshape(bits, [-1, nodes, nodes])
    # Numbers that no cell has.
    places = emit.constant(np.array([nodes * nodes, nodes * nodes + 1]))
    shifts = uniform(emit, numbers, places, seed, np.float32)
    rows, columns = (
        _interpolation(emit, length, emit.Slice(shifts, [axis], [axis + 1], [1]), nodes)
        for axis, length in enumerate(lengths)
    )
    wide = grid @ emit.Transpose(columns, perm=[0, 2, 1])
    return rows @ wide


def _bits(emit: Emitter, numbers: gs.Tensor, places: gs.Tensor, seed: int) -> gs.Tensor:
    drawn = uniform(emit, numbers, places, seed, np.float32)
    return emit.Cast(emit.Less(drawn, SEEN), to=onnx.TensorProto.FLOAT)


def _interpolation(emit: Emitter, length: gs.Tensor, shift: gs.Tensor, nodes: int) -> gs.Tensor:
    """Linear weights [K, length, nodes]: max(0, 1 - |(p + 1/2) cells / length + shift - node|)."""
    at = emit.Range(np.int64(0), emit.Squeeze(length, [0]), np.int64(1))
    cell = np.array([float(CELLS)], np.float32) / _float(emit, length)
    steps = (_float(emit, at) + 0.5) * cell
    where = emit.Unsqueeze(steps, [0]) + shift
    apart = emit.Unsqueeze(where, [2]) - np.arange(nodes, dtype=np.float32)
    return emit.Relu(1.0 - abs(apart))


def _float(emit: Emitter, value: Value) -> Any:
    return emit.Cast(value, to=onnx.TensorProto.FLOAT)


def rise_chunk(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """A model of (input, baseline, seed, numbers [K], weights [K], share, totals).

    attribution = covariance of score and mask / p. That is the expected score where a place is
    seen (equation 6) less the expected score of all masks, over the samples so far: of two parts,
    n and K samples, c = (1 - s) c + s c' + s (1 - s) (score' - score) (mask' - mask) with
    s = K / (n + K) and the parts' means.
    """

    def seen(emit: Emitter, lengths: Sequence[gs.Tensor], numbers: gs.Tensor) -> gs.Tensor:
        return masks(emit, lengths, numbers, options["seed"])

    at, _, shares = with_parts_hidden(subject, _TITLE, seen)
    emit, start = at.emit, at.subject.start
    weights = emit.input(WEIGHTS, start.dtype, [POINTS])
    share = emit.input(SHARE, start.dtype, [])
    row = emit.Unsqueeze(weights, [0])
    scores, shown = scores_at(at), flat(emit, emit.cast_like(shares, start))
    score, mask = row @ scores, row @ shown
    weighed = (scores - score) * emit.Unsqueeze(weights, [1])
    apart = emit.Transpose(weighed, perm=[1, 0])
    part = in_places(at, apart @ (shown - mask) / SEEN)
    score, mask = emit.Transpose(score, perm=[1, 0]), in_places(at, mask)
    score.shape, mask.shape = ["?", 1], [1, *part.shape[1:]]
    names = (ATTRIBUTION, _MEAN_SCORE, _MEAN_MASK)
    before, score_before, mask_before = (
        total_input(emit, name, like) for name, like in zip(names, (part, score, mask), strict=True)
    )
    rest = 1.0 - share
    score_gap, mask_gap = score - score_before, mask - mask_before
    column = emit.Reshape(score_gap, [-1] + [1] * (len(part.shape) - 1))
    both = rest * share / SEEN * (column * mask_gap)
    now = before * rest + part * share + both
    score = score_before + score_gap * share
    mask = mask_before + mask_gap * share
    now.shape, score.shape, mask.shape = part.shape, ["?", 1], [1, *part.shape[1:]]
    return finish(emit.graph, dict(zip(names, (now, score, mask), strict=True)), own_outputs=False)


def _rows(options: Chosen, size: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    count = options["samples"]
    numbers = np.arange(-(-count // size) * size, dtype=np.int64).reshape(-1, size)
    real = (numbers < count).sum(axis=1)
    return {
        NUMBERS: numbers,
        WEIGHTS: ((numbers < count) / real[:, None]).astype(dtype),
        SHARE: (real / np.cumsum(real)).astype(dtype),
    }


def stages(subject: Subject, options: Chosen) -> Stages:
    """The score, and the score behind each mask."""
    dtype = numpy_type(subject.start.dtype)

    def rows(size: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        del feeds
        return _rows(options, size, dtype)

    def halves(size: int, rows: Mapping[str, np.ndarray]) -> Halves | None:
        del size
        return of_samples(rows[WEIGHTS], mean=True)

    along = Repeated(rise_chunk(subject, options), rows, options["samples"], halves)
    return Stages(seeded(subject, from_logits=True), along=along)


def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """The score, and a Loop over the masks."""
    once = points_at_once(subject, options["at_once"], 1, options["samples"])
    rows = _rows(options, once, numpy_type(subject.start.dtype))
    first = seeded(subject, from_logits=True)
    return looped(first, rise_chunk(subject, options), rows, {})


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Nothing that a model is made of."""
    del options
    check_one_input(subject, _TITLE)
    return []


METHODS = (
    Method(
        name="rise",
        title=_TITLE,
        cite="Petsiuk, Das, Saenko 2018",
        summary="How much the score rises where random masks let a place be seen.",
        options=(BASELINE, samples(1000, "Random masks.  [default: 1000]"), SEED),
        stages=stages,
        whole=whole,
        unsupported=unsupported,
        place=50,
        per_location=True,
    ),
)
