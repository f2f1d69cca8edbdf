"""What the model answered: probabilities, the best classes; and labels as many as the classes."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.digits import CARD, write_photo

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.checking.checks import check_label_count
from onnxplain.engine.jobs.explain import Options, explain_files
from onnxplain.engine.jobs.results import record_lines
from onnxplain.engine.records.captions import answer_text, drawn_score
from onnxplain.engine.records.record import Outcome, outcome_of_json, record_of_json
from onnxplain.engine.running.answers import Top, is_close, percent
from onnxplain.engine.targets.recorded import TargetRecord
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
        assert record["probability_from"] == "model"
        check_top(record, values, expected(values))
        text = percent(record["probability"])
        assert text in drawn_score(outcome_of_json(record)).replace("\N{NO-BREAK SPACE}", " ")
        assert text in record_lines([record_of_json(record)])[0]


def check_top(record, values, chances):
    """The best classes, by their logits; each with its own logit and probability."""
    order = np.argsort(-values, kind="stable")[:5]
    assert [one["index"] for one in record["top"]] == order.tolist()
    np.testing.assert_allclose([one["score"] for one in record["top"]], values[order], rtol=1e-3)
    found = [one["probability"] for one in record["top"]]
    if chances is None:
        assert set(found) == {None}
    else:
        np.testing.assert_allclose(found, chances[order], rtol=1e-3)


def test_of_plain_scores_it_is_their_softmax_and_said_so(tmp_path):
    model, weight = classifier(tmp_path)
    for record in records(tmp_path, model):
        values = logits(tmp_path, weight, record)
        index = record["target"]["index"]
        assert record["probability"] == pytest.approx(softmax(values)[index], rel=1e-3)
        assert record["probability_from"] == "softmax" and "(softmax)" in answer_text(
            outcome_of_json(record)
        )
        check_top(record, values, softmax(values))


@pytest.mark.parametrize("how", ["softmax", "sigmoid", "none"])
def test_the_card_says_how_scores_become_probabilities(tmp_path, how):
    model, weight = classifier(tmp_path, probability=how)
    for record in records(tmp_path, model):
        values = logits(tmp_path, weight, record)
        made = {"softmax": softmax, "sigmoid": lambda z: 1 / (1 + np.exp(-z))}.get(how)
        check_top(record, values, None if made is None else made(values))
        assert record["probability_from"] == (None if how == "none" else how)
        if how == "none":
            assert record["probability"] is None and "score" in drawn_score(outcome_of_json(record))


def test_what_may_be_probabilities_already_is_not_made_some_again(tmp_path):
    """HardSigmoid's, say: from 0 to 1, and their sum is not 1."""
    model, _ = classifier(tmp_path, ("HardSigmoid", {"alpha": 0.01}))
    for record in records(tmp_path, model):
        assert record["probability"] is None and record["probability_from"] is None
        assert len(record["top"]) == 4


def test_one_raw_number_may_be_anything(tmp_path):
    model, _ = classifier(tmp_path, classes=1, shape=("N", 1))
    (record,) = records(tmp_path, model)
    assert record["probability"] is None and len(record["top"]) == 1
    assert "score" in record_lines([record_of_json(record)])[0]


def test_python_says_the_same(tmp_path):
    labels = ["tabby, tabby cat", "dog", "bird", "fish"]
    model, _ = classifier(tmp_path, labels=labels)
    photo = write_photo(tmp_path / "seven.png", 7)
    explainer = onnxplain.Explainer(model, "saliency")
    (e,) = explainer.images([photo], "top3")
    made = explain_files(model, [str(photo)], tmp_path / "o", Options(("saliency",), ("top3",)))
    assert len(e) == len(made.records) == 3
    for one, record in zip(e, made.records, strict=True):
        assert one.label == record["target"]["label"]
        assert one.probability == pytest.approx(record["probability"], rel=1e-5)
        assert [t.index for t in one.top()] == [t["index"] for t in record["top"]]
        assert one.top(2)[0] == e[0].top(1)[0]
    chances = [one.probability or 0 for one in e]
    assert chances == sorted(chances, reverse=True)
    with pytest.raises(InvalidInputError, match=r"e\[0\].label"):
        print(e.label)
    scores = explainer.scores(e.origin.inputs["x"])
    assert scores.probability[0] == pytest.approx(e[0].probability, rel=1e-5)
    with pytest.raises(IndexError):
        e[3]


