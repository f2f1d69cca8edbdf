"""Occlusion: how much the score falls where a window hides the input.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (2014), section 4.2; averaged
over the windows that hide a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import InvalidInputError
from ..backward.reasons import is_tree
from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, SCORE, finish
from ..graph.emitter import Emitter
from ..graph.tensors import numpy_type
from ..graph.terms import Term
from ..heads.along import POINTS, points_at_once, scores_at
from ..heads.asking import WEIGHTS, added_up, seeded
from ..heads.hidden import (
    NUMBERS,
    check_one_input,
    flat,
    in_places,
    lengths_of,
    places_of,
    with_parts_hidden,
)
from ..heads.loop import looped
from ..select.subject import Subject
from .method import Chosen, Method, Option, Repeated, Stages
from .options import BASELINE, whole_number

_TITLE = "Occlusion"
# Unless asked otherwise a window is this part of an axis, and moves by half of itself.
_PARTS = 8


class _Axis:
    """Windows along one axis of length d: n of them, w long, each s behind the one before.

    n = ceil((d - w) / s) + 1, as Captum counts; the last one may reach over the end.
    """

    def __init__(self, window: int | None, stride: int | None):
        self.window, self.stride = window, stride

    def steps(self, length: int) -> tuple[int, int]:
        """w and s."""
        window = min(self.window or max(length // _PARTS, 1), length)
        return window, self.stride or max(window // 2, 1)

    def count(self, length: int) -> int:
        """n."""
        window, stride = self.steps(length)
        return -(-(length - window) // stride) + 1

    def emitted(self, emit: Emitter, length: gs.Tensor) -> tuple[Any, Any, gs.Tensor]:
        """w, s and n in the graph, int64 [1] each."""
        one = emit.constant(np.ones(1, np.int64))
        whole: Any = emit.Max(length / np.array([_PARTS]), one)
        whole = whole if self.window is None else emit.constant(np.array([self.window]))
        window = emit.Min(whole, length)
        stride: Any = emit.Max(window / np.array([2]), one)
        stride = stride if self.stride is None else emit.constant(np.array([self.stride]))
        over = length - window + (stride - one)
        return window, stride, over / stride + one


def axes_of(subject: Subject, options: Chosen) -> list[_Axis]:
    """The windows along each axis.

    Raises:
        InvalidInputError: a window or stride for another number of axes, or gaps between windows.
    """
    count = len(places_of(subject.sources[0]))
    given, columns = {}, count == 1 and any(map(is_tree, subject.graph.nodes))
    if columns and options["window"] is None:
        # What a tree reads are columns, of which neighbours have nothing in common.
        options = {**options, "window": 1}
    for name in ("window", "stride"):
        value = options[name]
        values = [value] * count if value is None or isinstance(value, int) else list(value)
        if len(values) != count:
            raise InvalidInputError(f"{name}: expected a number or {count}, got {value!r}")
        given[name] = values
    axes = [_Axis(*both) for both in zip(given["window"], given["stride"], strict=True)]
    for axis in axes:
        if axis.stride is not None and axis.stride > (axis.window or axis.stride):
            raise InvalidInputError(
                f"stride {axis.stride} is above the window's {axis.window}: places between would "
                "never be hidden"
            )
    return axes


def occlusion_chunk(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """A model of (input, baseline, seed, score, numbers [K], weights [K], total).

    total + sum_k weights_k [window k hides the place] (score - score with window k hidden) / how
    many windows hide the place.
    """
    axes = axes_of(subject, options)
    covered: list[Any] = []

    def seen(emit: Emitter, lengths: Sequence[gs.Tensor], numbers: gs.Tensor) -> gs.Tensor:
        inside, left = [], emit.term(numbers)
        for place in range(len(axes) - 1, -1, -1):
            window, stride, count = axes[place].emitted(emit, lengths[place])
            start = emit.Mod(left, count) * stride
            left = left / count
            ranks = [1] * place, [1] * (len(axes) - 1 - place)
            shape = np.array([-1, *ranks[0], 1, *ranks[1]])
            length = emit.Squeeze(lengths[place], [0])
            at = emit.Range(np.int64(0), length, np.int64(1))
            starts, ats = emit.Reshape(start, shape), emit.Unsqueeze(at, _behind(ranks))
            hidden = emit.And(
                emit.GreaterOrEqual(ats, starts),
                emit.Less(ats, starts + window),
            )
            inside.append(hidden)
            covered.append(
                emit.Unsqueeze(_covering(emit, at, window, stride, count), _behind(ranks))
            )
        hidden = inside[0]
        for other in inside[1:]:
            hidden = emit.And(hidden, other)
        return ~hidden

    at, _, shown = with_parts_hidden(subject, _TITLE, seen)
    emit, start = at.emit, at.subject.start
    weights = emit.input(WEIGHTS, start.dtype, [POINTS])
    score = emit.input(SCORE, at.subject.logits.dtype, ["scores"])
    falls = emit.Unsqueeze(emit.cast_like(score, start), [0]) - scores_at(at)
    falls = falls * emit.Unsqueeze(weights, [1])
    hidden = emit.cast_like(~shown, start)
    total = emit.Transpose(falls, perm=[1, 0]) @ flat(emit, hidden)
    times = covered[0]
    for other in covered[1:]:
        times = times * other
    times = emit.Flatten(emit.cast_like(times, start), axis=1)
    part = in_places(at, total / times)
    return finish(emit.graph, added_up(emit, {ATTRIBUTION: part}), own_outputs=False)


def _behind(ranks: tuple[list[int], list[int]]) -> list[int]:
    """The axes that make a vector lie along one of several, behind that of the numbers."""
    before, after = map(len, ranks)
    return [*range(before + 1), *range(before + 2, before + 2 + after)]


def _covering(emit: Emitter, at: Term, window, stride, count) -> gs.Tensor:
    """How many windows hide each place p: min(p // s, n - 1) - ceil(max(p - w + 1, 0) / s) + 1."""
    one = emit.constant(np.ones(1, np.int64))
    last = emit.Min(at / stride, count - one)
    beyond = emit.Max(at - window + one, np.zeros(1, np.int64))
    first = (beyond + (stride - one)) / stride
    return last - first + one


def _rows(count: int, size: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    numbers = np.arange(-(-count // size) * size, dtype=np.int64).reshape(-1, size)
    return {NUMBERS: numbers, WEIGHTS: (numbers < count).astype(dtype)}


def stages(subject: Subject, options: Chosen) -> Stages:
    """The score, and the score behind each window."""
    axes, source = axes_of(subject, options), subject.sources[0]

    def rows(size: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x = feeds[source.input.name]
        lengths = [x.shape[axis] for axis in places_of(source)]
        count = int(np.prod([a.count(d) for a, d in zip(axes, lengths, strict=True)]))
        return _rows(count, size, numpy_type(subject.start.dtype))

    along = Repeated(occlusion_chunk(subject, options), rows, None)
    return Stages(seeded(subject, from_logits=True), along=along)


def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """The score, and a Loop over the windows of an input of fixed size."""
    counts = [
        axis.count(length)
        for axis, length in zip(axes_of(subject, options), lengths_of(subject), strict=True)
    ]
    count = int(np.prod(counts))
    once = points_at_once(subject, options["at_once"], 1, count)
    rows = _rows(count, once, numpy_type(subject.start.dtype))
    first = seeded(subject, from_logits=True)
    return looped(first, occlusion_chunk(subject, options), rows, {})


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Nothing that a model is made of."""
    check_one_input(subject, _TITLE)
    axes_of(subject, options)
    return []


def _sizes(name: str):
    """A check for a whole number of at least 1, or several."""
    one = whole_number(name)

    def check(value: Any) -> int | tuple[int, ...]:
        return tuple(map(one, value)) if isinstance(value, list | tuple) else one(value)

    return check


def _option(name: str, help: str) -> Option:
    return Option(name, help, _sizes(name), kind=int, metavar="N")


METHODS = (
    Method(
        name="occlusion",
        title=_TITLE,
        cite="Zeiler, Fergus 2014",
        summary="How much the score falls where a window hides the input.",
        options=(
            BASELINE,
            _option(
                "window",
                "Occlusion's window, in places. Default: an eighth of each axis; "
                "for decision trees one column.",
            ),
            _option("stride", "How far it moves each time. Default: half the window."),
        ),
        stages=stages,
        whole=whole,
        unsupported=unsupported,
        place=50,
        per_location=True,
    ),
)
