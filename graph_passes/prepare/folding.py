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
from ..graph.evaluated import most_made, work_of
from ..graph.limits import CONSTANTS_PER_BYTE, bytes_of, hold
from ..graph.names import RESERVED
from ..graph.operators import Fact, has
from ..graph.ordering import prune, sort_nodes
from ..graph.tensors import is_constant
from .constant_attention import held_products
from .declared import longest_string

# Integers are divided once they are known: ONNX Runtime dies of some.
_DIVIDING = {"Div", "Mod"}
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
        spare: bytes that are added to the limit on all constants.
        string: bytes of one string, at the most: of the longest in the file.
        spent: bytes of the constants computed so far.
        work: multiplications that they took.
    """

    weights: int
    string: int = 64
    spare: int = 0
    spent: int = 0
    work: int = 0

    @property
    def extra(self) -> int:
        """Bytes that the file's own size adds to the limits on constants."""
        return CONSTANTS_PER_BYTE * self.weights

    def take(self, what: str, size: int) -> None:
        """Write down a constant of that many bytes.

        Raises:
            UnsupportedModelError: more than the limits allow.
        """
        hold("constant_bytes", f"bytes of {what}", size, self.extra)
        self.spent += size
        hold(
            "constants_bytes",
            f"bytes of constants up to {what}",
            self.spent,
            self.extra + self.spare,
        )

    def spend(self, node: gs.Node, shapes: _Shapes) -> None:
        """Write down what a node will cost.

        Raises:
            UnsupportedModelError: more than the limits allow.
        """
        what = f"{node.op} (node {node.name or node.outputs[0].name!r})"
        size = sum(bytes_of(*shapes[t.name]) for t in node.outputs if t.name)
        self.take(f"the constant that {what} makes", size)
        self.work += _work(node, shapes)
        hold("constant_work", f"multiplications for constants up to {what}", self.work)


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def budget() -> Budget:
    """The one that is drawn on now; outside `spending` a new one."""
    return _budget.get() or Budget(0)


@contextmanager
def spending(model: onnx.ModelProto, spare: int = 0) -> Iterator[None]:
    """Folding inside draws on one budget, of a model with its weights inside."""
    before = _budget.set(Budget(model.ByteSize(), 32 + longest_string(model), spare))
    try:
        yield
    finally:
        _budget.reset(before)


def fold(graph: gs.Graph, grown: int | None = None) -> gs.Graph | None:
    """Compute what depends on constants only, and drop what nothing uses; sorts the graph.

    Random operators and those with subgraphs stay as they are, and so does what ONNX Runtime
    cannot compute. Where nodes are gone, something changed.

    Args:
        graph: changed in place.
        grown: nodes stay that make more bytes than this, and twice as many as they read: masks of
            rows and columns. None: none do. Integers are folded all the same.

    Raises:
        UnsupportedModelError: it would take more than the limits allow.
    """
    spent, before = budget(), len(graph.nodes)
    sort_nodes(graph)
    _fold_constant_nodes(graph)
    skipped: set[int] = set()
    for _ in range(_MOST_ROUNDS):
        nodes = foldable(graph, skipped)
        ready = _affordable(graph, nodes, spent, skipped, grown) if nodes else []
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
                fold(value, grown)
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
    """The nodes that depend on constants only, in their order, without those skipped (by id).

    Those of a decoder's first attention are left, too: see `held_products`.
    """
    computed: set[int] = set()
    nodes = []
    for node in graph.nodes:
        if not has(node, Fact.EVALUATED | Fact.FOLDED) or not node.outputs or id(node) in skipped:
            continue
        inputs = [t for t in node.inputs if not t.is_empty()]
        if not all(is_constant(t) or id(t) in computed for t in inputs):
            continue
        if any(isinstance(v, gs.Graph) for v in node.attrs.values()):
            continue
        nodes.append(node)
        computed.update(id(t) for t in node.outputs)
    held = held_products(nodes)
    return foldable(graph, held.union(skipped)) if held else nodes


