"""How large a model may become before it is refused: the limits, and what holds a model to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

from ... import InvalidInputError, UnsupportedModelError


@dataclass(frozen=True)
class Limits:
    """What a model may cost before it is refused: no file of 1 MB takes minutes, or 4 GB.

    Bytes are of a small file; a larger one is allowed more, in proportion to its weights (see
    `CONSTANTS_PER_BYTE` and `ACTIVATIONS_PER_BYTE`).

    Attributes:
        nodes: nodes of the file, those inside its subgraphs and functions counted as often as they
            are called, and of what its loops and decompositions are written out to.
        operands: inputs, or outputs, of one node, and of the model.
        nesting: subgraphs within subgraphs, and functions within functions.
        constant_bytes: one tensor that is computed from constants alone.
        constants_bytes: all of them.
        constant_work: multiplications that computing them takes.
        activations_bytes: all tensors between input and output, of one batch at the declared sizes
            (what the file leaves open counts as 1).
        batch: inputs at a time, where the file fixes them.
        loop_seconds: a run of ONNX Runtime of a graph with a Loop, which may never end.

    Examples:
        >>> explainer = onnxplain.Explainer("digits.onnx", limits=onnxplain.Limits(nodes=100_000))
    """

    nodes: int = 20_000
    operands: int = 2048
    nesting: int = 16
    constant_bytes: int = 2**26
    constants_bytes: int = 2**28
    constant_work: int = 2**36
    activations_bytes: int = 2**30
    batch: int = 4096
    loop_seconds: int = 15

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInputError(
                    f"limit {field.name}: expected a whole number of at least 1, got {value!r}"
                )


# What a file's own size adds to the limits, in bytes for each of its bytes: weights stored in four
# bits are eight times as large in float32; small networks on large images need a few hundred.
CONSTANTS_PER_BYTE, ACTIVATIONS_PER_BYTE = 10, 512

_DEFAULT = Limits()
_current: ContextVar[Limits] = ContextVar("limits", default=_DEFAULT)


@contextmanager
def within(limits: Limits | None) -> Iterator[None]:
    """Hold what is built inside to these limits; None keeps those in force."""
    before = _current.set(_current.get() if limits is None else limits)
    try:
        yield
    finally:
        _current.reset(before)


def in_force() -> Limits:
    """The limits of the model that is being built."""
    return _current.get()


def exceed(name: str, what: str, came: str, allowed: int | None = None) -> NoReturn:
    """Refuse a model for one of the limits, which can be raised.

    Raises:
        UnsupportedModelError: always.
    """
    allowed = getattr(in_force(), name) if allowed is None else allowed
    raise UnsupportedModelError(
        f"{what}: expected at most {allowed:,}, got {came} (--limit {name}=N, or limits=onnxplain."
        f"Limits({name}=N), allows more)"
    )


def hold(name: str, what: str, value: int, extra: int = 0) -> None:
    """Refuse a model whose `value` is above the limit of that name, plus `extra`.

    Raises:
        UnsupportedModelError: it is.
    """
    allowed = getattr(in_force(), name) + extra
    if value > allowed:
        exceed(name, what, f"{value:,}" if value < 2**63 else "2^63 or more", allowed)


def bytes_of(shape: Sequence[Any], dtype: Any) -> int:
    """Bytes of a tensor; a length that is not known counts as 1."""
    size = getattr(dtype, "itemsize", 4)
    return size * math.prod(d for d in shape if isinstance(d, int) and d >= 0)
