"""Which of several outputs is explained, and that the others are named."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
from support.small import node, small, value

import onnxplain

RANDOM = np.random.default_rng(9)


def normal(*shape):
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


WEIGHTS = {
    "k1": normal(6, 3, 3, 3),
    "k2": normal(6, 6, 3, 3),
    "one": normal(1, 6, 1, 1),
    "many": normal(5, 6, 1, 1),
    "four": normal(4, 6, 1, 1),
    "embed": normal(6, 12),
    "last": normal(12, 5),
    "aux": normal(6, 5),
    "single": normal(12, 1),
    "rows": np.array([0, 5, -1]),
    "boxed": np.array([0, 4, -1]),
    "best": np.array([2]),
}
BODY = [
    node("Conv", ["x", "k1"], ["c1"], pads=[1] * 4),
    node("Relu", ["c1"], ["early"]),
    node("Conv", ["early", "k2"], ["c2"], pads=[1] * 4),
    node("Relu", ["c2"], ["late"]),
    node("GlobalAveragePool", ["late"], ["pooled"]),
    node("Flatten", ["pooled"], ["flat"]),
    node("MatMul", ["flat", "embed"], ["embedding"]),
    node("MatMul", ["embedding", "last"], ["logits"]),
]
ATTENTION = [
    node("Conv", ["early", "one"], ["a"]),
    node("Sigmoid", ["a"], ["mask"]),
    node("Mul", ["early", "mask"], ["kept"]),
    node("Conv", ["kept", "k2"], ["d2"], pads=[1] * 4),
    node("GlobalAveragePool", ["d2"], ["e2"]),
    node("Flatten", ["e2"], ["f2"]),
    node("MatMul", ["f2", "embed"], ["g2"]),
    node("MatMul", ["g2", "last"], ["scores"]),
]
AUXILIARY = [
    node("GlobalAveragePool", ["early"], ["p3"]),
    node("Flatten", ["p3"], ["f3"]),
    node("MatMul", ["f3", "aux"], ["auxiliary_logits"]),
    node("Softmax", ["auxiliary_logits"], ["auxiliary"], axis=1),
]
SEGMENTER = [node("Conv", ["late", "many"], ["classes_of_pixels"])]
MASK = [node("Conv", ["late", "one"], ["m"]), node("Sigmoid", ["m"], ["a_mask"])]
UNIT = [
    node("ReduceL2", ["embedding"], ["length"], axes=[1]),
    node("Div", ["embedding", "length"], ["unit"]),
]
VALUE = [node("MatMul", ["embedding", "single"], ["value"])]
CHANCES = [node("Softmax", ["logits"], ["chances"], axis=1)]
TOP = [node("TopK", ["logits", "best"], ["top", "which"], axis=1)]
SCORES = [
    node("Conv", ["late", "many"], ["s"]),
    node("Reshape", ["s", "rows"], ["r"]),
    node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
    node("Sigmoid", ["t"], ["confidence"]),
]
BOXES = [
    node("Conv", ["late", "four"], ["b"]),
    node("Reshape", ["b", "boxed"], ["b3"]),
    node("Transpose", ["b3"], ["corners"], perm=[0, 2, 1]),
]
# name -> nodes behind the body, outputs in the file's order, which one, and the others that count.
CASES = {
    "attention that weighs": (ATTENTION, ["mask", "scores"], "scores", []),
    "a mask beside": (MASK, ["a_mask", "logits"], "logits", ["a_mask"]),
    "auxiliary head": (AUXILIARY, ["auxiliary", "logits"], "logits", ["auxiliary"]),
    "auxiliary head behind": (AUXILIARY, ["logits", "auxiliary"], "logits", ["auxiliary"]),
    "embedding": ([], ["embedding", "logits"], "logits", []),
    "unit embedding": (UNIT, ["unit", "logits"], "logits", ["unit"]),
    "features": ([], ["flat", "late", "logits"], "logits", []),
    "logits and chances": (CHANCES, ["logits", "chances"], "chances", []),
    "the best of the logits": (TOP, ["logits", "top"], "logits", ["top"]),
    "value and policy": (VALUE, ["value", "logits"], "logits", ["value"]),
    "scores and boxes": (SCORES + BOXES, ["corners", "confidence"], "confidence", ["corners"]),
    "pixels and mask": (
        SEGMENTER + MASK,
        ["a_mask", "classes_of_pixels"],
        "classes_of_pixels",
        ["a_mask"],
    ),
    "one alone": ([], ["logits"], "logits", []),
}


def model_of(case):
    nodes, outputs, _, _ = CASES[case]
    return small(
        [*BODY, *nodes],
        [value("x", ["N", 3, 8, 8])],
        [value(name, None) for name in outputs],
        WEIGHTS,
    )


@pytest.mark.parametrize("case", CASES)
def test_what_is_explained_and_what_is_named(case, caplog):
    _, outputs, chosen, others = CASES[case]
    model = model_of(case)
    found = onnxplain.inspect(model)
    assert found.output == chosen and [text.split("'")[1] for text in found.others] == others
    with caplog.at_level(logging.WARNING, "onnxplain"):
        explainer = onnxplain.Explainer(model, "saliency")
    assert explainer.subject.output.name == chosen
    said = [
        record.message for record in caplog.records if "explaining the output" in record.message
    ]
    assert len(said) == bool(others)
    assert all(f"'{name}'" in said[0] for name in others)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "onnxplain"):
        for name in outputs:
            named = onnxplain.Explainer(model, "saliency", output=name)
            assert named.subject.output.name == name
    assert not caplog.records


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("single", [False, True])
def test_states_are_no_scores(batch, single):
    """A recurrent network that hands its state back, in front of its one score or its classes."""
    nodes = [
        node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=4),
        node("Squeeze", ["y", "axis"], ["s"]),
        node("Gather", ["s", "last"], ["t"], axis=0),
        node("MatMul", ["t", "head"], ["scores"]),
    ]
    weights = {"w": normal(1, 16, 3), "r": normal(1, 16, 4), "axis": np.array([1])}
    weights |= {"last": np.asarray(-1), "head": normal(4, 1 if single else 3)}
    turned = [node("Transpose", ["frames"], ["x"], perm=[1, 0, 2]), *nodes]
    state = [1, batch, 4]
    model = small(
        turned,
        [value("frames", [batch, 5, 3]), value("h", state), value("c", state)],
        [value("hn", None), value("cn", None), value("scores", None)],
        weights,
    )
    assert onnxplain.inspect(model).output == "scores"


def test_the_command_line_says_it(command, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model_of("auxiliary head"), path)
    status, out, _ = command("inspect", path)
    assert status == 0 and "not 'auxiliary' [N, 5] (--output says otherwise)" in out
    status, out, _ = command("inspect", path, "--json")
    assert json.loads(out)["others"] == ["'auxiliary' [N, 5]"]
    status, out, _ = command("inspect", path, "--output", "auxiliary")
    assert status == 0 and "says otherwise" not in out
