"""Reports: what the pages of explain, compare and evaluate hold, and that it is text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image
from support.digits import CARD, LABELS, write_model, write_photo
from support.folders import ROOT
from support.often import by_night
from support.pages import HOSTILE, contrast, page_of_noise, pictures_in, read

import onnxplain
from onnxplain.engine.pictures.embedded import fitted, overlaid, photo
from onnxplain.engine.pictures.heatmap import blend, heatmap_of, layer
from onnxplain.engine.pictures.matrix_svg import matrix_svg
from onnxplain.engine.reports.html import MOST_BYTES, MOST_IMAGES, report_html
from onnxplain.engine.reports.words import found_in_map, how_to_read, shares_of_parts
from onnxplain.engine.running.answers import percent

METHODS = ["-m", "grad-cam", "-m", "deeplift"]


@pytest.fixture
def photos(tmp_path):
    return [write_photo(tmp_path / f"{number}.png", number) for number in (3, 7)]


def explained(command, model, photos, out, *more):
    status, printed, _ = command("explain", model, *photos, "-o", out, "--report", *more)
    return status, printed, read(out / "report.html")


def rows_of(found):
    return json.loads((found / "results.json").read_text(encoding="utf-8"))


def test_explain_shows_its_records(tmp_path, command, model, photos):
    out = tmp_path / "out"
    status, printed, page = explained(
        command, model, photos, out, *METHODS, "-t", "top1", "-t", "rank2"
    )
    assert status == 0 and "report.html" in printed.splitlines()[-1]
    records = rows_of(out)
    assert len(records) == 8 and page.data["records"] == records
    assert len(page.all("article")) == 2 and len(page.all("img", class_="over")) == 8
    for record in records:
        for number, form in (("score", ".2f"), ("baseline_score", ".2f"), ("delta", ".1g")):
            assert record[number] is None or f" {record[number]:{form}} " in page.text
    for sentence in (record["model_sha256"] for record in records):
        assert sentence in page.text
    for name, version in page.data["versions"].items():
        assert f"{name} {version}" in page.text
    for path in photos:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page.text
    for method in ("grad-cam", "deeplift"):
        assert how_to_read(method) in page.text
        for option, value in records[0]["options"].items():
            assert option in page.text and str(value or "default") in page.text


def test_the_top_classes_are_the_files_own(tmp_path, command, model, photos):
    from support.small import run

    out = tmp_path / "out"
    _, _, page = explained(command, model, photos, out, "-m", "grad-cam")
    proto = onnx.load(model)
    for record in rows_of(out):
        name = next(file for file in record["files"] if file.endswith(".npz"))
        tensor = np.load(out / name)["input"]
        row = run(proto, {proto.graph.input[0].name: tensor})[record["target"]["output"]][0]
        order = np.argsort(-row)[:5]
        chances = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
        words = f"{LABELS[order[0]]} explained {percent(chances[order[0]])} "
        words += " ".join(f"{LABELS[k]} {percent(chances[k])}" for k in order[1:])
        assert words in page.text


def test_alt_texts_say_what_is_found(tmp_path, command, model, photos):
    out = tmp_path / "out"
    _, _, page = explained(command, model, photos[:1], out, *METHODS)
    alts = [one["alt"] for one in page.all("img", class_="over")]
    for record, alt in zip(rows_of(out), alts, strict=True):
        arrays = np.load(out / record["files"][-1])["attribution"][0]
        heatmap = heatmap_of(arrays, record["method"], 2 if arrays.ndim == 3 else None)
        title = onnxplain.methods()[record["method"]].title
        assert alt == f"{title} for 'three': {found_in_map(heatmap, record['method'])}"
    assert all(one.get("alt") for one in page.all("img"))
    for one in page.all("svg"):
        assert one.get("aria-hidden") == "true" or one.get("aria-label"), one


@pytest.mark.parametrize("place", range(9))
def test_places_in_words(place):
    words = ["upper left", "top middle", "upper right", "left", "centre", "right"]
    words += ["lower left", "bottom middle", "lower right"]
    values = np.full((9, 12), 0.01)
    row, column = divmod(place, 3)
    values[3 * row + 1, 4 * column + 1] = 5.0
    share = (5.0 + 11 * 0.01) / values.sum()
    assert share > 0 or place
    found = found_in_map(heatmap_of(values, "grad-cam", None), "grad-cam")
    share = (5.0 + 11 * 0.01) / (5.0 + 107 * 0.01)
    assert found.startswith(
        f"most evidence in the {words[place]} ninth ({100 * share:.0f} % of it)"
    )
    signed = found_in_map(heatmap_of(-values, "deeplift", None), "deeplift")
    assert "100 % of all is evidence against it" in signed and words[place] in signed
    assert shares_of_parts(values).sum() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 2)])
def test_small_and_empty_maps_have_words(shape):
    some = heatmap_of(np.ones(shape), "grad-cam", None)
    assert "most evidence" in found_in_map(some, "grad-cam")
    none = heatmap_of(np.zeros(shape), "grad-cam", None)
    assert "zero everywhere" in found_in_map(none, "grad-cam")


@pytest.mark.parametrize("method", list(onnxplain.methods()))
def test_every_method_is_read_in_two_sentences(method):
    record = onnxplain.methods()[method]
    text = how_to_read(method)
    assert text.startswith(record.summary.rstrip(".")) and text.endswith(".")
    assert text.count(". ") == 1
    assert (f"blue {record.sign[0]}" in text) == record.signed
    assert record.sums_to is None or record.sums_to in text


@pytest.mark.parametrize("method", ["grad-cam", "deeplift"])
def test_a_layer_over_its_ground_is_the_picture(method):
    random = np.random.default_rng(1)
    view = Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8))
    heatmap = heatmap_of(random.normal(size=(20, 30)), method, None)
    size = (60, 40)
    drawn = np.asarray(blend(view, heatmap, size), np.float64)
    gray = np.asarray(view.convert("L"), np.float64)[:, :, None]
    # What the page's style sheet does to the photo: grayscale, and paleness over white.
    ground = np.asarray(view, np.float64)
    if heatmap.signed:
        ground = 0.4 * 255 + 0.6 * gray
    top = np.asarray(layer(heatmap, size), np.float64)
    alpha = top[:, :, 3:] / 255
    assert np.abs(alpha * top[:, :, :3] + (1 - alpha) * ground - drawn).max() < 4


@pytest.mark.parametrize(
    "methods",
    [
        pytest.param(("grad-cam",), marks=by_night),
        ("grad-cam", "integrated-gradients", "lrp"),
    ],
)
def test_a_hundred_images_fit(methods):
    content = report_html(page_of_noise(100, methods))
    assert len(content) <= MOST_BYTES
    assert content.count(b"<article") == 100 and b"more images" not in content
    pictures = pictures_in(content)
    # The two bars, and for each image a photo and its maps.
    assert len(pictures) == 2 + 100 * (1 + len(methods))
    assert min(max(one.size) for one in pictures[2:]) >= 96
    assert len(content) > MOST_BYTES / 2


def test_what_does_not_fit_is_said():
    page = page_of_noise(12, ("grad-cam", "lrp"))
    content = report_html(page, most=60_000)
    shown = content.count(b"<article")
    assert len(content) <= 60_000 and 0 < shown < 12
    assert f"{12 - shown} more images are not shown here" in content.decode()
    many = page_of_noise(MOST_IMAGES + 3, ("grad-cam",), side=16)
    assert b"3 more images are not shown" in report_html(many)


def test_sizes_are_measured_on_bytes():
    page = page_of_noise(4, ("lrp",))
    draws = [photo(one.photo) for one in page.images]
    draws += [overlaid(v.maps[0].heatmap, one.photo) for one in page.images for v in one.views]
    before = 0
    for room in (20_000, 60_000, 400_000):
        made = fitted(draws, room)
        assert made is not None and before < sum(map(len, made)) <= room
        before = sum(map(len, made))
    assert fitted(draws, 1000) is None and fitted([], 0) == []


STYLE = (ROOT / "engine/reports/report.css").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_in_drawings_can_be_read(scheme):
    """Of letters in drawings axe cannot tell what lies under them."""
    begin = STYLE.index("prefers-color-scheme: dark") if scheme == "dark" else 0
    found = dict(re.findall(r"--(\w+): (#\w{6})", STYLE[begin : STYLE.index("}", begin)]))
    for ink in ("ink", "faint", "accent"):
        for paper in ("paper", "card", "mark"):
            assert contrast(found[ink], found[paper]) >= 4.5
    assert contrast(found["bar"], found["paper"]) >= 3


def test_numbers_in_a_matrix_can_be_read():
    letters = dict(re.findall(r"text\.(light|dark) { fill: (#\w{6})", STYLE))
    values = np.linspace(-1, 1, 81).reshape(9, 9)
    drawn = matrix_svg([f"<{k}>" for k in range(9)], values)
    cells = re.findall(r'fill="(#\w{6})"/><text class="(\w+)"[^>]*>([^<]+)<', drawn)
    assert [text for *_, text in cells] == [f"{value:.2f}" for value in values.ravel()]
    assert all(contrast(colour, letters[kind]) >= 4.5 for colour, kind, _ in cells)
    assert "<0>" not in drawn and ">-</text>" in matrix_svg(["a"], np.full((1, 1), np.nan))


def test_it_needs_nothing_else(tmp_path, command, model, photos):
    out = tmp_path / "out"
    _, _, page = explained(command, model, photos, out, *METHODS)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    for name, own in page.elements:
        assert name not in ("link", "iframe", "object", "embed", "base", "audio", "video")
        assert not [key for key in own if key.startswith("on") or key == "style"]
        for key in ("src", "href"):
            assert own.get(key, "#").startswith(("#", "data:image/webp;base64,"))


def test_the_policy_names_its_style_and_script(tmp_path, command, model, photos):
    out = tmp_path / "out"
    _, _, page = explained(command, model, photos[:1], out, "-m", "grad-cam")
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    text = (out / "report.html").read_text(encoding="utf-8")
    for tag in ("style", "script"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy["content"]
    assert "default-src 'none'" in policy["content"] and "unsafe" not in policy["content"]


def hostile_files(tmp_path, text):
    """A model, a label and a photo that are called so, as far as a file system takes it."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    name = text.replace("/", "_").replace("\x00", "_")
    card = {**CARD, "labels": [f"{text} {k}" for k in range(10)]}
    source = write_model(folder, card)
    model = folder / f"{name}.onnx"
    proto = onnx.load(source)
    # The feature map's name, too.
    inner = [tensor for node in proto.graph.node for tensor in node.output]
    kept = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for place, one in enumerate(names):
                if one in inner and one not in kept:
                    names[place] = f"{one}{text}".replace("\x00", "")
    onnx.save(proto, model)
    source.unlink()
    source.with_suffix(".json").rename(model.with_suffix(".json"))
    return model, write_photo(folder / "3.png", 3).rename(folder / f"{name}.png")


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_texts_are_text(tmp_path, command, text):
    plain = explained(
        command,
        write_model(tmp_path),
        [write_photo(tmp_path / "3.png", 3)],
        tmp_path / "a",
        *METHODS,
    )[2]
    model, image = hostile_files(tmp_path, text)
    status, _, page = explained(command, model, [image], tmp_path / "b", *METHODS)
    assert status == 0
    # The very same elements with the very same attributes.
    assert page.tags == plain.tags
    content = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028]", content)
    assert page.data["records"] == rows_of(tmp_path / "b")
    assert page.data["records"][0]["target"]["label"].startswith(text)


