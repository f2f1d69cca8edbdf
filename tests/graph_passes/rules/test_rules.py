"""The gate: every gradient rule against central differences, with static and symbolic shapes."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from support import (
    rule_cases_elementwise,  # noqa: F401  (importing registers the cases)
    rule_cases_structure,  # noqa: F401
    torch_runner,
)
from support.rule_cases import CASES, Case
from support.small import run

import onnxplain
import onnxplain.graph_passes.rules
from onnxplain.graph_passes.graph.emitter import Emitter
from onnxplain.graph_passes.graph.operators import Fact, operators
from onnxplain.graph_passes.rules.registry import GRADIENTS, Family, gradient

DIRECTIONS = 3


def evaluate(case: Case, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The node's outputs in float64, by an oracle that knows nothing of onnxplain."""
    if case.oracle == "runtime":
        assert case.step == 1.0
        single = {n: x.astype(np.float32) if x.dtype == np.float64 else x for n, x in feeds.items()}
        return [y.astype(np.float64) for y in run(case.model(), single).values()]
    model = case.model(np.float64)
    if case.oracle == "torch":
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
        found = torch_runner.run(model, tensors)
        return [found[value.name].numpy() for value in model.graph.output]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, _arrays(feeds))]


def _arrays(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in feeds.items()}


def directional_derivative(case: Case, direction: dict[str, np.ndarray]) -> list[np.ndarray]:
    """J v by central differences."""
    feeds = case.feeds(np.float64)
    ahead = {k: v + case.step * direction[k] if k in direction else v for k, v in feeds.items()}
    behind = {k: v - case.step * direction[k] if k in direction else v for k, v in feeds.items()}
    pairs = zip(evaluate(case, ahead), evaluate(case, behind), strict=True)
    return [(a - b) / (2 * case.step) for a, b in pairs]


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient_matches_central_differences(case: Case, symbolic: bool) -> None:
    """<g, J v> = <J' g, v> for random g and v."""
    if symbolic and case.static_only:
        with pytest.raises(onnxplain.UnsupportedModelError, match=case.op):
            onnxplain.vjp(case.model(symbolic=True))
        return
    model = onnxplain.vjp(case.model(symbolic=symbolic))
    onnx.checker.check_model(model, full_check=True)
    feeds = case.feeds()
    names = [f"x{k}" for k in case.varying()]
    values = evaluate(case, case.feeds(np.float64))
    shapes = {k: np.shape(y) for k, y in enumerate(values) if k not in case.integers}
    random = np.random.default_rng(7)
    for _ in range(DIRECTIONS):
        cotangents = {k: random.standard_normal(shape) for k, shape in shapes.items()}
        named = {f"cotangent_y{k}": np.asarray(g, np.float32) for k, g in cotangents.items()}
        results = run(model, feeds | named)
        # Each input alone, so that an error in one cannot hide in another.
        for name in names:
            direction = {name: random.standard_normal(feeds[name].shape)}
            tangents = directional_derivative(case, direction)
            terms = [g * tangents[k] for k, g in cotangents.items()]
            expected = sum(float(term.sum()) for term in terms)
            assert results[f"grad_{name}"].shape == feeds[name].shape
            products = results[f"grad_{name}"].astype(np.float64) * direction[name]
            size = max(np.abs(products).sum(), sum(np.abs(term).sum() for term in terms), 1e-6)
            assert abs(products.sum() - expected) <= 1e-4 * size


def test_every_rule_has_cases() -> None:
    """A rule without a case whose operand varies fails here."""
    covered = {(case.op, k) for case in CASES for k in case.varying()}
    with_cases = {op for op, _ in covered}
    missing = [
        (op, operand)
        for op, operand in GRADIENTS
        if (op, operand) not in covered and not (operand is None and op in with_cases)
    ]
    assert not missing, f"gradient rules without cases: {missing}"
    assert with_cases >= operators(Fact.STEP)


