"""Places followed forward from the explained input, and backward which of them reach the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.dims import is_static
from ...graph.operators import Fact, has
from ...graph.reach import Reach
from .by_operator import places_behind
from .positions import Grids, Places, different, nowhere
from .readings import Reading

# What the places of a tensor meet next on their way to the score: a matrix of weights, attention
# that reads them as keys or values, or what leaves no places (a pooling, the score itself).
BY_WEIGHTS, BY_ATTENTION, BY_POOLING = "weights", "attention", "pooling"


class Reaching(NamedTuple):
    """Which elements of a tensor reach the score, by their ids; `ids` None: all of them."""

    ids: np.ndarray | None
    met: frozenset[str]


class Flow(NamedTuple):
    """Where a model's tensors stand, and which of their places the score depends on.

    Attributes:
        path: the nodes between the explained input and the score.
        grids: the grids that the ids belong to.
        readings: tensor name -> its readings; absent where places are not known.
        reached: tensor name -> for each reading (or for the one unknown) what reaches the score.
        carried: (index in path.nodes, operand) through which places reach the score.
        lost: the first node that places get lost in, or None.
    """

    path: Reach
    grids: Grids
    readings: dict[str, list[Reading]]
    reached: dict[str, list[Reaching | None]]
    carried: set[tuple[int, int]]
    lost: gs.Node | None

    def places(self, tensor: gs.Tensor) -> Places | None:
        """The tensor's places, where there is one way to read them, and some place at all."""
        readings = self.readings.get(tensor.name, [])
        alone = len(readings) == 1 and readings[0].places.anywhere
        return readings[0].places if alone else None

    def still_told(self, tensor: gs.Tensor) -> bool:
        """True where some place reaches the score through a tensor, read in whichever way."""
        readings = self.readings.get(tensor.name, [])
        reached = self.reached.get(tensor.name, [])
        pairs = list(zip(readings, reached, strict=False))
        unknown = not readings and any(reach is not None for reach in reached)
        return unknown or any(r is not None and _has_patches(p, r) for p, r in pairs)

    def met(self, tensor: gs.Tensor) -> frozenset[str]:
        """What the tensor's places meet next; empty where most of them do not reach the score."""
        places = self.places(tensor)
        reach = self.reached.get(tensor.name, [None])[0]
        if places is None or reach is None:
            return frozenset()
        if reach.ids is not None:
            own = _patches(places.ids)
            if 2 * np.isin(own, reach.ids).sum() < len(own):
                return frozenset()
        return reach.met


def follow(path: Reach, start: gs.Variable, end: gs.Variable, batch: int) -> Flow:
    """Follow the places of `start`'s axes behind the first to `end`, and back."""
    grids = Grids(batch)
    readings: dict[str, list[Reading]] = {}
    if is_static(start.shape) and start.shape:
        places = grids.fresh(start.shape, range(1, len(start.shape)), of_input=True)
        if places is not None:
            readings[start.name] = [Reading(places)]
    lost = None
    for node in path.nodes:
        operands = [_operand(tensor, readings, path) for tensor in node.inputs]
        made = places_behind(grids, node, operands)
        for output, found in zip(node.outputs, made, strict=True):
            if found:
                readings[output.name] = found
        if lost is None and not made[0] and all(operands):
            lost = node
    flow = Flow(path, grids, readings, {}, set(), lost)
    _reach(flow, end)
    return flow


def _operand(tensor: gs.Tensor, readings: dict, path: Reach) -> tuple[Places, ...]:
    if tensor.name in readings:
        return tuple(reading.places for reading in readings[tensor.name])
    if tensor.name in path.varying or not is_static(tensor.shape):
        return () if tensor.name else (nowhere([]),)
    return (nowhere(tensor.shape),)


def _patches(ids: np.ndarray) -> np.ndarray:
    return different(ids[ids >= 0])


# Backward.


