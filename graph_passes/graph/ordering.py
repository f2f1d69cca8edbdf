"""Sorting a graph's nodes and dropping the unused ones, in linear time.

onnx-graphsurgeon's own `toposort` recurses along a graph that is out of order, and its `cleanup`
finds each node's neighbours by comparing nodes: with 150,000 nodes they took a third of the time
that building an explanation takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from .tensors import read_by


def sort_nodes(graph: gs.Graph) -> gs.Graph:
    """Order the nodes, in place, by how many stand before them at most, bodies too.

    Every node comes behind those whose outputs it reads; those of one level keep their order.
    (By level, since ONNX Runtime's optimisers take longer for other orders: a DeepLIFT graph of
    9,000 nodes loads in 0.6 s so, and in 8 s with the cotangents in the order of the walk.)
    Returns the graph.

    Raises:
        UnsupportedModelError: a cycle.
    """
    for body in bodies(graph):
        sort_nodes(body)
    maker = {t.name: i for i, node in enumerate(graph.nodes) for t in node.outputs if t.name}
    needs = [{maker[n] for n in read_by(node) if n in maker} for node in graph.nodes]
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for index, makers in enumerate(needs):
        for made in makers:
            readers[made].append(index)
    waiting = [len(makers) for makers in needs]
    level = [0] * len(needs)
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:  # grows as it goes
        for reader in readers[index]:
            level[reader] = max(level[reader], level[index] + 1)
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) < len(needs):
        raise UnsupportedModelError("the graph's nodes depend on one another in a circle")
    graph.nodes[:] = [graph.nodes[i] for i in sorted(range(len(needs)), key=level.__getitem__)]
    return graph


def prune(graph: gs.Graph, keep: Collection[str] = ()) -> gs.Graph:
    """Drop, in place, the nodes that no output and no tensor named in `keep` needs; and sort.

    The graph's inputs all stay. Returns the graph.
    """
    sort_nodes(graph)
    for body in bodies(graph):
        prune(body)
    wanted = {tensor.name for tensor in graph.outputs} | set(keep)
    kept, dropped = [], []
    for node in reversed(graph.nodes):
        if any(t.name in wanted for t in node.outputs if t.name):
            kept.append(node)
            wanted |= read_by(node)
        else:
            dropped.append(node)
    graph.nodes[:] = kept[::-1]
    _unlink(dropped)
    return graph


def bodies(graph: gs.Graph) -> list[gs.Graph]:
    """The subgraphs of a graph's nodes."""
    return [v for node in graph.nodes for v in node.attrs.values() if isinstance(v, gs.Graph)]


def _unlink(nodes: list[gs.Node]) -> None:
    """Take the nodes out of their tensors' lists of readers and makers, each list once."""
    gone = {id(node) for node in nodes}
    touched = {id(t): t for node in nodes for t in (*node.inputs, *node.outputs)}
    for tensor in touched.values():
        for neighbours in (tensor.inputs, tensor.outputs):
            # The plain list's own method: the synchronized one would undo each link by a search.
            list.__setitem__(neighbours, slice(None), [n for n in neighbours if id(n) not in gone])
    for node in nodes:
        list.clear(node.inputs)
        list.clear(node.outputs)
