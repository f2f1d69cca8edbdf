"""What a file says must be what ONNX Runtime does: where the two part, the file is refused.

ONNX Runtime takes its own operator where a file's function bears the same name, the last version
where a file states two, and dies of an output that has no name. Operators on strings are refused
here, too: what they make has no bounded size, and a pattern that RE2 refuses is written to the
terminal as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import defs

from .. import UnsupportedModelError

ONNX = ("", "ai.onnx")
# Domains in which ONNX Runtime has operators of its own.
_TAKEN = ("ai.onnx", "com.microsoft", "com.ms", "org.pytorch.aten")
# One string becomes a longer one, many, or a message on the terminal.
_OF_STRINGS = ("RegexFullMatch", "StringConcat", "StringSplit")


def check_meaning(model: onnx.ModelProto, source: str) -> None:
    """Refuse what ONNX Runtime reads otherwise than it is written; `source` begins messages.

    Raises:
        UnsupportedModelError: in one line, that names what parts.
    """
    for problem in _problems(model):
        raise UnsupportedModelError(f"{source}: {problem}")


def in_one_form(model: onnx.ModelProto) -> None:
    """Write out, in place, what may be written in two ways.

    ONNX's own domain is "" everywhere, and calls of functions have the attributes that the function
    gives a default: onnx's inliner passes these over.
    """
    for opsets in (model.opset_import, *(f.opset_import for f in model.functions)):
        known: dict[str, int] = {}
        for opset in opsets:
            known.setdefault("" if opset.domain == "ai.onnx" else opset.domain, opset.version)
        if [(o.domain, o.version) for o in opsets] != list(known.items()):
            del opsets[:]
            opsets.extend(onnx.helper.make_opsetid(*pair) for pair in known.items())
    for node in _all_nodes(model):
        if node.domain == "ai.onnx":
            node.domain = ""
    defaults = {_key(f): list(f.attribute_proto) for f in model.functions if f.attribute_proto}
    for node in _all_nodes(model) if defaults else ():
        own = {attribute.name for attribute in node.attribute}
        given = defaults.get((node.domain, node.op_type, node.overload), [])
        node.attribute.extend(attribute for attribute in given if attribute.name not in own)


def _key(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    for where, opsets in (("model", model.opset_import), *_opsets_of_functions(model)):
        versions: dict[str, int] = {}
        for opset in opsets:
            domain = "" if opset.domain == "ai.onnx" else opset.domain
            if versions.setdefault(domain, opset.version) != opset.version:
                yield (
                    f"expected one version of each domain, but its {where} states "
                    f"{versions[domain]} and {opset.version} of {domain or 'ai.onnx'!r}"
                )
    for function in model.functions:
        domain = function.domain
        if domain == "" or any(domain == d or domain.startswith(f"{d}.") for d in _TAKEN):
            yield (
                f"expected functions in domains of their own, but the function {function.name!r} "
                f"is in {domain or 'ai.onnx'!r}, whose operators ONNX Runtime takes instead"
            )
    for node in _nodes_of(model.graph.node):
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                yield (
                    f"{_named(node)}: its attribute {attribute.name!r} refers to one of a function "
                    f"({attribute.ref_attr_name!r}), and it is in none"
                )
    for node in _all_nodes(model):
        if node.domain in ONNX and node.op_type in _OF_STRINGS:
            yield f"{_named(node)}: operators on strings are not supported"
        if not all(node.output) and (index := _nameless(node)) is not None:
            yield f"{_named(node)}: expected a name for its output {index}, which must have one"


def _opsets_of_functions(model: onnx.ModelProto) -> Iterator[tuple[str, Iterable]]:
    for function in model.functions:
        yield f"function {function.name!r}", function.opset_import


def _nameless(node: onnx.NodeProto) -> int | None:
    """The first output without a name that is not optional: ONNX Runtime dies of it."""
    if node.domain not in ONNX or not defs.has(node.op_type):
        return None
    formal = defs.get_schema(node.op_type).outputs
    optional = defs.OpSchema.FormalParameterOption.Optional
    for index, name in enumerate(node.output):
        own = formal[min(index, len(formal) - 1)] if formal else None
        if not name and own is not None and own.option != optional:
            return index
    return None


def _named(node: onnx.NodeProto) -> str:
    name = node.name or next((name for name in node.output if name), "")
    return f"{node.op_type} (node {name!r})"


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _nodes_of(model.graph.node)
    for function in model.functions:
        yield from _nodes_of(function.node)


def _nodes_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                waiting.extend(attribute.g.node)
            for graph in attribute.graphs:
                waiting.extend(graph.node)
