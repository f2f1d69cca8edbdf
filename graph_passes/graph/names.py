"""Names: what onnxplain adds to a graph is called onnxplain/..., and nothing of the model is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

import onnx

# Every tensor, node and dimension that onnxplain makes up has a name that begins so.
RESERVED = "onnxplain/"
_FREED = "of_the_model/"
# What is added to names of nodes; no file's own node has them in its name, see `own_names`.
_AT_BASELINE, _FOR = f"/{RESERVED}baseline", f"@{RESERVED}"


def own_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename, in place, what the model calls onnxplain/..., and all that its subgraphs define.

    Inputs and outputs of the model keep their names. Names inside If, Loop and Scan are unique in
    the whole model afterwards: ONNX lets two bodies use one name for different things, which other
    tools then take for one thing.
    """
    graph = model.graph
    taken = set(_defined(graph))
    kept = {value.name for value in (*graph.input, *graph.output)}
    numbers = count()
    scope: dict[str, str] = {}
    for name in _defined(graph):
        if name.startswith(RESERVED) and name not in kept and name not in scope:
            scope[name] = free_name(_FREED + name.removeprefix(RESERVED), taken)
    _rename(graph, scope, numbers)
    return model


def free_name(wanted: str, taken: set[str]) -> str:
    """The name, or one like it that is not taken; taken afterwards."""
    name, numbers = wanted, count(1)
    while name in taken:
        name = f"{wanted}_{next(numbers)}"
    taken.add(name)
    return name


# Marks of nodes: a quantiser's rounding, whose gradient is 1, and the reductions over all of a
# tensor, over every row of a batch, that find its range.
STRAIGHT_THROUGH = "straight_through"
RANGE = "range"


def marked(kind: str, name: str) -> str:
    """A node's name that says what a rule must know of it, and that no file's own node can have."""
    return f"{RESERVED}{kind}/{name}"


def is_marked(name: str | None, kind: str) -> bool:
    """True for a name that `marked` made."""
    return (name or "").startswith(f"{RESERVED}{kind}/")


def unmarked(name: str, kind: str) -> str:
    """The name that `marked` was given."""
    return name.removeprefix(f"{RESERVED}{kind}/")


def of_the_baseline(name: str) -> str:
    """The name of a node's copy that computes its value at the baseline."""
    return f"{name}{_AT_BASELINE}"


def baseline_twin_of(name: str) -> str | None:
    """The name that `of_the_baseline` was given; None for any other."""
    return name[: -len(_AT_BASELINE)] if name.endswith(_AT_BASELINE) else None


def emitted_for(name: str, place: str | None) -> str:
    """The name of a node that the rule of the node called `place` emits."""
    return name if place is None else f"{name}{_FOR}{place}"


def rule_of(name: str) -> str | None:
    """The name of the node whose rule emitted a node; None where none did."""
    before, found, place = name.partition(_FOR)
    return place if found and is_own(before) else None


def is_own(name: str) -> bool:
    """Whether onnxplain made a name up."""
    return name.startswith(RESERVED)


def own_dim(name: str) -> str:
    """A dimension's name that none of onnxplain's own has."""
    return _FREED + name.removeprefix(RESERVED) if name.startswith(RESERVED) else name


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a graph defines: its inputs, initializers and nodes' outputs."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)


def _rename(graph: onnx.GraphProto, scope: Mapping[str, str], numbers: Iterator[int]) -> None:
    """Follow `scope`, old name -> new name, through a graph and the bodies inside it."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = scope.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = scope.get(sparse.values.name, sparse.values.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = scope.get(annotation.tensor_name, annotation.tensor_name)
    for node in graph.node:
        # Nowhere in a node's name: `of_the_baseline` and others add to it.
        node.name = node.name.replace(RESERVED, _FREED)
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name in scope:
                    names[index] = scope[name]
        for body in bodies_of(node):
            prefix = f"{RESERVED}body{next(numbers)}/"
            own = {name: prefix + name for name in _defined(body)}
            _rename(body, {**scope, **own}, numbers)


def bodies_of(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The subgraphs of a node (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
