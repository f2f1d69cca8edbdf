"""What exporters write out in several nodes: activations as products, deviations as roots of means.

x Phi(x) is one function of x, and no product of two computed tensors; x / sqrt(mean x^2) is x over
its own size. Both are found by what a tensor is computed from, not by how it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.names import STRAIGHT_THROUGH, is_marked
from ..graph.operators import Fact, has
from ..graph.reach import find_reach
from ..graph.tensors import is_constant, producer_of
from .registry import is_elementwise

WRITTEN_OUT = (
    "it belongs to an activation that is written out in several nodes, in a form that is not "
    "known to be one function"
)
_ARRANGES = Fact.RESHAPES | Fact.PERMUTES
QUOTIENT = "its divisor is computed, and neither a deviation nor a norm"


class Traced(NamedTuple):
    """What tensors between starts and ends are of each other.

    Attributes:
        nodes: on the way, in order.
        varying: the names of tensors that depend on a start.
        functions: by name, the tensors of each of which one alone it is a function, element by
            element; itself is one of them.
        arranged: the same, also where elements were arranged in another way.
    """

    nodes: Sequence[gs.Node]
    varying: set[str]
    functions: Mapping[str, frozenset[str]]
    arranged: Mapping[str, frozenset[str]]

    def operands(self, node: gs.Node) -> list[int]:
        """The node's operands that vary."""
        return [k for k, tensor in enumerate(node.inputs) if tensor.name in self.varying]

    def common(self, node: gs.Node) -> frozenset[str]:
        """The tensors of which all that varies in a node is a function."""
        return _common(self.functions, [node.inputs[k] for k in self.operands(node)])


def _common(functions: Mapping[str, frozenset[str]], tensors: Sequence[Any]) -> frozenset[str]:
    found = [functions[tensor.name] for tensor in tensors]
    return frozenset.intersection(*found) if found else frozenset()


def trace(graph: gs.Graph, starts: Sequence[gs.Tensor], ends: Sequence[gs.Tensor]) -> Traced:
    """Follow tensors from starts to ends."""
    path = find_reach(graph, starts, ends)
    functions, arranged = ({name: frozenset((name,)) for name in path.varying} for _ in range(2))
    for node in path.nodes:
        varying = [node.inputs[k] for k in path.operands(node)]
        name = node.outputs[0].name
        if has(node, Fact.ALIGNS):
            functions[name] = _common(functions, varying) | {name}
        if has(node, Fact.ALIGNS | _ARRANGES):
            arranged[name] = _common(arranged, varying) | {name}
    return Traced(path.nodes, path.varying, functions, arranged)


def sole_operand(traced: Traced, node: gs.Node) -> int | str | None:
    """The operand that a product or quotient of two that vary counts as a function of.

    Of x g(x) that is x: what it passes, g(x), is y / x. Of x / size(x) it is x, whose size stands
    still. None: it is a product of two computed tensors. A text: why it cannot be told.
    """
    if node.op not in ("Mul", "Div") or len(traced.operands(node)) != 2:
        return None
    a, b = node.inputs
    common = traced.common(node)
    if node.op == "Div":
        if is_size(traced, b):
            return 0
        if not common:
            return QUOTIENT
        return 0 if without_shifts(traced, a, common) else WRITTEN_OUT
    for k in (0, 1):
        if is_inverse(traced, node.inputs[1 - k]):
            return k
    if not common:
        # Without shifts halves are the same as the whole; with them only if nothing was arranged.
        doubtful = _common(traced.arranged, node.inputs)
        shifted = any(is_shifted(traced, tensor) for tensor in node.inputs)
        return WRITTEN_OUT if doubtful and shifted else None
    fit = [k for k in (0, 1) if without_shifts(traced, node.inputs[k], common)]
    return fit[0] if fit else WRITTEN_OUT


def without_shifts(traced: Traced, tensor: Any, of: frozenset[str]) -> bool:
    """Whether a tensor comes from one of `of` by scales and functions alone, nothing being added.

    Then what rules hand on through them is tensor / that one, whatever is between.
    """
    while tensor.name not in of:
        node = producer_of(tensor)
        if node is None:
            return False
        operands, next_one = traced.operands(node), 0
        if node.op in ("Mul", "Div"):
            sole = sole_operand(traced, node) if len(operands) == 2 else operands[0]
            if not isinstance(sole, int) or (node.op == "Div" and sole == 1):
                return False
            next_one = sole
        elif not (has(node, Fact.COPIES) or node.op == "Neg" or is_elementwise(node)):
            return False
        tensor = node.inputs[next_one]
    return True


