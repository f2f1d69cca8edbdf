"""Several methods in one file: the numbers of each file alone, and the model runs once."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser
from support import networks, zoo
from support.digits import DATA, digit, write_model
from support.embeddings import network

import onnxplain
from onnxplain.engine.export.exported_together import output_name, outputs_of
from onnxplain.graph_passes.methods import find_method

X = np.concatenate([digit(k) for k in (3, 7, 8)])
FEW = {"samples": 4, "window": 3}
SETS = [
    ("grad-cam", "deeplift"),
    ("deeplift", "grad-cam", "integrated-gradients"),
    ("lrp", "smoothgrad", "vargrad", "rise"),
    ("grad-cam++", "saliency", "occlusion", "expected-gradients", "guided-backprop"),
]


def explainer_of(model, method: str, **options) -> onnxplain.Explainer:
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    if find_method(method).takes("baseline"):
        few["baseline"] = 0.0
    return onnxplain.Explainer(model, method, providers="cpu", threads=1, **{**few, **options})


def answers(path, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {value.name for value in session.get_inputs()} == set(feeds)
    names = [value.name for value in session.get_outputs()]
    assert len(set(names)) == len(names)
    return dict(zip(names, session.run(None, feeds), strict=True))


def check(folder, explainers, feeds, **how) -> onnx.ModelProto:
    """All of them in one file, beside each in its own; returns the one."""
    first, *others = explainers
    file = first.export(folder / "all.onnx", also=others, **how)
    onnx.checker.check_model(file, full_check=True)
    found = answers(folder / "all.onnx", **feeds)
    own = [value.name for value in first._file.proto.graph.output]
    assert [*found][: len(own)] == own
    seen = set(own)
    for one in explainers:
        called = outputs_of(one)
        alone = one.export(folder / "alone.onnx", **how)
        names = {value.name for value in alone.graph.input}
        given = {name: value for name, value in feeds.items() if name in names}
        for name, expected in answers(folder / "alone.onnx", **given).items():
            joined = name if name in own else called[name]
            seen.add(joined)
            assert re.fullmatch(r"\w+", joined)
            size = np.abs(expected).max()
            np.testing.assert_allclose(found[joined], expected, rtol=1e-4, atol=2e-5 * (size + 1))
    assert seen == set(found)
    return file


def convolutions(graph: onnx.GraphProto) -> int:
    return Counter(node.op_type for node in graph.node)["Conv"]


@pytest.mark.parametrize("methods", SETS, ids="+".join)
@pytest.mark.parametrize("file", ["digits", "resnet-dynamo"])
def test_the_forward_pass_stands_once(tmp_path, file, methods):
    model = onnx.load(DATA / "jax_digits.onnx") if file == "digits" else zoo.model(file)
    feeds = {"in_0": X} if file == "digits" else zoo.feeds(file)
    explainers = [explainer_of(model, method) for method in methods]
    rows = len(next(iter(feeds.values())))
    joined = check(tmp_path, explainers, {**feeds, "target": np.full(rows, -1)})
    alone = [one.export(tmp_path / "alone.onnx") for one in explainers]
    shared = (len(methods) - 1) * convolutions(model.graph)
    assert convolutions(joined.graph) <= sum(convolutions(one.graph) for one in alone) - shared
    weights = sum(t.ByteSize() for t in joined.graph.initializer)
    assert weights <= 1.1 * max(sum(t.ByteSize() for t in one.graph.initializer) for one in alone)


def test_where_one_method_writes_an_operator_out(tmp_path):
    """DeepLIFT and LRP have no LayerNormalization; what comes behind it stands once, too."""
    model = zoo.model("vit-dynamo-dynamic")
    feeds = {**zoo.feeds("vit-dynamo-dynamic"), "target": np.array([0, 1])}
    explainers = [explainer_of(model, method) for method in ("chefer", "deeplift", "lrp")]
    joined = check(tmp_path, explainers, feeds)
    attention = Counter(node.op_type for node in model.graph.node)["MatMul"]
    alone = [
        Counter(node.op_type for node in one.export(tmp_path / "alone.onnx").graph.node)["MatMul"]
        for one in explainers
    ]
    both = Counter(node.op_type for node in joined.graph.node)["MatMul"]
    assert both <= sum(alone) - 2 * attention


@pytest.mark.parametrize("target", ["top1", 7])
def test_with_a_target_inside(tmp_path, target):
    model = onnx.load(DATA / "jax_digits.onnx")
    explainers = [explainer_of(model, method) for method in SETS[1]]
    check(tmp_path, explainers, {"in_0": X}, target=target)


def test_with_the_baseline_as_an_input(tmp_path):
    model = onnx.load(DATA / "jax_digits.onnx")
    explainers = [explainer_of(model, method) for method in SETS[1]]
    feeds = {"in_0": X, "target": np.array([3, 1, 8]), "baseline": np.full_like(X[:1], 0.3)}
    check(tmp_path, explainers, feeds, baseline_input=True)


def test_baselines_of_their_own(tmp_path):
    model = onnx.load(DATA / "jax_digits.onnx")
    explainers = [
        explainer_of(model, "deeplift", baseline=0.2),
        explainer_of(model, "integrated-gradients", baseline=0.7, steps=5),
        explainer_of(model, "expected-gradients", baseline=[0.1, 0.4]),
    ]
    check(tmp_path, explainers, {"in_0": X, "target": np.array([3, 1, 8])})


def test_of_several_inputs(tmp_path):
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,6] x, float[N,6] z) => (float[N,6] y) {
          p = Mul(x, z)
          y = Softplus(p)
        }"""
    )
    explainers = [
        explainer_of(model, method, input=["x", "z"], baseline=None)
        for method in ("deeplift", "saliency")
    ]
    x = networks.images([3, 6]).numpy()
    feeds = {"x": x, "z": x + 1, "target": np.array([0, 1, 5])}
    joined = check(tmp_path, explainers, feeds)
    names = [value.name for value in joined.graph.output]
    assert names[1:4] == ["attribution_deeplift_x", "attribution_deeplift_z", "delta_deeplift"]