def test_second_registration_raises() -> None:
    op, operand = next(iter(GRADIENTS))
    entry = GRADIENTS[op, operand]
    with pytest.raises(ValueError, match=op):
        gradient(op, operand=operand, family=entry.family)(entry.rule)


def test_an_operator_without_a_row_has_no_rule() -> None:
    with pytest.raises(ValueError, match=r"Rleu.*operators\.py"):
        gradient("Rleu", family=Family.ELEMENTWISE)(lambda op, node, dy: dy)
    assert ("Rleu", 0) not in GRADIENTS


def test_an_unknown_operator_raises() -> None:
    op = Emitter(gs.Graph())
    assert op.Sigmoid(gs.Variable("x", np.dtype(np.float32))).dtype == np.float32
    with pytest.raises(AttributeError, match="Sigmod"):
        op.Sigmod(gs.Variable("x"))


def test_a_formula_emits_in_its_order() -> None:
    op = Emitter(gs.Graph())
    dy, y = (op.term(gs.Variable(name, np.dtype(np.float32), [2])) for name in ("dy", "y"))
    slope = dy * (1 - y * y) / np.ones(2, np.float32)
    assert [node.op for node in op.graph.nodes] == ["Mul", "Sub", "Mul", "Div"]
    assert op.graph.nodes[1].inputs[0].values.dtype == np.float32
    assert slope.shape == [2]
    made = np.ones(2, np.float32) - y
    assert op.graph.nodes[-1].inputs[1].name == "y" and made.dtype == np.float32


KINKS = [
    ("Relu", {}, [0.0], 0.0),
    ("LeakyRelu", {"alpha": 0.1}, [0.0], 0.1),
    ("Abs", {}, [0.0], 0.0),
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, [2.0], 0.0),
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, [-2.0], 0.0),
]


@pytest.mark.parametrize(("op", "attributes", "x", "expected"), KINKS)
def test_derivative_at_a_kink(op, attributes, x, expected) -> None:
    """At kinks the gradient is PyTorch's."""
    model = onnxplain.vjp(Case(op, (np.asarray(x),), attributes).model())
    found = run(model, {"x0": np.float32(x), "cotangent_y0": np.ones(1, np.float32)})
    assert found["grad_x0"].tolist() == pytest.approx([expected])


def test_clip_at_its_bounds_is_flat() -> None:
    bounds = np.asarray([0.0, 3.0, 6.0], np.float32)
    case = Case("Clip", (bounds, np.asarray(0.0), np.asarray(6.0)))
    model = onnxplain.vjp(case.model(), inputs=["x0"])
    feeds = case.feeds() | {"cotangent_y0": np.ones(3, np.float32)}
    assert run(model, feeds)["grad_x0"].tolist() == [0, 1, 0]


def test_max_pool_gives_ties_to_the_first() -> None:
    case = Case("MaxPool", (np.ones((1, 1, 2, 2)),), {"kernel_shape": [2, 2]})
    feeds = case.feeds() | {"cotangent_y0": np.ones((1, 1, 1, 1), np.float32)}
    found = run(onnxplain.vjp(case.model()), feeds)["grad_x0"]
    assert found.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_extremum_splits_ties_evenly(op) -> None:
    case = Case(op, (np.ones(1), np.ones(1)))
    feeds = case.feeds() | {"cotangent_y0": np.ones(1, np.float32)}
    found = run(onnxplain.vjp(case.model()), feeds)
    assert found["grad_x0"].tolist() == found["grad_x1"].tolist() == [0.5]


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_reduction_splits_ties_evenly(op) -> None:
    case = Case(op, (np.ones((1, 4)),))
    feeds = case.feeds() | {"cotangent_y0": np.ones((1, 1), np.float32)}
    assert run(onnxplain.vjp(case.model()), feeds)["grad_x0"].tolist() == [[0.25] * 4]
