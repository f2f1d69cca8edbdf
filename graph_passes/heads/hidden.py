"""Hiding parts of an input behind its baseline: what black-box methods share.

They ask only for scores, so that any model will do, also with operators that have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..graph.dims import describe
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..select.subject import Source, Subject
from .along import POINTS, Moved, forget_inputs, moved
from .asking import add_baseline_input

# The windows, or masks, of one run.
NUMBERS = f"{RESERVED}numbers"

# (emitter, lengths of the explained axes as int64 [1] each, numbers [K]) -> how much of each place
# is seen, from 0 to 1, [K, lengths...].
Seen = Callable[[Emitter, Sequence[gs.Tensor], gs.Tensor], gs.Tensor]


def places_of(source: Source) -> list[int]:
    """The axes that places lie along: those that are no batch and no channels.

    Of token ids those of the ids: a token is hidden as a whole. Where nobody knows which axis holds
    channels, every element is a place.
    """
    return [*source.features.axes]


def lengths_of(subject: Subject) -> list[int]:
    """The lengths of those axes, as the file fixes them.

    Raises:
        UnsupportedModelError: it leaves one open.
    """
    source = subject.sources[0]
    lengths = [source.start.shape[axis] for axis in places_of(source)]
    if not all(isinstance(length, int) for length in lengths):
        raise UnsupportedModelError(
            f"one file of it needs an input whose sizes are fixed; {source.input.name!r} is "
            f"{describe(source.start.shape)}"
        )
    return lengths


def check_one_input(subject: Subject, title: str) -> None:
    """Refuse several explained inputs, and one that is no float tensor of its own axes.

    Raises:
        InvalidInputError: they are several.
        UnsupportedModelError: its axes are others where it becomes float.
    """
    if len(subject.sources) > 1:
        raise InvalidInputError(f"{title} explains one input at a time; name one")
    source = next(iter(subject.sources))
    if len(source.start.shape) < 2:
        raise UnsupportedModelError(
            f"parts of a row are hidden, and a row of {source.input.name!r} is one number"
        )
    if not source.straight:
        raise UnsupportedModelError(
            f"{title} cannot tell which places of {source.input.name!r} the numbers "
            f"{describe(source.start.shape)} that it becomes are made of"
        )


def with_parts_hidden(subject: Subject, title: str, seen: Seen) -> tuple[Moved, gs.Variable, Any]:
    """The model on K versions of each input, b + s (x - b); the numbers, and s [K, lengths...]."""
    check_one_input(subject, title)
    numbers = gs.Variable(NUMBERS, dtype=np.dtype(np.int64), shape=[POINTS])
    made: list[Any] = []

    def mover(emit: Emitter, subject: Subject, source: Source) -> tuple[gs.Tensor, None]:
        start, axes = source.start, places_of(source)
        baseline = add_baseline_input(emit, subject, source)
        shares = seen(emit, [emit.dims(start, axis, axis + 1) for axis in axes], numbers)
        made.append(shares)
        others = [axis + 1 for axis in range(len(start.shape)) if axis not in axes]
        share = emit.Unsqueeze(emit.cast_like(shares, start), others)
        hidden = (1.0 - share) * emit.Unsqueeze(baseline, [0])
        return share * emit.Unsqueeze(start, [0]) + hidden, None

    at = moved(subject, [numbers], mover, None, from_logits=True)
    forget_inputs(at)
    return at, numbers, made[0]


def flat(emit: Emitter, shares: gs.Tensor) -> gs.Tensor:
    """[K, lengths...] as [K, places]."""
    return emit.Flatten(shares, axis=1)


def in_places(at: Moved, values: gs.Tensor) -> gs.Tensor:
    """[N, places] as [N, lengths...]."""
    emit, source = at.emit, at.subject.sources[0]
    sizes = [emit.dims(source.start, axis, axis + 1) for axis in places_of(source)]
    result = emit.Reshape(values, emit.Concat([-1], *sizes, axis=0))
    result.shape = [source.start.shape[axis] for axis in (0, *places_of(source))]
    return result
