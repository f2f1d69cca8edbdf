"""The part of onnx-graphsurgeon (which has no types of its own) that onnxplain uses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

class Tensor:
    name: str
    inputs: list[Node]
    outputs: list[Node]
    # A list of int, str (symbolic) and None (unknown), or None; code that needs a rank knows it.
    shape: Any
    dtype: Any
    # Of constants only.
    values: Any
    def to_constant(self, values: np.ndarray) -> Constant: ...
    def is_empty(self) -> bool: ...

class Variable(Tensor):
    def __init__(
        self,
        name: str,
        dtype: Any = None,
        shape: Sequence[int | str | None] | None = None,
        type: str = ...,
    ) -> None: ...
    @staticmethod
    def empty() -> Variable: ...
    def copy(self) -> Variable: ...

class Constant(Tensor):
    # The array, or what reads it from the file when asked.
    _values: Any
    def __init__(self, name: str, values: np.ndarray, *, export_dtype: Any = None) -> None: ...
    def copy(self) -> Constant: ...

class Node:
    op: str
    name: str
    domain: str | None
    attrs: dict[str, Any]
    # Lists of Variable and Constant, typed loosely: most code knows which one it holds.
    inputs: Any
    outputs: Any
    def __init__(
        self,
        op: str,
        name: str | None = None,
        attrs: dict[str, Any] | None = None,
        inputs: Sequence[Tensor] | None = None,
        outputs: Sequence[Tensor] | None = None,
        domain: str | None = None,
    ) -> None: ...
    def copy(self) -> Node: ...

class Graph:
    nodes: list[Node]
    inputs: list[Variable]
    outputs: list[Variable]
    name: str
    opset: int
    ir_version: int | None
    producer_name: str
    import_domains: Any
    def __init__(
        self,
        nodes: Sequence[Node] | None = None,
        inputs: Sequence[Tensor] | None = None,
        outputs: Sequence[Tensor] | None = None,
        name: str | None = None,
        doc_string: str | None = None,
        opset: int | None = None,
        import_domains: Any = None,
        producer_name: str | None = None,
        producer_version: str | None = None,
        functions: Any = None,
        ir_version: int | None = None,
    ) -> None: ...
    def tensors(self, check_duplicates: bool = False) -> dict[str, Any]: ...
    def copy(self, tensor_map: dict[str, Tensor] | None = None) -> Graph: ...
    def toposort(self) -> Graph: ...
    def cleanup(
        self,
        remove_unused_node_outputs: bool = False,
        recurse_subgraphs: bool = True,
        remove_unused_graph_inputs: bool = False,
        recurse_functions: bool = True,
    ) -> Graph: ...
    def fold_constants(
        self, fold_shapes: bool = True, partitioning: str | None = None, **options: Any
    ) -> Graph: ...

def import_onnx(onnx_model: onnx.ModelProto) -> Graph: ...
def export_onnx(graph: Graph, do_type_check: bool = True, **options: Any) -> onnx.ModelProto: ...
