"""Files that return labels alone, of an ArgMax or TopK inside: the scores that these are taken of.

Segmentation is mostly exported so, and some classifiers are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from ..graph.operators import Fact, has

_CHOICES = ("ArgMax", "TopK")
_LIMITS = ("Greater", "GreaterOrEqual")
_FAR = 50


class Taken(NamedTuple):
    """What an output is taken of.

    Attributes:
        scores: name of the tensor.
        label: whether the output says which is best, and not how good that is.
    """

    scores: str
    label: bool


class _File(NamedTuple):
    """A graph's nodes by what they make, and its constants."""

    made_by: dict[str, onnx.NodeProto]
    constants: dict[str, onnx.TensorProto]


class Labelled(NamedTuple):
    """Scores that a file returns the labels of.

    Attributes:
        scores: name of the tensor.
        outputs: names of the outputs that hold labels.
    """

    scores: str
    outputs: tuple[str, ...]


def scores_of_labels(model: onnx.ModelProto) -> Labelled | None:
    """The tensor that all outputs are the labels of; None: there is none.

    The best scores may stand beside their labels, as TopK gives both.
    """
    graph = model.graph
    if not any(node.op_type in _CHOICES or node.op_type in _LIMITS for node in graph.node):
        return None
    file = _file_of(graph)
    found = [_taken(file, output.name) for output in graph.output]
    taken = [one for one in found if one is not None]
    if not taken or len(taken) < len(found) or len({one.scores for one in taken}) > 1:
        return None
    name = taken[0].scores
    pairs = zip(graph.output, taken, strict=True)
    labels = tuple(output.name for output, one in pairs if one.label)
    return Labelled(name, labels) if labels and name in file.made_by else None


def _file_of(graph: onnx.GraphProto) -> _File:
    made = {name: node for node in graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            constants[node.output[0]] = values[0]
    return _File(made, constants)


def _taken(file: _File, name: str) -> Taken | None:
    """What a tensor is taken of; None: it is no label, nor the score of one."""
    for _ in range(_FAR):
        node = file.made_by.get(name)
        if node is None:
            return None
        if node.op_type in _CHOICES:
            values = node.op_type == "TopK" and name == node.output[0]
            return Taken(node.input[0], not values)
        if node.op_type in _LIMITS:
            return _above(file, node)
        behind = _behind(file, node)
        if behind is None:
            return None
        name = behind
    return None


def _behind(file: _File, node: onnx.NodeProto) -> str | None:
    """The operand that holds the labels, which a node moves, shifts, or reads a table by."""
    op, varying = node.op_type, [name for name in node.input if name not in file.constants]
    if op == "Gather" or op == "ArrayFeatureExtractor" or has(op, Fact.ARITHMETIC):
        return varying[0] if len(varying) == 1 else None
    moves = has(op, Fact.MOVES | Fact.COPIES | Fact.PERMUTES) and len(node.input) > 0
    one = moves and op not in ("Concat", "Where")
    return node.input[0] if one or op in ("Resize", "LabelEncoder") else None


def _above(file: _File, node: onnx.NodeProto) -> Taken | None:
    """One class, which is there where its probability is above a half, or its score above 0."""
    held = file.constants.get(node.input[1])
    if held is None:
        return None
    limit = onnx.numpy_helper.to_array(held)
    maker = file.made_by.get(node.input[0])
    half = 0.5 if maker is not None and maker.op_type == "Sigmoid" else 0.0
    known = limit.size == 1 and np.isclose(float(limit.reshape(())), half)
    return Taken(node.input[0], True) if known else None
