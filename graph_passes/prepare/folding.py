"""Constant folding within bounds: sizes are known, and held to limits, before anything is computed.

onnx-graphsurgeon evaluates (in ONNX Runtime); what it is given are only the nodes to be folded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from ... import UnsupportedModelError
from ..graph.limits import CONSTANTS_PER_BYTE, bytes_of, hold
from ..graph.names import RESERVED
from ..graph.ordering import prune, sort_nodes
from ..graph.tensors import is_constant, operator_name
from .training import RANDOM

# Operators that stay: quantisers, which rules must see, loops, which may never end, and what is no
# tensor.
_NOT_FOLDED = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *RANDOM,
    "SequenceEmpty",
}
# No more elements come out than (some few times) go in, though how many depends on values.
_DATA_DEPENDENT = {"NonZero", "Unique", "Compress", "NonMaxSuppression"}
# Values of so few elements are handed to shape inference, which may read a size from them.
_FEW = 64
# Sizes that depend on folded sizes that depend on folded sizes ...
_MOST_ROUNDS = 100

_Shapes = dict[str, tuple[tuple[int, ...], Any]]


@dataclass
class Budget:
    """What folding has computed so far, for the limits on all of it.

    Attributes:
        weights: bytes of the file, which add to the limits.
        spent: bytes of the constants computed so far.
        work: multiplications that they took.
    """

    weights: int
    spent: int = 0
    work: int = 0

    @property
    def extra(self) -> int:
        """Bytes that the file's own size adds to the limits on constants."""
        return CONSTANTS_PER_BYTE * self.weights

    def spend(self, node: gs.Node, shapes: _Shapes) -> None:
        """Write down what a node will cost.

        Raises:
            UnsupportedModelError: more than the limits allow.
        """
        what = f"{node.op} (node {node.name or node.outputs[0].name!r})"
        size = sum(bytes_of(*shapes[t.name]) for t in node.outputs if t.name)
        hold("constant_bytes", f"bytes of the constant that {what} makes", size, self.extra)
        self.spent += size
        hold("constants_bytes", f"bytes of constants up to {what}", self.spent, self.extra)
        self.work += _work(node, shapes)
        hold("constant_work", f"multiplications for constants up to {what}", self.work)


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def budget() -> Budget:
    """The one that is drawn on now; outside `spending` a new one."""
    return _budget.get() or Budget(0)


@contextmanager
def spending(model: onnx.ModelProto) -> Iterator[None]:
    """Folding inside draws on one budget, of a model with its weights inside."""
    before = _budget.set(Budget(model.ByteSize()))
    try:
        yield
    finally:
        _budget.reset(before)


def fold(graph: gs.Graph) -> gs.Graph | None:
    """Compute what depends on constants only, and drop what nothing uses; sorts the graph.

    Random operators and those with subgraphs stay as they are, and so does what ONNX Runtime
    cannot compute. Where nodes are gone, something changed.

    Raises:
        UnsupportedModelError: it would take more than the limits allow.
    """
    spent, before = budget(), len(graph.nodes)
    sort_nodes(graph)
    _fold_constant_nodes(graph)
    skipped: set[int] = set()
    for _ in range(_MOST_ROUNDS):
        nodes = foldable(graph, skipped)
        ready = _affordable(graph, nodes, spent) if nodes else []
        if not ready:
            break
        _evaluate(graph, ready, skipped)
    else:
        raise UnsupportedModelError(
            f"constants whose sizes depend on one another over {_MOST_ROUNDS} steps are not "
            "supported"
        )
    for node in graph.nodes:
        for value in node.attrs.values():
            if isinstance(value, gs.Graph):
                fold(value)
    prune(graph)
    return graph if len(graph.nodes) < before else None


def _fold_constant_nodes(graph: gs.Graph) -> None:
    """Constant nodes become initializers."""
    for node in graph.nodes:
        if node.op == "Constant" and len(node.attrs) == 1 and node.outputs:
            ((name, value),) = node.attrs.items()
            if name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
                values = (
                    value._values
                    if isinstance(value, gs.Constant)
                    else np.asarray(
                        value, np.float32 if name in ("value_float", "value_floats") else np.int64
                    )
                )
                node.outputs[0].to_constant(values)
                node.outputs.clear()


def foldable(graph: gs.Graph, skipped: Collection[int] = ()) -> list[gs.Node]:
    """The nodes that depend on constants only, in their order, without those skipped (by id)."""
    computed: set[int] = set()
    nodes = []
    for node in graph.nodes:
        if node.op in _NOT_FOLDED or not node.outputs or id(node) in skipped:
            continue
        inputs = [t for t in node.inputs if not t.is_empty()]
        if not all(is_constant(t) or id(t) in computed for t in inputs):
            continue
        if any(isinstance(v, gs.Graph) for v in node.attrs.values()):
            continue
        nodes.append(node)
        computed.update(id(t) for t in node.outputs)
    return nodes


