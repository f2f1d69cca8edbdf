"""Shapes as onnx-graphsurgeon holds them.

A list of int (known), str (symbolic) or None (unknown).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Dim: TypeAlias = "int | str | None"
Shape: TypeAlias = "Sequence[Dim] | None"


def is_static(shape: Shape) -> bool:
    """True when every dimension is a known number."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)


def same_dim(a: Dim, b: Dim) -> bool:
    """True when the two dimensions are certainly equal; unknown ones never are."""
    return a is not None and a == b


def same_shape(a: Shape, b: Shape) -> bool:
    """True when the two shapes are certainly equal."""
    if a is None or b is None or len(a) != len(b):
        return False
    return all(same_dim(p, q) for p, q in zip(a, b, strict=True))


def broadcast_axes(wide: Shape, narrow: Shape) -> list[int] | None:
    """Axes of `wide` along which a tensor of shape `narrow` was repeated to reach it.

    Returns None when that is only known at run time. A `narrow` dimension of 1 counts as repeated
    even where `wide` may turn out to be 1 too: summing over one element changes nothing.
    """
    if wide is None or narrow is None or len(narrow) > len(wide):
        return None
    lead = len(wide) - len(narrow)
    axes = list(range(lead))
    for axis, (big, small) in enumerate(zip(wide[lead:], narrow, strict=True), start=lead):
        if small == 1:
            if big != 1:
                axes.append(axis)
        elif isinstance(small, int) or same_dim(big, small):
            continue
        else:
            return None
    return axes


def describe(shape: Shape) -> str:
    """A shape as people write it: [batch, 3, 224, 224], with ? for what is unknown."""
    if shape is None:
        return "[...]"
    return "[" + ", ".join(map(_describe_dim, shape)) + "]"


def _describe_dim(dim: Dim) -> str:
    """A number, or the file's name; ? for names that shape inference and `prepare` made up."""
    made_up = dim is None or (isinstance(dim, str) and ("?" in dim or dim.startswith("unk__")))
    return "?" if made_up else str(dim)
