"""An adaptive path in a file: both ends, and a Loop that bisects until the tolerance is kept.

Each row has a path of its own, as in the library: where the file leaves its batch open, a Loop
takes the rows one after the other, and inside it runs the Loop over one row's points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from ..finish import ATTRIBUTION, MAP_ERROR, SEED, exported, free_names
from ..graph.dims import Dim
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune
from ..graph.tensors import onnx_type
from ..select.subject import Subject
from .bisecting import BEFORE, bisecting_round
from .loop import with_delta
from .path import endpoints
from .path_error import attribution_of, estimated, sampled
from .path_state import (
    FLOAT,
    Rule,
    at_the_beginning,
    state_inputs,
    state_outputs,
    trapezoid,
    widths,
)
from .quadrature import coarse_points
from .row_loop import for_each_row, prefixed, rows_apart
from .walks import Walk

# States in front of the first round and behind the last one, and names inside the Loops.
_FIRST, _LAST = f"{RESERVED}first", f"{RESERVED}last"
_ROUND, _OWN = f"{RESERVED}round/", f"{RESERVED}round_loop/"
_FOUND = f"{RESERVED}found"


def adaptive_path(subject: Subject, walk: Walk, rule: Rule) -> onnx.ModelProto:
    """A model of (input, target, baseline) that returns `attribution`, `delta` and `map_error`.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    model = onnx.ModelProto()
    model.CopyFrom(_with_free_names(endpoints(subject)))
    names = [subject.name_of(ATTRIBUTION, source) for source in subject.sources]
    path = _path(subject, walk, rule)
    if rows_apart(subject):
        path = for_each_row(subject, path)
    graph = model.graph
    known = {value.name for value in (*graph.input, *graph.output)}
    graph.input.extend(value for value in path.input if value.name not in known)
    graph.initializer.extend(path.initializer)
    graph.node.extend(path.node)
    graph.value_info.extend(path.value_info)
    for name, source in zip(names, subject.sources, strict=True):
        _in_shape_of(graph, name, source.input.name, _type_in(path, _FOUND + name))
    flat = numpy_helper.from_array(np.asarray([-1], np.int64), f"{RESERVED}flat")
    graph.initializer.append(flat)
    error = helper.make_node("Reshape", [_FOUND + MAP_ERROR, flat.name], [MAP_ERROR])
    graph.node.append(error)
    graph.output.append(helper.make_tensor_value_info(MAP_ERROR, FLOAT, [f"{RESERVED}paths"]))
    return with_delta(model, names, subject.coupled is None)


