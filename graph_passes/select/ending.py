"""What stands between the last layer and an output: activations, quantisers, moves of axes."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.operators import Fact, operators
from ..graph.tensors import is_constant, producer_of

# Operators that only rename, reshape or retype.
TAIL = operators(Fact.COPIES | Fact.PERMUTES)
ACTIVATIONS = operators(Fact.CLASSIFIES)
AFFINE = operators(Fact.ARITHMETIC)
_CLIPS = frozenset({"Clip", "Min", "Max"})


class Ending(NamedTuple):
    """What stands behind the score tensor.

    Attributes:
        tensor: the output's value had no final activation, quantiser and Cast been applied, but for
            `nodes`.
        nodes: what to repeat behind it, last first: moves of axes, and arithmetic with constants.
        activation: the final activation, left out, or None.
        quantised: whether quantisers were left out: their rounding, and their clip.
    """

    tensor: gs.Variable
    nodes: list[gs.Node]
    activation: gs.Node | None
    quantised: bool


def ending_of(output: gs.Variable) -> Ending:
    """What to leave out in front of an output: an activation, and every quantiser around it.

    A quantiser's top value is one number for every score beyond it, whose gradient is 0: the most
    confident predictions would have empty explanations.
    """
    found = Ending(output, [], None, False)
    tensor, nodes = output, []
    while (node := producer_of(tensor)) is not None:
        quantiser = _quantiser(tensor)
        if quantiser is not None:
            tensor, repeated = quantiser
            nodes = [*nodes, *repeated]
            found = Ending(tensor, nodes, found.activation, True)
        elif node.op in TAIL:
            tensor, nodes = node.inputs[0], [*nodes, node]
            if node.op == "Cast" and found.activation is None:
                found = Ending(tensor, nodes, None, found.quantised)
        elif node.op in ACTIVATIONS and found.activation is None and _rises(nodes):
            tensor, nodes = node.inputs[0], [n for n in nodes if n.op not in AFFINE]
            found = Ending(tensor, nodes, node, found.quantised)
        else:
            break
    return found


def varying_operand(node: gs.Node) -> int | None:
    """Which operand of an affine node is no constant, where the other one is."""
    varying = [k for k, t in enumerate(node.inputs) if not is_constant(t)]
    return varying[0] if len(varying) == 1 and len(node.inputs) == 2 else None


def _rises(nodes: list[gs.Node]) -> bool:
    """Whether arithmetic keeps the order of the scores, one number being for all of them."""
    for node in nodes:
        if node.op not in AFFINE:
            continue
        operand = varying_operand(node)
        values = node.inputs[1 - (operand or 0)].values
        backwards = operand == 1 and node.op in ("Sub", "Div")
        negative = node.op in ("Mul", "Div") and values.min(initial=1) <= 0
        if values.size != 1 or backwards or negative:
            return False
    return True


def _quantiser(tensor: gs.Variable) -> tuple[gs.Variable, list[gs.Node]] | None:
    """What was quantised to make a tensor, and what to repeat of what was done to it.

    round(clip(x / s)) and its opposite, s q, with zero points: what is multiplied by s and by 1 / s
    is not repeated. Roundings that are the file's own, and no quantiser operator's, count where
    their step is multiplied back (a quantiser that an exporter wrote in simple operators).
    """
    behind, tensor = _walked(tensor, TAIL | AFFINE | _CLIPS)
    rounding = producer_of(tensor)
    if rounding is None or rounding.op != "Round":
        return None
    scaled = rounding.inputs[0]
    ahead: list[gs.Node] = []
    line = _Line()
    constant = all(line.take(node) for node in behind)
    while (node := producer_of(scaled)) is not None:
        done = constant and line.is_identity()
        # Where nothing is clipped behind it, what stands before the division is its clip.
        clipped = any(n.op in _CLIPS for n in (*behind, *ahead))
        wanted = _CLIPS if not any(n.op in AFFINE for n in ahead) or not clipped else set()
        wanted = wanted if done else wanted | AFFINE | {"Identity"}
        step = _walked(scaled, wanted, 1)
        if not step[0]:
            break
        constant = constant and line.take(node)
        ahead.append(node)
        scaled = step[1]
    undone = constant and line.is_identity()
    if not undone and not is_marked(rounding.name, STRAIGHT_THROUGH):
        return None
    if producer_of(scaled) is None:
        return None  # The input itself.
    moves = TAIL - {"Cast", "Identity"}
    repeated = moves if undone else moves | AFFINE
    return scaled, [node for node in [*behind, *ahead] if node.op in repeated]


def _walked(
    tensor: gs.Variable, operators: Collection[str], most: int | None = None
) -> tuple[list[gs.Node], gs.Variable]:
    """The nodes that made a tensor, last first, as far as they are such; and what they began at."""
    nodes: list[gs.Node] = []
    while (node := producer_of(tensor)) is not None and node.op in operators:
        if len(nodes) == most:
            break
        operand = varying_operand(node) if node.op in AFFINE | {"Min", "Max"} else 0
        if operand is None or not _is_fixed(node):
            break
        nodes.append(node)
        tensor = node.inputs[operand]
    return nodes, tensor


def _is_fixed(node: gs.Node) -> bool:
    """Whether a clip's bounds are constants."""
    return node.op != "Clip" or all(is_constant(t) for t in node.inputs[1:] if t.name)


class _Line:
    """y = slope x + offset of nodes taken one by one, last first."""

    def __init__(self):
        self.slope, self.offset = np.ones(()), np.zeros(())
        self._moved = False

    def take(self, node: gs.Node) -> bool:
        """Put one more node in front; False where that is not known."""
        if node.op not in AFFINE:
            # What is one number for each channel means another axis in front of a move.
            self._moved = self._moved or node.op in TAIL - {"Cast", "Identity"}
            return not self._moved or self.slope.size == self.offset.size == 1
        operand = varying_operand(node)
        values = node.inputs[1 - (operand or 0)].values.astype(np.float64)
        if (operand == 1 and node.op in ("Sub", "Div")) or (self._moved and values.size > 1):
            return False
        if node.op in ("Mul", "Div"):
            self.slope = self.slope * (values if node.op == "Mul" else 1 / values)
        else:
            self.offset = self.offset + self.slope * (values if node.op == "Add" else -values)
        return True

    def is_identity(self) -> bool:
        """Whether what was taken so far gives back what it was given, but for rounding."""
        step = np.abs(self.offset).max(initial=0)
        return bool(np.allclose(self.slope, 1, rtol=1e-5, atol=0) and step <= 1e-5)


def is_probability(tensor: gs.Tensor) -> bool:
    """Whether numbers are what a final Sigmoid returns."""
    ending = ending_of(tensor).activation if isinstance(tensor, gs.Variable) else None
    return ending is not None and ending.op == "Sigmoid"
