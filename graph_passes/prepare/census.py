"""Counting a file's nodes before anything is expanded: what its functions and bodies come to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import describe
from ..graph.inference import sizes_at
from ..graph.limits import ACTIVATIONS_PER_BYTE, bytes_of, hold, in_force
from ..graph.names import bodies_of
from .declared import check_declared, check_windows
from .folding import budget

_Key = tuple[str, str, str]
# What a subgraph takes beside its nodes: each is inferred, folded and copied by itself.
_NODES_OF_A_BODY = 16


def census(model: onnx.ModelProto) -> int:
    """The number of nodes that a model has once its functions are written out.

    Each subgraph counts as `_NODES_OF_A_BODY` more.

    Raises:
        UnsupportedModelError: more nodes or a deeper nesting than the limits allow, functions that
            call themselves.
    """
    functions = {_key(f.domain, f.name, f.overload): f for f in model.functions}
    counted: dict[_Key, tuple[int, int]] = {}
    for key in _callees_first(functions):
        counted[key] = _count(functions[key].node, counted, 1)
    nodes, depth = _count(model.graph.node, counted, 1)
    hold("nodes", "the model's nodes", nodes)
    _check_operands(model)
    check_declared(model)
    hold("nesting", "subgraphs and functions within one another", depth)
    return nodes


def _check_operands(model: onnx.ModelProto) -> None:
    """Hold the inputs and outputs of every node to the limit: some passes compare them all."""
    graph = model.graph
    hold("operands", "the model's inputs", len(graph.input))
    hold("operands", "the model's outputs", len(graph.output))
    for node in _all_nodes([*graph.node, *(n for f in model.functions for n in f.node)]):
        most = max(len(node.input), len(node.output))
        if most > in_force().operands:
            name = node.name or (node.output[0] if node.output else "")
            hold("operands", f"inputs or outputs of {node.op_type} (node {name!r})", most)


def check_activations(graph: gs.Graph) -> None:
    """Hold what lies between input and output to the limit, at the declared sizes.

    What is left open counts as 1, at the inputs: what follows from it is computed. The file's own
    size (see `spending`) adds to the limit.

    Args:
        graph: with inferred shapes.

    Raises:
        UnsupportedModelError: naming the node that makes most, or one that makes less than nothing.
    """
    check_windows(graph, budget().extra)
    own = list(_own_sizes(graph))
    extra = ACTIVATIONS_PER_BYTE * budget().weights
    _hold_activations(graph, own, extra)
    symbols = {dim for tensor in graph.inputs for dim in tensor.shape or ()}
    if all(isinstance(dim, int) or dim in symbols for _, shape, _ in own for dim in shape):
        return
    ones = {t.name: [d if isinstance(d, int) else 1 for d in t.shape or ()] for t in graph.inputs}
    _hold_activations(graph, list(sizes_at(graph, ones)), extra)


def _own_sizes(graph: gs.Graph) -> Iterator[tuple[str, Sequence[Any], Any]]:
    """(name, shape, type) of the tensors of a graph and of those inside it."""
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and tensor.shape is not None:
            if any(isinstance(dim, int) and dim < 0 for dim in tensor.shape):
                raise UnsupportedModelError(
                    f"tensor {name!r} would have the shape {describe(tensor.shape)}, which none has"
                )
            yield name, tensor.shape, tensor.dtype
    for node in graph.nodes:
        for body in node.attrs.values():
            if isinstance(body, gs.Graph):
                yield from _own_sizes(body)


def _hold_activations(
    graph: gs.Graph, found: Sequence[tuple[str, Sequence[Any], Any]], extra: int
) -> None:
    sizes = {name: _bytes(shape, dtype) for name, shape, dtype in found}
    total = sum(sizes.values())
    if total > in_force().activations_bytes + extra:
        most = max(sizes, key=lambda name: sizes[name])
        tensor = graph.tensors().get(most)
        made = tensor.inputs if tensor is not None else None
        node = f"tensor {most!r}" if made is None else f"input {most!r}"
        if made:
            node = f"{made[0].op} (node {made[0].name or most!r})"
        what = f"bytes of all tensors, {sizes[most]:,} of them by {node}"
        hold("activations_bytes", what, total, extra)


def _bytes(shape: Sequence[Any], dtype: Any) -> int:
    """Bytes of a tensor; a string counts as the longest of the file."""
    if getattr(dtype, "kind", "") in ("O", "S", "U"):
        return budget().string * math.prod(d for d in shape if isinstance(d, int) and d >= 0)
    return bytes_of(shape, dtype)


def _key(domain: str, name: str, overload: str) -> _Key:
    return domain, name, overload


def _called(node: onnx.NodeProto) -> _Key:
    return _key(node.domain, node.op_type, node.overload)


def _callees_first(functions: dict[_Key, onnx.FunctionProto]) -> list[_Key]:
    """The functions, each behind those that it calls."""
    order: list[_Key] = []
    state: dict[_Key, bool] = {}  # False while its callees are visited
    for start in functions:
        stack = [(start, False)]
        while stack:
            key, left = stack.pop()
            if left:
                state[key] = True
                order.append(key)
            elif key not in state:
                state[key] = False
                stack.append((key, True))
                called = {_called(node) for node in _all_nodes(functions[key].node)}
                for callee in called & functions.keys():
                    if state.get(callee) is False:
                        raise UnsupportedModelError(
                            f"function {callee[1]!r} calls itself, which ONNX does not allow"
                        )
                    stack.append((callee, False))
    return order


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for body in bodies_of(node):
            waiting.extend(body.node)


def _count(
    nodes: Iterable[onnx.NodeProto], counted: dict[_Key, tuple[int, int]], depth: int
) -> tuple[int, int]:
    """(nodes, nesting) of a list of nodes, functions counted by what they come to."""
    total, deepest = 0, depth
    waiting = [(node, depth) for node in nodes]
    while waiting:
        node, level = waiting.pop()
        inner, below = counted.get(_called(node), (1, 0))
        total, deepest = total + inner, max(deepest, level + below)
        for body in bodies_of(node):
            total += _NODES_OF_A_BODY
            waiting += [(n, level + 1) for n in body.node]
    return total, deepest
