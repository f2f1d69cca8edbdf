"""Lengths that a file leaves open or has wrong; tensors of the graph as outputs."""

from __future__ import annotations

import json
import pickle

import numpy as np
import onnx
import pytest
from support.often import by_day
from support.small import INT64, ask, node, small, value

import onnxplain
from onnxplain.models.variants import parse_shape

RANDOM = np.random.default_rng(3)
H, F, T = 4, 5, 6


def normal(*shape):
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
WEIGHTS = {
    f"{kind}{op}": normal(1, g * H, width)
    for op, g in GATES.items()
    for kind, width in (("w", F), ("r", H))
}
HEAD = {"axis": np.array([0]), "head": normal(H, 3)}


def recurrent(op, *lengths):
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(op, ["t", f"w{op}", f"r{op}"], ["all", "last"], hidden_size=H),
        node("Squeeze", ["last", "axis"], ["s"]),
        node("Gemm", ["s", "head"], ["y"]),
    ]
    weights = {f"w{op}": WEIGHTS[f"w{op}"], f"r{op}": WEIGHTS[f"r{op}"], **HEAD}
    return small(nodes, [value("x", [*lengths, F])], [value("y", [lengths[0], 3])], weights)


def looped(op, *lengths):
    """A Scan over the open axis: h = tanh(h r + x_t w)."""
    body = onnx.helper.make_graph(
        [
            node("MatMul", ["h", "r"], ["hr"]),
            node("MatMul", ["step", "w"], ["xw"]),
            node("Add", ["hr", "xw"], ["sum"]),
            node("Tanh", ["sum"], ["next"]),
        ],
        "body",
        [value("h", None), value("step", None)],
        [value("next", None)],
    )
    nodes = [
        node("ReduceSum", ["x", "one"], ["first"], keepdims=0),
        node("MatMul", ["first", "zeros"], ["h0"]),
        node("Scan", ["h0", "x"], ["last"], num_scan_inputs=1, body=body, scan_input_axes=[1]),
        node("MatMul", ["last", "head"], ["y"]),
    ]
    weights = {"w": WEIGHTS["wRNN"][0].T.copy(), "r": WEIGHTS["rRNN"][0].T.copy(), **HEAD}
    weights |= {"one": np.array([1]), "zeros": np.zeros((F, H), np.float32)}
    del weights["axis"]
    return small(nodes, [value("x", [*lengths, F])], [value("y", [lengths[0], 3])], weights)


NETWORKS = {"RNN": recurrent, "GRU": recurrent, "LSTM": recurrent, "Scan": looped}


@pytest.mark.parametrize("op", NETWORKS)
@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "deeplift"])
def test_an_open_length_is_asked_for(op, method):
    model = NETWORKS[op](op, "batch", "time")
    with pytest.raises(onnxplain.UnsupportedModelError) as refused:
        onnxplain.Explainer(model, method)
    assert f"the length of 'x' is not known: give it, for example --shape x=1,300,{F}" in str(
        refused.value
    )
    assert f"shapes={{'x': (1, 300, {F})}}" in str(refused.value)


@pytest.mark.parametrize("op", NETWORKS)
@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "deeplift", "occlusion"])
@pytest.mark.parametrize("batch", by_day([None, 1], [1]))
def test_a_given_length_is_as_good_as_the_files_own(op, method, batch):
    fixed = NETWORKS[op](op, "batch", T)
    x = normal(2, T, F)
    how = {"steps": 8} if method == "integrated-gradients" else {}
    own = onnxplain.Explainer(fixed, method, **how)
    given = onnxplain.Explainer(
        NETWORKS[op](op, "batch", "time"), method, shapes={"x": (batch, T, F)}, **how
    )
    for explainer in (given, pickle.loads(pickle.dumps(given))):
        e = explainer(x, [0, 2])
        assert np.allclose(e.attribution, own(x, [0, 2]).attribution, atol=1e-6)
    assert given.verify(x[:1], 1).outputs < 1e-5
    with pytest.raises(onnxplain.InvalidInputError, match=rf"expected float32 \[.*{T}, {F}\]"):
        given(normal(1, T + 1, F))


def test_a_wrong_length_is_overridden():
    """A file that says 4 x 4, and whose graph takes any picture."""
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    model = small(
        nodes, [value("x", [1, 3, 4, 4])], [value("y", [1, 2])], {"k": normal(2, 3, 3, 3)}
    )
    x = normal(1, 3, 9, 7)
    e = onnxplain.Explainer(model, "saliency", shapes={"x": (1, 3, 9, 7)})(x, 1)
    assert e.attribution.shape == x.shape and e.attribution.any()


