"""Cases for every gradient rule: one node each, with inputs away from kinks.

A case lists its inputs in the node's order. Float arrays are differentiated, all at once and each
against finite differences; wrapped in `Fixed` an array becomes an initializer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

OPSET = 21


@dataclass(frozen=True)
class Fixed:
    """An initializer; float ones are cast to the precision of the run."""

    values: np.ndarray


@dataclass(frozen=True)
class Case:
    """One node, its inputs (arrays, `Fixed` or None), and how finite differences are to be taken.

    step: the difference's step: 1 for operators that are linear in all their inputs together.
    oracle: what computes the differences in float64: onnx's "reference" evaluator; "torch"
        (torch_runner) where that is wrong, incomplete or single precision; or the "runtime"
        itself, in single precision, for linear operators that neither has right.
    integers: positions of the outputs that are int64.
    static_only: the operator is refused where the sizes of its inputs are not known.
    """

    op: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    step: float = 1e-4
    opset: int = OPSET
    domain: str = ""
    oracle: str = "reference"
    integers: tuple[int, ...] = ()
    static_only: bool = False

    @property
    def name(self) -> str:
        shapes = "_".join(
            "x".join(map(str, np.shape(getattr(i, "values", i)))) for i in self.inputs
        )
        options = "_".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.op}-{shapes}-{options}".replace(" ", "")

    def varying(self) -> list[int]:
        """Positions of the inputs that are differentiated."""
        return [
            k
            for k, value in enumerate(self.inputs)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        ]

    def model(self, dtype: Any = np.float32, symbolic: bool = False) -> onnx.ModelProto:
        """The node as a model, with inputs x0, x1 ... and outputs y0, y1 ..."""
        names, graph_inputs, initializers = [], [], []
        for k, value in enumerate(self.inputs):
            if value is None:
                names.append("")
                continue
            names.append(f"x{k}")
            array = _typed(value.values if isinstance(value, Fixed) else value, dtype)
            if isinstance(value, Fixed):
                initializers.append(numpy_helper.from_array(array, f"x{k}"))
                continue
            shape = [f"d{k}_{axis}" for axis in range(array.ndim)] if symbolic else array.shape
            element = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph_inputs.append(helper.make_tensor_value_info(f"x{k}", element, shape))
        outputs = [f"y{k}" for k in range(self.outputs)]
        node = helper.make_node(
            self.op, names, outputs, name="node", domain=self.domain, **self.attributes
        )
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        results = [
            helper.make_tensor_value_info(
                y, TensorProto.INT64 if k in self.integers else element, None
            )
            for k, y in enumerate(outputs)
        ]
        graph = helper.make_graph([node], "case", graph_inputs, results, initializers)
        known = onnx.defs.onnx_opset_version()
        if self.opset > known:
            pytest.skip(f"opset {self.opset}: the oldest onnx that is allowed knows up to {known}")
        opsets = [helper.make_opsetid("", self.opset)]
        if self.domain:
            opsets.append(helper.make_opsetid(self.domain, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def feeds(self, dtype: Any = np.float32) -> dict[str, np.ndarray]:
        """The graph inputs, float ones in this precision."""
        return {
            f"x{k}": _typed(value, dtype)
            for k, value in enumerate(self.inputs)
            if isinstance(value, np.ndarray)
        }


def _typed(array: np.ndarray, dtype: Any) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def away_from(*kinks: float, shape: tuple[int, ...] = (2, 3, 4), seed: int = 0) -> np.ndarray:
    """Random numbers that keep 0.05 away from each kink."""
    x = np.random.default_rng(seed).uniform(-3, 3, shape)
    for kink in kinks:
        near = np.abs(x - kink) < 0.05
        x[near] = kink + 0.1 * np.where(x[near] >= kink, 1, -1)
    return x


def separated(*shape: int, seed: int = 0) -> np.ndarray:
    """Distinct numbers at least 0.05 apart, shuffled: no maximum changes hands in a step."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count / 2) * 0.05
    return np.random.default_rng(seed).permutation(values).reshape(shape)


def integers(*values: Any) -> Fixed:
    """An int64 initializer."""
    return Fixed(np.asarray(values, np.int64))


def scalar(value: float) -> Fixed:
    """A float initializer of rank 0."""
    return Fixed(np.asarray(value, np.float64))


def floats(*values: float) -> Fixed:
    """A float32 initializer that stays float32 (Resize's scales)."""
    return Fixed(np.asarray(values, np.float32))


CASES: list[Case] = []


_OWN = ("step", "outputs", "opset", "oracle", "integers", "static_only")


def add(op: str, *inputs: Any, **options: Any) -> None:
    """Register a case; options that are not a case's own are the node's attributes."""
    own = {k: options.pop(k) for k in _OWN if k in options}
    CASES.append(Case(op, inputs, options, **own))


def cases_of(op: str) -> list[Case]:
    """Every case of an operator."""
    return [case for case in CASES if case.op == op]


__all__ = ["CASES", "OPSET", "Case", "Fixed", "TensorProto", "add", "away_from", "cases_of"]
__all__ += ["floats", "integers", "normal", "scalar", "separated"]
