"""What `prepare` promises: each pass's own promises, and the dialect behind the last one."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from support import (
    rule_cases_elementwise,  # noqa: F401  (importing registers the cases)
    rule_cases_structure,  # noqa: F401
    zoo,
)
from support.node_suite import node_tests
from support.often import often
from support.rule_cases import CASES, Case

from onnxplain import UnsupportedModelError
from onnxplain.graph_passes.prepare import dialect
from onnxplain.graph_passes.prepare.passes import BrokenPassError, Pass, run_passes
from onnxplain.graph_passes.prepare.pipeline import OF_THE_GRAPH, prepare
from onnxplain.models.load import load

# What this ONNX Runtime computes: newer operators are never folded.
NEWEST = 26
# One export of a third of the networks, and of what others wrote.
NETWORKS = [n for n in zoo.MODELS if n.endswith("17-dynamic") or "-" not in n][::3]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    prepare(zoo.model(name), checked=True)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
def test_cases_of_rules(symbolic: bool) -> None:
    for case in CASES:
        assert isinstance(case, Case)
        prepare(case.model(symbolic=symbolic), checked=True)


def test_nodes_of_the_specification() -> None:
    prepared = 0
    step = often(8, 1)
    for test in list(node_tests())[::step]:
        opset = max((o.version for o in test.model.opset_import if not o.domain), default=1)
        if opset > NEWEST:
            continue
        try:
            prepare(load(test.model), checked=True)
        except UnsupportedModelError:
            continue
        prepared += 1
    assert prepared > 800 // step


@pytest.mark.parametrize("name", ["demo", "paddle", "light_shufflenet"])
def test_preparing_twice_changes_nothing_more(name: str) -> None:
    once = prepare(zoo.model(name))
    twice = prepare(gs.export_onnx(once))
    assert [node.op for node in twice.nodes] == [node.op for node in once.nodes]


def test_a_pass_that_breaks_its_promise_is_named() -> None:
    graph = prepare(zoo.model("demo"))

    def halve(graph: gs.Graph) -> gs.Graph:
        for tensor in graph.tensors().values():
            if isinstance(tensor, gs.Constant) and tensor.values.dtype == np.float32:
                tensor.values = tensor.values.astype(np.float16)
        return graph

    with pytest.raises(BrokenPassError, match="after halve, float32"):
        run_passes(graph, [Pass(halve, ensures=(dialect.float32,))], checked=True)
    with pytest.raises(BrokenPassError, match="before halve, float32"):
        run_passes(graph, [Pass(halve, requires=(dialect.float32,))], checked=True)


BROKEN = {
    "canonical_opset": dict(nodes=[("Relu", {})], opset=20),
    "no_constants_to_fold": dict(nodes=[("Constant", {"value_float": 1.0})]),
    "pads_are_said": dict(nodes=[("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"})]),
    "reductions_say_their_axes": dict(nodes=[("ReduceSum", {"noop_with_empty_axes": 1})]),
    "no_quantised_operators": dict(nodes=[("QuantizeLinear", {})]),
    "no_batch_normalization": dict(nodes=[("BatchNormalization", {})]),
    "no_composites": dict(nodes=[("LRN", {"size": 3})]),
    "known_shapes": dict(nodes=[("Shape", {})]),
    "float32": dict(nodes=[("Relu", {})], dtype=np.float16),
}


def test_every_property_has_a_graph_that_breaks_it() -> None:
    assert {one.__name__ for one in dialect.DIALECT} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_property_is_seen(name: str) -> None:
    case = {"opset": 21, "dtype": np.float32, **BROKEN[name]}
    (op, attributes), kind = case["nodes"][0], np.dtype(case["dtype"])
    x = gs.Variable("x", np.dtype(np.float32), [1, 4, 8, 8])
    inputs = [] if op == "Constant" else [x, *_parameters(op)]
    inner = gs.Variable("inner", kind, [1, 4, 8, 8])
    y = gs.Variable("y", kind, [1, 4, 8, 8])
    nodes = [gs.Node(op, op, dict(attributes), inputs, [inner])]
    nodes.append(gs.Node("Identity", "last", {}, [inner], [y]))
    graph = gs.Graph(nodes, [x], [y], opset=case["opset"])
    assert getattr(dialect, name)(graph)


def _parameters(op: str) -> list[gs.Constant]:
    count = {"QuantizeLinear": 1, "BatchNormalization": 4}.get(op, 0)
    size = 1 if op == "QuantizeLinear" else 4
    return [gs.Constant(f"p{k}", np.ones(size, np.float32)) for k in range(count)]


def test_every_pass_says_what_it_is() -> None:
    assert all(one.run.__doc__ for one in OF_THE_GRAPH)
    assert OF_THE_GRAPH[-1].ensures == dialect.DIALECT
