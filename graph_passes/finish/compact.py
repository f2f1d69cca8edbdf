"""An exported file without the numbers that it holds twice.

What a file computes is left as it is, bit for bit: constants that another one's rearrangement gives
are computed from it as the file is loaded (ONNX Runtime folds such nodes), and float32 numbers that
half precision or 8 bits hold exactly are stored so. Weights that the source holds in 8 bits behind
a DequantizeLinear are kept in 8 bits, behind Cast, Sub and Mul: ONNX Runtime folds these, and would
run a DequantizeLinear anew each time. EfficientNet-Lite0, whose 9.5 MB are half precision:
with Grad-CAM 9.3 MB instead of 18.6, DeepLIFT 9.6 instead of 32, Integrated Gradients 9.6 instead
of 45.

The body of a Loop computes its constants from the outer graph's in nodes of its own: of constants
that it reads from outside ONNX Runtime 1.31 would not bring convolutions into its blocked layout,
and a step of Integrated Gradients took twice the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graph.names import RESERVED

# Constants of fewer numbers are left alone.
_FEW = 256
# The end of an axis that is read backward.
_BEFORE_FIRST = -(2**31)


class Quantised(NamedTuple):
    """Weights as a quantised source stores them: (whole - zero) scale.

    Attributes:
        whole: int8 or uint8.
        scale: float32, of the same number of axes.
        zero: float32, as the scale.
    """

    whole: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """What they stand for, float32, as DequantizeLinear computes it."""
        return (self.whole.astype(np.float32) - self.zero) * self.scale


class _Base(NamedTuple):
    """A constant that is stored.

    Attributes:
        stored: its name in the file.
        array: its numbers.
        widened: whether it is stored in a smaller type, from which a Cast makes float32.
        behind: what is done then: operators and the stored constants that are their second operand.
    """

    stored: str
    array: np.ndarray
    widened: bool
    behind: tuple[tuple[str, str], ...] = ()


class _Recipe(NamedTuple):
    """How a constant is made: of which one, in which order of axes, flipped along which.

    groups: of a convolution: [G x O, I, ...] is taken for [G, O, I, ...], turned as `perm` says,
    and brought to [G x I, O, ...]; 1: there are none.
    """

    base: _Base
    perm: tuple[int, ...]
    flipped: tuple[int, ...] = ()
    groups: int = 1


def compact(
    model: onnx.ModelProto, quantised: Sequence[Quantised] = (), matrices: bool = True
) -> onnx.ModelProto:
    """The same model with each constant once, and in a smaller type where that is exact.

    Args:
        model: stays as it is.
        quantised: weights of the source; where the model has their numbers they are kept so.
        matrices: whether these are turned by nodes, too. OpenVINO 2026.4 takes a product with such
            a matrix for another one where it stands between others, without a word.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken, bases = set(_names_of(copy.graph)), dict[bytes, list[_Base]]()
    waiting: dict[str, list[TensorProto]] = {}
    for number, weights in enumerate(quantised):
        if weights.whole.size >= _FEW:
            base, waiting_for = _in_whole_numbers(f"weights{number}", weights, taken)
            bases.setdefault(_of_same_numbers(base.array), []).append(base)
            waiting[base.stored] = waiting_for
    stored: list[TensorProto] = []
    _take_out(copy.graph, bases, stored, waiting, taken, matrices, outermost=True)
    copy.graph.initializer.extend(stored)
    return copy


