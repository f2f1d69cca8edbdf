"""What exporters write and was refused, or fell over: each against the file's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from support.small import ask, node, small, value

import onnxplain
from onnxplain.engine.model import opened

RANDOM = np.random.default_rng(8)
NOTHING = np.zeros(0, np.int64)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def holds(model, x, target=1, method="saliency"):
    """Explained, with the file's outputs, and a gradient that is the score's."""
    explainer = onnxplain.Explainer(model, method)
    found = explainer.verify(x, target)
    assert found.outputs < 1e-4
    own = ask(model, x=x)
    e = explainer(x, target)
    assert all(np.array_equal(np.shape(e.outputs[k]), np.shape(v)) for k, v in own.items())
    assert e.attribution.any()


# --- folding


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_with_a_constant_first_state(op, bias, direction):
    h, f, steps = 4, 3, 3
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    d = 2 if direction == "bidirectional" else 1
    inputs = ["x", "w", "r", "b" if bias else "", "", "h0", *(["c0"] if op == "LSTM" else [])]
    nodes = [
        node("Transpose", ["batch"], ["x"], perm=[1, 0, 2]),
        node(op, inputs, ["all", "last"], hidden_size=h, direction=direction),
        node("Transpose", ["last"], ["t"], perm=[1, 0, 2]),
        node("Flatten", ["t"], ["flat"]),
        node("Gemm", ["flat", "head"], ["y"]),
    ]
    weights = {"w": normal(d, gates * h, f), "r": normal(d, gates * h, h), "head": normal(d * h, 3)}
    weights |= {"h0": normal(d, 1, h)} | ({"c0": normal(d, 1, h)} if op == "LSTM" else {})
    weights |= {"b": normal(d, 2 * gates * h)} if bias else {}
    model = small(nodes, [value("batch", [1, steps, f])], [value("y", [1, 3])], weights)
    found = onnxplain.Explainer(model, "saliency").verify(normal(1, steps, f), 1)
    assert found.outputs < 1e-5 and found.gradient < 0.02


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("folded", [0, 1])
def test_no_output_of_a_folded_node_is_lost(named, parts, folded):
    """One output is read by what is folded too; nodes may be called as their tensors."""
    names = [f"part{k}" for k in range(parts)]
    nodes = [
        node("Split", ["c"], names, axis=0, num_outputs=parts),
        node("Add", [names[folded], names[folded]], ["twice"]),
        node("Mul", ["x", names[-1 if folded == 0 else 0]], ["m"]),
        node("Add", ["m", "twice"], ["s"]),
        node("Mul", ["s", names[folded]], ["t"]),
        node("MatMul", ["t", "w"], ["y"]),
    ]
    for one in nodes if named else []:
        one.name = one.output[0]
    weights = {"c": normal(parts * 2, 4)[: parts * 1], "w": normal(4, 3)}
    model = small(nodes, [value("x", [1, 4])], [value("y", None)], weights, opset=18)
    holds(model, normal(1, 4))


# --- functions of the specification whose operands are constants

FUNCTIONS = {
    "CenterCropPad": (
        [
            node("CenterCropPad", ["x", "s"], ["c"], axes=[2, 3]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["g"]),
            node("Flatten", ["g"], ["y"]),
        ],
        {"s": np.array([4, 4])},
        (1, 3, 6, 5),
        18,
    ),
    "NegativeLogLikelihoodLoss": (
        [
            node("LogSoftmax", ["x"], ["l"], axis=1),
            node("NegativeLogLikelihoodLoss", ["l", "t", "w"], ["y"], reduction="none"),
        ],
        {"t": np.array([1]), "w": np.abs(normal(4))},
        (1, 4),
        18,
    ),
    "SoftmaxCrossEntropyLoss": (
        [node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"], reduction="none")],
        {"t": np.array([1])},
        (1, 4),
        18,
    ),
    "RMSNormalization": (
        [node("RMSNormalization", ["x", "s"], ["y"])],
        {"s": normal(4)},
        (1, 4),
        23,
    ),
}


@pytest.mark.parametrize("constant", ["initializer", "Constant"])
@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_of_constants(op, constant):
    nodes, weights, shape, opset = FUNCTIONS[op]
    if constant == "Constant":
        held = [numpy_helper.from_array(v, k) for k, v in weights.items()]
        nodes = [*(node("Constant", [], [t.name], value=t) for t in held), *nodes]
        weights = {}
    model = small(nodes, [value("x", ["N", *shape[1:]])], [value("y", None)], weights, opset)
    model.ir_version = 10
    target = 0 if op.endswith("Loss") else 1
    holds(model, normal(*shape), target)


# --- sparse constants, empty lists, older exporters

VALUES = numpy_helper.from_array(np.float32([1.5, -2, 0.5]), "w")


def sparse(flat=True, inside=True):
    indices = np.array([0, 5, 7] if flat else [[0, 0], [1, 2], [2, 1]])
    if not inside:
        indices = indices + 12
    return helper.make_sparse_tensor(VALUES, numpy_helper.from_array(indices, "i"), [4, 3])


def with_sparse(kind, tensor):
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Tanh", ["h"], ["y"])]
    if kind == "Constant":
        held = node("Constant", [], ["w"])
        held.attribute.append(helper.make_attribute("sparse_value", tensor))
        nodes.insert(0, held)
    model = small(nodes, [value("x", ["N", 4])], [value("y", None)], {})
    if kind == "initializer":
        model.graph.sparse_initializer.append(tensor)
    return model


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["initializer", "Constant"])
def test_sparse_constants(kind, flat):
    holds(with_sparse(kind, sparse(flat)), normal(1, 4))


def test_sparse_constants_that_are_wrong():
    with pytest.raises(onnxplain.UnsupportedModelError):
        onnxplain.Explainer(with_sparse("Constant", sparse(inside=False)), "saliency")
    huge = sparse()
    huge.dims[0] = 2**40
    with pytest.raises(onnxplain.UnsupportedModelError):
        onnxplain.Explainer(with_sparse("Constant", huge), "saliency")


EMPTY = {
    "Slice": node("Slice", ["h", "e", "e"], ["s"]),
    "Slice with axes": node("Slice", ["h", "e", "e", "e"], ["s"]),
    "Slice with steps": node("Slice", ["h", "e", "e", "e", "e"], ["s"]),
    "Squeeze": node("Squeeze", ["h", "e"], ["s"]),
    "Squeeze without": node("Squeeze", ["h"], ["s"]),
    "Unsqueeze": node("Unsqueeze", ["h", "e"], ["s"]),
}


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("method", ["saliency", "deeplift"])
def test_empty_lists_of_axes(name, batch, method):
    nodes = [node("MatMul", ["x", "w"], ["h"]), EMPTY[name], node("Tanh", ["s"], ["y"])]
    weights = {"w": normal(4, 3), "e": NOTHING}
    model = small(nodes, [value("x", [batch, 4])], [value("y", None)], weights)
    holds(model, normal(1, 4), method=method)


TAILS = {
    "number": [node("MatMul", ["r", "v"], ["s"]), node("Squeeze", ["s"], ["y"])],
    "sigmoid": [
        node("MatMul", ["r", "v"], ["s"]),
        node("Squeeze", ["s"], ["q"]),
        node("Sigmoid", ["q"], ["y"]),
    ],
    "behind a sigmoid": [
        node("MatMul", ["r", "v"], ["s"]),
        node("Sigmoid", ["s"], ["q"]),
        node("Squeeze", ["q"], ["y"]),
    ],
    "classes": [node("MatMul", ["r", "u"], ["s"]), node("Squeeze", ["s"], ["y"])],
    "scaled": [
        node("MatMul", ["r", "u"], ["s"]),
        node("Squeeze", ["s"], ["q"]),
        node("Mul", ["q", "two"], ["y"]),
    ],
}
SQUEEZED = {"w": normal(6, 8), "v": normal(8, 1), "u": normal(8, 3), "two": np.float32(2)}


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "deeplift", "occlusion"])
@pytest.mark.parametrize("tail", TAILS)
def test_squeeze_of_all_axes_behind_the_scores(tail, method):
    """Of one row the batch is gone as well; each row is explained as it is by itself."""

    def model(batch):
        nodes = [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["r"]), *TAILS[tail]]
        return small(nodes, [value("x", [batch, 6])], [value("y", None)], SQUEEZED)

    x = normal(3, 6)
    explainer = onnxplain.Explainer(model("N"), method)
    explainer.verify(x[:1])
    fixed = onnxplain.Explainer(model(1), method)
    both, alone = explainer(x), fixed(x)
    assert np.allclose(both.attribution, alone.attribution, atol=1e-4)
    assert np.allclose(both.score, alone.score, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("sizes", [(4, 4), ("h", "w")])
@pytest.mark.parametrize("to", [8, 6, 4])
def test_upsample_9_with_computed_scales(mode, sizes, to):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Cast", ["shape"], ["floats"], to=1),
        node("Slice", ["floats"], ["hw"], axes=[0], starts=[2], ends=[4]),
        node("Div", ["to", "hw"], ["two"]),
        node("Concat", ["ones", "two"], ["scales"], axis=0),
        node("Upsample", ["x", "scales"], ["u"], mode=mode),
        node("Conv", ["u", "k"], ["c"]),
        node("Tanh", ["c"], ["t"]),
        node("GlobalAveragePool", ["t"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    weights = {"to": np.float32([to, to]), "ones": np.ones(2, np.float32), "k": normal(2, 3, 3, 3)}
    model = small(nodes, [value("x", ["N", 3, *sizes])], [value("y", None)], weights, opset=9)
    holds(model, normal(1, 3, 4, 4))


def test_local_response_normalisation_of_the_older_exporter():
    """The sizes that decide its If are known only once what stands before it is prepared."""
    branches = [
        helper.make_graph([node(op, ["p", *more], [f"{op}out"])], op, [], [value(f"{op}out", None)])
        for op, more in (("Squeeze", ["one"]), ("Identity", []))
    ]
    nodes = [
        node("Mul", ["x", "x"], ["square"]),
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "one"], ["n"]),
        node("Concat", ["n", "one", "rest"], ["to"], axis=0),
        node("Reshape", ["square", "to"], ["r"]),
        node("Pad", ["r", "pads"], ["padded"]),
        node("AveragePool", ["padded"], ["p"], kernel_shape=[3, 1, 1], strides=[1, 1, 1]),
        node("Shape", ["p"], ["pshape"]),
        node("Gather", ["pshape", "one"], ["length"], axis=0),
        node("Equal", ["length", "one"], ["same"]),
        node("If", ["same"], ["i"], then_branch=branches[0], else_branch=branches[1]),
        node("Reshape", ["i", "shape"], ["back"]),
        node("Add", ["back", "k"], ["b"]),
        node("Div", ["x", "b"], ["d"]),
        node("GlobalAveragePool", ["d"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    weights = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([4, 3, -1])}
    weights |= {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0]), "k": np.float32(1)}
    model = small(nodes, [value("x", ["N", 4, 3, 3])], [value("y", None)], weights)
    holds(model, normal(1, 4, 3, 3))
    assert "If" not in [n.op for n in opened(model).graph().nodes]