def test_what_fails_is_listed(tmp_path, command, model, photos):
    out, bad = tmp_path / "out", tmp_path / "bad<b>.png"
    bad.write_text("no image")
    status, _, page = explained(command, model, [*photos, bad], out, "-m", "grad-cam")
    assert status == 1 and len(page.all("article")) == 2
    assert "Images that failed" in page.text and "expected an image" in page.text
    _, _, page = explained(command, model, [bad], tmp_path / "none", "-m", "grad-cam")
    assert "Nothing could be explained" in page.text and not page.all("article")


def test_resuming_shows_what_was_there(tmp_path, command, model, photos):
    out = tmp_path / "out"
    command("explain", model, photos[0], "-o", out, "-m", "grad-cam")
    _, _, page = explained(
        command, model, photos, out, *METHODS, "--resume", "--no-pictures", "-t", "top1"
    )
    assert len(page.all("article")) == 2 and len(page.all("img", class_="over")) == 4
    assert len(page.data["records"]) == 4
    photos[0].unlink()
    shutil.copy(photos[1], photos[0])
    _, _, page = explained(command, model, photos, out, *METHODS, "--resume", "--no-pictures")
    assert page.text.count("seven explained") == 2 and "three explained" not in page.text
    # The same photo by another path is the same photo.
    beside = photos[0].parent / "." / ".." / photos[0].parent.name / photos[0].name
    more = ["-m", "grad-cam", "-m", "saliency", "--resume"]
    _, _, page = explained(command, model, [str(beside)], out, *more)
    assert len(page.all("article")) == 1 and len(page.all("img", class_="over")) == 2


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04"])
def test_arrays_that_are_damaged_are_said(tmp_path, command, model, photos, content):
    out = tmp_path / "out"
    command("explain", model, *photos, "-o", out, "-m", "grad-cam")
    name = next(f for f in rows_of(out)[0]["files"] if f.endswith(".npz"))
    (out / name).write_bytes(content)
    status, _, page = explained(command, model, photos, out, "-m", "grad-cam", "--resume")
    assert status == 0 and len(page.all("article")) == 1
    assert "What is missing" in page.text and f"{photos[0]}, its maps: " in page.text


