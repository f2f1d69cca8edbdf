"""A finished file in another opset, with the IR version that belongs to it.

Upwards ONNX's converter does it. Downwards a node stays as it is where it means the same there; the
others are written as the older opset has them, or refused, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, version_converter

from ... import UnsupportedModelError
from ..graph.emitter import Emitter
from ..graph.inference import inferred
from ..graph.names import bodies_of
from ..graph.ordering import prune
from ..graph.rewriting import Formula, Rewrite, of_terms, rewrite_nodes
from ..graph.tensors import is_constant, numpy_type, optional_input
from ..graph.terms import NodeView
from ..prepare.decompositions import ALWAYS, FOR_DEEPLIFT
from ..prepare.reading import default_opset
from . import exported
from .cuda_opset import bodies, declare, gelu
from .opset_facts import STANDARD, first_opset, fits, without_defaults

# Subgraphs' loops and inputs in place of attributes are of opset 11; what ONNX Runtime 1.31 reads.
LEAST, MOST = 11, 26
# The release of ONNX Runtime that first had an opset, by its own table of versions, which ends at
# 1.20; of newer opsets the one that they were tried with.
_RELEASES = {
    **{11: "1.0", 12: "1.3", 13: "1.6", 14: "1.8", 15: "1.9", 16: "1.11", 17: "1.12"},
    **{18: "1.14", 19: "1.16", 20: "1.17", 21: "1.18"},
}
_TRIED = "1.31"
_END = 2**31 - 1


def oldest_runtime(model: onnx.ModelProto) -> str:
    """The oldest ONNX Runtime whose opset is the file's, or a newer one."""
    return _RELEASES.get(max(default_opset(model), LEAST), _TRIED)


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in this opset, with the oldest IR version that has it.

    Raises:
        UnsupportedModelError: an operator, or what it is used for, is of a newer opset.
    """
    version = default_opset(model)
    if opset > version:
        model = _raised(model, version, opset)
    elif opset < version:
        model = _lowered(model, version, opset)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = helper.find_min_ir_version_for(list(made.opset_import), ignore_unknown=True)
    return made


def _raised(model: onnx.ModelProto, version: int, opset: int) -> onnx.ModelProto:
    try:
        made = version_converter.convert_version(model, opset)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UnsupportedModelError(
            f"opset {opset}: ONNX's converter cannot write the file, of {version}, in it: {reason}"
        ) from error
    made.metadata_props.extend(model.metadata_props if not made.metadata_props else [])
    made.producer_name = model.producer_name
    return made


def _lowered(model: onnx.ModelProto, version: int, opset: int) -> onnx.ModelProto:
    graph = gs.import_onnx(model)
    types = dict(_types_of(inferred(model)))
    numbers = count()
    for part in _parts(graph):
        _tell_types(part, types)
        for _ in range(4):
            rewrites = _rewrites(part, version, opset)
            for node in part.nodes:
                without_defaults(node, version, opset)
            if not rewrites or not _rewritten(part, rewrites, opset, f"opset{next(numbers)}"):
                break
    _refuse(graph, version, opset)
    prune(graph)
    declare(graph, opset)
    return exported(graph, model)


def _rewritten(part: gs.Graph, rewrites: dict[str, Rewrite], opset: int, prefix: str) -> bool:
    """Whether anything was written anew; `prefix` makes names that no other part has."""

    def wanted(node: gs.Node) -> bool:
        return not fits(node, part.opset, opset)

    return rewrite_nodes(part, rewrites, wanted, prefix) is not None


def _parts(graph: gs.Graph) -> Iterator[gs.Graph]:
    """A graph and all subgraphs in it."""
    yield graph
    for node in list(graph.nodes):
        for body in bodies(node):
            yield from _parts(body)


def _types_of(graph: onnx.GraphProto) -> Iterator[tuple[str, Any]]:
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if kind:
            yield value.name, numpy_type(kind)
    for node in graph.node:
        for body in bodies_of(node):
            yield from _types_of(body)


def _tell_types(part: gs.Graph, types: dict[str, Any]) -> None:
    for tensor in part.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.dtype is None:
            tensor.dtype = types.get(tensor.name)


def _refuse(graph: gs.Graph, version: int, opset: int) -> None:
    """Name each operator that the older opset has not, and since when there is what it is used for.

    Raises:
        UnsupportedModelError: there is one.
    """
    since: dict[str, int] = {}
    for part in _parts(graph):
        for node in part.nodes:
            if not fits(node, version, opset):
                first = first_opset(node, version, opset)
                since[node.op] = max(first, since.get(node.op, 0))
    if since:
        named = ", ".join(f"{op} as it is used needs {first}" for op, first in since.items())
        needed = max(since.values())
        raise UnsupportedModelError(
            f"opset {opset}: the file cannot be written in it: {named}; ask for {needed} or newer"
        )


def _rewrites(part: gs.Graph, version: int, opset: int) -> dict[str, Rewrite]:
    """What writes a part's operators that the older opset has not."""
    missing = {
        node.op
        for node in part.nodes
        if (node.domain or "") in STANDARD and not fits(node, version, opset)
    }
    found = {op: _RULES[op] for op in missing if op in _RULES}
    for op in missing - set(found):
        if not onnx.defs.has(op, opset):
            for table in (ALWAYS, FOR_DEEPLIFT):
                found.update({op: table[op]} if op in table else {})
    return found


