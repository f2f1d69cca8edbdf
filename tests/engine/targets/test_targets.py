"""Kinds of targets: each is found, resolved and explained as the weighted sum that it says."""

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxplain
from onnxplain.engine.targets.asking import asked_for, kinds, one_wanted, wanted_of
from onnxplain.engine.targets.recorded import target_of_json
from onnxplain.engine.targets.target import About, fed
from onnxplain.graph_passes.select.score import PLACE_WEIGHTS, PLACES

LABELS = ("tabby cat", "tiger - cat", "not a cat", "dog", "3, 4")
SHAPES = {
    "rows": ("y[N, 5]", "y = Gemm(r, w)", (4, 5)),
    "maps": ("y[N, 5, 6, 6]", "y = Conv<kernel_shape = [1, 1]>(c, w)", (5, 3, 1, 1)),
    "lists": (
        "y[N, 5, 36]",
        "z = Conv<kernel_shape = [1, 1]>(c, w)\n y = Reshape(z, s)",
        (5, 3, 1, 1),
    ),
    "pooled": (
        "y[N, 5, 1, 1]",
        "z = Conv<kernel_shape = [1, 1]>(c, w)\n y = GlobalAveragePool(z)",
        (5, 3, 1, 1),
    ),
    "soft": ("y[N, 5]", "z = Gemm(r, w)\n y = Softmax(z)", (4, 5)),
}
# What can be asked of each, and what it comes to: pairs of a weight and a place behind the batch.
ASKED = {
    "rows": (
        None,
        3,
        "3",
        "dog",
        "DOG",
        "rank2",
        "top1",
        "not dog",
        "-0",
        "not rank2",
        "dog - tabby cat",
        "3 - rank2",
        "tiger - cat - dog",
        "index:2",
        (2,),
        "tiger - cat",
        "not a cat",
        "3, 4",
    ),
    "soft": (None, 4, "rank3", "0 - 1", "not 2"),
    "pooled": (None, 2, "rank2", "2 - 3", "index:2,0,0"),
    "maps": (
        None,
        3,
        "dog",
        "not dog",
        "index:1,2,3",
        "1,2,3",
        (4, 5, 5),
        "dog - tabby cat",
        "not index:1,2,3",
        "index:1,2,3 - index:2,2,3",
    ),
    "lists": ("index:1,20", (4, 35), "1,20", "index:1,20 - index:1,21", "not index:1,20"),
}
CASES = [(shape, asked) for shape, several in ASKED.items() for asked in several]


