"""Which nodes ONNX Runtime's CUDA provider has a kernel for, by its project's own table.

    python tests/support/cuda_kernels.py OperatorKernels.md COMMIT [OPERATOR ...]

rewrites data/cuda_kernels.json from the file docs/OperatorKernels.md of ONNX Runtime's repository:
the operators that the data has, and those named.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from support.folders import DATA

KERNELS = DATA / "cuda_kernels.json"
_SOURCE = (
    "docs/OperatorKernels.md of github.com/microsoft/onnxruntime (MIT licence): "
    "CUDAExecutionProvider, ai.onnx"
)
_SECTION = "## Operators implemented by CUDAExecutionProvider"
_TYPES = {
    number: "float" if name == "FLOAT" else name.lower()
    for name, number in onnx.TensorProto.DataType.items()
}
# What computes with lengths, wherever it runs.
_NO_DATA = ("Shape", "Size")
_LENGTHS = ("int64", "bool")

Kernels = Mapping[str, Mapping[str, Mapping[str, str]]]


def parsed(markdown: str) -> dict[str, dict[str, dict[str, str]]]:
    """Operator -> versions ("13+", "[7, 12]" or "12") -> constraint -> types, in one string."""
    lines = iter(markdown[markdown.index(_SECTION) + len(_SECTION) :].splitlines())
    found: dict[str, dict[str, dict[str, str]]] = {}
    domain = name = ""
    for line in lines:
        if line.startswith("## "):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|**Operator Domain:**"):
            domain = re.findall(r"\*([\w.]+)\*$", cells[0])[0]
        elif domain == "ai.onnx" and re.fullmatch(r"\|[^|]*\|[^|]*\|[^|]*\|[^|]*\|", line):
            # A name is given with the first of its rows.
            first, _, versions, types = line[1:-1].split("|")
            name = first or name
            found.setdefault(name, {})[versions.strip()] = _constraints(types)
    return found


def _constraints(text: str) -> dict[str, str]:
    """T -> its types, of "**T** = tensor(double), tensor(float)<br/> **T1** = ..."."""
    pairs = re.findall(r"\*\*(\w+)\*\* = ([^*<]+)", text)
    listed = {name: types.replace(",", " ").split() for name, types in pairs}
    return {
        name: " ".join(sorted(re.sub(r"tensor\((\w+)\)", r"\1", type_) for type_ in types))
        for name, types in listed.items()
    }


@cache
def kernels() -> Kernels:
    """The table in the tests' data."""
    return json.loads(KERNELS.read_text())["kernels"]


class Wanted(NamedTuple):
    """A node's operator, its version in the model's opset, and the type of each constraint."""

    op: str
    version: int
    types: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.op}-{self.version} of {', '.join(type_ for _, type_ in self.types)}"


def problem(wanted: Wanted, table: Kernels) -> str | None:
    """Why the CUDA provider does not take such a node; None where it does.

    ONNX Runtime takes a kernel whose versions have no end only for the version they begin with:
    nobody knew of later ones when it was registered.
    """
    if wanted.op not in table:
        return f"{wanted}: the table has no {wanted.op}"
    rows = [types for row, types in table[wanted.op].items() if _covers(row, wanted.version)]
    if not rows:
        return f"{wanted}: kernels only for versions {', '.join(table[wanted.op])}"
    if not any(_takes(row, wanted) for row in rows):
        return f"{wanted}: kernels only for {rows}"
    return None


def _covers(versions: str, version: int) -> bool:
    first, *last = map(int, re.findall(r"\d+", versions))
    return version == first if not last else first <= version <= last[0]


def _takes(row: Mapping[str, str], wanted: Wanted) -> bool:
    return all(type_ in row[name].split() for name, type_ in wanted.types if name in row)


class Found(NamedTuple):
    """A node, what it wants, and whether it makes lengths of lengths or is folded away."""

    node: onnx.NodeProto
    wanted: Wanted
    aside: bool


def nodes_of(model: onnx.ModelProto) -> Iterator[Found]:
    """The model's nodes, those of subgraphs too."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    inferred = onnx.shape_inference.infer_shapes(model)
    yield from _nodes_in(inferred.graph, opset, {}, set())


def _nodes_in(
    graph: onnx.GraphProto, opset: int, outer: Mapping[str, str], lengths: set[str]
) -> Iterator[Found]:
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {**outer, **{v.name: _TYPES[v.type.tensor_type.elem_type] for v in values}}
    types |= {t.name: _TYPES[t.data_type] for t in graph.initializer}
    constants = {t.name for t in graph.initializer}
    known = lengths | constants
    for node in graph.node:
        assert not node.domain, f"{node.domain}.{node.op_type} is no standard operator"
        schema = onnx.defs.get_schema(node.op_type, opset)
        named: dict[str, str] = {}
        for formal, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
            for index, name in enumerate(names):
                constraint = formal[min(index, len(formal) - 1)].type_str
                if name and "(" not in constraint:
                    named.setdefault(constraint, types[name])
        read = [name for name in node.input if name]
        bodies = [a.g for a in node.attribute if a.HasField("g")]
        aside = node.op_type in _NO_DATA or (not bodies and known.issuperset(read))
        # Numbers of the kind that constants and lengths alone make go on as lengths.
        folded = constants.issuperset(read) and not bodies
        aside = folded or (aside and all(types[n] in _LENGTHS for n in node.output if n))
        if aside:
            (constants if folded else lengths).update(node.output)
            known.update(node.output)
        wanted = Wanted(node.op_type, schema.since_version, tuple(named.items()))
        yield Found(node, wanted, aside)
        for body in bodies:
            yield from _nodes_in(body, opset, types, lengths)


def main(markdown: str, commit: str, *operators: str) -> None:
    """Rewrite the data from the file of that name, as it stood at that commit."""
    found, wanted = parsed(Path(markdown).read_text(encoding="utf-8")), {*kernels(), *operators}
    table: dict[str, Any] = {"source": _SOURCE, "commit": commit}
    table["kernels"] = {op: found[op] for op in sorted(wanted & set(found))}
    KERNELS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
