"""A graph of one row in a Loop over all rows of a batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, compose, helper, numpy_helper

from ..finish import BASELINE, SEED
from ..graph.dims import Dim, same_dim
from ..graph.names import RESERVED, bodies_of
from ..select.subject import Subject

# What the names inside the Loop begin with: what was there already, and the Loop's own.
_ROW, _OWN = f"{RESERVED}row/", f"{RESERVED}row_loop/"


def rows_apart(subject: Subject) -> bool:
    """Whether rows go through a file one by one, as they do in the library.

    Not where the file fixes its batch, and not where it is not known what of a further input
    belongs to a row: then all go together, each with points of its own.
    """
    batch, lost = subject.batch, subject.coupled
    if isinstance(batch, int) or (lost is not None and lost.kind != "quantiser"):
        return False
    return all(_row_of(subject, t.shape) is not None for t in _further(subject))


def _further(subject: Subject) -> Iterable[gs.Tensor]:
    explained = {source.input.name for source in subject.sources}
    return (tensor for tensor in subject.graph.inputs if tensor.name not in explained)


def _row_of(subject: Subject, shape: list[Dim] | None) -> bool | None:
    """Whether a further input of this shape has a row for each input; None: nobody knows."""
    first, *rest = shape or [None]
    if any(same_dim(dim, subject.batch) for dim in rest):
        return None
    if isinstance(first, int):
        return False
    return True if same_dim(first, subject.batch) else None


def prefixed(graph: onnx.GraphProto, prefix: str, ports: bool) -> onnx.GraphProto:
    """A copy in which every name begins so; inputs and outputs too, with `ports`.

    What a body says of tensors around it is left out: they would count as the body's own.
    """
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    for node in copy.node:
        for body in bodies_of(node):
            _forget_outer(body)
    return compose.add_prefix_graph(
        copy, prefix, rename_inputs=ports, rename_outputs=ports, inplace=True
    )


def _forget_outer(body: onnx.GraphProto) -> None:
    own = {name for node in body.node for name in node.output}
    said = [value for value in body.value_info if value.name in own]
    del body.value_info[:]
    body.value_info.extend(said)
    for node in body.node:
        for inner in bodies_of(node):
            _forget_outer(inner)


def for_each_row(subject: Subject, path: onnx.GraphProto) -> onnx.GraphProto:
    """The same of one row, in a Loop over all of them; its outputs are stacked, [N, 1, ...]."""
    body = prefixed(path, _ROW, True)
    number, before, behind = (f"{_OWN}{name}" for name in ("number", "before", "behind"))
    zero = numpy_helper.from_array(np.zeros(1, np.int64), f"{_OWN}first")
    one = numpy_helper.from_array(np.ones(1, np.int64), f"{_OWN}one")
    nodes = [helper.make_node("Unsqueeze", [number, zero.name], [f"{_OWN}index"])]
    apart = {t.name for t in _further(subject) if _row_of(subject, t.shape) is False}
    baselines = {subject.name_of(BASELINE, source) for source in subject.sources}
    for value in path.input:
        nodes += _own_row(value.name, value.name in apart, value.name in baselines, one.name)
    nodes.append(helper.make_node("Identity", [before], [behind]))
    del body.input[:]
    body.input.extend(
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(before, TensorProto.BOOL, []),
        ]
    )
    own = [*nodes, *body.node]
    del body.node[:]
    body.node.extend(own)
    body.initializer.extend([zero, one])
    outputs = [helper.make_tensor_value_info(behind, TensorProto.BOOL, []), *body.output]
    del body.output[:]
    body.output.extend(outputs)
    count, stacked = f"{RESERVED}rows", [value.name for value in path.output]
    around = [helper.make_node("Shape", [SEED], [f"{count}/shape"], start=0, end=1)]
    around.append(helper.make_node("Squeeze", [f"{count}/shape"], [count]))
    around.append(helper.make_node("Loop", [count, ""], stacked, f"{RESERVED}rows", body=body))
    return helper.make_graph(around, "rows", path.input, path.output)


def _own_row(name: str, shared: bool, baseline: bool, one: str) -> list[onnx.NodeProto]:
    """What the body of the Loop over rows reads in place of an input of all rows."""
    own, index = _ROW + name, f"{_OWN}index"
    if shared:
        return [helper.make_node("Identity", [name], [own])]
    if not baseline:
        return [helper.make_node("Gather", [name, index], [own], axis=0)]
    # One baseline may stand for all rows.
    parts = [f"{_OWN}{part}/{name}" for part in ("count", "last", "index")]
    return [
        helper.make_node("Shape", [name], [parts[0]], start=0, end=1),
        helper.make_node("Sub", [parts[0], one], [parts[1]]),
        helper.make_node("Min", [index, parts[1]], [parts[2]]),
        helper.make_node("Gather", [name, parts[2]], [own], axis=0),
    ]
