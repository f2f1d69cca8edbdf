"""Embeddings: the cosine similarity to a reference, beside numpy, central differences and torch."""

import pickle

import numpy as np
import onnx
import pytest
import torch
from support.embeddings import (
    ENDINGS,
    LENGTH,
    OTHERS,
    SIDE,
    Network,
    cosine,
    network,
    pictures,
)
from support.served import OF_ALL
from support.small import run

import onnxplain
from onnxplain import InvalidInputError, UnsupportedModelError

CARD = {"size": [SIDE, SIDE], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
CARD |= {"scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1]}
METHODS = sorted(OF_ALL)
REFERENCES = np.random.default_rng(3).normal(size=(2, LENGTH)).astype(np.float32) * 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ending", ["as it is", "torch"])
def test_the_score_is_the_cosine_of_the_files_own_embedding(method, ending):
    model, x = network(ending), pictures(2)
    if method == "lrp" or method in ("guided-backprop", "deconvnet"):
        model = network(ending, bias=False)
    e = onnxplain.Explainer(model, method)(x, REFERENCES)
    expected = cosine(run(model, {"x": x})["embedding"], REFERENCES)
    np.testing.assert_allclose(e.score, expected, atol=1e-6)
    assert np.abs(e.attribution).max(axis=tuple(range(1, e.attribution.ndim))).min() > 0
    if e.relative_delta is not None and onnxplain.methods()[method].owes:
        assert e.relative_delta.max() < 0.02
    # One reference for both inputs, and each by itself.
    one = onnxplain.Explainer(model, method)(x[:1], REFERENCES[0])
    assert one.score[0] == pytest.approx(expected[0], abs=1e-6)


def test_the_gradient_goes_through_the_length():
    x = pictures(2)
    found = onnxplain.Explainer(network(), "saliency", input=None)(x, REFERENCES).attribution
    signed = onnxplain.Explainer(network(), "input-x-gradient")(x, REFERENCES).attribution
    own = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    reference = torch.tensor(REFERENCES, dtype=torch.float64)
    torch.nn.functional.cosine_similarity(Network()(own), reference).sum().backward()
    slope = own.grad.numpy()
    np.testing.assert_allclose(signed, slope * x, atol=1e-5 * np.abs(slope * x).max())
    np.testing.assert_allclose(found, np.abs(slope), atol=1e-5 * np.abs(slope).max())


def test_the_gradient_is_what_differences_of_the_file_say():
    model, x, random = network("LpNormalization"), pictures(1), np.random.default_rng(0)
    signed = onnxplain.Explainer(model, "input-x-gradient")(x, REFERENCES[0]).attribution[0]
    direction = random.normal(size=x.shape).astype(np.float32)
    h = 2e-3

    def score(step):
        y = run(model, {"x": (x + step * direction).astype(np.float32)})["embedding"]
        return cosine(y, REFERENCES[:1])[0]

    expected = (score(h) - score(-h)) / (2 * h)
    assert (signed / x[0] * direction[0]).sum() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
def test_differences_of_the_similarity_are_shared_out(method):
    model, x = network("torch"), pictures(2)
    baseline = pictures(1, seed=5)
    e = onnxplain.Explainer(model, method)(x, REFERENCES, baseline=baseline)
    ends = [cosine(run(model, {"x": a})["embedding"], REFERENCES) for a in (x, baseline)]
    np.testing.assert_allclose(e.score - e.baseline_score, ends[0] - ends[1], atol=2e-6)
    total = e.attribution.reshape(2, -1).sum(axis=1)
    np.testing.assert_allclose(total, ends[0] - ends[1], rtol=0.02)


def test_only_the_direction_of_a_reference_counts_and_not_how_it_is_handed_in():
    explainer, x = onnxplain.Explainer(network(), "deeplift"), pictures(1)
    first = explainer(x, REFERENCES[0])
    same = (
        REFERENCES[0] * 100,
        REFERENCES[:1],
        REFERENCES[0].astype(np.float64),
        torch.tensor(REFERENCES[0]),
        [REFERENCES[0]],
        first.targets[0],
        list(first.targets),
    )
    for reference in same:
        e = explainer(x, reference)
        assert e.score[0] == pytest.approx(first.score[0], abs=1e-6)
        np.testing.assert_allclose(e.attribution, first.attribution, atol=1e-6)
    # Several of one input are as many explanations, and the other way is the other sign.
    both = explainer(x, [REFERENCES[0], REFERENCES[1], -REFERENCES[0]])
    assert len(both) == 3
    np.testing.assert_allclose(both.attribution[0], -both.attribution[2], atol=1e-6)
    assert explainer.scores(x, REFERENCES[1]).score[0] == pytest.approx(both.score[1], abs=1e-6)


def test_what_a_similarity_says_of_itself():
    e = onnxplain.Explainer(network(), "grad-cam")(pictures(1), REFERENCES[0])
    assert (e.label, e.probability, e.top(5)) == ("similarity to the reference", None, [])
    assert e.target == () and e.targets[0].key.startswith("versus-vector-")


def test_a_similarity_is_verified_and_pickled():
    explainer, x = onnxplain.Explainer(network("root"), "input-x-gradient"), pictures(1)
    found = explainer.verify(x, REFERENCES[0])
    assert found.outputs < 1e-5 and found.gradient < 0.01
    again = pickle.loads(pickle.dumps(explainer))
    assert again(x, REFERENCES[0]) == explainer(x, REFERENCES[0])
    asked = onnxplain.Explainer(network("root"), "input-x-gradient", score="cosine")
    assert asked(x, REFERENCES[0]) == explainer(x, REFERENCES[0])
    assert pickle.loads(pickle.dumps(asked))(x, REFERENCES[0]) == asked(x, REFERENCES[0])


def test_an_embedding_explains_no_number_that_nobody_asked_for():
    explainer, x = onnxplain.Explainer(network(), "saliency"), pictures(1)
    for target in (None, "top1", "top5", "rank2", -1):
        with pytest.raises(InvalidInputError, match=r"is an embedding.*--versus"):
            explainer(x, target)
    with pytest.raises(InvalidInputError, match=r"is an embedding.*--versus"):
        explainer.scores(x)
    for target in (3, "3", np.array([3])):
        e = explainer(x, target)
        assert (e.label, e.probability, e.top(3)) == ("embedding[3]", None, [])
        assert e.score[0] == pytest.approx(run(network(), {"x": x})["embedding"][0, 3], abs=1e-5)


@pytest.mark.parametrize("ending", list(ENDINGS))
@pytest.mark.parametrize("output", ["embedding", "y"])
def test_embeddings_are_told_by_their_name_or_their_length(ending, output):
    explainer = onnxplain.Explainer(network(ending, output), "saliency")
    assert explainer.subject.embedding is (output == "embedding" or ending != "as it is")


@pytest.mark.parametrize("ending", list(OTHERS))
def test_what_is_no_embedding_has_a_top_class(ending):
    explainer = onnxplain.Explainer(network(ending, "y"), "saliency")
    assert not explainer.subject.embedding
    x = pictures(1)
    y = run(network(ending, "y"), {"x": x})["y"]
    assert explainer(x).target[0] == np.argmax(y)
    # A reference may be asked for all the same: whoever has one knows what the output is.
    e = explainer(x, REFERENCES[0])
    assert e.score[0] == pytest.approx(cosine(y, REFERENCES[:1])[0], abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["image_embeds", "imageEmbeds", "sentence_embedding", "emb", "features", "/head/feat"],
)
def test_names_that_say_embedding(name):
    assert onnxplain.Explainer(network(output=name), "saliency").subject.embedding


@pytest.mark.parametrize("name", ["y", "logits", "output", "membrane", "member", "feather"])
def test_names_that_do_not(name):
    assert not onnxplain.Explainer(network(output=name), "saliency").subject.embedding


def test_labels_and_the_card_say_what_an_output_is():
    labels = [f"class {k}" for k in range(LENGTH)]
    model, x = network(), pictures(1)
    assert onnxplain.Explainer(model, "saliency", labels=labels)(x).label in labels
    said = onnxplain.Explainer(model, "saliency", card=CARD | {"task": "classification"})
    assert not said.subject.embedding
    card = CARD | {"task": "embedding"}
    plain = onnxplain.Explainer(network(output="y"), "saliency", card=card)
    with pytest.raises(InvalidInputError, match="is an embedding"):
        plain(x)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.ones(LENGTH + 1, np.float32), "expected 5 numbers.*got 6"),
        (np.zeros(LENGTH, np.float32), "zero everywhere"),
        (np.full(LENGTH, np.nan, np.float32), "NaN"),
        (np.ones((3, LENGTH), np.float32), "3 targets for 2 inputs|3 entries for 2 inputs"),
        (np.ones((2, 2, LENGTH), np.float32), r"expected a reference \[D\]"),
        (lambda y: y, "a reference .an array of floats, .5.., or the index of one number"),
    ],
)
def test_wrong_references_are_refused(target, message):
    with pytest.raises(InvalidInputError, match=message):
        onnxplain.Explainer(network(), "saliency")(pictures(2), target)


