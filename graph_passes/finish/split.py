"""Cutting an explaining model in two: what is the same for many runs, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from ..graph.inference import inferred


def split(model: onnx.ModelProto, late: Collection[str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """What does not depend on the inputs named `late`, and what does.

    The first model returns, under their own names, the tensors that the second one reads, and those
    outputs of the whole that it knows already. The second takes them as further inputs and returns
    the other outputs. What depends on no input at all goes with its readers, and so does what
    cannot be handed over, because nobody knows its type.
    """
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    given = {value.name for value in graph.input} - initializers
    early, behind = given - set(late), set(late)
    for node in graph.node:
        names = set(_read_by(node))
        if names & behind:
            behind.update(node.output)
        elif names & early:
            early.update(node.output)
    after = [node for node in graph.node if behind.intersection(node.output)]
    # What the second part computes beside, last first: constants, and what has no declared type.
    wanted = {name for node in after for name in _read_by(node)}
    typed = given.union(value.name for value in (*graph.value_info, *graph.output))
    beside, found = [], behind | (early & typed)
    for node in reversed(graph.node):
        if not wanted.isdisjoint(set(node.output) - found):
            beside.append(node)
            wanted.update(_read_by(node))
    handed_over = sorted((wanted & early).difference(*(node.output for node in beside)))
    made_early = [name for name in handed_over if name not in given]
    known = [value.name for value in graph.output if value.name not in behind]
    first_nodes = [node for node in graph.node if not behind.intersection(node.output)]
    declared = _declared(model, handed_over)
    early_inputs = [v.name for v in graph.input if v.name in given and v.name in early]
    first = _part(model, first_nodes, early_inputs, [*made_early, *known], declared)
    late_inputs = [v.name for v in graph.input if v.name in late and v.name in wanted]
    inputs = [*late_inputs, *handed_over]
    outputs = [value.name for value in graph.output if value.name in behind]
    return first, _part(model, [*beside[::-1], *after], inputs, outputs, declared)


def _declared(model: onnx.ModelProto, handed_over: list[str]) -> dict[str, onnx.ValueInfoProto]:
    """What is known of each tensor: as the model says, with shapes for those that are handed over.

    ONNX Runtime infers shapes along the nodes, which end where a model is cut: without its length a
    Resize refuses its `sizes`.
    """
    graph = model.graph
    declared = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
    if all(declared[name].type.tensor_type.HasField("shape") for name in handed_over):
        return declared
    found = inferred(model).value_info
    missing = set(handed_over)
    return declared | {v.name: v for v in found if v.name in missing}


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, also inside its subgraphs."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            made = {name for inner in graph.node for name in inner.output}
            made |= {value.name for value in (*graph.input, *graph.initializer)}
            read = {name for inner in graph.node for name in _read_by(inner)}
            yield from (read | {value.name for value in graph.output}) - made


def _part(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    inputs: list[str],
    outputs: list[str],
    declared: dict[str, onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Those nodes as a model, without what its outputs do not need."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_read_by(node))
    graph = model.graph
    part = onnx.ModelProto()
    part.ir_version, part.producer_name = model.ir_version, model.producer_name
    part.opset_import.extend(model.opset_import)
    part.graph.name = graph.name
    part.graph.node.extend(kept[::-1])
    part.graph.initializer.extend(t for t in graph.initializer if t.name in wanted)
    part.graph.input.extend(declared[name] for name in inputs if name in wanted)
    part.graph.output.extend(declared[name] for name in dict.fromkeys(outputs))
    made = {name for node in kept for name in node.output} - set(outputs)
    part.graph.value_info.extend(v for v in graph.value_info if v.name in made)
    return part