def test_without_a_report_there_is_none(tmp_path, command, model, photos):
    command("explain", model, photos[0], "-o", tmp_path / "out", "-m", "grad-cam")
    assert not (tmp_path / "out" / "report.html").exists()


def test_compare_and_its_report(tmp_path, command, model, photos):
    out = tmp_path / "out"
    status, _, _ = command("compare", model, *photos, "-o", out, *METHODS)
    found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    page = read(out / "report.html")
    assert status == 0 and page.data == found
    for sentence in (found["verdict"], *found["reasons"]):
        assert " ".join(sentence.split()) in page.text
    # The literature's table comes last, and nothing is argued.
    assert page.text.index(found["verdict"]) < page.text.index("Completeness (largest")
    assert "Contradicted" not in page.text and "Confirmed" not in page.text
    matrix = found["agreement"]["rank"]
    assert page.text.count(f"{matrix[0][1]:.2f}") >= 4
    # Of each photo both classes by both methods, and DeepLIFT against three other baselines.
    assert len(page.all("article")) == 2 and len(page.all("img", class_="over")) == 2 * (4 + 3)
    for choice in ("white", "mean", "blur"):
        assert page.text.count(f"DeepLIFT, against {choice}") == 2
    assert page.text.count("correlation with the map for") == 4
    assert "Completeness (largest relative delta)" in page.text


