"""The one backward walk.

What it carries (cotangents or multipliers) is decided by the rule table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.emitter import Emitter
from ..graph.reach import Reach, find_reach
from ..graph.tensors import captured, is_constant, operator_name
from ..graph.terms import NodeView, lowered
from ..rules.singular import doubtful
from ..rules.table import Resolved, RuleTable, Table, is_step
from .reasons import reason_of


class Refusal(NamedTuple):
    """Why one node cannot be passed."""

    operator: str
    node: str
    reason: str


def refusals(path: Reach, rules: RuleTable) -> list[Refusal]:
    """Every node of the path that the table has no rule for, without emitting anything."""
    found = []
    for node in path.nodes:
        varying = path.operands(node)
        reasons = [r for r in (rules(node, k, varying) for k in varying) if isinstance(r, str)]
        inside = sorted(captured(node) & path.varying)
        more = reason_of(node) if reasons else None
        reasons = reasons if more is None else [more]
        reasons += [f"its subgraph reads {name!r}, which depends on the input" for name in inside]
        if reasons:
            found.append(Refusal(operator_name(node), node.name, "; ".join(dict.fromkeys(reasons))))
    return found


def check_supported(path: Reach, rules: RuleTable, method: str) -> None:
    """Refuse, naming every unsupported node at once.

    Raises:
        UnsupportedModelError: a node of the path has no rule in this table.
    """
    found = refusals(path, rules)
    if found:
        named = "; ".join(f"{r.operator} (node {r.node or 'unnamed'!r}: {r.reason})" for r in found)
        raise UnsupportedModelError(f"{method} cannot pass {named}")


def carried_back(
    emit: Any,
    table: Table,
    seeds: Sequence[tuple[gs.Tensor, gs.Tensor]],
    wrt: Sequence[gs.Tensor],
    method: str,
    required: bool = False,
) -> list[Any]:
    """What a table's walk from the seeded tensors brings to each of `wrt`: see `backward`."""
    found = backward(emit, table.rules(emit), seeds, wrt, method, required)
    return [
        None if cotangent is None else table.collapse(emit, cotangent, tensor)
        for cotangent, tensor in zip(found, wrt, strict=True)
    ]


def backward(
    emit: Emitter,
    rules: RuleTable,
    seeds: Sequence[tuple[gs.Tensor, gs.Tensor]],
    wrt: Sequence[gs.Tensor],
    method: str = "the gradient",
    required: bool = False,
) -> list[gs.Tensor | None]:
    """Walk from the seeded tensors back to `wrt` and emit what arrives there.

    Args:
        emit: emits into the graph that is walked.
        rules: the table that chooses each node's rule.
        seeds: pairs (tensor, the cotangent that starts there).
        wrt: the tensors whose cotangents are asked for.
        method: named in the error message.
        required: every tensor of `wrt` is known to lead to the seeds, and must have a cotangent.

    Returns:
        For each tensor of `wrt` its cotangent, or None where the seeds do not depend on it (or only
        in steps: by rounding, say).

    Raises:
        UnsupportedModelError: naming every node of the path without a rule; or nothing arrives at
            a tensor that the seeds depend on, or in steps only where one is required.
    """
    path = find_reach(emit.graph, wrt, [tensor for tensor, _ in seeds])
    check_supported(path, rules, method)
    unsure = doubtful(emit.graph, path.nodes, path.operands)
    stopped: set[tuple[int, int]] = set()
    arrived: dict[str, list[gs.Tensor]] = {}
    for tensor, cotangent in seeds:
        arrived.setdefault(tensor.name, []).append(cotangent)
    # What is asked for may lie on the way to something else that is.
    passed: dict[str, gs.Tensor | None] = dict.fromkeys(tensor.name for tensor in wrt)
    for node in reversed(path.nodes):
        dys = [_collect(emit, arrived, tensor) for tensor in node.outputs]
        own = {t.name: dy for t, dy in zip(node.outputs, dys, strict=True)}
        passed |= {name: own[name] for name in passed.keys() & own.keys()}
        if all(dy is None for dy in dys):
            continue
        emit.selecting, emit.place = id(node) in unsure, node.name or node.outputs[0].name
        for operand, cotangent in _passed_back(emit, rules, node, dys, path.operands(node)):
            if cotangent is None:
                stopped.add((id(node), operand))
            else:
                arrived.setdefault(node.inputs[operand].name, []).append(cotangent)
    emit.selecting, emit.place = False, None
    for tensor in wrt:
        if passed[tensor.name] is None:
            passed[tensor.name] = _collect(emit, arrived, tensor)
    found = [passed[tensor.name] for tensor in wrt]
    missing = [t for t, cotangent in zip(wrt, found, strict=True) if cotangent is None]
    _check_arrival(path, stopped, missing, [tensor for tensor, _ in seeds], required)
    return found


