"""The gate that every method passes: what its record says is so, whatever way it is asked for."""

from __future__ import annotations

import inspect as source
import json
import pickle
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from support import networks
from support.digits import DATA, LABELS, digit, write_model, write_photo
from support.folders import ROOT
from support.served import OF_ATTENTION

import onnxplain
from onnxplain.engine.running.settings import command_line_options
from onnxplain.graph_passes.methods import default_methods, find_method

METHODS = list(onnxplain.methods())
X = np.concatenate([digit(k) for k in (3, 7, 8)])
# Few, and as many in a file as in the engine.
FEW = {"samples": 4, "steps": 6, "window": 3}
NAME = onnx.load(DATA / "jax_digits.onnx").graph.input[0].name
OPTIONS = {"providers": "cpu", "threads": 1}
FIXED_NAMES = {
    *("grad-cam", "integrated-gradients", "deeplift", "saliency", "input-x-gradient"),
    *("smoothgrad", "vargrad", "expected-gradients", "guided-backprop", "deconvnet"),
    *("guided-grad-cam", "grad-cam++", "hirescam", "layercam", "xgrad-cam", "lrp"),
    *("occlusion", "rise"),
}


@pytest.fixture
def model(tmp_path, request):
    """A network of digits that the test's method serves."""
    asked = getattr(request.node, "callspec", None)
    of_attention = asked is not None and asked.params.get("method") in OF_ATTENTION
    return write_model(tmp_path, network="vit_digits" if of_attention else "jax_digits")


def few(method: str) -> dict:
    return {name: value for name, value in FEW.items() if find_method(method).takes(name)}


def explainer_of(model, method: str, **options) -> onnxplain.Explainer:
    return onnxplain.Explainer(model, method, **OPTIONS, **few(method), **options)


