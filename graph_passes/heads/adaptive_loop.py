"""An adaptive path in a file: both ends, and a Loop that bisects until the tolerance is kept.

Each row has a path of its own, as in the library: where the file leaves its batch open, a Loop
takes the rows one after the other, and inside it runs the Loop over one row's points.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, compose, helper, numpy_helper

from ..finish import ATTRIBUTION, BASELINE, MAP_ERROR, SEED, exported, free_names
from ..graph.dims import Dim, same_dim
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune
from ..select.subject import Subject
from .bisecting import BEFORE, BEHIND, Rule, State, _first, _last, bisecting_round, state_inputs
from .bisecting import state_outputs, widths
from .loop import with_delta
from .path import endpoints
from .path_error import estimated, sampled
from .quadrature import coarse_points
from .walks import Walk

# States in front of the first round and behind the last one, and names inside the Loops.
_FIRST, _LAST = f"{RESERVED}first", f"{RESERVED}last"
_ROUND, _ROW = f"{RESERVED}round/", f"{RESERVED}row/"
_FOUND = f"{RESERVED}found"
_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


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
        path = _for_each_row(subject, path)
    graph = model.graph
    known = {value.name for value in (*graph.input, *graph.output)}
    graph.input.extend(value for value in path.input if value.name not in known)
    graph.initializer.extend(path.initializer)
    graph.node.extend(path.node)
    graph.value_info.extend(path.value_info)
    for name, source in zip(names, subject.sources, strict=True):
        _in_shape_of(graph, name, source.input.name, _type_in(path, _FOUND + name))
    graph.node.append(helper.make_node("Identity", [_FOUND + MAP_ERROR], [MAP_ERROR]))
    graph.output.append(helper.make_tensor_value_info(MAP_ERROR, _DOUBLE, [f"{RESERVED}paths"]))
    return with_delta(model, names, subject.coupled is None)


def _with_free_names(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = gs.import_onnx(model)
    free_names(graph, [MAP_ERROR])
    return exported(graph, model)


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


def _path(subject: Subject, walk: Walk, rule: Rule) -> onnx.GraphProto:
    """What becomes of inputs, baselines and seed: attributions, flat, and their error."""
    one = bisecting_round(subject, walk, rule)
    ends = _beginning(subject, rule), _end(subject, rule)
    states = [name.removeprefix(BEFORE) for name in _names(one.graph.input, BEFORE)]
    taken = [_FIRST + name for name in states]
    made = [_LAST + name for name in states]
    given = [value for value in one.graph.input if not value.name.startswith(f"{BEFORE}/")]
    body = _body(one.graph, states)
    limit = numpy_helper.from_array(np.asarray(rule.steps, np.int64), f"{RESERVED}most_rounds")
    loop = helper.make_node("Loop", [limit.name, "", *taken], made, f"{RESERVED}path", body=body)
    nodes = [*ends[0].graph.node, loop, *ends[1].graph.node]
    constants = [*ends[0].graph.initializer, limit, *ends[1].graph.initializer]
    value_info = [*ends[0].graph.value_info, *ends[1].graph.value_info]
    outputs = [*ends[1].graph.output]
    return helper.make_graph(nodes, "path", given, outputs, constants, value_info=value_info)


def _names(values: Iterable[onnx.ValueInfoProto], side: str) -> list[str]:
    return [value.name for value in values if value.name.startswith(f"{side}/")]


def _body(graph: onnx.GraphProto, states: list[str]) -> onnx.GraphProto:
    """A round as a Loop's body; what is no state it reads from the graph around."""
    body = compose.add_prefix_graph(graph, _ROUND, rename_inputs=False, rename_outputs=False)
    own = {value.name: value for value in body.input}
    number = helper.make_tensor_value_info(f"{_ROUND}number", TensorProto.INT64, [])
    before = helper.make_tensor_value_info(f"{_ROUND}before", TensorProto.BOOL, [])
    del body.input[:]
    body.input.extend([number, before, *(own[BEFORE + name] for name in states)])
    return body


def _beginning(subject: Subject, rule: Rule) -> onnx.ModelProto:
    """A model of (inputs, seed): the state in which nothing is measured."""
    graph, emit, inputs = _small(subject, "begin")
    seed = emit.input(SEED, subject.logits.dtype, ["?"])
    rows = emit.Shape(seed, start=0, end=1)
    sizes = [emit.Size(tensor) for tensor in inputs]
    elements = emit.term(emit.Reshape(emit.sum(sizes), [1])) / emit.Max(rows, [1])
    points = coarse_points(rule.steps)[None]
    pending = emit.Expand(points, emit.Concat(rows, [1], axis=0))
    none = emit.Concat(rows, [0], axis=0)
    double, whole = np.dtype(np.float64), np.dtype(np.int64)
    empty = [emit.filled(none, 0.0, double) for _ in range(4)]
    hits, places = emit.filled(rows, 0, whole), emit.filled(none, 0, whole)
    store = emit.filled(emit.Concat(none, elements, axis=0), 0.0, np.dtype(np.float32))
    graph.outputs = state_outputs(State(pending, hits, *empty, places, store), _FIRST)
    return _as_model(graph)