def quantised_of(model: onnx.ModelProto) -> list[Quantised]:
    """The 8-bit weights of a model that DequantizeLinear makes floats of."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        names = [name for name in node.input if name]
        if node.op_type != "DequantizeLinear" or not all(name in held for name in names):
            continue
        whole, *rest = (numpy_helper.to_array(held[name]) for name in names)
        attributes = {a.name: a.i for a in node.attribute}
        axis, sizes = attributes.get("axis", 1), {part.size for part in rest}
        plain = all(part.ndim <= 1 and part.dtype.kind in "fiu" for part in rest)
        fits = sizes == {1} or (-whole.ndim <= axis < whole.ndim and sizes == {whole.shape[axis]})
        if whole.dtype not in (np.int8, np.uint8) or not plain or not fits:
            continue
        shape = [1] * whole.ndim
        if sizes != {1}:
            shape[axis] = -1
        parts = [part.astype(np.float32).reshape(shape) for part in rest]
        zero = parts[1] if len(parts) > 1 else np.zeros_like(parts[0])
        found.append(Quantised(whole, parts[0], zero))
    return found


def _in_whole_numbers(
    name: str, weights: Quantised, taken: set[str]
) -> tuple[_Base, list[TensorProto]]:
    """Weights kept as their source has them, and their initializers."""
    parts = {"Sub": weights.zero, "Mul": weights.scale}
    used = {op: part for op, part in parts.items() if op == "Mul" or part.any()}
    names = {op: _free(f"{RESERVED}{op}/{name}", taken) for op in used}
    base = _Base(_free(f"{RESERVED}stored/{name}", taken), weights.numbers, True, (*names.items(),))
    tensors = [numpy_helper.from_array(used[op], names[op]) for op in used]
    return base, [numpy_helper.from_array(weights.whole, base.stored), *tensors]


def _names_of(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from node.output
    for body in _bodies_of(graph):
        yield from _names_of(body)


def _bodies_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        yield from (a.g for a in node.attribute if a.HasField("g"))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _take_out(
    graph: onnx.GraphProto,
    bases: dict[bytes, list[_Base]],
    stored: list[TensorProto],
    waiting: dict[str, list[TensorProto]],
    taken: set[str],
    matrices: bool,
    outermost: bool = False,
) -> None:
    """Replaces a graph's constants, and its bodies', by nodes that make them of stored ones.

    Args:
        graph: is changed.
        bases: what is stored so far, by what rearranged constants have in common.
        stored: the same as initializers, for the outermost graph.
        waiting: what becomes stored once a constant is made of it.
        taken: every name in the model.
        matrices: see `compact`.
        outermost: whether it is that.
    """
    kept, made, named = [], [], {}
    for tensor in graph.initializer:
        array = _numbers(tensor)
        if array is None:
            kept.append(tensor)
            continue
        alike = bases.setdefault(_of_same_numbers(array), [])
        recipe = _recipe(array, alike, matrices or array.ndim != 2)
        if recipe is None:
            base, kept_as = _stored(tensor.name, array, taken)
            alike.append(base)
            stored.append(kept_as)
            recipe = _Recipe(base, tuple(range(array.ndim)))
        stored += waiting.pop(recipe.base.stored, ())
        # What nodes make has a name of its own, which an initializer of a body need not have.
        name = tensor.name if outermost else _free(f"{RESERVED}own/{tensor.name}", taken)
        named[tensor.name] = name
        made += _nodes(name, recipe, taken, outermost)
    if not outermost:
        _rename(graph, named)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*made, *own])
    for body in _bodies_of(graph):
        _take_out(body, bases, stored, waiting, taken, matrices)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """What reads a tensor of one of these names reads another one, in bodies as well."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for body in _bodies_of(graph):
        own = {tensor.name for tensor in body.initializer}
        _rename(body, {name: new for name, new in names.items() if name not in own})


def _numbers(tensor: TensorProto) -> np.ndarray | None:
    """A constant's numbers, if they are floats, many, and in the file itself."""
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < _FEW:
        return None
    return None if tensor.external_data else numpy_helper.to_array(tensor)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint32)


def _of_same_numbers(array: np.ndarray) -> bytes:
    """What rearranged constants have in common."""
    return sha256(np.sort(_bits(array), axis=None).tobytes()).digest()


def _stored(name: str, array: np.ndarray, taken: set[str]) -> tuple[_Base, TensorProto]:
    """A constant under a name of its own, in the smallest exact type; and its initializer."""
    kept = array
    for kind in (np.int8, np.float16):
        with np.errstate(over="ignore", invalid="ignore"):
            small = array.astype(kind)
        if (_bits(small.astype(np.float32)) == _bits(array)).all():
            kept = small
            break
    base = _Base(_free(f"{RESERVED}stored/{name}", taken), array, kept is not array)
    return base, numpy_helper.from_array(kept, base.stored)