def test_an_embedding_of_zeros_has_no_similarity():
    explainer = onnxplain.Explainer(network(bias=False), "saliency")
    with pytest.raises(InvalidInputError, match="zero everywhere"):
        explainer(np.zeros((1, 3, SIDE, SIDE), np.float32), REFERENCES[0])


def test_an_output_of_many_vectors_has_no_similarity():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 4, 6] x) => (float[N, 4, 6] y) { y = Tanh(x) }""")
    with pytest.raises(UnsupportedModelError, match="one vector for each input"):
        onnxplain.Explainer(model, "saliency", score="cosine")


def test_the_embedding_is_explained_where_there_are_classes_too():
    model = network()
    model.graph.node.append(onnx.helper.make_node("MatMul", ["embedding", "last"], ["logits"]))
    last = np.random.default_rng(1).normal(size=(LENGTH, 7)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(last, "last"))
    kind = onnx.TensorProto.FLOAT
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", kind, ["N", 7]))
    x = pictures(1)
    explainer = onnxplain.Explainer(model, "saliency")
    assert explainer.subject.output.name == "logits"
    assert explainer(x).target[0] == np.argmax(run(model, {"x": x})["logits"])
    e = explainer(x, REFERENCES[0])
    expected = cosine(run(model, {"x": x})["embedding"], REFERENCES[:1])
    assert e.score[0] == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize("method", ["grad-cam", "deeplift", "integrated-gradients", "occlusion"])
def test_an_exported_file_takes_the_reference(method, tmp_path):
    options = {"steps": 8} if method == "integrated-gradients" else {}
    explainer, x = onnxplain.Explainer(network("torch"), method, **options), pictures(2)
    model = explainer.export(tmp_path / "similar.onnx")
    assert [value.name for value in model.graph.input] == ["x", "versus"]
    assert [v.name for v in explainer.model.graph.input][:2] == ["x", "versus"]
    onnx.checker.check_model(model)
    found = run(model, {"x": x, "versus": REFERENCES})
    expected = run(network("torch"), {"x": x})["embedding"]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-6)
    np.testing.assert_allclose(
        found["attribution"], explainer(x, REFERENCES).attribution, atol=1e-6
    )
    # One number of it is asked for by its index, of what the file returns.
    plain = onnxplain.Explainer(network("torch"), method, score="output", **options)
    written = plain.export(tmp_path / "number.onnx")
    assert [value.name for value in written.graph.input] == ["x", "target"]