def test_lengths_of_one_name_are_one():
    """What is given of one input holds for others that share the name."""
    nodes = [node("Mul", ["x", "mask"], ["m"]), *recurrent("GRU", "b", "t").graph.node]
    nodes[1].input[0] = "m"
    model = small(
        nodes,
        [value("x", ["b", "t", F]), value("mask", ["b", "t", 1])],
        [value("y", ["b", 3])],
        {"wGRU": WEIGHTS["wGRU"], "rGRU": WEIGHTS["rGRU"], **HEAD},
    )
    explainer = onnxplain.Explainer(model, "saliency", shapes={"x": (1, T, F)})
    feeds = {"x": normal(1, T, F), "mask": np.ones((1, T, 1), np.float32)}
    assert explainer(feeds, 0).attribution.shape == (1, T, F)
    with pytest.raises(onnxplain.InvalidInputError, match="'mask'"):
        explainer({**feeds, "mask": np.ones((1, T + 1, 1), np.float32)}, 0)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"z": (1, T, F)}, "has no input 'z'; it has 'x'"),
        ({"x": (1, T)}, "'x' has 3 axes, got .* of 2"),
        ({"x": (1, 0, F)}, "whole numbers above 0"),
        ({"x": "abc"}, "whole numbers above 0"),
        ({"x": 3}, "whole numbers above 0"),
        ({"x": (1, T, F + 1)}, "does not run with x"),
    ],
)
def test_wrong_shapes(shapes, said):
    with pytest.raises(onnxplain.InvalidInputError, match=said):
        onnxplain.Explainer(recurrent("LSTM", "batch", "time"), "saliency", shapes=shapes)


def test_shapes_as_text():
    assert parse_shape("x=1,300,40") == ("x", (1, 300, 40))
    assert parse_shape("a=b:0=?, 3") == ("a=b:0", (None, 3))
    for text in ("x", "x=", "=1,2", "x=1,-2", "x=1,a"):
        with pytest.raises(onnxplain.InvalidInputError, match="expected NAME=1,300,40"):
            parse_shape(text)


def test_shape_on_the_command_line(command, tmp_path):
    onnx.save(recurrent("LSTM", "batch", "time"), tmp_path / "m.onnx")
    status, out, _ = command("inspect", tmp_path / "m.onnx", "--json")
    assert status == 0 and "the length of 'x'" in json.loads(out)["unsupported"]["deeplift"][0]
    status, out, _ = command("inspect", tmp_path / "m.onnx", "--shape", f"x=1,{T},{F}", "--json")
    assert status == 0 and json.loads(out)["unsupported"]["deeplift"] == []
    status, _, err = command("inspect", tmp_path / "m.onnx", "--shape", "x=1;2")
    assert status == 2 and "NAME=1,300,40" in err
    export = ("export", tmp_path / "m.onnx", "-m", "saliency", "-o", tmp_path / "e.onnx")
    assert command(*export)[0] == 2
    assert command(*export, "--shape", f"x=1,{T},{F}")[0] == 0


# --- any tensor of the graph


def detector():
    """Boxes and scores in front of a NonMaxSuppression."""
    nodes = [
        node("Conv", ["x", "w"], ["f"], strides=[4, 4]),
        node("Relu", ["f"], ["r"]),
        node("Conv", ["r", "wb"], ["bx"]),
        node("Conv", ["r", "wc"], ["c"]),
        node("Sigmoid", ["c"], ["cs"]),
        node("Reshape", ["bx", "sb"], ["b3"]),
        node("Transpose", ["b3"], ["boxes"], perm=[0, 2, 1]),
        node("Reshape", ["cs", "sc"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"]),
        node("GatherND", ["scores", "kept"], ["picked"]),
    ]
    weights = {"w": normal(8, 3, 4, 4), "wb": normal(4, 8, 1, 1), "wc": normal(2, 8, 1, 1)}
    weights |= {"sb": np.array([1, 4, 16]), "sc": np.array([1, 2, 16]), "most": np.array([3])}
    outputs = [value("picked", ["k"]), value("kept", ["k", 3], INT64)]
    return small(nodes, [value("x", [1, 3, 16, 16])], outputs, weights)


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "grad-cam"])
def test_scores_in_front_of_a_selection(method):
    model, x = detector(), normal(1, 3, 16, 16)
    explainer = onnxplain.Explainer(model, method, output="scores")
    e = explainer(x, (1, 7))
    plain = onnx.ModelProto.FromString(model.SerializeToString())
    del plain.graph.output[:]
    plain.graph.output.append(value("c", None))
    logits = ask(plain, x=x)["c"].reshape(1, 2, 16)
    assert np.allclose(e.score, logits[0, 1, 7], atol=1e-5) and "scores" in e.outputs
    assert explainer.verify(x, (1, 7)).outputs < 1e-4
    again = pickle.loads(pickle.dumps(explainer))
    assert np.array_equal(again(x, (1, 7)).attribution, e.attribution)


def test_what_is_no_tensor_of_the_graph():
    for name, said in (("score", "and a tensor 'scores'"), ("nothing", "its outputs are 'picked'")):
        with pytest.raises(onnxplain.InvalidInputError, match=said):
            onnxplain.Explainer(detector(), "saliency", output=name)


def test_output_on_the_command_line(command, tmp_path):
    onnx.save(detector(), tmp_path / "m.onnx")
    status, out, _ = command("inspect", tmp_path / "m.onnx", "--output", "scores", "--json")
    assert status == 0 and json.loads(out)["output"] == "scores"
    export = ("export", tmp_path / "m.onnx", "-m", "saliency", "-o", tmp_path / "e.onnx")
    assert command(*export, "--output", "scores")[0] == 0
    assert "scores" in [o.name for o in onnx.load(tmp_path / "e.onnx").graph.output]