def _recipe(array: np.ndarray, alike: Sequence[_Base], turns: bool) -> _Recipe | None:
    """How a constant is made of one that is stored, turned where it may be; None: it is not."""
    rank = array.ndim
    for base in alike:
        if base.array.ndim != rank or rank > 5:
            continue
        for perm, groups in _turns(base.array.shape, array.shape):
            if not turns and perm != tuple(range(rank)):
                continue
            turned = _turned(_bits(base.array), perm, groups)
            # Kernels are flipped along their places, behind the two axes of channels.
            wide = [axis for axis in range(2, rank) if array.shape[axis] > 1]
            for choice in product((False, True), repeat=len(wide)):
                flipped = tuple(axis for axis, one in zip(wide, choice, strict=True) if one)
                if np.array_equal(np.flip(turned, flipped), _bits(array)):
                    return _Recipe(base, perm, flipped, groups)
    return None


def _turns(
    shape: tuple[int, ...], wanted: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Orders of axes, and numbers of groups, that give one shape from another."""
    rank = len(shape)
    for perm in permutations(range(rank)):
        if tuple(shape[axis] for axis in perm) == wanted:
            yield perm, 1
    if rank > 2 and shape[0] % wanted[1] == 0 and shape[0] > wanted[1]:
        groups = shape[0] // wanted[1]
        if (groups * shape[1], *shape[2:]) == (wanted[0], *wanted[2:]):
            yield (0, 2, 1, *range(3, rank + 1)), groups


def _turned(array: np.ndarray, perm: tuple[int, ...], groups: int) -> np.ndarray:
    if groups == 1:
        return array.transpose(perm)
    (rows, columns), places = array.shape[:2], array.shape[2:]
    apart = array.reshape(groups, rows // groups, columns, *places).transpose(perm)
    return apart.reshape(groups * columns, rows // groups, *places)


def _nodes(name: str, recipe: _Recipe, taken: set[str], outermost: bool) -> list[onnx.NodeProto]:
    """The nodes that make a constant; in a body at least one, so that it is the body's own."""
    base, perm, flipped, groups = recipe
    steps: list[tuple[str, dict]] = []
    if base.widened:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    steps += [(op, {"by": other}) for op, other in base.behind]
    turn = [("Transpose", {"perm": perm})] if perm != tuple(range(len(perm))) else []
    if groups > 1:
        (rows, columns), places = base.array.shape[:2], base.array.shape[2:]
        apart = [groups, rows // groups, columns, *places]
        joined = [groups * columns, rows // groups, *places]
        turn = [("Reshape", {"to": apart}), *turn, ("Reshape", {"to": joined})]
    steps += turn
    if flipped:
        steps.append(("Slice", {}))
    if not steps:
        back = tuple(reversed(perm))
        steps = [("Identity", {})] if outermost else [("Transpose", {"perm": back})] * 2
    nodes, last = [], base.stored
    for place, (op, attributes) in enumerate(steps, start=1):
        output = name if place == len(steps) else _free(f"{RESERVED}made{place}/{name}", taken)
        more = _flip(name, flipped, taken) if op == "Slice" else []
        if op == "Reshape":
            more = [_constant(f"{RESERVED}shape{place}/{name}", attributes.pop("to"), taken)]
        nodes += more
        others = [attributes.pop("by")] if "by" in attributes else []
        inputs = [last, *others, *(node.output[0] for node in more)]
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        last = output
    return nodes


def _flip(name: str, axes: tuple[int, ...], taken: set[str]) -> list[onnx.NodeProto]:
    """Slice's operands that read some axes backward, as nodes."""
    count = len(axes)
    parts = {"starts": [-1] * count, "ends": [_BEFORE_FIRST] * count}
    parts |= {"axes": [*axes], "steps": [-1] * count}
    return [_constant(f"{RESERVED}{p}/{name}", values, taken) for p, values in parts.items()]


def _constant(name: str, values: list[int], taken: set[str]) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(values, np.int64))
    return helper.make_node("Constant", [], [_free(name, taken)], value=tensor)