def test_names():
    assert set(METHODS) >= FIXED_NAMES
    assert default_methods() == ["grad-cam", "integrated-gradients", "deeplift"] == METHODS[:3]
    titles = [method.title for method in onnxplain.methods().values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("method", METHODS)
def test_the_record_is_told_in_full(method):
    record = find_method(method)
    assert record.cite and re.search(r"\d{4}$", record.cite) and record.summary.endswith(".")
    names = [option.name for option in record.options]
    assert len(set(names)) == len(names)
    for option in record.options:
        assert option.help
        if option.default is not None:
            assert option.check(option.default) == option.default
    assert f"`{method}`" in (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


def test_no_method_is_named_outside():
    """Nothing but its own file compares a method's name."""
    files = [ROOT / "cli.py", *(ROOT / "engine").rglob("*.py"), *(ROOT / "models").rglob("*.py")]
    files += [p for p in (ROOT / "graph_passes").rglob("*.py") if "methods" not in p.parts]
    names = "|".join(map(re.escape, METHODS))
    compared = re.compile(rf"""(==|!=|\bin)\s*[({{\[]?\s*["']({names})["']""")
    keyed = re.compile(rf"""^\s*["']({names})["']\s*:""", re.M)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not compared.search(text) and not keyed.search(text), file


@pytest.mark.parametrize("method", METHODS)
def test_what_an_explanation_is(model, method):
    record, e = find_method(method), explainer_of(model, method)(X, [3, 7, 8])
    assert e.method == method and e.attribution.dtype == np.float32
    assert e.attribution.shape == ((3, 8, 8) if record.per_location else X.shape)
    assert np.isfinite(e.attribution).all() and e.attribution.any()
    assert record.signed or e.attribution.min() >= 0
    assert (e.delta is None) == (record.sums_to is None)
    assert (e.feature_map is None) == (record.feature_maps is None)
    if record.owes and e.relative_delta is not None:
        assert e.relative_delta.max() < 0.3  # few points


@pytest.mark.parametrize("method", METHODS)
def test_one_by_one_together_and_of_several_targets(model, method):
    explainer = explainer_of(model, method)
    together = explainer(X, [3, 7, 8])
    close = {"rtol": 1e-3, "atol": 1e-5 * float(np.abs(together.attribution).max())}
    for row, target in enumerate((3, 7, 8)):
        alone = explainer(X[row : row + 1], target)
        np.testing.assert_allclose(together.attribution[row], alone.attribution[0], **close)
        np.testing.assert_array_equal(alone.target, [target])
    several = explainer(X[:1], [3, 7, 8])
    for row, target in enumerate((3, 7, 8)):
        alone = explainer(X[:1], target)
        np.testing.assert_allclose(several.attribution[row], alone.attribution[0], **close)
    top = explainer(X)
    np.testing.assert_array_equal(top.target, [3, 7, 8])
    np.testing.assert_allclose(top.attribution, together.attribution, **close)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_same(tmp_path, model, method):
    """In plain ONNX Runtime, of standard operators, with delta where it is owed."""
    record = find_method(method)
    explainer = explainer_of(model, method)
    path = tmp_path / "explained.onnx"
    file = explainer.export(path)
    assert {node.domain for node in file.graph.node} <= {"", "ai.onnx"}
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == [NAME, "target"]
    names = [o.name for o in session.get_outputs()]
    own = [o.name for o in onnx.load(model).graph.output]
    assert names == [*own, "attribution", *(["delta"] if record.sums_to else [])]
    e = explainer(X, [3, 1, 8])
    targets = np.array([3, 1, 8])
    results = dict(zip(names, session.run(None, {NAME: X, "target": targets}), strict=True))
    size = float(np.abs(e.attribution).max())
    np.testing.assert_allclose(results["attribution"], e.attribution, rtol=1e-3, atol=1e-5 * size)
    if record.sums_to:
        np.testing.assert_allclose(results["delta"], e.delta, atol=1e-4)
    again = session.run(["attribution"], {NAME: X, "target": targets})[0]
    np.testing.assert_array_equal(again, results["attribution"])
    facts = {p.key: p.value for p in file.metadata_props}
    assert json.loads(facts["onnxplain"])["method"] == method


@pytest.mark.parametrize("method", METHODS)
def test_a_pickle_gives_the_same(model, method):
    explainer = explainer_of(model, method)
    assert pickle.loads(pickle.dumps(explainer))(X) == explainer(X)


@pytest.mark.parametrize("method", METHODS)
def test_drawn_and_recorded(command, tmp_path, model, method):
    photo, out = write_photo(tmp_path / "seven.png", 7), tmp_path / "out"
    options = [part for name, v in few(method).items() for part in (f"--{name}", v)]
    status, printed, err = command("explain", model, photo, "-m", method, *options, "-o", out)
    assert status == 0, err
    assert LABELS[7] in printed and method in printed
    (record,) = json.loads((out / "results.json").read_text())
    assert record["method"] == method and len(record["files"]) == 2
    taken = {o.name for o in find_method(method).options if o.command_line}
    assert taken <= set(record["options"])
    assert all((out / name).stat().st_size > 100 for name in record["files"])


@pytest.mark.parametrize("method", METHODS)
def test_exported_by_the_command_line(command, tmp_path, model, method):
    status, out, err = command("export", model, "-m", method, "-o", tmp_path / "e.onnx")
    assert status == 0, err
    assert "attribution" in out


@pytest.mark.parametrize("method", METHODS)
def test_wrong_options(model, method):
    with pytest.raises(onnxplain.InvalidInputError, match="has no option 'sampels'"):
        onnxplain.Explainer(model, method, sampels=3)
    for option in find_method(method).options:
        if option.name in ("baseline", "layer"):
            continue
        for wrong in (-1, "nothing", [1, -2]):
            with pytest.raises(onnxplain.InvalidInputError) as error:
                onnxplain.Explainer(model, method, **{option.name: wrong})
            assert option.name in str(error.value) and "\n" not in str(error.value)


def test_the_nearest_is_named(model):
    with pytest.raises(onnxplain.InvalidInputError, match="did you mean 'samples'"):
        onnxplain.Explainer(model, "smoothgrad", sample=3)
    with pytest.raises(
        onnxplain.InvalidInputError, match=r"did you mean 'grad-cam\+\+'|'grad-cam'"
    ):
        onnxplain.Explainer(model, "gradcan++")
    for wrong in (None, 3, "", "GRAD-CAT", b"lrp", ["lrp"]):
        with pytest.raises(onnxplain.InvalidInputError, match="method must be one of"):
            onnxplain.Explainer(model, wrong)  # pyright: ignore[reportArgumentType]


def test_inspected(model):
    found = onnxplain.inspect(model)
    assert list(found.unsupported) == METHODS
    assert {name for name, reasons in found.unsupported.items() if reasons} == {*OF_ATTENTION}
    assert all("no attention between" in str(found.unsupported[name]) for name in OF_ATTENTION)


def test_options_of_the_command_line(command, tmp_path, model):
    """One of each name; those of no chosen method are refused."""
    offered = [option.name for option in command_line_options()]
    assert len(set(offered)) == len(offered)
    photo = write_photo(tmp_path / "seven.png", 7)
    status, _, err = command("explain", model, photo, "-m", "grad-cam", "--samples", 3)
    assert status == 2 and err.startswith("onnxplain: --samples is for") and err.count("\n") == 1
    status, _, err = command("explain", model, photo, "-m", "gradcan")
    assert status == 2 and "did you mean 'grad-cam'" in err and err.count("\n") == 1
    status, _, err = command(
        "export", model, "-m", "rise", "--window", 3, "-o", tmp_path / "e.onnx"
    )
    assert status == 2 and "--window is for occlusion" in err


def test_signatures():
    """What a record calls is called as it says."""
    for method in onnxplain.methods().values():
        assert len(source.signature(method.stages).parameters) == 2
        assert len(source.signature(method.unsupported).parameters) == 2


def test_several_baselines_on_the_command_line(command, tmp_path, model):
    photo, out = write_photo(tmp_path / "seven.png", 7), tmp_path / "out"
    other = write_photo(tmp_path / "three.png", 3)
    several = ["--baseline", "black", "--baseline", other]
    sets = ["-m", "deeplift", "-m", "expected-gradients"]
    status, _, err = command("explain", model, photo, *sets, *several, "-o", out)
    assert status == 0, err
    records = json.loads((out / "results.json").read_text())
    assert [r["options"]["baseline"] for r in records] == [["black", str(other)]] * 2
    e = onnxplain.Explainer(model, "deeplift", baseline=[np.zeros((8, 8, 1), np.float32), digit(3)])
    scores = [r["baseline_score"] for r in records]
    np.testing.assert_allclose(scores, e(digit(7)).baseline_score[0], atol=0.05)
    status, _, err = command("explain", model, photo, "-m", "integrated-gradients", *several)
    assert status == 2 and "integrated-gradients compares with one baseline" in err
    # An embedded set.
    arguments = ["-m", "deeplift", "--baseline", "white", "--baseline", "black"]
    status, _, err = command("export", model, *arguments, "-o", tmp_path / "set.onnx")
    assert status == 0, err


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_black_boxes_ask_for_scores_alone(method):
    """A model whose operators have no gradient, and one whose score falls in steps."""
    nodes = [
        onnx.helper.make_node("MaxRoiPool", ["x", "rois"], ["p"], pooled_shape=[4, 4]),
        onnx.helper.make_node("ReduceMean", ["p", "axes"], ["m"], keepdims=0),
        onnx.helper.make_node("Mul", ["m", "much"], ["h"]),
        onnx.helper.make_node("Floor", ["h"], ["y"]),
    ]
    x, y = (
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in (("x", [1, 3, 16, 16]), ("y", [1, 3]))
    )
    rois = np.array([[0, 0, 0, 15, 15]], np.float32)
    values = {"rois": rois, "axes": np.array([2, 3]), "much": np.float32(1000)}
    weights = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()]
    graph = onnx.helper.make_graph(nodes, "steps", [x], [y], weights)
    file = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    data = np.zeros((1, 3, 16, 16), np.float32)
    data[:, :, 4:8, 4:8] = 1
    more = {"window": 8, "stride": 4} if method == "occlusion" else {}
    e = onnxplain.Explainer(file.SerializeToString(), method, baseline=0, **more, **OPTIONS)(
        data, 1
    )
    inside = e.attribution[0, 4:8, 4:8].mean()
    assert inside > 2 * np.abs(e.attribution[0, 10:, 10:]).mean()
    with pytest.raises(onnxplain.UnsupportedModelError, match="MaxRoiPool"):
        onnxplain.Explainer(file.SerializeToString(), "saliency", **OPTIONS)(data, 1)


def test_a_file_of_windows_needs_a_fixed_size(tmp_path):
    file = networks.exported("resnet", dynamic=True)
    explainer = onnxplain.Explainer(file, "occlusion", window=20, baseline=0, **OPTIONS)
    assert explainer(networks.example("resnet").numpy()).attribution.shape == (2, 40, 48)
    with pytest.raises(onnxplain.UnsupportedModelError, match="sizes are fixed"):
        explainer.export(tmp_path / "e.onnx")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 4, "stride": 5}, "stride 5 is above"),
        ({"window": (4, 4, 4)}, "window: expected a number or 2"),
        ({"window": 0}, "window must be a whole number"),
    ],
)
def test_wrong_windows(model, options, message):
    with pytest.raises(onnxplain.InvalidInputError, match=message):
        onnxplain.Explainer(model, "occlusion", **options)
