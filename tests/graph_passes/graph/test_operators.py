"""The table of operators: a row for each, and what rows say held against what runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from support import rule_cases_elementwise, rule_cases_structure  # noqa: F401  (register cases)
from support.rule_cases import CASES, Fixed
from support.small import run

from onnxplain.graph_passes.graph.operator_facts import Fact
from onnxplain.graph_passes.graph.operators import _ROWS, OPERATORS, has, operator, operators
from onnxplain.graph_passes.prepare.decompositions import ALWAYS, FOR_DEEPLIFT
from onnxplain.graph_passes.prepare.reduced_axes import _OF_ONE
from onnxplain.graph_passes.rules.registry import GRADIENTS
from onnxplain.graph_passes.select import geometry
from onnxplain.graph_passes.select.positions import by_operator
from onnxplain.graph_passes.select.rows import through

SCHEMAS = {s.name: s for s in onnx.defs.get_all_schemas() if s.domain in ("", "ai.onnx")}
# What registers functions by an operator's name, file by file.
REGISTERED = {
    "rules": {op for op, _ in GRADIENTS},
    "decompositions": {op for op in [*ALWAYS, *FOR_DEEPLIFT] if "." not in op}
    - {
        "SimplifiedLayerNormalization"  # ONNX Runtime's own, in ONNX's domain
    },
    "rows": set(through._THROUGH),
    "positions": set(by_operator._RULES),
    "geometry": set(geometry._RULES),
    "reductions": set(_OF_ONE),
}


def test_every_operator_of_onnx_has_a_row():
    assert not SCHEMAS.keys() - OPERATORS.keys(), "new in ONNX: what is true of them?"


def test_no_operator_has_two_rows():
    names = [row.name for row in _ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", REGISTERED)
def test_what_is_registered_has_a_row(file):
    assert not REGISTERED[file] - OPERATORS.keys()


def test_every_fact_is_true_of_an_operator():
    assert not [fact for fact in Fact if not operators(fact)]


def test_an_operator_of_another_domain_has_no_facts():
    node = onnx.helper.make_node("Relu", ["x"], ["y"], domain="com.example")
    graph = onnx.helper.make_graph([node], "g", [], [])
    model = onnx.helper.make_model(graph)
    (made,) = gs.import_onnx(model).nodes
    assert not has(made, Fact.ALIGNS) and has("Relu", Fact.ALIGNS)
    assert operator("com.example.Relu").facts == Fact(0)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operands_that_a_row_names_exist(name):
    row = OPERATORS[name]
    if name not in SCHEMAS:
        pytest.skip("an operator of other versions of ONNX")
    schema = SCHEMAS[name]
    for place in (row.added, row.indices, row.sizes, row.pole):
        assert place is None or place < schema.max_input
    if row.result is not None:
        allowed = schema.outputs[0].types
        assert f"tensor({'bool' if row.result == 'bool' else 'int64'})" in allowed


def values_of(case):
    """(inputs, first output) of a case, as ONNX Runtime has them; None for what is left out."""
    feeds = case.feeds(np.float32)
    model = case.model()
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    read = [
        None if value is None else {**held, **feeds}[f"x{k}"] for k, value in enumerate(case.inputs)
    ]
    return read, next(iter(run(model, feeds).values()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_facts_of_places_are_true_of_the_cases(case):
    """What aligns has the shape of broadcasting, what permutes each element once, and so on."""
    facts, sizes = operator(case.op).facts, operator(case.op).sizes
    inputs, made = values_of(case)
    read = [x for x in inputs if x is not None][: 1 if facts & Fact.ONE_OPERAND else None]
    first = read[0]
    if facts & Fact.ALIGNS and sizes is None:
        assert made.shape == np.broadcast_shapes(*(x.shape for x in read))
    if facts & (Fact.COPIES | Fact.ALONG_AXIS) and case.op != "TopK":
        assert made.shape == first.shape
    if facts & Fact.COPIES:
        np.testing.assert_array_equal(made, first)
    if facts & Fact.PERMUTES:
        np.testing.assert_array_equal(np.sort(made, None), np.sort(first, None))
    if facts & Fact.RESHAPES:
        np.testing.assert_array_equal(made.ravel(), first.ravel())
    if facts & Fact.BY_IMAGE:
        assert made.shape[0] == first.shape[0]
    if facts & (Fact.POOLS | Fact.POOLS_ALL):
        assert made.shape[:2] == first.shape[:2] and made.ndim == first.ndim
    if facts & Fact.MOVES and not facts & Fact.FILLS:
        known = {0.0, *(abs(float(x)) for operand in read for x in np.ravel(operand))}
        assert {abs(float(y)) for y in made.ravel()} <= known


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_facts_of_signs_are_true_of_the_cases(case):
    """Results are above 0, or never below, as a row says; so where operands are, by magnitude."""
    facts = operator(case.op).facts
    _, made = values_of(case)
    if facts & Fact.POSITIVE:
        assert (made > 0).all()
    if facts & Fact.NEVER_NEGATIVE:
        assert (made >= 0).all()
    if facts & (Fact.KEEPS_SIGN | Fact.KEEPS_SIGNS):
        of_all = bool(facts & Fact.KEEPS_SIGNS)
        sizes = [magnitude(x) if of_all or not k else x for k, x in enumerate(case.inputs)]
        _, made = values_of(dataclasses.replace(case, inputs=tuple(sizes)))
        assert (made >= 0).all()


def magnitude(value):
    """The absolute values of an operand that holds floating-point numbers."""
    if isinstance(value, Fixed):
        return Fixed(magnitude(value.values))
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return np.abs(value) if is_float else value


def test_a_wrong_row_would_be_found():
    """The checks above see what they look for: cases of every fact that they hold."""
    held = Fact.ALIGNS | Fact.COPIES | Fact.PERMUTES | Fact.RESHAPES | Fact.BY_IMAGE | Fact.POOLS
    held |= Fact.MOVES | Fact.POSITIVE | Fact.NEVER_NEGATIVE | Fact.KEEPS_SIGN | Fact.KEEPS_SIGNS
    tried = {case.op for case in CASES}
    assert all(operators(fact) & tried for fact in Fact if fact & held)
