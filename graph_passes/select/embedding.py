"""Outputs that are embeddings: how they are told, and the cosine similarity as their score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import describe
from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.tensors import is_constant, is_float, producer_of
from .ending import TAIL, ending_of

# The choice of score, in place of "logit" and "output".
COSINE = "cosine"
# The input of an exported file that takes what embeddings are compared with.
VERSUS = "versus"
# Words in an output's name that say what it is.
_WORDS = frozenset(
    {"embed", "embeds", "embedded", "embedding", "embeddings", "emb"}
    | {"feat", "feats", "feature", "features", "descriptor", "descriptors"}
)
_NAMES = frozenset({"pooler_output"})
_SQUARES = frozenset({"ReduceL2", "ReduceSumSquare"})
_FAR = 8
# As PyTorch's `normalize`: what a shorter vector is divided by.
_SHORTEST = 1e-12


def is_embedding(output: gs.Variable) -> bool:
    """Whether an output [N, D] says that it is an embedding: by its name, or by its unit length.

    Outputs behind a Softmax or Sigmoid are none, and no single number is one.
    """
    lengths = [dim for dim in list(output.shape or [])[1:] if dim != 1]
    ending = ending_of(output)
    if len(lengths) != 1 or ending.activation is not None or not is_float(output):
        return False
    return is_named_so(output.name) or has_unit_length(output)


def is_named_so(name: str) -> bool:
    """Whether an output's name says that it is an embedding: "image_embeds", "embedding"."""
    words = re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return name in _NAMES or not _WORDS.isdisjoint(words)


def has_unit_length(output: gs.Variable) -> bool:
    """Whether an output is y / |y|, as LpNormalization or simpler operators write it."""
    tensor: gs.Tensor = output
    while (node := producer_of(tensor)) is not None and node.op in TAIL:
        tensor = node.inputs[0]
    if node is None or node.op not in ("Div", "Mul") or len(node.inputs) != 2:
        return False
    pairs = [(0, 1)] if node.op == "Div" else [(0, 1), (1, 0)]
    return any(_is_length_of(node.inputs[b], node.inputs[a], node.op) for a, b in pairs)


def _is_length_of(tensor: gs.Tensor, of: gs.Tensor, op: str) -> bool:
    """Whether a tensor is the length of another, or, where that is multiplied, 1 by its length."""
    turned, summed = op == "Div", False
    for _ in range(_FAR):
        node = producer_of(tensor)
        if node is None:
            return False
        if node.op in _SQUARES or (summed and _is_square(node)):
            return turned and _without_sign(node.inputs[0]) is of
        summed = summed or node.op == "ReduceSum"
        turned = turned or node.op == "Reciprocal" or _power(node) in (-0.5, -1.0)
        varying = [t for t in node.inputs if t.name and not is_constant(t)]
        other = has(node, Fact.WEIGHTED) or (has(node, Fact.REDUCES) and not summed)
        if other or not varying:
            return False
        tensor = varying[0]
    return False


def _without_sign(tensor: gs.Tensor) -> gs.Tensor:
    node = producer_of(tensor)
    return node.inputs[0] if node is not None and node.op == "Abs" else tensor


def _is_square(node: gs.Node) -> bool:
    same = node.op == "Mul" and node.inputs[0] is node.inputs[1]
    return same or _power(node) == 2


def _power(node: gs.Node) -> float | None:
    """The constant exponent of a Pow; None: it is none."""
    if node.op != "Pow" or not is_constant(node.inputs[1]) or node.inputs[1].values.size != 1:
        return None
    return float(node.inputs[1].values.reshape(()))


def embedding_among(outputs: Sequence[gs.Variable]) -> str | None:
    """The first output that says that it is an embedding, by name; None: none does."""
    return next((t.name for t in outputs if is_embedding(t)), None)


def unit_length(graph: gs.Graph, embedding: gs.Variable, output: gs.Variable) -> gs.Variable:
    """y / max(|y|, 1e-12), [N, D]: its product with another unit vector is their cosine.

    Raises:
        UnsupportedModelError: there is no one vector for each input.
    """
    shape = embedding.shape
    lengths = [dim for dim in list(shape or [])[1:] if dim != 1]
    if shape is None or len(lengths) != 1:
        raise UnsupportedModelError(
            f"a similarity needs an output with one vector for each input, [N, D]; "
            f"{output.name!r} is {describe(output.shape)} (--output NAME, in Python output=, "
            "says otherwise)"
        )
    emit = Emitter(graph, "cosine")
    flat = embedding if len(shape) == 2 else emit.Flatten(embedding, axis=1)
    found = at_unit_length(emit, flat)
    found.shape = [shape[0], *lengths]
    return found


def at_unit_length(emit: Emitter, rows: gs.Tensor) -> Any:
    """Each of N rows divided by max(its length, 1e-12)."""
    return emit.term(rows) / emit.Max(emit.ReduceL2(rows, [1], keepdims=1), _SHORTEST)