def _affordable(graph: gs.Graph, nodes: Sequence[gs.Node], budget: Budget) -> list[gs.Node]:
    """Of those, the ones whose sizes are known now; the others wait for the values of these."""
    shapes = _inferred(graph, nodes)
    known = {id(t) for node in nodes for t in node.inputs if is_constant(t)}
    ready = []
    for node in nodes:
        inputs = [t for t in node.inputs if not t.is_empty()]
        if not all(id(t) in known for t in inputs):
            continue
        outputs = [t for t in node.outputs if t.name]
        if all(t.name in shapes for t in outputs):
            budget.spend(node, shapes)
        elif not (node.op in _DATA_DEPENDENT and all(map(is_constant, inputs))):
            continue
        else:
            shapes.update({t.name: ((8 * _most(inputs),), np.dtype(np.int64)) for t in outputs})
            budget.spend(node, shapes)
            ready.append(node)
            continue
        ready.append(node)
        known.update(id(t) for t in node.outputs)
    return ready


def _most(tensors: Sequence[gs.Tensor]) -> int:
    return sum(math.prod(t.shape) for t in tensors)


def _inferred(graph: gs.Graph, nodes: Sequence[gs.Node]) -> _Shapes:
    """Shape and type of what the nodes read and make, where ONNX's inference can tell them."""
    shapes: _Shapes = {}
    model = onnx.ModelProto(ir_version=10)
    model.graph.name = "constants"
    domains = {"": graph.opset}
    for node in nodes:
        model.graph.node.append(OnnxExporter.export_node(node))
        domains.setdefault(node.domain or "", 1)
        for tensor in node.inputs:
            if not is_constant(tensor) or tensor.name in shapes:
                continue
            shapes[tensor.name] = tuple(tensor.shape), np.dtype(tensor.dtype)
            if math.prod(tensor.shape) <= _FEW:
                model.graph.initializer.append(OnnxExporter.export_tensor_proto(tensor))
            else:
                model.graph.input.append(OnnxExporter.export_value_info_proto(tensor, False))
    for domain in graph.import_domains or []:
        domains[domain.domain] = domain.version
    model.opset_import.extend(helper.make_opsetid(*domain) for domain in domains.items())
    try:
        found = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # one node of a kind that inference refuses: each by itself
        return shapes
    for value in found.graph.value_info:
        kind = value.type.tensor_type
        dims = list(kind.shape.dim)
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
            if dtype.kind in "biufc":
                shapes[value.name] = tuple(dim.dim_value for dim in dims), dtype
    return shapes


def _work(node: gs.Node, shapes: _Shapes) -> int:
    """Multiplications that a node takes, about."""
    inputs = [shapes[t.name][0] for t in node.inputs if t.name in shapes]
    made = sum(math.prod(shapes[t.name][0]) for t in node.outputs if t.name)
    kind = operator_name(node)
    if kind in ("MatMul", "Gemm") and inputs[0]:
        return made * max(inputs[0])
    if kind == "Conv":
        return made * math.prod(inputs[1][1:])
    if kind == "ConvTranspose":
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if "kernel_shape" in node.attrs:
        return made * math.prod(node.attrs["kernel_shape"])
    if kind in ("Einsum", "RNN", "LSTM", "GRU", "DFT", "STFT", "Det", "NonMaxSuppression"):
        return math.prod(max(math.prod(shape), 1) for shape in inputs[:2])
    return made


def _evaluate(graph: gs.Graph, nodes: list[gs.Node], skipped: set[int]) -> None:
    """Replace what the nodes make by its values; none of them is tried again."""
    skipped.update(map(id, nodes))
    try:
        _run(graph, nodes)
    except Exception:
        for node in nodes:
            try:
                if all(is_constant(t) or t.is_empty() for t in node.inputs):
                    _run(graph, [node])
            except Exception:
                continue  # what only ONNX Runtime's own graph can do, or not even that: it stays


def _run(graph: gs.Graph, nodes: list[gs.Node]) -> None:
    """Replace all that the nodes make by its values, whoever reads it.

    onnx-graphsurgeon leaves out tensors of which all readers among the nodes bear the name of a
    tensor, as ours do: of a node with several outputs it would take some away, and the others would
    stand in their places.
    """
    names = [node.name for node in nodes]
    try:
        for index, node in enumerate(nodes):
            node.name = f"{RESERVED}folded/{index}/node"
        _run_named(graph, nodes)
    finally:
        for node, name in zip(nodes, names, strict=True):
            node.name = name


def _run_named(graph: gs.Graph, nodes: list[gs.Node]) -> None:
    outputs = [t for node in nodes for t in node.outputs if t.name]
    part = gs.Graph(
        nodes,
        outputs=outputs,
        opset=graph.opset,
        import_domains=graph.import_domains,
        name="constants",
        ir_version=10,
    )
    part.fold_constants(
        fold_shapes=False,
        recurse_subgraphs=False,
        flatten_subgraphs=False,
        error_ok=False,
        recurse_functions=False,
    )