def _passed_back(
    emit: Emitter,
    rules: RuleTable,
    node: gs.Node,
    dys: Sequence[gs.Tensor | None],
    varying: Sequence[int],
) -> Iterator[tuple[int, gs.Tensor | None]]:
    """For each varying operand of a node what its rule makes of the outputs' cotangents.

    Here rules are given terms, and what they return becomes tensors again.
    """
    view = NodeView(emit, node)
    terms = [emit.term(dy) if isinstance(dy, gs.Tensor) else dy for dy in dys]
    for operand in varying:
        resolved = rules(node, operand, varying)
        assert isinstance(resolved, Resolved)
        cotangent, source = lowered(resolved.rule(emit, view, *terms)), node.inputs[operand]
        if cotangent is not None:
            if resolved.broadcasts:
                cotangent = emit.sum_to(cotangent, node.outputs[0].shape, source)
            if not is_constant(cotangent):
                cotangent.shape = source.shape
        yield operand, cotangent


def _check_arrival(
    path: Reach,
    stopped: set[tuple[int, int]],
    missing: Sequence[gs.Tensor],
    ends: Sequence[gs.Tensor],
    required: bool,
) -> None:
    """Raise where no cotangent came to a tensor that the ends depend on.

    An operand at which a rule passes nothing on (a rounding, a comparison) ends a dependence.
    """
    if not missing:
        return
    reaching = {tensor.name for tensor in ends}
    structural = set(reaching)
    for node in reversed(path.nodes):
        for operand in path.operands(node):
            name = node.inputs[operand].name
            if not structural.isdisjoint(t.name for t in node.outputs):
                structural.add(name)
            passed = (id(node), operand) not in stopped
            if passed and not reaching.isdisjoint(t.name for t in node.outputs):
                reaching.add(name)
    for tensor in missing:
        if required and tensor.name in structural and tensor.name not in reaching:
            raise UnsupportedModelError(
                f"the score changes in steps only: {_steps(path, stopped)} has the derivative 0 "
                "everywhere, so a gradient says nothing; DeepLIFT, occlusion and RISE do not need "
                "one"
            )
        if tensor.name in reaching or (required and tensor.name not in structural):
            raise UnsupportedModelError(
                f"the score depends on {tensor.name!r}, but no gradient arrives there: "
                "this is a mistake of onnxplain, please report it with the model"
            )


def _steps(path: Reach, stopped: set[tuple[int, int]]) -> str:
    """The operators at which rules passed nothing on, in words."""
    nodes = [n for n in path.nodes if any((id(n), k) in stopped for k in path.operands(n))]
    named = [f"{operator_name(n)} (node {n.name or n.outputs[0].name!r})" for n in nodes]
    return ", ".join(named[:3]) + (" ..." if len(named) > 3 else "")


def in_steps_only(path: Reach, start: gs.Tensor, ends: Sequence[gs.Tensor]) -> list[Refusal]:
    """The piecewise constant operators that every way from `start` to the ends goes through."""
    reaching, found = {tensor.name for tensor in ends}, []
    if start.name in reaching:
        return []
    for node in reversed(path.nodes):
        if reaching.isdisjoint(tensor.name for tensor in node.outputs):
            continue
        if is_step(node):
            found.append(Refusal(operator_name(node), node.name, _IN_STEPS))
        else:
            reaching.update(node.inputs[k].name for k in path.operands(node))
    return [] if start.name in reaching else found[::-1]


_IN_STEPS = "the score changes in steps only; the derivative is 0"


def _collect(emit: Emitter, arrived: dict[str, list[gs.Tensor]], tensor: gs.Tensor):
    """The sum of all that arrived at a tensor."""
    terms = arrived.pop(tensor.name, None)
    return emit.sum(terms) if terms else None
