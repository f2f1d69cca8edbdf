"""Texts that are read step by step, and tokens; beside CTC's best path written once more."""

import numpy as np
import onnx
import pytest

import onnxplain

LETTERS = tuple("abc")


def model_of(classes: int, steps: int = 9) -> onnx.ModelProto:
    """x[N, 2, steps] -> scores [N, steps, classes]: each step by its own two numbers."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, {steps}] x) => (float[N, {steps}, {classes}] y)
        <float[2, {classes}] w> {{
            t = Transpose<perm = [0, 2, 1]>(x)
            h = Tanh(t)
            z = MatMul(h, w)
            y = Softmax<axis = 2>(z)
        }}""")
    angles = np.linspace(0, 2 * np.pi, classes, endpoint=False)
    weights = 4 * np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return proto


def steps_of(path: list[int], classes: int) -> np.ndarray:
    """An input whose best classes are these, some surer than others."""
    angles = 2 * np.pi * np.array(path) / classes
    sure = 0.5 + 0.05 * np.arange(len(path))
    return (sure * np.stack([np.cos(angles), np.sin(angles)])).astype(np.float32)[None]


@pytest.mark.parametrize("blank", ["first", "last"])
def test_a_text_is_its_surest_steps(blank):
    classes = 4
    b, letters = (
        (0, {"a": 1, "b": 2, "c": 3}) if blank == "first" else (3, {"a": 0, "b": 1, "c": 2})
    )
    path = [b, letters["a"], letters["a"], b, letters["a"], b, letters["c"], letters["b"], b]
    explainer = onnxplain.Explainer(model_of(classes), "input-x-gradient", labels=list(LETTERS))
    x = steps_of(path, classes)
    e = explainer(x)
    logits = np.tanh(x[0].T) @ onnx.numpy_helper.to_array(model_of(classes).graph.initializer[0])
    (target,) = e.targets
    assert target.label == "aacb" and target.key == "text"
    places = [(2, letters["a"]), (4, letters["a"]), (6, letters["c"]), (7, letters["b"])]
    assert [tuple(p) for p in target.places] == places
    assert e.score[0] == pytest.approx(sum(logits[p] for p in places), rel=1e-5)
    for k, (name, place) in enumerate(zip("aacb", places, strict=True), 1):
        one = explainer(x, f"char{k}")
        assert (one.targets[0].label, one.targets[0].index) == (name, place)
        assert one.score[0] == pytest.approx(logits[place], rel=1e-5)
        # What the letter rests on is its own step.
        assert np.flatnonzero(one.attribution[0].any(axis=0)).tolist() == [place[0]]
    both = explainer(x, "char3 - char4")
    assert both.score[0] == pytest.approx(logits[places[2]] - logits[places[3]], rel=1e-5)


def test_a_label_may_be_called_blank():
    path = [0, 1, 1, 0, 1, 0, 3, 2, 0]
    for labels in (["blank", *LETTERS], ["<blank>", *LETTERS], list(LETTERS)):
        explainer = onnxplain.Explainer(model_of(4), "saliency", labels=labels)
        assert explainer(steps_of(path, 4)).targets[0].label == "aacb"


def test_tokens_have_no_blank():
    explainer = onnxplain.Explainer(model_of(3), "saliency", labels=list(LETTERS))
    x = steps_of([0, 1, 2, 1, 0, 0, 2, 2, 1], 3)
    e = explainer(x, ["token1", "token2", "token9"])
    assert [t.label for t in e.targets] == ["a", "b", "b"]
    assert [t.index for t in e.targets] == [(0, 0), (1, 1), (8, 1)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [("char9", "reads 4 characters"), ("char0", "count from 1"), ("token99", "reads 9 tokens")],
)
def test_what_is_not_there_is_said(asked, words):
    explainer = onnxplain.Explainer(model_of(4), "saliency", labels=list(LETTERS))
    with pytest.raises(onnxplain.InvalidInputError, match=words):
        explainer(steps_of([0, 1, 1, 0, 1, 0, 3, 2, 0], 4), asked)
    with pytest.raises(onnxplain.InvalidInputError, match="reads no character"):
        explainer(steps_of([0] * 9, 4), "text")
    # Without labels nobody knows that it is a text.
    with pytest.raises(onnxplain.InvalidInputError, match="index tuple"):
        onnxplain.Explainer(model_of(4), "saliency")(steps_of([0] * 9, 4))
