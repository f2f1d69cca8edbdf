"""Attention among constants that folding leaves: a decoder's first one, of its own queries.

It does not depend on the input, but what queries read with it does, and so does its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_graphsurgeon as gs

from ..graph.operators import Fact, has

_SCALES = Fact.COPIES | Fact.ARITHMETIC


def held_products(nodes: Sequence[gs.Node]) -> set[int]:
    """The products of queries and keys, by id, of attention whose result later queries are.

    Args:
        nodes: all that depends on constants only.
    """
    constant = {id(node) for node in nodes}
    found: set[int] = set()
    for node in nodes:
        if node.op != "Softmax" or not _weighs(node):
            continue
        product = _product_behind(node)
        if product is not None and id(product) in constant and _asks_later(node, constant):
            found.add(id(product))
    return found


def _weighs(softmax: gs.Node) -> bool:
    """Whether its result is the left side of a product."""
    return any(node.op == "MatMul" and node.inputs[0] is t for t, node in _readers(softmax))


def _readers(node: gs.Node) -> Iterator[tuple[gs.Tensor, gs.Node]]:
    """What reads a node's result, as it is, scaled or masked."""
    waiting = list(node.outputs)
    while waiting:
        tensor = waiting.pop()
        for reader in tensor.outputs:
            if has(reader, _SCALES) or reader.op == "Where":
                waiting += reader.outputs
            else:
                yield tensor, reader


def _product_behind(softmax: gs.Node) -> gs.Node | None:
    """The product that it is of, scaled and masked."""
    waiting = list(softmax.inputs)
    while waiting:
        made = waiting.pop().inputs
        if made and made[0].op == "MatMul":
            return made[0]
        if made and (has(made[0], _SCALES) or made[0].op == "Where"):
            waiting += made[0].inputs
    return None


def _asks_later(softmax: gs.Node, constant: set[int]) -> bool:
    """Whether queries of attention that is not constant depend on it, and its keys do not."""
    reached, waiting, products = set[int](), [softmax], list[gs.Node]()
    while waiting:
        for tensor in waiting.pop().outputs:
            for reader in tensor.outputs:
                if id(reader) in reached:
                    continue
                reached.add(id(reader))
                (waiting if id(reader) in constant else products).append(reader)
    return any(
        node.op == "MatMul"
        and any(made.op == "Softmax" and _weighs(made) for _, made in _readers(node))
        and any(id(made) in reached for made in node.inputs[0].inputs)
        for node in products
    )
