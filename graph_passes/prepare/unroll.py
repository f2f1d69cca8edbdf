"""Loop and Scan with a known number of steps written out step by step, and If where it can be."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.copying import write_out
from ..graph.emitter import Emitter
from ..graph.inference import inferred
from ..graph.limits import hold
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant
from .conditionals import resolve_conditionals
from .decompositions.recurrent import slices


def unroll(graph: gs.Graph) -> gs.Graph | None:
    """Replace every Loop of constant trip count and Scan over a known length by its steps.

    And every If that needs none: see `resolve_conditionals`.

    Others stay as they are; the walk refuses them where they stand between input and score.
    """
    changed = False
    while resolve_conditionals(graph):
        # What stands behind may be of a known size now, and decide the next.
        _learn_shapes(graph)
        changed = True
    while rewrite_nodes(graph, {"Scan": _scan, "Loop": _loop}):
        _learn_shapes(graph)
        changed = True
    return graph if changed else None


def _learn_shapes(graph: gs.Graph) -> None:
    """What ONNX's inference tells of the graph now, in place."""
    model = gs.export_onnx(graph, do_type_check=False)
    known = {value.name: value for value in inferred(model).value_info}
    tensors = graph.tensors()
    for name, value in known.items():
        if name in tensors and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims]
            tensors[name].shape = shape


def _check_steps(node: gs.Node, steps: int, body: gs.Graph) -> None:
    """Hold a loop to the limit on nodes before it is written out; an empty body counts as one."""
    what = f"nodes that {node.op} (node {node.name or node.outputs[0].name!r}) is written out to"
    hold("nodes", what, steps * max(len(body.nodes), 1))


def _run_body(emit: Emitter, body: gs.Graph, feeds: list[gs.Tensor]) -> list[gs.Tensor]:
    """Emit the body's nodes once, its inputs replaced by `feeds`; returns its outputs."""
    names = {inner.name: feed for inner, feed in zip(body.inputs, feeds, strict=True)}
    return write_out(emit, body, names, "step", shapes=False)


def _has_subgraph(body: gs.Graph) -> bool:
    return any(isinstance(v, gs.Graph) for node in body.nodes for v in node.attrs.values())


def _stacked(emit: Emitter, values: list[gs.Tensor], axis: int) -> gs.Tensor:
    return emit.Concat(*(emit.Unsqueeze(v, [axis]) for v in values), axis=axis)


def _scan(emit: Emitter, node: gs.Node) -> list[gs.Tensor | None] | None:
    """States go from step to step; inputs are read and outputs collected slice by slice."""
    body, scanned = node.attrs["body"], node.attrs["num_scan_inputs"]
    states, inputs = list(node.inputs[:-scanned]), list(node.inputs[-scanned:])
    axes = node.attrs.get("scan_input_axes") or [0] * scanned
    shape = inputs[0].shape
    steps = shape[axes[0]] if shape is not None else None
    if not isinstance(steps, int) or _has_subgraph(body):
        return None
    _check_steps(node, steps, body)
    reverse = node.attrs.get("scan_input_directions") or [0] * scanned
    collected: list[list[gs.Tensor]] = [[] for _ in body.outputs[len(states) :]]
    sliced = [slices(emit, x, steps, axis) for x, axis in zip(inputs, axes, strict=True)]
    sliced = [s[::-1] if back else s for s, back in zip(sliced, reverse, strict=True)]
    for step in range(steps):
        results = _run_body(emit, body, [*states, *(s[step] for s in sliced)])
        states = results[: len(states)]
        for rows, value in zip(collected, results[len(states) :], strict=True):
            rows.append(value)
    out_axes = node.attrs.get("scan_output_axes") or [0] * len(collected)
    backwards = node.attrs.get("scan_output_directions") or [0] * len(collected)
    stacks = [
        _stacked(emit, rows[::-1] if back else rows, axis)
        for rows, axis, back in zip(collected, out_axes, backwards, strict=True)
    ]
    return [*states, *stacks]


def _loop(emit: Emitter, node: gs.Node) -> list[gs.Tensor | None] | None:
    """Only where the trip count is constant and the condition stays true throughout."""
    body = node.attrs["body"]
    trips, condition, *states = node.inputs
    if not trips.name or not is_constant(trips) or _has_subgraph(body):
        return None
    if condition.name and not (is_constant(condition) and bool(np.all(condition.values))):
        return None
    if not _condition_is_passed_on(body):
        return None
    count = int(np.ravel(trips.values)[0])
    if count < 1:
        return None
    _check_steps(node, count, body)
    collected: list[list[gs.Tensor]] = [[] for _ in body.outputs[1 + len(states) :]]
    going = emit.constant(np.asarray(True))
    for step in range(count):
        number = emit.constant(np.asarray(step, np.int64))
        results = _run_body(emit, body, [number, going, *states])[1:]
        states = results[: len(states)]
        for rows, value in zip(collected, results[len(states) :], strict=True):
            rows.append(value)
    return [*states, *(_stacked(emit, rows, 0) for rows in collected)]


def _condition_is_passed_on(body: gs.Graph) -> bool:
    """True when the body returns its own condition, or a constant true."""
    condition = body.outputs[0]
    while condition.inputs and condition.inputs[0].op == "Identity":
        condition = condition.inputs[0].inputs[0]
    if is_constant(condition):
        return bool(np.all(condition.values))
    if condition.inputs and condition.inputs[0].op == "Constant":
        value = condition.inputs[0].attrs.get("value")
        return isinstance(value, gs.Constant) and bool(np.all(value.values))
    return condition.name == body.inputs[1].name