def _reach(flow: Flow, end: gs.Variable) -> None:
    """Fill in `reached` and `carried`, from the score back to the start."""
    count = len(flow.readings.get(end.name, [None]))
    flow.reached[end.name] = [Reaching(None, frozenset({BY_POOLING}))] * count
    for index in range(len(flow.path.nodes) - 1, -1, -1):
        node = flow.path.nodes[index]
        outputs = [(flow.readings.get(t.name, []), flow.reached.get(t.name)) for t in node.outputs]
        outputs = [(readings, reached) for readings, reached in outputs if reached is not None]
        if not outputs:
            continue
        varying = flow.path.operands(node)
        for operand in varying:
            name = node.inputs[operand].name
            readings = flow.readings.get(name, [])
            given = [
                _of_patches(_through(flow, node, operand, j, varying, outputs), readings[j : j + 1])
                for j in range(max(len(readings), 1))
            ]
            if any(
                reach is not None and (not readings or _has_patches(readings[j], reach))
                for j, reach in enumerate(given)
            ):
                flow.carried.add((index, operand))
            before = flow.reached.get(name, [None] * len(given))
            flow.reached[name] = [_union(a, b) for a, b in zip(before, given, strict=True)]


def _through(
    flow: Flow, node: gs.Node, operand: int, reading: int, varying: Sequence[int], outputs
) -> Reaching | None:
    """What of one reading of an operand reaches the score through this node."""
    own = flow.readings.get(node.inputs[operand].name, [])
    known = all(readings for readings, _ in outputs)
    found: Reaching | None = None
    passed_on = False
    for readings, reached in outputs:
        for result, reach in zip(readings, reached, strict=False):
            source = next((s for s in result.sources if s[:2] == (operand, reading)), None)
            if source is None:
                continue
            passed_on = True
            if reach is not None:
                part = _passed(flow.grids, node, own[reading], result, reach, source.exact)
                found = _union(found, part)
    if passed_on and known:
        if found is not None and has(node, Fact.WEIGHTED) and len(varying) == 1:
            found = Reaching(found.ids, frozenset({BY_WEIGHTS}))
        return found
    if all(reach is None for _, reached in outputs for reach in reached):
        return None
    attended = node.op in ("MatMul", "Einsum") and len(varying) > 1
    weighted = has(node, Fact.WEIGHTED) and len(varying) == 1
    met = BY_ATTENTION if attended else BY_WEIGHTS if weighted else BY_POOLING
    return Reaching(None, frozenset({met}))


def _passed(
    grids: Grids, node: gs.Node, operand: Reading, result: Reading, reach: Reaching, exact: bool
) -> Reaching | None:
    """What reaches an operand of that which reaches the places made of it."""
    ids = reach.ids
    if not exact:
        return Reaching(None, reach.met)
    if ids is None:
        if not has(node, Fact.DROPS):
            return reach
        ids = grids.distinct(result.places.ids)
    own = grids.distinct(operand.places.ids)
    both = own[np.isin(own, ids, assume_unique=True, kind="sort")]
    if not both.size and ids.size and (own < 0).all():
        both = own
    if len(both) == len(own):
        return Reaching(None, reach.met)
    return Reaching(both, reach.met) if both.size else None


def _of_patches(reach: Reaching | None, reading: Sequence[Reading]) -> Reaching | None:
    """The reach with what its places meet next, which is not what a class token meets."""
    if reach is None or not reading:
        return reach
    if not _has_patches(reading[0], reach):
        return Reaching(reach.ids, frozenset())
    return Reaching(reach.ids, reach.met or frozenset({BY_POOLING}))


def _union(a: Reaching | None, b: Reaching | None) -> Reaching | None:
    if a is None or b is None:
        return b if a is None else a
    ids = None if a.ids is None or b.ids is None else different(np.concatenate((a.ids, b.ids)))
    return Reaching(ids, a.met | b.met)


def _has_patches(reading: Reading, reach: Reaching) -> bool:
    """True where some place reaches the score, not only what stands for none."""
    ids = reading.places.ids if reach.ids is None else reach.ids
    return bool((ids >= 0).any())