# How nodes are written in older opsets.


def _known(node: NodeView, index: int) -> Any:
    """The numbers of a constant input; None where they are computed."""
    given = optional_input(node, index)
    return given.values if given is not None and is_constant(given) else None


def _axes(emit: Emitter, node: NodeView) -> Any:
    """Axes as an attribute, as they were before 13 (sums, Squeeze, Unsqueeze) and before 18."""
    axes = _known(node, 1)
    if axes is None and optional_input(node, 1) is not None:
        return None
    left = {k: v for k, v in node.attrs.items() if k != "noop_with_empty_axes"}
    if axes is None or not axes.size:
        none = node.attrs.get("noop_with_empty_axes", 0)
        return emit.Identity(node.x) if none else emit(node.op, node.x, **left)
    return emit(node.op, node.x, axes=[int(axis) for axis in np.ravel(axes)], **left)


def _split(emit: Emitter, node: NodeView) -> Any:
    """Sizes as an attribute, as before 13; equal parts, of which the last is smaller, by Slice."""
    parts, axis = len(node.outputs), node.attrs.get("axis", 0)
    sizes = _known(node, 1)
    if sizes is not None:
        return emit.many("Split", parts, node.x, axis=axis, split=[int(n) for n in sizes])
    if optional_input(node, 1) is not None:
        return None
    if axis < 0:
        if node.x.shape is None:
            return None
        axis += len(node.x.shape)
    length = emit.term(emit.dims(node.x, axis, axis + 1))
    each = (length + np.asarray([parts - 1])) / [parts]
    ends = [each * [k] for k in range(parts + 1)]
    return [emit.Slice(node.x, a, b, [axis]) for a, b in pairwise(ends)]


def _shape(emit: Emitter, node: NodeView) -> Any:
    """A part of a shape by Slice, as before 15."""
    start, end = node.attrs.get("start", 0), node.attrs.get("end", _END)
    return emit.Slice(emit.Shape(node.x), [start], [end], [0])


def _softmax(emit: Emitter, node: NodeView) -> Any:
    """Along the last axis, where it means the same before 13."""
    if node.x.shape is None:
        return None
    rank = len(node.x.shape)
    axis = node.attrs.get("axis", -1) % rank
    if axis == rank - 1:
        return emit(node.op, node.x, axis=-1)
    perm = [k for k in range(rank) if k != axis] + [axis]
    found = emit(node.op, emit.Transpose(node.x, perm=perm), axis=-1)
    return emit.Transpose(found, perm=[int(k) for k in np.argsort(perm)])


def _reshape(emit: Emitter, node: NodeView) -> Any:
    """Without `allowzero`, of 14 on, where no length is 0."""
    shape = _known(node, 1)
    return None if shape is None or 0 in shape else emit.Reshape(*node.inputs)


def _extreme(strict: str) -> Formula:
    """max(a, b) of integers as a where a > b, else b, before 12."""

    def formula(emit: Emitter, node: NodeView) -> Any:
        found = node.x
        for other in node.inputs[1:]:
            found = emit.Where(emit(strict, found, other), found, other)
        return found

    return formula


def _hard_swish(emit: Emitter, node: NodeView) -> Any:
    """x clip(x / 6 + 1/2, 0, 1), which is an operator from 14 on."""
    return node.x * emit.HardSigmoid(node.x, alpha=1 / 6, beta=0.5)


def _mish(emit: Emitter, node: NodeView) -> Any:
    """x tanh(softplus(x)), which is an operator from 18 on."""
    return node.x * emit.Tanh(emit.Softplus(node.x))


def _or_equal(strict: str) -> Formula:
    """a >= b as a > b or a = b, before 12."""

    def formula(emit: Emitter, node: NodeView) -> Any:
        return emit.Or(emit(strict, *node.inputs), emit.Equal(*node.inputs))

    return formula


_FORMULAS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            "ReduceSum",
            "Squeeze",
            "Unsqueeze",
            "ReduceMax",
            "ReduceMin",
            "ReduceMean",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceSumSquare",
        ),
        _axes,
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    "Split": _split,
    "Shape": _shape,
    "Reshape": _reshape,
    "Max": _extreme("Greater"),
    "Min": _extreme("Less"),
    "Gelu": gelu,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "GreaterOrEqual": _or_equal("Greater"),
    "LessOrEqual": _or_equal("Less"),
}
_RULES: dict[str, Rewrite] = {op: of_terms(formula) for op, formula in _FORMULAS.items()}