def _end(subject: Subject, rule: Rule) -> onnx.ModelProto:
    """A model of (inputs, state): attributions [R, elements of each], and their error [R]."""
    graph, emit, inputs = _small(subject, "end")
    state = state_inputs(emit, _LAST)
    h, _ = widths(emit, state.points)
    wide = emit.pad(h, [1, 1], [1], 2)
    weights = (_first(emit, wide) + _last(emit, wide)) * 0.5
    placed = emit.ScatterElements(weights * 0.0, state.places, weights, axis=1)
    row = emit.Unsqueeze(emit.Cast(placed, to=_FLOAT), [1])
    total = emit.term(emit.Squeeze(emit.MatMul(row, state.gradients), [1]))
    rows = sampled(emit, state, total, _elements(subject))
    error = estimated(emit, state, rows, weights, rule.steps)
    # What is no number anywhere on the path is none anywhere in the map.
    measured = (emit.term(state.slopes) + state.scores) * 0.0
    nothing = emit.ReduceSum(measured, [1], keepdims=1)
    total = total + emit.Cast(nothing, to=_FLOAT)
    error = error + emit.Squeeze(nothing, [1])
    outputs, start = {}, None
    for source, tensor in zip(subject.sources, inputs, strict=True):
        size = emit.Reshape(emit.Size(tensor), [1]) / emit.Max(emit.Shape(error), [1])
        end = size if start is None else emit.term(start) + size
        part = total
        if len(inputs) > 1:
            begin = emit.constant(np.zeros(1, np.int64)) if start is None else start
            part = emit.Slice(total, begin, end, [1])
        name = _FOUND + subject.name_of(ATTRIBUTION, source)
        outputs[name] = emit.cast_like(part, source.start)
        start = end
    outputs[_FOUND + MAP_ERROR] = error
    for name, tensor in outputs.items():
        tensor.name = name
        rank = 1 if tensor is error else 2
        tensor.shape = [f"{RESERVED}found/{name}_dim{axis}" for axis in range(rank)]
    graph.outputs = [*outputs.values()]
    return _as_model(graph)


def _elements(subject: Subject) -> Dim:
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


def _for_each_row(subject: Subject, path: onnx.GraphProto) -> onnx.GraphProto:
    """The same of one row, in a Loop over all of them; its outputs are stacked, [N, 1, ...]."""
    body = compose.add_prefix_graph(path, _ROW)
    number, before, behind = (f"{_ROW}{name}" for name in ("number", "before", "behind"))
    zero = numpy_helper.from_array(np.zeros(1, np.int64), f"{_ROW}first")
    one = numpy_helper.from_array(np.ones(1, np.int64), f"{_ROW}one")
    nodes = [helper.make_node("Unsqueeze", [number, zero.name], [f"{_ROW}index"])]
    apart = {t.name for t in _further(subject) if _row_of(subject, t.shape) is False}
    baselines = {subject.name_of(BASELINE, source) for source in subject.sources}
    for value in path.input:
        nodes += _own_row(value.name, value.name in apart, value.name in baselines, one.name)
    nodes.append(helper.make_node("Identity", [before], [behind]))
    found = [output.name for output in body.output]
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
    count, stacked = f"{RESERVED}rows", [f"{RESERVED}stacked/{name}" for name in found]
    around = [helper.make_node("Shape", [SEED], [f"{count}/shape"], start=0, end=1)]
    around.append(helper.make_node("Squeeze", [f"{count}/shape"], [count]))
    around.append(helper.make_node("Loop", [count, ""], stacked, f"{RESERVED}rows", body=body))
    for value, name in zip(path.output, stacked, strict=True):
        rank = len(value.type.tensor_type.shape.dim)
        shape = numpy_helper.from_array(
            np.asarray([-1] if rank == 1 else [0, -1], np.int64), f"{name}/shape"
        )
        around.append(helper.make_node("Constant", [], [shape.name], value=shape))
        around.append(helper.make_node("Reshape", [name, shape.name], [value.name]))
    return helper.make_graph(around, "rows", path.input, path.output)


def _own_row(name: str, shared: bool, baseline: bool, one: str) -> list[onnx.NodeProto]:
    """What the body of the Loop over rows reads in place of an input of all rows."""
    own, index = _ROW + name, f"{_ROW}index"
    if shared:
        return [helper.make_node("Identity", [name], [own])]
    if not baseline:
        return [helper.make_node("Gather", [name, index], [own], axis=0)]
    # One baseline may stand for all rows.
    parts = [f"{own}/{part}" for part in ("count", "last", "index")]
    return [
        helper.make_node("Shape", [name], [parts[0]], start=0, end=1),
        helper.make_node("Sub", [parts[0], one], [parts[1]]),
        helper.make_node("Min", [index, parts[1]], [parts[2]]),
        helper.make_node("Gather", [name, parts[2]], [own], axis=0),
    ]


def _type_in(graph: onnx.GraphProto, name: str) -> int:
    (kind,) = [v.type.tensor_type.elem_type for v in graph.output if v.name == name]
    return kind


def _in_shape_of(graph: onnx.GraphProto, name: str, like: str, kind: int) -> None:
    """The output `name`: what was found, in the shape of an input."""
    shape = f"{RESERVED}shape_of/{name}"
    graph.node.append(helper.make_node("Shape", [like], [shape]))
    reshape = helper.make_node("Reshape", [_FOUND + name, shape], [name], allowzero=1)
    graph.node.append(reshape)
    (given,) = [value for value in graph.input if value.name == like]
    value = graph.output.add()
    value.CopyFrom(given)
    value.name, value.type.tensor_type.elem_type = name, kind
