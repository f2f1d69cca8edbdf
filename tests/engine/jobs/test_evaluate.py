"""Evaluations: what `onnxplain evaluate` and `onnxplain.evaluate` measure, write and say."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from support.digits import digit, write_photo
from support.faithful import convolutional, linear, pictures
from support.folders import ROOT
from support.small import INT64, node, small, value

import onnxplain
from onnxplain import InvalidInputError, UnsupportedModelError
from onnxplain.engine.evaluating.findings import found_in
from onnxplain.engine.inputs.image import image_to_tensor, read_image, region_of_input
from onnxplain.engine.metrics.intervals import interval
from onnxplain.engine.metrics.metric import MOST_IMAGES
from onnxplain.models.card import find_card
from onnxplain.models.shipped import demo_model, demo_photos

METHODS = ["grad-cam", "integrated-gradients", "deeplift"]
ROWS = [*METHODS, "random", "edges"]
METRICS = [
    *("srg", "deletion", "insertion", "road", "sensitivity-n", "infidelity"),
    *("max-sensitivity", "randomised-weights"),
]
RECORD = {"method", "metric", "mean", "low", "high", "images", "higher_is_better", "seed"}


@pytest.fixture
def photos(tmp_path):
    return [write_photo(tmp_path / f"{number}.png", number) for number in (3, 7)]


def read(folder):
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def test_the_demo_by_command_line(tmp_path, command):
    out = tmp_path / "deep" / "out"
    arguments = ["-m", "grad-cam", "-m", "deeplift", "--metric", "srg", "--metric", "infidelity"]
    status, printed, err = command("evaluate", demo_model(), *demo_photos(), "-o", out, *arguments)
    assert (status, err) == (0, "")
    found = read(out)
    rows = ["grad-cam", "deeplift", "random", "edges"]
    asked = {(r["metric"], r["method"]): r for r in found["records"]}
    assert set(asked) == {(metric, row) for metric in ("srg", "infidelity") for row in rows}
    assert all(record["images"] == 2 for record in found["records"])
    means = {method: asked["srg", method]["mean"] for method in rows}
    assert means["grad-cam"] > means["random"] + 0.1
    assert all(r["low"] <= r["mean"] <= r["high"] for r in found["records"])
    assert found["model_sha256"] and found["versions"]["onnxplain"] == onnxplain.__version__
    assert [one["target"] for one in found["images"]] == [967, 282]
    curve = found["curves"]["least relevant first"]["grad-cam"]
    assert np.shape(curve["values"]) == (2, 17) and curve["places"][-1] == 1
    # What everything hangs on: the record's mean is that of the values, which are the curves'.
    gap = np.trapezoid(np.array(curve["values"]), curve["places"], axis=1)
    assert found["values"]["srg"]["grad-cam"] and np.isfinite(gap).all()
    for row in rows:
        assert f"\n{row} " in printed and f"{asked['srg', row]['mean']:.3f}" in printed


def test_all_metrics_of_a_small_model(tmp_path, command, model, photos):
    out = tmp_path / "out"
    status, printed, err = command("evaluate", model, *photos, "-o", out)
    assert (status, err) == (0, "")
    found = read(out)
    assert [(r["metric"], r["method"]) for r in found["records"]] == [
        (metric, row) for metric in METRICS for row in ROWS
    ]
    for record in found["records"]:
        assert set(record) >= RECORD and record["images"] == 2, record
        values = found["values"][record["metric"]][record["method"]]
        assert record["mean"] == pytest.approx(np.mean(values))
    by = {(r["metric"], r["method"]): r["mean"] for r in found["records"]}
    assert by["randomised-weights", "edges"] == 1 and abs(by["randomised-weights", "random"]) < 0.3
    assert by["srg", "deeplift"] > by["srg", "random"]
    assert found["findings"] and all(line in printed for line in found["findings"])
    check_curves(out, ["deletion", "least relevant first", "insertion", "ROAD"])


def check_curves(folder, titles):
    root = ElementTree.parse(folder / "curves.svg").getroot()
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert set(titles) | set(ROWS) <= set(texts)
    assert any("probability" in (text or "") for text in texts)
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == len(ROWS) * (len(titles) + 1)
    numbers = [float(n) for line in lines for n in re.findall(r"-?[\d.]+", line.get("points", ""))]
    assert np.isfinite(numbers).all() and min(numbers) >= 0
    assert max(numbers) <= max(float(root.get("width", 0)), float(root.get("height", 0)))


def test_twice_the_same(model, photos):
    one, two = (onnxplain.evaluate(model, photos, "grad-cam", ["srg", "road"]) for _ in range(2))
    assert one.records == two.records
    other = onnxplain.evaluate(model, photos, "grad-cam", ["srg", "road"], seed=9)
    assert other.table()[1] != one.table()[1]


def test_files_and_arrays_are_the_same(model, photos):
    card = find_card(__import__("onnx").load(model), model)
    assert card is not None
    x = np.concatenate([image_to_tensor(read_image(path), card)[0] for path in photos])
    names = [metric for metric in METRICS if metric != "max-sensitivity"]
    by_file, by_array = (onnxplain.evaluate(model, what, METHODS, names) for what in (photos, x))
    for a, b in zip(by_file.records, by_array.records, strict=True):
        assert a["mean"] == pytest.approx(b["mean"], rel=1e-4, abs=1e-5), a


def test_a_corrupt_image_loses_no_other(tmp_path, command, model, photos):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = ["--metric", "srg", "-m", "saliency"]
    status, printed, err = command("evaluate", model, bad, *photos, "-o", out, *arguments)
    assert status == 1 and "bad.png" in err and len(err.splitlines()) == 1
    found = read(out)
    assert [one["image"] for one in found["failed"]] == [str(bad)]
    assert [record["images"] for record in found["records"]] == [2, 2, 2]
    assert "saliency" in printed
    status, _, err = command("evaluate", model, bad, "-o", out, *arguments)
    assert status == 1 and "bad.png" in err and read(out)["records"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "deletoin"], "did you mean 'deletion'"),
        (["-m", "grad-cm"], "did you mean 'grad-cam'"),
        (["--boxes", "nowhere.json"], "nowhere.json"),
        (["--masks", "nowhere"], "nowhere"),
        (["-t", "eleven"], "eleven"),
        (["--seed", "-1"], "seed"),
        (["--baseline", "nowhere.png"], "nowhere.png"),
    ],
)
def test_wrong_usage(tmp_path, command, model, photos, arguments, said):
    status, out, err = command("evaluate", model, *photos, "-o", tmp_path / "out", *arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert said in err and err.startswith("onnxplain: ")


def test_wrong_arguments_in_python(model, photos):
    for what, how in [
        (photos, {"metrics": ["srgg"]}),
        (photos, {"seed": -1}),
        (photos, {"regions": np.ones((8, 8))}),
        (digit(3), {"masks": "here"}),
        (np.zeros((1, 9, 9, 1), np.float32), {}),
        (photos, {"smaples": 3}),
    ]:
        with pytest.raises(InvalidInputError) as raised:
            onnxplain.evaluate(model, what, "grad-cam", **{"metrics": ["srg"], **how})
        assert "\n" not in str(raised.value)
    with pytest.raises(UnsupportedModelError):
        onnxplain.evaluate(b"no model", digit(3))


def test_masks_and_boxes(tmp_path, command, model, photos):
    masks = tmp_path / "masks"
    masks.mkdir()
    inside = np.zeros((8, 8), np.uint8)
    inside[1:5, 2:6] = 255
    Image.fromarray(inside).save(masks / "3.png")
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"3.png": [[2, 1, 6, 5]]}))
    asked = ["-m", "saliency", "--metric", "mass-inside", "--metric", "pointing-game", "-o"]
    found = []
    for name, how in (("a", ["--masks", masks]), ("b", ["--boxes", boxes])):
        status, _, err = command("evaluate", model, *photos, *asked, tmp_path / name, *how)
        assert (status, err) == (0, "")
        found.append(read(tmp_path / name))
    assert found[0]["records"] == found[1]["records"]
    # The other photo has no object: it does not count.
    assert [record["images"] for record in found[0]["records"]] == [1] * 6
    assert [one["region"] for one in found[0]["images"]] == [0.25, None]
    a = np.maximum(onnxplain.Explainer(model, "saliency")(digit(3)).attribution[0, :, :, 0], 0)
    mass = found[0]["records"][0]
    assert (mass["metric"], mass["low"]) == ("mass-inside", mass["mean"])
    assert mass["mean"] == pytest.approx(a[1:5, 2:6].sum() / a.sum(), rel=0.02)
    boxes.write_text(json.dumps({"3.png": [[2, 1, 60, 5]]}))
    status, _, err = command("evaluate", model, *photos, *asked, tmp_path / "c", "--boxes", boxes)
    assert status == 1 and "box [2, 1, 60, 5]" in err


def test_regions_are_cropped_as_photos_are():
    card = onnxplain.Explainer(demo_model()).card
    assert card is not None
    photo = read_image(demo_photos()[0])
    whole = region_of_input(np.ones((photo.height, photo.width), bool), card)
    assert whole.shape == (224, 224) and whole.all()
    left = np.zeros((photo.height, photo.width), bool)
    left[:, : photo.width // 2] = True
    region = region_of_input(left, card)
    assert abs(region.mean() - 0.5) < 0.01 and region[:, :100].all() and not region[:, 124:].any()


def test_inputs_that_are_no_pictures():
    model, w = linear((30,))
    x = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    found = onnxplain.evaluate(model, x, ["input-x-gradient", "saliency"], target=0)
    assert {row["method"] for row in found.table()} == {"input-x-gradient", "saliency", "random"}
    assert "road" not in found.metrics and "pictures" in found.left_out["road"]
    best = next(row for row in found.table() if row["method"] == "input-x-gradient")
    assert best["sensitivity-n"] == pytest.approx(1, abs=1e-4) and w.size == 30
    assert best["infidelity"] == pytest.approx(0, abs=1e-6)


def test_token_ids():
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
        node("MatMul", ["mean", "w"], ["y"]),
    ]
    random = np.random.default_rng(0)
    sizes = {"table": (9, 3), "w": (3, 2)}
    weights = {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    ids = value("ids", ["N", 6], INT64)
    model = small(nodes, [ids], [value("y", ["N", 2])], weights)
    x = random.integers(1, 9, (3, 6))
    found = onnxplain.evaluate(model, x, "input-x-gradient", target=0)
    assert not found.failed and {"road", "max-sensitivity"} <= set(found.left_out)
    assert "sensitivity-n" in found.metrics and "srg" in found.metrics


def test_the_docs_say_what_is_measured_on_how_many():
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([a-z-]+)` \|[^|]*\|[^|]*\| (\S+)[^|]*\| [A-Z][a-z]", text, re.M))
    for name, metric in onnxplain.metrics.metrics().items():
        most = MOST_IMAGES[metric.cost]
        assert told[name] == ("all" if most is None else str(most))


def test_what_costs_much_is_of_a_seeded_sample_that_is_told():
    x = pictures(8)
    asked = "saliency", ["srg", "road", "max-sensitivity"]
    found = onnxplain.evaluate(convolutional(), x, *asked)
    counts = {record["metric"]: record["images"] for record in found.records}
    assert counts == {"srg": 8, "road": 6, "max-sensitivity": 3}
    for name, count in counts.items():
        assert np.isfinite(found.values[name]["saliency"]).sum() == count
    whole = onnxplain.evaluate(convolutional(), x, *asked, full=True)
    assert {record["images"] for record in whole.records} == {8}
    known = np.isfinite(found.values["road"]["saliency"])
    np.testing.assert_allclose(
        found.values["road"]["saliency"][known], whole.values["road"]["saliency"][known]
    )


def test_one_image_has_no_interval(model, photos):
    found = onnxplain.evaluate(model, photos[0], "saliency", "srg")
    assert all(r["low"] == r["mean"] == r["high"] for r in found.records)


def test_progress_goes_from_nothing_to_all(model, photos):
    told = []
    onnxplain.evaluate(model, photos, "saliency", progress=lambda text, done: told.append(done))
    assert told == sorted(told) and told[0] == 0 and 0.8 < told[-1] <= 1 and len(set(told)) > 20


def test_intervals_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(0)
    inside = [
        low <= 0 <= high for low, high in (interval(random.normal(size=40), k) for k in range(60))
    ]
    assert 0.85 <= np.mean(inside) <= 1


def test_findings_are_made_of_the_numbers():
    random = np.random.default_rng(0)
    good, bad = random.normal(1, 0.1, 20), random.normal(0, 0.1, 20)
    values = {
        "srg": {"a": good, "b": bad, "random": bad + 0.001},
        "deletion": {"a": good, "b": bad, "random": good + 1},
    }
    records = [
        {"metric": m, "method": k, "mean": v.mean(), "higher_is_better": m == "srg"}
        for m, of in values.items()
        for k, v in of.items()
    ]
    said = found_in(records, values)
    assert said[0].startswith("srg (higher is better) orders them a (")
    assert any("By srg, b (" in one and "a random map" in one for one in said)
    assert not any("By deletion" in one for one in said)
    assert (
        "a is ahead by srg (clearly: srg); b is ahead by deletion (clearly: deletion)" in said[-1]
    )
    values["deletion"]["a"], values["deletion"]["b"] = bad, good
    for record in records[3:]:
        record["mean"] = values["deletion"][record["method"]].mean()
    assert found_in(records, values)[-1] == "The metrics agree about the order of the methods."