def test_a_row_of_several_is_its_own(tmp_path):
    model, _ = classifier(tmp_path, ("Softmax", {"axis": -1}))
    x = np.random.default_rng(3).random((3, 8, 8, 1), np.float32)
    explainer = onnxplain.Explainer(model, "saliency")
    e = explainer(x)
    for row, one in enumerate(e):
        alone = explainer(x[row : row + 1])
        assert one.target == alone.target and len(one.top()) == 4
        for a, b in zip(one.top(), alone.top(), strict=True):
            assert a[:2] == b[:2] and a[2:] == pytest.approx(b[2:], rel=1e-4)
        assert one.origin.inputs["x"].shape == (1, 8, 8, 1) and one == e[row - 3]
        np.testing.assert_array_equal(one.origin.inputs["x"], x[row : row + 1])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("top3", [0, 1, 2]), ("rank2", [1]), ("top1", [0]), ("rank1", [0]), ("not top2", [0, 1])],
)
def test_ranks_and_the_best(tmp_path, asked, expected):
    model, _ = classifier(tmp_path)
    made = records(tmp_path, model, asked)
    order = [one["index"] for one in made[0]["top"]]
    assert [record["target"]["index"] for record in made] == [order[k] for k in expected]
    if asked.startswith("not"):
        assert [r["probability"] for r in made] == [None, None]
        assert all("not" in r["target"]["label"] for r in made)


@pytest.mark.parametrize("asked", ["top5", "rank5", "top0", "rank0", "top9999"])
def test_more_than_there_are(tmp_path, asked):
    model, _ = classifier(tmp_path)
    with pytest.raises(InvalidInputError, match=f"target {asked}"):
        records(tmp_path, model, asked)


def test_the_best_of_several_inputs_are_asked_by_rank(tmp_path):
    model, _ = classifier(tmp_path)
    explainer = onnxplain.Explainer(model, "saliency")
    x = np.random.default_rng(3).random((2, 8, 8, 1), np.float32)
    with pytest.raises(InvalidInputError, match="3 targets for 2 inputs"):
        explainer(x, "top3")
    assert explainer(x[:1], ["rank2", "top2", 0]).target.shape == (4,)


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        *((0.9634, "96 %"), (0.995, "99.50 %"), (0.99974, "99.97 %"), (0.999999, "> 99.99 %")),
        *((1.0, "100 %"), (0.004, "0.4 %"), (0.0104, "1 %"), (0.0002, "< 0.1 %"), (0.0, "< 0.1 %")),
    ],
)
def test_percent(probability, text):
    assert percent(probability) == text


def test_a_close_call_is_said():
    def record(first, second, how="softmax"):
        top = tuple(Top(k, None, 0.0, p) for k, p in enumerate((first, second)))
        said = {"close_call": is_close(top, how, None), "top": top, "probability_from": how}
        return Outcome(method="x", target=TargetRecord(index=0), **said)

    assert "close call" in answer_text(record(0.5, 0.3))
    assert "close call" not in answer_text(record(0.6, 0.1))
    assert "close call" not in answer_text(record(0.9, 0.9, "sigmoid"))


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
    subject = SimpleNamespace(per_class=True, by_index=False, classes=None, class_axis=1)
    subject.logits = SimpleNamespace(shape=None)
    subject.output = SimpleNamespace(name="y")
    check_label_count(list("abc"), subject)
    for shape in ((1, 4), (4,), (1, 4, 1, 1)):
        outputs = {"y": np.zeros(shape)}
        check_label_count(list("abcd"), subject, outputs)
        with pytest.raises(InvalidInputError, match="4, got 3 labels"):
            check_label_count(list("abc"), subject, outputs)
    subject.per_class, subject.logits.shape = False, [None, None, 8, 8]
    with pytest.raises(InvalidInputError, match="5, got 3 labels"):
        check_label_count(list("abc"), subject, {"y": np.zeros((1, 5, 8, 8))})


def test_the_readmes_label_is_one_of_the_demos(tmp_path):
    options = Options(methods=("grad-cam",), targets=("tabby cat", "tabby", "281"))
    report = explain_files(demo_model(), [str(demo_photos()[1])], tmp_path, options)
    assert [record["target"]["index"] for record in report.records] == [281]