def _affordable(
    graph: gs.Graph,
    nodes: Sequence[gs.Node],
    budget: Budget,
    skipped: set[int],
    grown: int | None,
) -> list[gs.Node]:
    """Of those, the ones whose sizes are known now; the others wait for the values of these."""
    shapes = _inferred(graph, nodes)
    known = {id(t) for node in nodes for t in node.inputs if is_constant(t)}
    ready = []
    for node in nodes:
        inputs = [t for t in node.inputs if not t.is_empty()]
        if not all(id(t) in known for t in inputs):
            continue
        outputs = [t for t in node.outputs if t.name]
        if node.op in _DIVIDING:
            if not all(map(is_constant, inputs)):
                continue
            check_division(node)
        if all(t.name in shapes for t in outputs):
            if grown is not None and _grows(node, shapes, grown):
                skipped.add(id(node))
                continue
            budget.spend(node, shapes)
        elif not (has(node, Fact.BY_VALUES) and all(map(is_constant, inputs))):
            continue
        else:
            most = most_made([t.shape for t in inputs])
            shapes.update({t.name: ((most,), np.dtype(np.int64)) for t in outputs})
            budget.spend(node, shapes)
            ready.append(node)
            continue
        ready.append(node)
        known.update(id(t) for t in node.outputs)
    return ready


def _grows(node: gs.Node, shapes: _Shapes, most: int) -> bool:
    """Whether a node makes more bytes than that of half as many, and no integers."""
    made = [shapes[t.name] for t in node.outputs if t.name]
    size = sum(bytes_of(*one) for one in made)
    read = sum(bytes_of(*shapes[t.name]) for t in node.inputs if t.name in shapes)
    return size > max(most, 2 * read) and all(dtype.kind != "i" for _, dtype in made)


def check_division(node: gs.Node) -> None:
    """Refuse integers divided by 0, or the least of them by -1: ONNX Runtime dies of both.

    Raises:
        UnsupportedModelError: naming the node.
    """
    a, b = (np.asarray(tensor.values) for tensor in node.inputs)
    if b.dtype.kind not in "iu" or not a.size or not b.size:
        return
    least = (a == np.iinfo(a.dtype).min) if a.dtype.kind == "i" else np.zeros(1, bool)
    over = bool(least.any()) and bool(np.any(b == -1)) if b.dtype.kind == "i" else False
    if np.any(b == 0) or over:
        by = "0" if np.any(b == 0) else "-1 of the least number"
        raise UnsupportedModelError(
            f"{node.op} (node {node.name or node.outputs[0].name!r}): a division of integers by "
            f"{by}, which has no result"
        )


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
    return work_of(node.op, node.attrs, inputs, made)


def _evaluate(graph: gs.Graph, nodes: list[gs.Node], skipped: set[int]) -> None:
    """Replace what the nodes make by its values; none of them is tried again."""
    skipped.update(map(id, nodes))
    nodes = [node for node in nodes if not _widened(node)]
    if not nodes:
        return
    try:
        _run(graph, nodes)
    except Exception:
        for node in nodes:
            try:
                if all(is_constant(t) or t.is_empty() for t in node.inputs):
                    _run(graph, [node])
            except Exception:
                continue  # what only ONNX Runtime's own graph can do, or not even that: it stays


def _widened(node: gs.Node) -> bool:
    """Whether a Cast of a constant to a wider type of its kind was done here, where it is exact.

    Weights that are stored in half precision: 54 of them take 6 ms so, 90 by way of a session.
    """
    if node.op != "Cast" or node.domain or not is_constant(node.inputs[0]):
        return False
    try:
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(node.attrs["to"]))
    except KeyError:
        return False
    values = node.inputs[0].values
    exact = kind.kind == values.dtype.kind and kind.kind in "iuf" and kind.isbuiltin == 1
    if not exact or values.dtype.isbuiltin != 1 or kind.itemsize < values.dtype.itemsize:
        return False
    node.outputs[0].to_constant(values.astype(kind))
    node.outputs.clear()
    return True


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
