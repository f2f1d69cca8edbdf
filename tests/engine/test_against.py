"""'not A': the score times -1, for every class, method and way of asking."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from support.digits import CARD, write_photo
from support.small import node, small, value

import onnxplain

RANDOM = np.random.default_rng(12)
SIGNED = ["integrated-gradients", "deeplift", "input-x-gradient", "lrp", "occlusion", "rise"]


def normal(*shape):
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


WEIGHTS = {"k": normal(8, 1, 3, 3), "w": normal(8, 4), "v": normal(8, 1), "b": normal(4)}


def model_of(single=False, last=False):
    nodes = [] if not last else [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])]
    nodes += [
        node("Conv", ["t" if last else "x", "k"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "v" if single else "w"], ["m"]),
    ]
    nodes.append(node("Sigmoid", ["m"], ["y"]) if single else node("Add", ["m", "b"], ["y"]))
    shape = ["N", 8, 8, 1] if last else ["N", 1, 8, 8]
    return small(nodes, [value("x", shape)], [value("y", ["N", 1 if single else 4])], WEIGHTS)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("method", SIGNED)
def test_signed_methods_turn_their_sign(method, single):
    x = RANDOM.random((2, 1, 8, 8)).astype(np.float32)
    options = {"integrated-gradients": {"steps": 4}, "rise": {"samples": 16}}.get(method, {})
    explainer = onnxplain.Explainer(model_of(single), method, **options)
    target = 0 if single else 2
    own = explainer(x, target)
    for asked in (f"not {target}", [f"not {target}"] * 2):
        e = explainer(x, asked)
        assert np.allclose(e.attribution, -own.attribution, atol=1e-6) and e.against
        assert np.allclose(e.score, -own.score) and (e.target == target).all()
        assert np.array_equal(e.outputs["y"], own.outputs["y"])
    if target == 0:
        assert np.array_equal(explainer(x, "-0").attribution, e.attribution)
    again = explainer(x, f"not not {target}")
    assert np.array_equal(again.attribution, own.attribution) and not again.against


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layercam", "hirescam"])
def test_maps_of_evidence_show_what_speaks_against(method):
    """As if the last layer's weights were of the other sign."""
    model = model_of(single=True)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in other.graph.initializer:
        if tensor.name == "v":
            tensor.CopyFrom(onnx.numpy_helper.from_array(-WEIGHTS["v"], "v"))
    x = RANDOM.random((1, 1, 8, 8)).astype(np.float32)
    found = onnxplain.Explainer(model, method)(x, "not 0").attribution
    expected = onnxplain.Explainer(other, method)(x, 0).attribution
    assert np.allclose(found, expected, atol=1e-6)


def test_ways_to_ask():
    x = RANDOM.random((3, 1, 8, 8)).astype(np.float32)
    explainer = onnxplain.Explainer(model_of(), "deeplift")
    scores = explainer(x).outputs["y"]
    for place in (1, 2, 4):
        e = explainer(x, f"not rank{place}")
        assert np.array_equal(e.target, np.argsort(-scores, axis=1)[:, place - 1])
        assert np.allclose(-e.score, np.sort(scores, axis=1)[:, -place], atol=1e-6)
    several = explainer(x[:1], ["not 0", "not 3"])
    assert np.allclose(several.score, -scores[0, [0, 3]], atol=1e-6)
    assert explainer.verify(x[:1], "not 1").outputs < 1e-5
    mixed = explainer(x[:1], ["0", "not 1"])
    assert np.allclose(mixed.score, scores[0, :2] * [1, -1], atol=1e-6)
    with pytest.raises(onnxplain.InvalidInputError, match="out of range"):
        explainer(x, "not 4")
    for target in (-2, "-2", "-5"):
        with pytest.raises(onnxplain.InvalidInputError, match="out of range"):
            explainer(x, target)


@pytest.fixture
def folder(tmp_path):
    onnx.save(model_of(last=True), tmp_path / "m.onnx")
    labels = ["cat", "dog", "not a bird", "bird"]
    (tmp_path / "m.json").write_text(json.dumps({**CARD, "labels": labels}))
    write_photo(tmp_path / "a.png", 3)
    return tmp_path


def explained(command, folder, *more):
    wanted = ("explain", folder / "m.onnx", folder / "a.png", "-m", "deeplift")
    status, out, err = command(*wanted, *more, "-o", folder / "out", "--json")
    return status, json.loads(out) if status == 0 else err


def test_on_the_command_line(command, folder):
    targets = ["-t", "cat", "-t", "not cat", "-t", "-0", "-t", "not a bird"]
    status, records = explained(command, folder, *targets)
    assert status == 0
    found = {record["target"]["label"]: record for record in records}
    assert found["not cat"]["score"] == -found["cat"]["score"]
    assert found["not cat"]["target"]["index"] == found["cat"]["target"]["index"] == 0
    # A label that begins so is that label.
    assert found["not a bird"]["target"]["index"] == 2
    assert len(records) == 3 and len({f for r in records for f in r["files"]}) == 6
    maps = {
        label: np.load(folder / "out" / next(f for f in r["files"] if f.endswith(".npz")))
        for label, r in found.items()
    }
    assert np.allclose(maps["cat"]["attribution"], -maps["not cat"]["attribution"], atol=1e-6)
    status, records = explained(command, folder, *targets, "--resume")
    assert status == 0 and records == []
    status, err = explained(command, folder, "-t", "not a fish")
    assert status == 2 and "no label is 'a fish'" in err


def test_one_score_says_how_to_ask_for_the_other_side(caplog):
    """A network with one Sigmoid that says "no": its map of "yes" is empty."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 1, 6, 6] x) => (float[N, 1] y) <float[2, 1, 3, 3] k, float[2, 1] w> {
            c = Conv<pads = [1, 1, 1, 1]>(x, k)
            r = Relu(c)
            g = GlobalAveragePool(r)
            f = Flatten(g)
            z = MatMul(f, w)
            y = Sigmoid(z)
        }""")
    for name, shape, number in (("k", (2, 1, 3, 3), 0.1), ("w", (2, 1), -1.0)):
        array = np.full(shape, number, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    explainer, x = onnxplain.Explainer(model, "grad-cam"), np.ones((1, 1, 6, 6), np.float32)
    assert not explainer(x).attribution.any()
    assert "'not 0' asks for what speaks against it" in caplog.text
    assert explainer(x, "not 0").attribution.any()
    for text in ("no", "not", "-0"):
        assert np.array_equal(explainer(x, text).attribution, explainer(x, "not 0").attribution)
    for target in (1, -2):
        with pytest.raises(onnxplain.InvalidInputError, match="is one score, 0; 'not 0' asks"):
            explainer(x, target)