def model_of(shape: str) -> onnx.ModelProto:
    """A small network with weights drawn from one seed."""
    declared, text, size = SHAPES[shape]
    random = np.random.default_rng(7)
    values = {
        "k": random.normal(size=(3, 2, 3, 3)),
        "v": random.normal(size=(3, 4)),
        "w": random.normal(size=size),
    }
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (float[{declared[2:]} y)
        <float[3, 2, 3, 3] k, float[3, 4] v, float{list(size)} w, int64[3] s = {{0, 5, 36}}> {{
            h = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, k)
            c = Tanh(h)
            p = GlobalAveragePool(c)
            f = Flatten(p)
            r = MatMul(f, v)
            {text}
        }}""")
    for name, array in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    return model


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 2, 6, 6)).astype(np.float32)


def about(explainer: onnxplain.Explainer) -> About:
    return About(explainer.subject, LABELS)


def explained(shape: str, method: str = "saliency", **options) -> onnxplain.Explainer:
    return onnxplain.Explainer(
        model_of(shape), method, labels=list(LABELS) if shape != "lists" else None, **options
    )


def score_by_hand(explainer: onnxplain.Explainer, x: np.ndarray, target) -> float:
    """sum_r weight_r score[place_r], of the scores before a Softmax."""
    model = model_of("rows") if explainer.subject.activation else explainer._file.proto
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run
    scores = np.asarray(run(None, {"x": x})[0])[0]
    return float(
        sum(
            w * scores[tuple(place)] for place, w in zip(target.places, target.weights, strict=True)
        )
    )


@pytest.mark.parametrize(("shape", "asked"), CASES)
def test_score_and_gradient_are_those_of_the_weighted_sum(shape, asked):
    """The score by the file itself; the gradient by central differences of that."""
    explainer = explained(shape, signed=True)
    x = inputs(1)
    e = explainer(x, asked)
    (target,) = e.targets
    assert e.score[0] == pytest.approx(score_by_hand(explainer, x, target), rel=1e-5, abs=1e-6)
    assert explainer.scores(x, asked).score[0] == pytest.approx(e.score[0], rel=1e-5, abs=1e-6)
    direction, h = (
        np.random.default_rng(5).normal(size=x.shape).astype(np.float32),
        np.float32(1e-2),
    )
    ahead, behind = (score_by_hand(explainer, x + step * direction, target) for step in (h, -h))
    slope = float((e.attribution * direction).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-2, abs=5e-3)
    # What is written of it asks for the same again.
    record = {"index": target.index, "minus": target.minus, "against": target.against}
    again = explainer(x, target_of_json(record).again)
    assert (
        again.score == pytest.approx(e.score)
        and again.targets[0].key == target_of_json(record).key == target.key
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "method",
    ["grad-cam", "deeplift", "integrated-gradients", "smoothgrad", "lrp", "rise", "occlusion"],
)
def test_several_of_one_input_are_each_by_itself(shape, method):
    """In one call, whatever their kinds are, and for several inputs a target each."""
    options = {"baseline": 0.0} if onnxplain.methods()[method].takes("baseline") else {}
    explainer = explained(shape, method, **options)
    x = inputs(2)
    # DeepLIFT's and others' numbers at -0 and ties: not here.
    several = [one for one in ASKED[shape] if one is not None]
    together = explainer(x[:1], several)
    for place, one in enumerate(several):
        alone = explainer(x[:1], one)
        assert together.targets[place].key == alone.targets[0].key
        assert np.allclose(together.score[place], alone.score[0], rtol=1e-5, atol=1e-6)
        assert np.allclose(together.attribution[place], alone.attribution[0], rtol=1e-4, atol=1e-6)
    each = explainer(x, several[:2])
    for row in range(2):
        alone = explainer(x[row : row + 1], several[row])
        assert np.allclose(each.attribution[row], alone.attribution[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_exported_target_is_a_front_of_the_same(shape):
    explainer = explained(shape)
    x = inputs(2)
    session = onnxruntime.InferenceSession(
        explainer.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    asked = [(1, 20)] * 2 if shape == "lists" else [-1, 3]
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"x": x, "target": np.array(asked)}), strict=True))
    expected = explainer(x, (1, 20) if shape == "lists" else [None, 3])
    assert np.allclose(found["attribution"], expected.attribution, rtol=1e-5, atol=1e-7)
    with pytest.raises(Exception, match=r"(?i)indice"):
        session.run(None, {"x": x, "target": np.full_like(asked, 40)})


@pytest.mark.parametrize(
    ("shape", "asked", "words"),
    [
        ("rows", 5, r"target 5 is out of range: 'y' has classes 0\.\.4"),
        ("rows", "rank6", "target rank6: the model has 5 classes"),
        ("rows", "dog - dog", "two different targets"),
        ("rows", "rank1 - top1", "two different targets"),
        ("rows", "not dog - tabby cat", None),
        ("rows", "index:7", "out of range"),
        ("rows", "index:1,2", "needs 1 whole number"),
        ("rows", 1.5, "target must be a class index"),
        ("rows", True, "target must be a class index"),
        ("rows", [], "target has 0 entries for 1 input"),
        ("rows", "wolf", "no label is 'wolf'"),
        ("maps", "rank2", "needs an output with one score for each class"),
        ("maps", 7, "out of range"),
        ("lists", 3, "target must be an index tuple"),
        ("lists", None, "target must be an index tuple"),
        ("lists", "dog", "target must be an index tuple"),
        ("lists", (1, 99), "out of range"),
    ],
)
def test_what_is_no_target_is_said_in_one_line(shape, asked, words):
    explainer, x = explained(shape), np.zeros((1, 2, 6, 6), np.float32)
    if words is None:
        # "not" takes all that follows: what speaks against the difference.
        assert explainer(x, asked).targets[0].against
        return
    with pytest.raises(onnxplain.InvalidInputError, match=words) as caught:
        explainer(x, asked)
    assert "\n" not in str(caught.value)


def test_a_label_wins_over_what_it_looks_like():
    explainer = explained("rows")
    for index, label in enumerate(LABELS):
        assert wanted_of(label, about(explainer))[0].value == index
    assert (
        explainer(np.zeros((1, 2, 6, 6), np.float32), "tiger - cat - dog").targets[0].key
        == "1-minus-3"
    )


def test_names():
    explainer = explained("rows")
    x = inputs(1)
    names = {"dog": "dog", "not dog": "not dog", "dog - tabby cat": "dog - tabby cat", (2,): None}
    for asked, name in names.items():
        e = explainer(x, asked)
        assert e.label == name
        assert (e.probability is not None) == (asked == "dog")


def test_no_run_of_the_file_is_for_a_rank(monkeypatch):
    explainer, runs = explained("rows", "grad-cam"), []
    real = explainer._run_file
    monkeypatch.setattr(explainer, "_run_file", lambda *given: runs.append(1) or real(*given))
    explainer(inputs(1), ["rank2", "top5", "rank3 - rank4"])
    assert not runs


def test_places_come_once():
    """Of two targets that share places each place has one weight, their difference."""
    explainer = explained("maps")
    x = inputs(1)
    target = explainer(x, "dog - tabby cat").targets[0]
    assert len(np.unique(target.places, axis=0)) == len(target.places)
    given = fed(explainer.subject, [target, target])
    assert (
        given[PLACES].shape == (2 * len(target.places), 4)
        and given[PLACE_WEIGHTS].dtype == np.float32
    )
    assert given[PLACES][len(target.places), 0] == 1


def test_every_kind_has_cases():
    seen = set()
    for shape, several in ASKED.items():
        where = about(explained(shape))
        seen |= {wanted.kind for one in several for wanted in asked_for(one, where, 1).wanted}
    # These have their own: test_detection, test_sequence, test_similarity.
    assert seen | {"box", "sequence", "similarity"} == set(kinds())
    with pytest.raises(onnxplain.InvalidInputError, match="rank5 is the last"):
        one_wanted("top5", about(explained("rows")))
