"""Several explaining models of one question as one, which computes once what they share.

Two nodes that do the same with the same tensors are one, from the inputs on, and so are tensors of
the file itself, which one method has computed by an operator and another one by the simpler ones
that it is made of. The forward pass, and whatever else the models have in common, stands once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256

import onnx

from ... import UnsupportedModelError
from ..graph.names import bodies_of, free_name
from ..graph.operators import Fact, has
from . import only_outputs


def together(
    models: Sequence[onnx.ModelProto],
    called: Sequence[Mapping[str, str]],
    same: Collection[str],
) -> onnx.ModelProto:
    """One model of all inputs, with the first one's own outputs and every one's further ones.

    Args:
        models: of one question; inputs of one name are one input.
        called: for each its further outputs, and what they are called in the result.
        same: names of tensors that are the same in all models.

    Raises:
        UnsupportedModelError: one has an output of such a name already.
    """
    first = models[0]
    joined = onnx.ModelProto(ir_version=first.ir_version, producer_name=first.producer_name)
    joined.opset_import.extend(first.opset_import)
    joined.graph.name = first.graph.name
    own = [value.name for value in first.graph.output if value.name not in called[0]]
    new = {name for names in called for name in names.values()}
    given = {value.name for value in first.graph.input} | set(own)
    if clash := sorted(new & given):
        raise UnsupportedModelError(
            f"the model has an input or output named {clash[0]!r}, which the file needs itself; "
            "rename it"
        )
    taken = new | {name for model in models for name in _inner(model.graph)}
    merger = _Merger(joined.graph, taken, same)
    for model, names in zip(models, called, strict=True):
        merger.add(model.graph, own if model is first else (), names)
        _add_domains(joined, model)
    names = [name for names in called for name in names.values()]
    return only_outputs(joined, [*own, *names])


class _Merger:
    """Adds graphs to one, and keeps what is there by what it does."""

    def __init__(self, graph: onnx.GraphProto, taken: Collection[str], same: Collection[str]):
        self._graph, self._same = graph, same
        self._taken, self._nodes = set(taken), set[str]()
        self._constants: dict[bytes, str] = {}
        self._made: dict[bytes, onnx.NodeProto] = {}
        # What of `same` is there, by its name in the models.
        self._known: dict[str, str] = {}

    def add(self, graph: onnx.GraphProto, own: Collection[str], further: Mapping[str, str]) -> None:
        """Add what `graph` computes, and its outputs: `own` under their names, and `further`."""
        scope = {"": ""}
        for value in graph.input:
            scope[value.name] = value.name
            if value.name not in {known.name for known in self._graph.input}:
                self._graph.input.append(value)
                self._taken.add(value.name)
        self._taken.update(own)
        keep = {name: name for name in own}
        for tensor in graph.initializer:
            self._add_constant(tensor, scope)
        for node in graph.node:
            self._add_node(node, scope, keep)
        self._add_shapes(graph, scope)
        for value in graph.output:
            if value.name in keep or value.name in further:
                self._add_output(value, scope, further.get(value.name, value.name))

    def _add_constant(self, tensor: onnx.TensorProto, scope: dict[str, str]) -> None:
        plain = onnx.TensorProto()
        plain.CopyFrom(tensor)
        plain.name, plain.doc_string = "", ""
        key = sha256(plain.SerializeToString(deterministic=True)).digest()
        if key not in self._constants:
            plain.name = self._constants[key] = free_name(tensor.name, self._taken)
            self._graph.initializer.append(plain)
        scope[tensor.name] = self._constants[key]

    def _add_node(
        self, node: onnx.NodeProto, scope: dict[str, str], keep: Mapping[str, str]
    ) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [scope[name] for name in node.input]
        for body in bodies_of(copy):
            _read_from(body, scope)
        key = _key(copy)
        made = self._made.get(key)
        if made is None:
            copy.name = free_name(node.name, self._nodes) if node.name else ""
            del copy.output[:]
            self._graph.node.append(copy)
            made = self._graph.node[-1]
            if not has(node.op_type, Fact.RANDOM):
                self._made[key] = made
        # One may leave outputs out that another one has, such as the places of a MaxPool.
        made.output.extend([""] * (len(node.output) - len(made.output)))
        for index, name in enumerate(node.output):
            if name and not made.output[index]:
                made.output[index] = keep.get(name) or free_name(name, self._taken)
            scope[name] = made.output[index]
            if name in self._same:
                scope[name] = self._known.setdefault(name, made.output[index])
        scope[""] = ""

    def _add_shapes(self, graph: onnx.GraphProto, scope: Mapping[str, str]) -> None:
        known = {value.name for value in self._graph.value_info}
        known |= {value.name for value in (*self._graph.input, *self._graph.output)}
        for value in graph.value_info:
            name = scope.get(value.name)
            if name is not None and name not in known:
                known.add(name)
                copy = self._graph.value_info.add()
                copy.CopyFrom(value)
                copy.name = name

    def _add_output(self, value: onnx.ValueInfoProto, scope: Mapping[str, str], name: str) -> None:
        made = scope[value.name]
        if made != name:
            node = onnx.helper.make_node("Identity", [made], [name], free_name(name, self._nodes))
            self._graph.node.append(node)
        copy = self._graph.output.add()
        copy.CopyFrom(value)
        copy.name = name


def _key(node: onnx.NodeProto) -> bytes:
    """The same for nodes that compute the same."""
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.name, plain.doc_string = "", ""
    del plain.output[:]
    attributes = sorted(plain.attribute, key=lambda attribute: attribute.name)
    del plain.attribute[:]
    plain.attribute.extend(attributes)
    return sha256(plain.SerializeToString(deterministic=True)).digest()


def _inner(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that bodies inside a graph define: none outside may be one of them."""
    for node in graph.node:
        for body in bodies_of(node):
            yield from (value.name for value in (*body.input, *body.initializer))
            yield from (name for inner in body.node for name in inner.output)
            yield from _inner(body)


def _read_from(body: onnx.GraphProto, scope: Mapping[str, str]) -> None:
    """What a body reads from outside it reads by the names of `scope`."""
    own = {value.name for value in (*body.input, *body.initializer)}
    own |= {name for node in body.node for name in node.output}
    outer = {name: new for name, new in scope.items() if name and name not in own}
    for node in body.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        for inner in bodies_of(node):
            _read_from(inner, outer)
    for value in body.output:
        value.name = outer.get(value.name, value.name)


def _add_domains(joined: onnx.ModelProto, model: onnx.ModelProto) -> None:
    known = {entry.domain: entry for entry in joined.opset_import}
    for entry in model.opset_import:
        if entry.domain not in known:
            joined.opset_import.append(entry)
        elif known[entry.domain].version != entry.version:
            raise UnsupportedModelError(
                f"opset {entry.version} and {known[entry.domain].version} in one file"
            )
