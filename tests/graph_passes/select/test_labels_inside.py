"""Files that return labels alone: they are explained as the same network that returns scores."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from support.small import run

import onnxplain

LABELS = ["ground", "red", "green"]
WEIGHTS = np.array([[0, 0, 0], [1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
FIRST = np.eye(3, dtype=np.float32)[:, :, None, None]
POOLED = "g = GlobalAveragePool(z) f = Flatten(g)"


def network(tail: str, outputs: str, more: str = "") -> onnx.ModelProto:
    """Scores z of each pixel, [N, 3, 16, 24], and what a tail makes of them."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 32, 48] x) => ({outputs})
        <float[3, 3, 1, 1] w, float[3, 3, 1, 1] first, float[3] b = {{0.3, 0.0, 0.0}}{more}> {{
            h = Conv<kernel_shape = [1, 1]>(x, first)
            r = Softplus(h)
            p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(r)
            z = Conv<kernel_shape = [1, 1]>(p, w, b)
            {tail}
        }}""")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS, "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(FIRST, "first"))
    onnx.checker.check_model(proto)
    return proto


MAP = network("y = Identity(z)", "float[N, 3, 16, 24] y")
CLASSES = network(f"{POOLED} y = Identity(f)", "float[N, 3] y")
MAPS = {
    "ArgMax": network("y = ArgMax<axis = 1, keepdims = 0>(z)", "int64[N, 16, 24] y"),
    "one channel": network("y = ArgMax<axis = 1>(z)", "int64[N, 1, 16, 24] y"),
    "negative axis": network("y = ArgMax<axis = -3>(z)", "int64[N, 1, 16, 24] y"),
    "behind a Softmax": network(
        "s = Softmax<axis = 1>(z) y = ArgMax<axis = 1, keepdims = 0>(s)", "int64[N, 16, 24] y"
    ),
    "bytes": network(
        "a = ArgMax<axis = 1, keepdims = 0>(z) y = Cast<to = 2>(a)", "uint8[N, 16, 24] y"
    ),
    "floats": network(
        "a = ArgMax<axis = 1>(z) c = Cast<to = 1>(a) y = Mul(c, grey)",
        "float[N, 1, 16, 24] y",
        ", float grey = {100.0}",
    ),
    "TopK": network(
        "v, y = TopK<axis = 1>(z, one)", "int64[N, 1, 16, 24] y", ", int64[1] one = {1}"
    ),
    "colours": network(
        "a = ArgMax<axis = 1, keepdims = 0>(z) y = Gather(palette, a)",
        "uint8[N, 16, 24, 3] y",
        ", uint8[3, 3] palette = {0, 0, 0, 9, 0, 0, 0, 9, 0}",
    ),
    "as large as the photo": network(
        'a = ArgMax<axis = 1>(z) c = Cast<to = 1>(a) y = Resize<mode = "nearest">(c, , by)',
        "float[N, 1, 32, 48] y",
        ", float[4] by = {1.0, 1.0, 2.0, 2.0}",
    ),
}
SINGLE = {
    "ArgMax": network(f"{POOLED} y = ArgMax<axis = 1, keepdims = 0>(f)", "int64[N] y"),
    "two of it": network(
        f"{POOLED} y = ArgMax<axis = 1, keepdims = 0>(f) z2 = Cast<to = 6>(y)",
        "int64[N] y, int32[N] z2",
    ),
    "TopK": network(
        f"{POOLED} v, y = TopK<axis = 1>(f, two)",
        "float[N, 2] v, int64[N, 2] y",
        ", int64[1] two = {2}",
    ),
    "probabilities": network(
        f"{POOLED} s = Softmax<axis = 1>(f) v, y = TopK<axis = 1>(s, two)",
        "float[N, 2] v, int64[N, 2] y",
        ", int64[1] two = {2}",
    ),
    "TopK's labels": network(
        f"{POOLED} v, i = TopK<axis = 1>(f, two) y = Slice(i, none, two, two)",
        "int64[N, 1] y",
        ", int64[1] two = {1}, int64[1] none = {0}",
    ),
}


def picture():
    """A large red square, a small one, a green one."""
    x = np.zeros((1, 3, 32, 48), np.float32)
    x[0, 0, 4:20, 4:20] = x[0, 0, 24:28, 30:36] = x[0, 1, 4:12, 30:44] = 3
    return x


@pytest.mark.parametrize("case", list(MAPS))
def test_maps_of_labels_are_explained_as_maps_of_scores(case):
    x = picture()
    expected = onnxplain.Explainer(MAP, "input-x-gradient", labels=LABELS)
    found = onnxplain.Explainer(MAPS[case], "input-x-gradient", labels=LABELS)
    for target in (None, "green", 1, "red#2", "at:8,8", "red - green", "not red", (2, 4, 20)):
        own, right = found(x, target), expected(x, target)
        assert (own.label, own.targets[0].key) == (right.label, right.targets[0].key)
        np.testing.assert_allclose(own.score, right.score, rtol=1e-5)
        np.testing.assert_allclose(own.attribution, right.attribution, atol=1e-5)
    # The file's own outputs are what it returns.
    np.testing.assert_array_equal(own.outputs["y"], run(MAPS[case], {"x": x})["y"])
    assert found.verify(x, "red").outputs < 1e-5
    named = onnxplain.Explainer(MAPS[case], "input-x-gradient", labels=LABELS, output="y")
    assert named(x, "red") == found(x, "red")
    assert onnxplain.inspect(MAPS[case], output="y").score.endswith("returns the best of them")
    cam = onnxplain.Explainer(MAPS[case], "hirescam", labels=LABELS)(x, "red")
    right = onnxplain.Explainer(MAP, "hirescam", labels=LABELS)(x, "red")
    np.testing.assert_allclose(cam.attribution, right.attribution, atol=1e-5)


@pytest.mark.parametrize("case", list(SINGLE))
def test_a_label_alone_is_explained_as_scores(case, tmp_path):
    x = picture()
    expected = onnxplain.Explainer(CLASSES, "input-x-gradient", labels=LABELS)
    found = onnxplain.Explainer(SINGLE[case], "input-x-gradient", labels=LABELS)
    for target in (None, "green", 0, "rank2", "red - green"):
        own, right = found(x, target), expected(x, target)
        assert own.label == right.label and own.target == right.target
        np.testing.assert_allclose(own.score, right.score, rtol=1e-5)
        np.testing.assert_allclose(own.attribution, right.attribution, atol=1e-5)
        if target == "green":
            assert own.probability == pytest.approx(right.probability, rel=1e-5)
    assert found(x).target[0] == run(SINGLE[case], {"x": x})["y"].reshape(-1)[0]
    written = found.export(tmp_path / "explained.onnx")
    given = run(written, {"x": x, "target": np.array([2])})
    right = expected(x, 2).attribution
    np.testing.assert_allclose(given["attribution"], right, atol=1e-5)


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual"])
def test_one_class_above_a_limit(sigmoid, op):
    """A mask of one class: its probability above a half, or its score above 0."""
    own = "c = Slice(z, one, two, one) "
    more = ", int64[1] one = {1}, int64[1] two = {2}, float limit = {%s}"
    made = "s = Sigmoid(c) " if sigmoid else "s = Identity(c) "
    mask, one = (
        network(
            f"{own}{made} y = {op}(s, limit)",
            "bool[N, 1, 16, 24] y",
            more % (0.5 if sigmoid else 0.0),
        ),
        network(f"{own} y = Identity(c)", "float[N, 1, 16, 24] y", more % 0.0),
    )
    x = picture()
    found = onnxplain.Explainer(mask, "input-x-gradient")(x)
    right = onnxplain.Explainer(one, "input-x-gradient")(x)
    np.testing.assert_allclose(found.score, right.score, rtol=1e-5)
    np.testing.assert_allclose(found.attribution, right.attribution, atol=1e-5)
    np.testing.assert_array_equal(found.targets[0].region, found.outputs["y"][0, 0])
    # Another limit is another mask than what the scores say: it stays refused.
    other = network(f"{own}{made} y = {op}(s, limit)", "bool[N, 1, 16, 24] y", more % 0.3)
    with pytest.raises(onnxplain.UnsupportedModelError, match="no float output"):
        onnxplain.Explainer(other, "saliency")


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("y = Identity(z) a = ArgMax<axis = 1>(z)", "float[N, 3, 16, 24] y, int64[N, 1, 16, 24] a"),
        (f"{POOLED} y = Softmax(f) a = ArgMax<axis = 1>(f)", "float[N, 3] y, int64[N, 1] a"),
    ],
)
def test_files_that_return_scores_stay_as_they_are(tail, outputs):
    explainer = onnxplain.Explainer(network(tail, outputs), "saliency")
    assert explainer.subject.output.name == "y"
    assert [t.name for t in explainer.subject.graph.outputs] == ["y", "a"]


@pytest.mark.parametrize("tail", ["y = ArgMax<axis = 1>(x)", "s = Shape(x) y = Gather(s, at)"])
def test_labels_of_no_scores_stay_refused(tail):
    model = network(tail, "int64 y", ", int64 at = {0}")
    with pytest.raises(onnxplain.UnsupportedModelError, match="no float output"):
        onnxplain.Explainer(model, "saliency")


def test_the_command_line(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(MAPS["bytes"], "seg.onnx")
    card = {"size": [32, 48], "resize": "stretch", "layout": "NCHW", "channels": "RGB"}
    card |= {"scale": 3 / 255, "mean": 0, "std": 1, "labels": LABELS}
    (tmp_path / "seg.json").write_text(json.dumps(card))
    pixels = (picture()[0].transpose(1, 2, 0) * 85).astype(np.uint8)
    Image.fromarray(pixels).save("p.png")
    targets = ["-t", "red", "-t", "red#2", "-t", "at:36,6"]
    status, _, stderr = command("explain", "seg.onnx", "p.png", "-m", "hirescam", *targets)
    assert status == 0, stderr
    records = json.loads((tmp_path / "explanations" / "results.json").read_text())
    assert [one["target"]["label"] for one in records] == ["red", "red", "green"]
    expected = onnxplain.Explainer(MAP, "hirescam", card=card)
    for one, target in zip(records, targets[1::2], strict=True):
        right = expected.explain("p.png", target)
        assert one["score"] == pytest.approx(right.score[0], rel=1e-5)
    again = "explain", "seg.onnx", "p.png", "-m", "hirescam", "--output", "y", "-o", "again"
    assert command(*again, *targets)[0] == 0
    named = json.loads((tmp_path / "again" / "results.json").read_text())
    assert [one["score"] for one in named] == [one["score"] for one in records]
    status, stdout, _ = command("inspect", "seg.onnx")
    assert "the file returns the best of them" in stdout
