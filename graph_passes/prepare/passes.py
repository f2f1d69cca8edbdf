"""What a pass is, and the one runner of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs

from .dialect import Property
from .shapes import infer_shapes

_MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Pass:
    """One step from a file to the dialect.

    Attributes:
        run: takes a model (onnx.ModelProto) or a graph, which are its own to change, and returns
            what takes its place, or None where nothing changed. A check returns None or raises.
        requires: what must hold of a graph before.
        ensures: what holds of it afterwards.
        reshapes: where it changed something, shapes are inferred again before anybody goes on.
        repeats: it is run again until it changes nothing.
    """

    run: Callable[[Any], Any]
    requires: tuple[Property, ...] = ()
    ensures: tuple[Property, ...] = ()
    reshapes: bool = False
    repeats: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.run.__name__


class BrokenPassError(AssertionError):
    """A pass was given, or left, what it must not: a mistake of ours."""


def run_passes(subject: Any, passes: Sequence[Pass], checked: bool = False) -> Any:
    """Run passes in their order.

    Args:
        subject: a model or a graph; it is changed.
        passes: in order.
        checked: whether what each requires and ensures is looked at (in tests: it takes time).

    Raises:
        BrokenPassError: where it is looked at, and does not hold.
    """
    for one in passes:
        if checked:
            _hold(subject, one.requires, f"before {one.name}")
        subject = _run(subject, one)
        if checked:
            _hold(subject, one.ensures, f"after {one.name}")
    return subject


def _run(subject: Any, one: Pass) -> Any:
    for _ in range(_MOST_ROUNDS if one.repeats else 1):
        made = one.run(subject)
        if made is None:
            break
        subject = infer_shapes(made) if one.reshapes else made
    return subject


def _hold(graph: gs.Graph, properties: Sequence[Property], when: str) -> None:
    for one in properties:
        found = one(graph)
        if found:
            raise BrokenPassError(f"{when}, {one.__name__}: {'; '.join(found[:5])}")