def test_an_output_of_the_model_keeps_its_name(tmp_path):
    """Only Integrated Gradients to a tolerance has a `map_error` of its own."""
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,6] x) => (float[N,6] y, float[N,6] map_error) {
          map_error = Tanh(x)
          y = Softplus(map_error)
        }"""
    )
    explainers = [explainer_of(model, m, output="y") for m in ("deeplift", "saliency")]
    feeds = {"x": networks.images([3, 6]).numpy(), "target": np.array([0, 1, 5])}
    joined = check(tmp_path, explainers, feeds)
    assert [value.name for value in joined.graph.output][:2] == ["y", "map_error"]
    path = explainer_of(model, "integrated-gradients", output="y")
    with pytest.raises(onnxplain.UnsupportedModelError, match="'map_error'"):
        path.export(tmp_path / "f.onnx")
    assert path(feeds["x"]).map_error is not None


def test_of_an_embedding(tmp_path):
    model = network("as it is")
    explainers = [explainer_of(model, method) for method in ("saliency", "input-x-gradient")]
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    joined = explainers[0].export(tmp_path / "all.onnx", also=explainers[1:])
    assert "versus" in [value.name for value in joined.graph.input]
    x = networks.images(shape).numpy()
    length = explainers[0].exported.subject.logits.shape[1]
    versus = np.random.default_rng(0).normal(size=(len(x), length)).astype(np.float32)
    found = answers(tmp_path / "all.onnx", **{model.graph.input[0].name: x, "versus": versus})
    for one in explainers:
        expected = one(x, versus).attribution
        name = output_name("attribution", one.method)
        np.testing.assert_allclose(
            found[name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
        )


def test_each_method_has_a_picture_of_its_own(tmp_path):
    """And all are of one photo, which goes in once."""
    model = write_model(tmp_path)
    explainers = [onnxplain.Explainer(model, m, providers="cpu") for m in ("grad-cam", "saliency")]
    file, photo = tmp_path / "both.onnx", np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    explainers[0].export(file, also=explainers[1:], preprocess=True, picture=True, opset=18)
    found = answers(file, in_0=photo, target=np.array([3]))
    for one in explainers:
        one.export(tmp_path / "alone.onnx", preprocess=True, picture=True, opset=18)
        alone = answers(tmp_path / "alone.onnx", in_0=photo, target=np.array([3]))
        np.testing.assert_array_equal(found[output_name("picture", one.method)], alone["picture"])


def test_what_the_file_says_of_itself(tmp_path):
    model = onnx.load(DATA / "jax_digits.onnx")
    explainers = [explainer_of(model, method) for method in ("grad-cam", "deeplift")]
    file = explainers[0].export(tmp_path / "both.onnx", also=explainers[1:])
    (said,) = [entry.value for entry in file.metadata_props if entry.key == "onnxplain"]
    facts = json.loads(said)
    assert facts["source_sha256"] and [*facts["methods"]] == ["grad-cam", "deeplift"]
    assert facts["methods"]["deeplift"]["rule"] == "rescale"
    assert facts["methods"]["grad-cam"]["feature_map"]


def test_what_does_not_belong_together(tmp_path):
    digits, path = onnx.load(DATA / "jax_digits.onnx"), tmp_path / "f.onnx"
    first = explainer_of(digits, "grad-cam")
    others = {
        "model": explainer_of(onnx.load(DATA / "vit_digits.onnx"), "saliency"),
        "score": explainer_of(digits, "saliency", score="output"),
        "twice": explainer_of(digits, "grad-cam"),
    }
    for said, other in others.items():
        with pytest.raises(onnxplain.InvalidInputError, match=f"^also: .*{said}"):
            first.export(path, also=[other])
        assert not path.exists()
    with pytest.raises(onnxplain.InvalidInputError, match="also: expected Explainers, got str"):
        first.export(path, also=["deeplift"])


def test_names():
    methods = onnxplain.methods()
    names = {output_name("attribution", method) for method in methods}
    assert len(names) == len(methods) and all(re.fullmatch(r"[a-z_]+", name) for name in names)
    assert output_name("map_error", "integrated-gradients") == "map_error_integrated_gradients"
    assert output_name("attribution", "grad-cam++") == "attribution_grad_cam_plus_plus"


def test_on_the_command_line(command, tmp_path):
    model, path = write_model(tmp_path), tmp_path / "both.onnx"
    asked = ["-m", "grad-cam", "-m", "deeplift:rule=reveal-cancel", "-m", "ig", "--steps", "6"]
    status, out, err = command("export", model, *asked, "-o", path)
    assert (status, err) == (0, "")
    outputs = "add_out_2, attribution_grad_cam, attribution_deeplift, delta_deeplift, "
    outputs += "attribution_integrated_gradients, delta_integrated_gradients"
    assert out.startswith(f"{path}: inputs in_0, target; outputs {outputs}; opset ")
    found = answers(path, in_0=X, target=np.array([3, 7, 8]))
    own = {"deeplift": {"rule": "reveal-cancel"}, "integrated-gradients": {"steps": 6}}
    for method in ("grad-cam", "deeplift", "integrated-gradients"):
        expected = onnxplain.Explainer(model, method, **own.get(method, {}))(X, [3, 7, 8])
        size = np.abs(expected.attribution).max()
        name = output_name("attribution", method)
        np.testing.assert_allclose(found[name], expected.attribution, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "Missing option '-m'"),
        (["-m", "grad-cam", "-m", "saliency", "--baseline-input"], "compare with no baseline"),
        (["-m", "grad-cam", "-m", "lrp", "--steps", "3"], "--steps is for"),
        (
            ["-m", "deeplift:rule=rescale", "-m", "deeplift:rule=reveal-cancel"],
            "one choice of its options",
        ),
    ],
)
def test_wrong_commands(command, tmp_path, asked, said):
    path = tmp_path / "f.onnx"
    status, _, err = command("export", write_model(tmp_path), *asked, "-o", path)
    assert status == 2 and said in err and err.count("\n") == 1
    assert not path.exists()