def _with_free_names(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = gs.import_onnx(model)
    free_names(graph, [MAP_ERROR])
    return exported(graph, model)


def _path(subject: Subject, walk: Walk, rule: Rule) -> onnx.GraphProto:
    """What becomes of inputs, baselines and seed: attributions, flat, and their error."""
    one = bisecting_round(subject, walk, rule)
    ends = _beginning(subject, rule), _end(subject, rule)
    before, first, last = (
        [f"{side}/{name}" for name in rule.fields] for side in (BEFORE, _FIRST, _LAST)
    )
    given = [value for value in one.graph.input if value.name not in before]
    body = _body(one.graph, before)
    limit = numpy_helper.from_array(np.asarray(rule.steps, np.int64), f"{RESERVED}most_rounds")
    loop = helper.make_node("Loop", [limit.name, "", *first], last, f"{RESERVED}path", body=body)
    nodes = [*ends[0].graph.node, loop, *ends[1].graph.node]
    constants = [*ends[0].graph.initializer, limit, *ends[1].graph.initializer]
    value_info = [*ends[0].graph.value_info, *ends[1].graph.value_info]
    outputs = [*ends[1].graph.output]
    return helper.make_graph(nodes, "path", given, outputs, constants, value_info=value_info)


def _body(graph: onnx.GraphProto, states: list[str]) -> onnx.GraphProto:
    """A round as a Loop's body; what is no state it reads from the graph around."""
    body = prefixed(graph, _ROUND, False)
    own = {value.name: value for value in body.input}
    number = helper.make_tensor_value_info(f"{_OWN}number", TensorProto.INT64, [])
    before = helper.make_tensor_value_info(f"{_OWN}before", TensorProto.BOOL, [])
    del body.input[:]
    body.input.extend([number, before, *(own[name] for name in states)])
    return body


def _beginning(subject: Subject, rule: Rule) -> onnx.ModelProto:
    """A model of (inputs, seed): the state in which nothing is measured."""
    graph, emit, inputs = _small(subject, "begin")
    rows = emit.Shape(emit.input(SEED, subject.logits.dtype, ["?"]), start=0, end=1)
    count = emit.Reshape(emit.sum([emit.Size(tensor) for tensor in inputs]), [1])
    elements = emit.term(count) / emit.Max(rows, [1])
    state = at_the_beginning(emit, rows, elements, coarse_points(rule.steps), rule)
    graph.outputs = state_outputs(state, _FIRST, rule)
    return _as_model(graph)


def _end(subject: Subject, rule: Rule) -> onnx.ModelProto:
    """A model of (inputs, state): attributions [R, elements of each], and their error [R]."""
    graph, emit, inputs = _small(subject, "end")
    state = state_inputs(emit, _LAST, rule)
    total = attribution_of(emit, state, rule)
    rows = sampled(emit, state, total, rule)
    h, _ = widths(emit, state.points)
    error = estimated(emit, state, rows, trapezoid(emit, h), rule.steps)
    # What is no number anywhere on the path is none anywhere in the map.
    measured = (emit.term(state.slopes) + state.scores) * 0.0
    nothing = emit.ReduceSum(measured, [1], keepdims=1)
    total = emit.term(total) + emit.Cast(nothing, to=FLOAT)
    error = emit.Cast(emit.term(error) + emit.Squeeze(nothing, [1]), to=FLOAT)
    parts = _parts(emit, total, inputs)
    found = {
        subject.name_of(ATTRIBUTION, source): emit.Cast(part, to=onnx_type(source.start.dtype))
        for source, part in zip(subject.sources, parts, strict=True)
    }
    found[MAP_ERROR] = error
    for name, tensor in found.items():
        tensor.name = _FOUND + name
        rank = 1 if tensor is error else 2
        tensor.shape = [f"{_FOUND}{name}_dim{axis}" for axis in range(rank)]
    graph.outputs = [*found.values()]
    return _as_model(graph)


def _parts(emit: Emitter, total: Any, inputs: Sequence[gs.Tensor]) -> list[Any]:
    """Attributions of all explained inputs, side by side, as those of each."""
    if len(inputs) == 1:
        return [total]
    rows = emit.Max(emit.Shape(total, start=0, end=1), [1])
    sizes = [emit.term(emit.Reshape(emit.Size(tensor), [1])) / rows for tensor in inputs]
    return emit.many("Split", len(inputs), total, emit.Concat(*sizes, axis=0), axis=1)


def elements_of(subject: Subject) -> Dim:
    """How many elements the attributions of one row have, where the file says it."""
    count = 0
    for source in subject.sources:
        rest = list(source.input.shape or [None, None])[1:]
        if subject.coupled is not None or not all(isinstance(dim, int) for dim in rest):
            return None
        count += int(np.prod([dim for dim in rest if isinstance(dim, int)], dtype=np.int64))
    return count


def _small(subject: Subject, prefix: str) -> tuple[gs.Graph, Emitter, list[gs.Tensor]]:
    """An empty graph in the subject's opset, and the explained inputs in it."""
    graph = gs.Graph(opset=subject.graph.opset, import_domains=subject.graph.import_domains)
    emit = Emitter(graph, prefix)
    inputs = [
        emit.input(source.input.name, source.input.dtype, ["?"] * len(source.input.shape or []))
        for source in subject.sources
    ]
    return graph, emit, inputs


def _as_model(graph: gs.Graph) -> onnx.ModelProto:
    prune(graph)
    return gs.export_onnx(graph, do_type_check=False)


def _type_in(graph: onnx.GraphProto, name: str) -> int:
    (kind,) = [v.type.tensor_type.elem_type for v in graph.output if v.name == name]
    return kind


def _in_shape_of(graph: onnx.GraphProto, name: str, like: str, kind: int) -> None:
    """The output `name`: what was found, in the shape of an input."""
    shape = f"{RESERVED}shape_of/{name}"
    graph.node.append(helper.make_node("Shape", [like], [shape]))
    reshape = helper.make_node("Reshape", [_FOUND + name, shape], [name])
    graph.node.append(reshape)
    (given,) = [value for value in graph.input if value.name == like]
    value = graph.output.add()
    value.CopyFrom(given)
    value.name, value.type.tensor_type.elem_type = name, kind
