"""Occlusion and RISE of inputs that become float inside; options and errors told apart."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import FLOAT, INT64, node, small, value

import onnxplain
from onnxplain.engine.running.settings import own_options

RANDOM = np.random.default_rng(2)
KERNEL = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
KINDS = {"float32": FLOAT, "float16": 10, "uint8": 2}


def picture_model(kind, last):
    nodes, x = [], "x"
    if last:
        nodes.append(node("Transpose", [x], ["t"], perm=[0, 3, 1, 2]))
        x = "t"
    if kind == "uint8":
        nodes.append(node("Cast", [x], ["f"], to=FLOAT))
        x = "f"
    nodes += [
        node("Conv", [x, "k"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    shape = ["N", 8, 8, 3] if last else ["N", 3, 8, 8]
    half = kind == "float16"
    weights = {"k": KERNEL.astype(np.float16) if half else KERNEL}
    output = value("y", ["N", 4], KINDS["float16"] if half else FLOAT)
    return small(nodes, [value("x", shape, KINDS[kind])], [output], weights)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["float16", "uint8"])
@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_half_precision_and_bytes(kind, method, last, tmp_path):
    x = RANDOM.integers(0, 255, (2, 3, 8, 8)) / (1 if kind == "uint8" else 255)
    x = (x.transpose(0, 2, 3, 1) if last else x).astype(kind)
    options = {"window": 3} if method == "occlusion" else {"samples": 32}
    found = onnxplain.Explainer(picture_model(kind, last), method, **options)
    plain = onnxplain.Explainer(picture_model("float32", last), method, **options)
    expected = plain(x.astype(np.float32), 1).attribution
    got = found(x, 1).attribution
    assert got.shape == (2, 8, 8)
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()
    found.export(tmp_path / "e.onnx")


def test_tokens_are_hidden_one_by_one():
    table = RANDOM.standard_normal((50, 6)).astype(np.float32)
    head = RANDOM.standard_normal((6, 3)).astype(np.float32)
    nodes = [
        node("Gather", ["table", "x"], ["e"]),
        node("Tanh", ["e"], ["a"]),
        node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=0),
        node("MatMul", ["m", "head"], ["y"]),
    ]
    model = small(
        nodes,
        [value("x", ["N", "s"], INT64)],
        [value("y", ["N", 3])],
        {"table": table, "head": head},
    )
    ids = RANDOM.integers(0, 50, (2, 9))
    found = onnxplain.Explainer(model, "occlusion", window=1)(ids, 1).attribution
    values = np.tanh(table[ids])
    expected = values @ head[:, 1] / ids.shape[1]
    assert np.allclose(found, expected, atol=1e-6)


def test_an_index_of_the_files_own_is_no_targets_fault():
    nodes = [
        node("Abs", ["x"], ["a"]),
        node("Cast", ["a"], ["i"], to=INT64),
        node("Gather", ["table", "i"], ["g"]),
        node("Mul", ["g", "x"], ["y"]),
    ]
    weights = {"table": np.ones(3, np.float32)}
    model = small(nodes, [value("x", ["N", 4])], [value("y", ["N", "classes"])], weights)
    explainer = onnxplain.Explainer(model, "saliency")
    with pytest.raises(onnxplain.InvalidInputError, match="the model itself cannot be run"):
        explainer(np.full((1, 4), 9, np.float32), 0)
    with pytest.raises(onnxplain.InvalidInputError, match="target 7 is out of range"):
        explainer(np.ones((1, 4), np.float32), 7)


def test_each_method_takes_the_values_that_are_its_own():
    given = {"rule": "epsilon", "steps": None}
    assert "rule" not in own_options("deeplift", ["deeplift", "lrp"], given)
    assert own_options("lrp", ["deeplift", "lrp"], given)["rule"] == "epsilon"
    # Nobody else's either: it is refused where it is used.
    assert own_options("deeplift", ["deeplift"], given)["rule"] == "epsilon"
    given["rule"] = "rescale"
    assert own_options("deeplift", ["deeplift", "lrp"], given)["rule"] == "rescale"
    assert "rule" not in own_options("lrp", ["deeplift", "lrp"], given)
