"""RevealCancel: the paper's examples, a slow replica, and summation-to-delta wherever parts go."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support import (
    networks,
    rule_cases_elementwise,  # noqa: F401  (importing registers the cases)
    rule_cases_structure,  # noqa: F401
    zoo,
)
from support.multipliers import check_summation_to_delta
from support.often import by_night
from support.rule_cases import CASES, Case, normal

import onnxplain
from onnxplain.graph_passes.graph.operators import Fact, operators
from onnxplain.graph_passes.methods.deeplift import RULES
from onnxplain.graph_passes.rules.registry import GRADIENTS, Family
from onnxplain.models.shipped import demo_model


class Chained(Case):
    """A case between two others: its inputs come in parts, its multipliers in pairs.

    Each x is a + b, so that its parts are not by its own sign; each y goes through a Softsign.
    """

    def model(self, dtype=np.float32, symbolic: bool = False) -> onnx.ModelProto:
        model = super().model(dtype, symbolic)
        graph, node = model.graph, model.graph.node[0]
        before, after, extra = [], [], []
        for value in graph.input:
            if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
                continue
            other = onnx.ValueInfoProto()
            other.CopyFrom(value)
            name, other.name = value.name, f"{value.name}b"
            extra.append(other)
            before.append(helper.make_node("Add", [name, other.name], [f"{name}sum"]))
            node.input[:] = [f"{name}sum" if i == name else i for i in node.input]
        for k, value in enumerate(graph.output):
            if k not in self.integers:
                node.output[k] = f"{value.name}own"
                after.append(helper.make_node("Softsign", [node.output[k]], [value.name]))
        graph.input.extend(extra)
        nodes = [*before, node, *after]
        del graph.node[:]
        graph.node.extend(nodes)
        return model

    def feeds(self, dtype=np.float32) -> dict[str, np.ndarray]:
        feeds = super().feeds(dtype)
        for k, (name, x) in enumerate(list(feeds.items())):
            if x.dtype.kind == "f":
                feeds[f"{name}b"] = np.asarray(normal(*x.shape, seed=20 + k), dtype)
                feeds[name] = np.asarray(x - feeds[f"{name}b"], dtype)
        return feeds


# With symbolic sizes by day: every third case, as the rules themselves are tried with both.
@pytest.mark.parametrize(
    ("case", "symbolic"),
    [
        pytest.param(case, symbolic, marks=[by_night] if symbolic and k % 3 else [])
        for k, case in enumerate(CASES)
        for symbolic in (False, True)
    ],
    ids=lambda given: given.name if isinstance(given, Case) else ("static", "symbolic")[given],
)
def test_parts_and_pairs_sum_to_delta(case: Case, symbolic: bool):
    fields = {name: getattr(case, name) for name in case.__dataclass_fields__}
    check_summation_to_delta(Chained(**fields), symbolic, "reveal-cancel")


def test_revealed_functions_are_elementwise():
    for op in sorted(operators(Fact.REVEALED)):
        entry = GRADIENTS.get((op, 0)) or GRADIENTS[op, None]
        assert entry.family is Family.ELEMENTWISE, op


def network(*nodes, inputs: int = 2, outputs: int = 1, **weights) -> onnx.ModelProto:
    """A model of rows x [N, inputs] that returns y [N, outputs]; nodes are (op, inputs, output)."""
    made = [helper.make_node(op, ins, [out], **(rest[0] if rest else {}))
            for op, ins, out, *rest in nodes]  # fmt: skip
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        made,
        "network",
        [helper.make_tensor_value_info("x", float32, ["N", inputs])],
        [helper.make_tensor_value_info("y", float32, ["N", outputs])],
        [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def attribution(model: onnx.ModelProto, x, rule: str = "reveal-cancel", baseline=None, target=0):
    explainer = onnxplain.Explainer(model, "deeplift", rule=rule, baseline=baseline, score="output")
    found = explainer(np.float32(x), target)
    assert (np.abs(found.delta) <= 1e-5 * (1 + np.abs(found.score))).all()
    return found.attribution


# The paper's figure 4: y = min(i1, i2), as i1 - relu(i1 - i2).
MINIMUM = network(
    ("MatMul", ["x", "difference"], "h"),
    ("Relu", ["h"], "r"),
    ("MatMul", ["x", "first"], "i1"),
    ("Sub", ["i1", "r"], "y"),
    difference=[[1], [-1]],
    first=[[1], [0]],
)


@pytest.mark.parametrize("x", [(3, 1), (1, 3), (2, 2), (0.5, 7)])
def test_minimum_is_shared_by_both_inputs(x):
    """Each gets half of the minimum; rescale gives all of it to one of them."""
    half = min(x) / 2
    np.testing.assert_allclose(attribution(MINIMUM, [x])[0], [half, half], rtol=1e-5)
    rescaled = attribution(MINIMUM, [x], "rescale")[0]
    np.testing.assert_allclose(sorted(rescaled), [0, min(x)], atol=1e-6)


def gate(weights, bias, sign: float = 1.0) -> onnx.ModelProto:
    """y = sign relu(w x + b)."""
    return network(
        ("Gemm", ["x", "w", "b"], "h"),
        ("Relu", ["h"], "r"),
        ("Mul", ["r", "sign"], "y"),
        w=[[w] for w in weights],
        b=[bias],
        sign=sign,
    )


@pytest.mark.parametrize(
    ("model", "x", "revealed", "rescaled"),
    [
        (gate([1, 1], -1), (1, 1), (0.5, 0.5), (0.5, 0.5)),  # i1 and i2
        (gate([-1, -1], 1, -1), (1, 1), (0.5, 0.5), (0.5, 0.5)),  # not (not i1 and not i2)
        (gate([1, -1], 0), (1, 1), (0.5, -0.5), (0, 0)),  # i1 and not i2: they cancel
        (gate([1, -1], 0), (1, 0), (1, 0), (1, 0)),
        (gate([-1, 1], 0), (1, 1), (-0.5, 0.5), (0, 0)),
        # relu at 1 (baseline), 3 (with 2), 0 (with -3) and 0 (with both).
        (gate([2, -3], 1), (1, 1), ((3 - 1 + 0 - 0) / 2, (0 - 1 + 0 - 3) / 2), (2, -3)),
    ],
    ids=["and", "or", "cancelled", "one", "cancelled-too", "mixed"],
)
def test_gates(model, x, revealed, rescaled):
    """Inputs that cancel have importance all the same, which rescale does not see."""
    found = attribution(model, [x])[0]
    np.testing.assert_allclose(found, revealed, atol=1e-6)
    np.testing.assert_allclose(attribution(model, [x], "rescale")[0], rescaled, atol=1e-6)


def replica(x: np.ndarray, baseline: np.ndarray, layers, target: int) -> np.ndarray:
    """Sections 3.5.1 and 3.5.3, number by number: Linear and f take turns, Linear comes last."""
    value, reference = x, baseline
    kept = []
    for weight, bias, f in layers:
        dx = value - reference
        after, at_baseline = value @ weight + bias, reference @ weight + bias
        y_plus, y_minus = np.zeros(len(after)), np.zeros(len(after))
        for j in range(len(after)):
            for i in range(len(dx)):
                term = weight[i, j] * dx[i]
                y_plus[j] += term if term > 0 else 0
                y_minus[j] += term if term < 0 else 0
        g_plus, g_minus = y_plus, y_minus
        if f is not None:
            g_plus, g_minus = np.zeros(len(after)), np.zeros(len(after))
            for j in range(len(after)):
                z, p, n = at_baseline[j], y_plus[j], y_minus[j]
                g_plus[j] = 0.5 * (f(z + p) - f(z)) + 0.5 * (f(z + n + p) - f(z + n))
                g_minus[j] = 0.5 * (f(z + n) - f(z)) + 0.5 * (f(z + n + p) - f(z + p))
        kept.append((dx, weight, y_plus, y_minus, g_plus, g_minus))
        value, reference = (after, at_baseline) if f is None else (f(after), f(at_baseline))
    m_plus = m_minus = np.eye(len(value))[target]
    for dx, weight, y_plus, y_minus, g_plus, g_minus in reversed(kept):
        y_m_plus = m_plus * np.divide(g_plus, y_plus, where=y_plus != 0, out=0 * y_plus)
        y_m_minus = m_minus * np.divide(g_minus, y_minus, where=y_minus != 0, out=0 * y_minus)
        m = np.zeros(len(dx))
        for i in range(len(dx)):
            for j in range(weight.shape[1]):
                term = weight[i, j] * dx[i]
                share = 0.5 if term == 0 else float(term > 0)
                m[i] += weight[i, j] * (share * y_m_plus[j] + (1 - share) * y_m_minus[j])
        m_plus = m_minus = m
    return m_plus * (x - baseline)


def random_layers(*sizes: int, functions) -> list:
    random = np.random.default_rng(4)
    return [
        (random.standard_normal((a, b)), random.standard_normal(b), f)
        for a, b, f in zip(sizes[:-1], sizes[1:], functions, strict=True)
    ]


def relu(x):
    return np.maximum(x, 0)


def test_replica():
    """Two hidden layers, every neuron with terms of both signs."""
    layers = random_layers(6, 7, 5, 3, functions=[relu, np.tanh, None])
    weights = {f"{n}{k}": array for k, layer in enumerate(layers)
               for n, array in zip("wb", layer[:2], strict=True)}  # fmt: skip
    model = network(
        ("Gemm", ["x", "w0", "b0"], "h0"),
        ("Relu", ["h0"], "r0"),
        ("Gemm", ["r0", "w1", "b1"], "h1"),
        ("Tanh", ["h1"], "r1"),
        ("Gemm", ["r1", "w2", "b2"], "y"),
        inputs=6,
        outputs=3,
        **weights,
    )
    x, baseline = normal(4, 6), normal(6, seed=1)
    found = attribution(model, x, baseline=baseline[None].astype(np.float32), target=2)
    expected = [replica(row, baseline, layers, 2) for row in x]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    rescaled = attribution(model, x, "rescale", baseline[None].astype(np.float32), target=2)
    assert np.abs(rescaled - expected).max() > 0.1


def test_moves_between_a_layer_and_its_activation_change_nothing():
    """A scale (of either sign), a shift and a reshape behind a Gemm are as if folded into it."""
    weight, bias, scale, shift = normal(5, 6), normal(6, seed=1), normal(6, seed=2), normal(6)
    last = normal(6, 1, seed=3)
    folded = network(
        ("Gemm", ["x", "w", "b"], "h"),
        ("Relu", ["h"], "r"),
        ("MatMul", ["r", "last"], "y"),
        inputs=5,
        w=weight * scale,
        b=bias * scale + shift,
        last=last,
    )
    apart = network(
        ("Gemm", ["x", "w", "b"], "h"),
        ("Mul", ["h", "scale"], "h2"),
        ("Add", ["shift", "h2"], "h3"),
        ("Unsqueeze", ["h3", "axis"], "h4"),
        ("Relu", ["h4"], "r4"),
        ("Squeeze", ["r4", "axis"], "r"),
        ("MatMul", ["r", "last"], "y"),
        inputs=5,
        w=weight,
        b=bias,
        scale=scale,
        shift=shift,
        last=last,
    )
    apart.graph.initializer.append(numpy_helper.from_array(np.int64([1]), "axis"))
    x = normal(3, 5, seed=9)
    expected = attribution(folded, x)
    np.testing.assert_allclose(attribution(apart, x), expected, rtol=1e-4, atol=1e-5)


def test_parts_pass_a_quantiser():
    """Between a layer and its activation, a quantiser moves attributions by its own step only."""
    weights = {"w": normal(5, 6), "b": normal(6, seed=1), "last": normal(6, 1, seed=3)}
    layer, last = ("Gemm", ["x", "w", "b"], "h"), ("MatMul", ["r", "last"], "y")
    plain = network(layer, ("Relu", ["h"], "r"), last, inputs=5, **weights)
    quantised = network(
        layer,
        ("QuantizeLinear", ["h", "step", "zero"], "q"),
        ("DequantizeLinear", ["q", "step", "zero"], "d"),
        ("Relu", ["d"], "r"),
        last,
        inputs=5,
        step=0.01,
        **weights,
    )
    quantised.graph.initializer.append(numpy_helper.from_array(np.int16(0), "zero"))
    quantised.opset_import[0].version = 21
    quantised.ir_version = 10
    x = normal(3, 5, seed=9)
    found, expected = attribution(quantised, x), attribution(plain, x)
    assert zoo.relative_error(found, expected) < 0.01
    assert zoo.relative_error(attribution(quantised, x, "rescale"), expected) > 0.05


def test_tiny_differences_take_the_derivative():
    model = network(
        ("MatMul", ["x", "w"], "h"), ("Sigmoid", ["h"], "y"), inputs=3, w=[[1], [-2], [0.5]]
    )
    x = np.float32([[1, 2, 3]])
    explainer = onnxplain.Explainer(model, "deeplift", rule="reveal-cancel", score="output")
    near = x * np.float32(1 + 2**-22)
    found = explainer(x, 0, baseline=near).attribution / (x - near)
    y = 1 / (1 + np.exp(1.5))
    np.testing.assert_allclose(found, [[d * y * (1 - y) for d in (1, -2, 0.5)]], rtol=1e-4)
    assert not explainer(x, 0, baseline=x).attribution.any()


@pytest.mark.parametrize("name", ["demo", *networks.NETWORKS])
def test_whole_models_sum_to_delta(name: str, capsys):
    if name == "demo":
        model, x, target = demo_model(), zoo.photo(0), None
    else:
        model = networks.exported(name, "torchscript", 17)
        x, target = networks.example(name).numpy(), (1, 7, 9) if name == "unet" else None
    options = {"rule": "reveal-cancel", "providers": "cpu", "threads": 2}
    found = onnxplain.Explainer(model, "deeplift", **options)(x, target)
    with capsys.disabled():
        print(f" {name} {found.relative_delta.max():.1e}", end="")
    assert (found.relative_delta < 1e-5).all()
    rows = found.attribution.reshape(len(x), -1).sum(1, dtype=np.float64)
    gap = found.score - found.baseline_score
    assert (np.abs(rows - gap) < 1e-4 * np.abs(gap)).all()


def test_export(tmp_path):
    x = networks.example("resnet").numpy()
    model = networks.exported("resnet", "torchscript", 17)
    explainer = onnxplain.Explainer(model, "deeplift", rule="reveal-cancel")
    explainer.export(tmp_path / "explained.onnx")
    session = zoo.session((tmp_path / "explained.onnx").read_bytes())
    feeds = {"input": x, "target": np.int64([3, 7])}
    found = session.run(["attribution"], feeds)[0]
    assert zoo.relative_error(found, explainer(x, [3, 7]).attribution) < 3e-5


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(onnxplain.InvalidInputError, match=r"rescale, reveal-cancel.*'rescal'"):
        onnxplain.Explainer(MINIMUM, "deeplift", rule="rescal")
    assert list(RULES) == ["rescale", "reveal-cancel"]