def test_files_of_a_model_and_their_report(tmp_path, model, photos):
    other = tmp_path / "other.onnx"
    proto = onnx.load(model)
    for weight in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim > 1:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(0.9), weight.name))
    onnx.save(proto, other)
    drift = onnxplain.compare(model, photos, ["grad-cam", "saliency"], against=other)
    names = drift.save(tmp_path / "out")
    assert "report.html" in names
    page = read(tmp_path / "out" / "report.html")
    for finding in drift.findings:
        assert finding in page.text
    # For each photo the first model, the other one and their difference.
    assert len(page.all("img", class_="over")) == 2 * 3 * 2
    assert sum("the gap of other.onnx less" in one["alt"] for one in page.all("img")) == 4
    for digest in drift.sha256:
        assert digest in page.text
    for score in drift.scores:
        assert f"{score.score:.3f} {score.other_score:.3f}" in page.text


def test_evaluate_and_its_report(tmp_path, command, model, photos):
    out = tmp_path / "out"
    metrics = ["--metric", "srg", "--metric", "deletion"]
    command("evaluate", model, *photos, "-o", out, *METHODS, *metrics)
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    page = read(out / "report.html")
    for record in found["records"]:
        low, high = record["low"], record["high"]
        texts = [f"{round(v, 2) + 0.0:.2f}" for v in (record["mean"], low, high)]
        assert f"{texts[0]} {texts[1]} to {texts[2]}" in page.text
    assert page.text.index(found["verdict"]) < page.text.index(found["findings"][0])
    for finding in found["findings"]:
        assert finding in page.text
    assert page.data["records"] == found["records"]
    assert page.all("polyline") and found["model_sha256"] in page.text
