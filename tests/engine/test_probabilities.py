"""The probability beside the score, and labels that are as many as the classes."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.digits import CARD, write_photo

from onnxplain import InvalidInputError
from onnxplain.engine.commands.explain import Options, explain_files
from onnxplain.engine.commands.results import record_lines
from onnxplain.engine.pictures.captions import score_texts
from onnxplain.engine.probabilities import check_label_count
from onnxplain.models.shipped import demo_model, demo_photos


def classifier(folder, *tail, classes=4, shape=("N", 4), **card):
    """[N, 8, 8, 1] -> Flatten -> Gemm -> nodes of (operator, attributes); with a card."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.5, (64, classes)).astype(np.float32)
    nodes, last = [helper.make_node("Flatten", ["x"], ["f"])], "y0"
    nodes.append(helper.make_node("Gemm", ["f", "w"], [last]))
    weights = [numpy_helper.from_array(weight, "w")]
    for number, (operator, attributes) in enumerate(tail, start=1):
        inputs = [last]
        if operator == "Reshape":
            weights.append(numpy_helper.from_array(np.array([-1, classes, 1, 1]), "shape"))
            inputs.append("shape")
        last = f"y{number}"
        nodes.append(helper.make_node(operator, inputs, [last], **attributes))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, 8, 1])]
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, folder / "m.onnx")
    content = {key: value for key, value in CARD.items() if key != "labels"} | card
    (folder / "m.json").write_text(json.dumps(content))
    return folder / "m.onnx", weight


def records(folder, model, *targets):
    photo = write_photo(folder / "seven.png", 7)
    options = Options(methods=("deeplift",), targets=targets or ("top1", "0"))
    return explain_files(model, [str(photo)], folder / "out", options).records


def logits(folder, weight, record):
    with np.load(folder / "out" / record["files"][1]) as saved:
        return saved["input"].reshape(-1).astype(np.float64) @ weight


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


@pytest.mark.parametrize(
    ("tail", "shape", "expected"),
    [
        ([("Softmax", {"axis": -1})], ("N", 4), softmax),
        ([("LogSoftmax", {"axis": -1})], ("N", 4), softmax),
        ([("Sigmoid", {})], ("N", 4), lambda z: 1 / (1 + np.exp(-z))),
        ([("Softmax", {"axis": -1}), ("Reshape", {})], ("N", 4, 1, 1), softmax),
    ],
)
def test_the_probability_is_the_files_own(tmp_path, tail, shape, expected):
    model, weight = classifier(tmp_path, *tail, shape=shape)
    for record in records(tmp_path, model):
        index = record["target"]["index"]
        values = logits(tmp_path, weight, record)
        assert record["score"] == pytest.approx(values[index], rel=1e-3)
        assert record["probability"] == pytest.approx(expected(values)[index], rel=1e-3)
        text = f"probability {record['probability']:.3g}"
        assert text in score_texts(record, ".2f") and text in record_lines([record])[0]


def test_plain_logits_have_none(tmp_path):
    model, _ = classifier(tmp_path)
    for record in records(tmp_path, model):
        assert record["probability"] is None and len(score_texts(record, ".2f")) == 1


def test_a_softmax_in_parts_is_one_by_its_sum(tmp_path):
    """Where no final activation was left out, the score is the probability itself."""
    model, _ = classifier(tmp_path, ("Softmax", {"axis": -1}), ("Relu", {}))
    for record in records(tmp_path, model):
        assert record["probability"] == pytest.approx(record["score"])


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("given", ["card", "file"])
def test_labels_that_are_not_as_many_as_the_classes(tmp_path, count, given):
    labels = [f"class {k}" for k in range(count)]
    model, _ = classifier(tmp_path, **({"labels": labels} if given == "card" else {}))
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(labels))
    options = Options(labels=str(file) if given == "file" else None)
    photo = str(write_photo(tmp_path / "seven.png", 7))
    with pytest.raises(InvalidInputError, match=f"'y0': 4, got {count} labels"):
        explain_files(model, [photo], tmp_path / "out", options)


def test_the_first_output_says_how_many_classes_there_are():
    subject = SimpleNamespace(needs_index=False, classes=None, is_map=False, class_axis=1)
    subject.output = SimpleNamespace(name="y")
    check_label_count(list("abc"), subject)
    for shape in ((1, 4), (4,), (1, 4, 1, 1)):
        e = SimpleNamespace(outputs={"y": np.zeros(shape)})
        check_label_count(list("abcd"), subject, e)
        with pytest.raises(InvalidInputError, match="4, got 3 labels"):
            check_label_count(list("abc"), subject, e)
    subject.is_map = True
    with pytest.raises(InvalidInputError, match="5, got 3 labels"):
        check_label_count(
            list("abc"), subject, SimpleNamespace(outputs={"y": np.zeros((1, 5, 8, 8))})
        )


def test_the_readmes_label_is_one_of_the_demos(tmp_path):
    options = Options(methods=("grad-cam",), targets=("tabby cat", "tabby", "281"))
    report = explain_files(demo_model(), [str(demo_photos()[1])], tmp_path, options)
    assert [record["target"]["index"] for record in report.records] == [281]