def is_shifted(traced: Traced, tensor: Any) -> bool:
    """Whether one number was added to a tensor, or it to one: 1 + e^x.

    Biases of layers are vectors, or stand behind a product with weights.
    """
    while (node := producer_of(tensor)) is not None and has(node, Fact.ALIGNS | _ARRANGES):
        operands = traced.operands(node)
        if len(operands) != 1:
            return False
        rounding = _rounding_before(traced, node)
        if rounding is not None:
            tensor = rounding.inputs[0]
            continue
        if node.op in ("Add", "Sub"):
            other, before = node.inputs[1 - operands[0]], producer_of(node.inputs[operands[0]])
            single = is_constant(other) and other.values.size == 1
            if single and np.any(other.values != 0):
                return before is None or not has(before, Fact.WEIGHTED)
        tensor = node.inputs[operands[0]]
    return False


def is_of_a_quantiser(traced: Traced, node: gs.Node) -> bool:
    """Whether a node is a quantiser's rounding, or bounds on either side of it."""
    before = any(is_marked(reader.name, STRAIGHT_THROUGH) for reader in node.outputs[0].outputs)
    return before or _rounding_before(traced, node) is not None


def _rounding_before(traced: Traced, node: gs.Node) -> gs.Node | None:
    """A quantiser's rounding, of which a node is a part: its zero point, its bounds, itself."""
    found: gs.Node | None = node
    while found is not None and not is_marked(found.name, STRAIGHT_THROUGH):
        operands = traced.operands(found)
        part = has(found, Fact.COPIES | Fact.SUMS) or found.op == "Clip"
        found = producer_of(found.inputs[operands[0]]) if part and len(operands) == 1 else None
    return found


def is_size(traced: Traced, tensor: Any) -> bool:
    """Whether it says how large something is: a norm, a mean of squares, and what is made of it.

    What does not vary is one, too.
    """
    if tensor.name not in traced.varying:
        return True
    node = producer_of(tensor)
    if node is None:
        return False
    if has(node, Fact.MEASURES):
        return True
    if has(node, Fact.AVERAGES) or node.op == "ReduceMax":
        return _is_even(traced, node.inputs[0]) or is_size(traced, node.inputs[0])
    if _squares(node):
        return _is_mean(node.inputs[0])
    if has(node, Fact.ALIGNS | Fact.MOVES):
        return all(is_size(traced, node.inputs[k]) for k in traced.operands(node))
    return False


def is_inverse(traced: Traced, tensor: Any) -> bool:
    """Whether it is 1 over a size that varies, perhaps scaled."""
    node = producer_of(tensor)
    if node is None or tensor.name not in traced.varying:
        return False
    operands = traced.operands(node)
    if is_reciprocal(traced, node):
        return is_size(traced, node.inputs[operands[0]])
    scaled = has(node, Fact.MOVES) or node.op in ("Mul", "Div")
    return scaled and len(operands) == 1 and is_inverse(traced, node.inputs[operands[0]])


def is_reciprocal(traced: Traced, node: gs.Node) -> bool:
    """Whether a node divides something that stands still by what varies: 1 / x, x^-p, c / x."""
    if node.op == "Pow":
        exponent = node.inputs[1]
        return is_constant(exponent) and bool(np.all(exponent.values < 0))
    return node.op == "Reciprocal" or (node.op == "Div" and traced.operands(node) == [1])


def _squares(node: gs.Node) -> bool:
    """Whether a node makes x^2, or another even power."""
    if node.op == "Mul":
        return node.inputs[0] is node.inputs[1]
    exponent = node.inputs[1] if node.op == "Pow" else None
    return exponent is not None and is_constant(exponent) and bool(np.all(exponent.values % 2 == 0))


def _is_even(traced: Traced, tensor: Any) -> bool:
    """Whether it is |x| or an even power, perhaps moved or scaled."""
    node = producer_of(tensor)
    if node is None:
        return False
    if node.op == "Abs" or _squares(node):
        return True
    operands = traced.operands(node)
    scaled = has(node, Fact.MOVES) or node.op in ("Mul", "Div")
    return scaled and operands == [0] and _is_even(traced, node.inputs[0])


def _is_mean(tensor: Any) -> bool:
    """Whether it is a mean or a sum, perhaps moved."""
    node = producer_of(tensor)
    while node is not None and has(node, Fact.MOVES):
        node = producer_of(node.inputs[0])
    return node is not None and has(node, Fact.AVERAGES)
