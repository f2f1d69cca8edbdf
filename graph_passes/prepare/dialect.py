"""The dialect that `prepare` leaves: its properties, each a function that lists what breaks it.

Opset 21 or newer, no functions, no Constant nodes, what depends on constants only folded, float32,
explicit pads, no composite operators, no BatchNormalization, shapes as ONNX infers them.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.operators import Fact, has
from ..graph.tensors import onnx_type, operator_name
from .decompositions import ALWAYS, decompose
from .decompositions.quantisation import QUANTISED
from .folding import fold, foldable
from .reading import CANONICAL_OPSET
from .reduced_axes import says_its_axes

# What breaks a property, in words; nothing: it holds.
Property = Callable[[gs.Graph], list[str]]
_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def _named(node: gs.Node) -> str:
    return f"{operator_name(node)} (node {node.name or node.outputs[0].name!r})"


def canonical_opset(graph: gs.Graph) -> list[str]:
    """ONNX's own operators are of opset 21 or newer."""
    return [] if graph.opset >= CANONICAL_OPSET else [f"opset {graph.opset}"]


def no_constants_to_fold(graph: gs.Graph) -> list[str]:
    """No Constant nodes, and nothing left that folding would compute."""
    constants = [_named(node) for node in graph.nodes if node.op == "Constant"]
    copy = graph.copy()
    waiting = [_named(node) for node in foldable(copy)]
    return constants + (waiting if fold(copy) else [])


def float32(graph: gs.Graph) -> list[str]:
    """Half precision stands at inputs and outputs only, where a Cast takes it away."""
    edge = {id(t) for t in [*graph.inputs, *graph.outputs]}
    return [
        name
        for name, tensor in graph.tensors().items()
        if tensor.dtype is not None and onnx_type(tensor.dtype) in _HALF and id(tensor) not in edge
    ]


def pads_are_said(graph: gs.Graph) -> list[str]:
    """Windows say their pads, where their sizes are known."""
    return [
        _named(node)
        for node in graph.nodes
        if node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER", "VALID")
        and node.op != "ConvTranspose"
    ]


def reductions_say_their_axes(graph: gs.Graph) -> list[str]:
    """No reduction's axes are, or may be, an empty list."""
    return [_named(n) for n in graph.nodes if has(n, Fact.REDUCES) and not says_its_axes(n)]


def no_quantised_operators(graph: gs.Graph) -> list[str]:
    """Quantised operators are float ones, outside the bodies of loops that stay."""
    return [_named(node) for node in graph.nodes if operator_name(node) in QUANTISED]


def no_batch_normalization(graph: gs.Graph) -> list[str]:
    """BatchNormalization is folded or written as a x + b."""
    return [
        _named(node) for node in graph.nodes if node.op == "BatchNormalization" and node.outputs
    ]


def no_composites(graph: gs.Graph) -> list[str]:
    """What has a decomposition is decomposed, unless that declines (for want of a size, say)."""
    copy = graph.copy()
    composite = [_named(node) for node in copy.nodes if operator_name(node) in ALWAYS]
    return composite if decompose(copy) else []


def known_shapes(graph: gs.Graph) -> list[str]:
    """Nothing computes a size that is known: no Shape or Size of a tensor of fixed shape."""
    return [
        _named(node)
        for node in graph.nodes
        if has(node, Fact.SIZES) and is_static(node.inputs[0].shape)
    ]


DIALECT: tuple[Property, ...] = (
    canonical_opset,
    no_constants_to_fold,
    float32,
    pads_are_said,
    reductions_say_their_axes,
    no_quantised_operators,
    no_batch_normalization,
    no_composites,
    known_shapes,
)
