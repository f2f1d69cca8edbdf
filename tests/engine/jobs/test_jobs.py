"""Jobs: what lands in the output folder for each image, method and target."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from support.digits import CARD, LABELS, digit, flat_model, write_photo

from onnxplain import Explainer, InvalidInputError
from onnxplain.engine.jobs.explain import Options, explain_files
from onnxplain.engine.running.session import open_session

ALWAYS = {"results.json", "results.jsonl", ".onnxplain.lock"}
METHODS = ("grad-cam", "integrated-gradients", "deeplift")
RECORD = {
    "probability_from", "close_call", "top", "evidence",
    "image", "model", "model_sha256", "method", "options", "target", "score", "probability",
    "baseline_score", "delta", "relative_delta", "map_error", "steps", "feature_map", "provider",
    "seconds", "files",
}  # fmt: skip


@pytest.fixture
def seven(tmp_path):
    return write_photo(tmp_path / "seven.png", 7)


def run(model, images, folder, **options):
    return explain_files(model, [str(path) for path in images], folder, Options(**options))


def indices(report):
    return [record["target"]["index"] for record in report.records]


def test_files_and_records(tmp_path, model, seven):
    out = tmp_path / "deep" / "out"
    report = run(model, [seven], out, provider="cpu")
    names = {f"seven.{method}.7.{kind}" for method in METHODS for kind in ("png", "npz")}
    assert {path.name for path in out.iterdir()} == names | ALWAYS
    records = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert records == report.records
    assert [record["method"] for record in records] == list(METHODS)
    for record in records:
        assert set(record) == RECORD
        assert record["image"] == str(seven) and record["model"] == str(model)
        assert len(record["model_sha256"]) == 64
        assert record["target"] == {"index": 7, "label": "seven", "output": "add_out_2"}
        assert record["provider"] == "CPUExecutionProvider" and record["seconds"] > 0
        assert record["files"] == [f"seven.{record['method']}.7.{kind}" for kind in ("png", "npz")]
    cam, gradients, deeplift = records
    assert cam["feature_map"] == "silu_out_0" and cam["steps"] is None
    assert cam["baseline_score"] is cam["delta"] is cam["relative_delta"] is None
    assert 9 <= gradients["steps"] <= 200 and gradients["relative_delta"] <= 0.01
    assert gradients["feature_map"] is None
    for record in (gradients, deeplift):
        gap = record["score"] - record["baseline_score"]
        assert abs(record["delta"]) <= (0.01 if record is gradients else 1e-3) * abs(gap)
        assert record["relative_delta"] == pytest.approx(abs(record["delta"] / gap))


def test_arrays_are_what_the_library_returns(tmp_path, model, seven):
    run(model, [seven], tmp_path)
    for method in METHODS:
        explanation = Explainer(model, method)(digit(7))
        saved = np.load(tmp_path / f"seven.{method}.7.npz")
        assert set(saved.files) == {"attribution", "input"}
        assert saved["attribution"].dtype == np.float32
        # A digit of sixteen gray levels is not quite the same in 256 of them.
        np.testing.assert_allclose(saved["input"], digit(7), atol=2e-3)
        assert saved["attribution"].shape == explanation.attribution.shape
        largest = np.abs(explanation.attribution).max()
        np.testing.assert_allclose(
            saved["attribution"], explanation.attribution, atol=0.05 * largest
        )
        with Image.open(tmp_path / f"seven.{method}.7.png") as picture:
            assert picture.mode == "RGB" and picture.width == 620


def test_targets(tmp_path, model, seven):
    targets = ("top1", "3", "eight", " NINE ", "rank2")
    report = run(model, [seven], tmp_path, methods=("grad-cam",), targets=targets)
    assert indices(report)[:4] == [7, 3, 8, 9]
    session = open_session(onnx.load(model))
    scores = session.run({"in_0": np.load(tmp_path / "seven.grad-cam.7.npz")["input"]})
    runner_up = int(np.argsort(-scores["add_out_2"][0])[1])
    assert set(indices(report)) == {7, 3, 8, 9, runner_up}
    assert [r["target"]["label"] for r in report.records] == [LABELS[i] for i in indices(report)]


def test_a_target_named_twice_is_explained_once(tmp_path, model, seven):
    targets = ("top1", "7", "seven", "-1", "top1")
    report = run(model, [seven], tmp_path, methods=("grad-cam", "deeplift"), targets=targets)
    assert indices(report) == [7, 7]


def test_labels_file(tmp_path, model, seven):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit {i}" for i in range(10)), encoding="utf-8")
    report = run(
        model, [seven], tmp_path, methods=("deeplift",), targets=("digit 4",), labels=str(labels)
    )
    assert report.records[0]["target"]["label"] == "digit 4"


@pytest.mark.parametrize("baseline", ["white", "mean", "blur", "file.npy", "file.png"])
def test_baselines(tmp_path, model, seven, baseline):
    if baseline.startswith("file"):
        baseline = str(tmp_path / baseline)
        if baseline.endswith("npy"):
            np.save(baseline, np.full((8, 8, 1), 0.25, np.float32))
        else:
            Image.new("L", (20, 20), 99).save(baseline)
    black = run(model, [seven], tmp_path, methods=("deeplift",)).records[0]
    record = run(model, [seven], tmp_path, methods=("deeplift",), baseline=baseline).records[0]
    assert record["score"] == black["score"]
    assert record["baseline_score"] != black["baseline_score"]
    assert record["relative_delta"] < 1e-4


def test_index_tuples(tmp_path, seven):
    """A score for each pixel: a class means its pixels, a tuple one of them."""
    model = pixel_model(tmp_path)
    report = run(model, [seven], tmp_path, methods=("deeplift",), targets=("2", "1,3,4"))
    assert indices(report) == [2, [1, 3, 4]]
    assert report.records[1]["files"][0] == "seven.deeplift.1-3-4.png"
    assert report.records[1]["target"]["label"] is None
    for target, problem in (
        ("3,0,0", "out of range"),
        ("1,2", "3 whole numbers"),
        ("rank2", "rank2"),
    ):
        with pytest.raises(InvalidInputError, match=problem):
            run(model, [seven], tmp_path, methods=("deeplift",), targets=(target,))


def pixel_model(folder):
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.random.default_rng(0).normal(size=(3, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", float32, ["N", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", float32, ["N", 3, 8, 8])]
    weights = [onnx.numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "pixels", inputs, outputs, weights)
    path = folder / "pixels.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    card = {key: value for key, value in CARD.items() if key != "labels"}
    path.with_suffix(".json").write_text(json.dumps({**card, "layout": "NCHW"}))
    return path


def test_a_bad_image_stops_no_other(tmp_path, model, seven):
    (tmp_path / "empty.png").touch()
    images = [tmp_path / "missing.png", seven, tmp_path / "empty.png"]
    report = run(model, images, tmp_path, methods=("grad-cam",))
    missing, good, empty = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert good["files"] and (tmp_path / good["files"][0]).stat().st_size > 1000
    for record, name in ((missing, "missing.png"), (empty, "empty.png")):
        assert set(record) == {"image", "model", "error"}
        assert record["image"] == str(tmp_path / name) and name in record["error"]
    assert [one.to_json() for one in report.failed] == [missing, empty]


def test_an_unwritable_file_is_a_failure_of_its_image(tmp_path, model, seven):
    (tmp_path / "seven.grad-cam.7.png").mkdir()
    eight = write_photo(tmp_path / "eight.png", 8)
    report = run(model, [seven, eight], tmp_path, methods=("grad-cam",))
    (failed,) = report.failed
    assert failed.image == str(seven) and "seven.grad-cam.7.png" in failed.error
    assert (tmp_path / "eight.grad-cam.8.png").is_file()


def test_what_is_written_is_on_record_when_interrupted(tmp_path, model, seven):
    def interrupt(text, done):
        if text == "again.png":
            raise KeyboardInterrupt

    again = write_photo(tmp_path / "again.png", 1)
    with pytest.raises(KeyboardInterrupt):
        explain_files(model, [str(seven), str(again)], tmp_path, Options(), interrupt)
    records = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [record["method"] for record in records] == list(METHODS)


def test_progress_rises_to_one(tmp_path, model, seven):
    told = []
    other = write_photo(tmp_path / "other.png", 3)
    images = [str(seven), str(other)]
    explain_files(model, images, tmp_path, Options(steps=50), lambda *step: told.append(step))
    fractions = [done for _, done in told]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    assert {text for text, _ in told} >= {"building deeplift", "seven.png", "other.png"}
    # Integrated Gradients tells of its chunks, not only of its end.
    assert len({done for text, done in told if text == "seven.png"}) > 10


def test_methods_that_do_not_serve_the_model_are_skipped(tmp_path, seven):
    model = flat_model(tmp_path)
    report = run(model, [seven], tmp_path)
    assert [r["method"] for r in report.records] == ["integrated-gradients", "deeplift"]
    assert list(report.skipped) == ["grad-cam"]
    assert "integrated-gradients and deeplift work" in report.skipped["grad-cam"]


def test_scores_that_are_not_finite_are_failures_that_name_the_tensor(tmp_path, seven):
    report = run(flat_model(tmp_path, scale=3e38), [seven], tmp_path, methods=("deeplift",))
    (record,) = report.failed
    assert "score" in record.error and "'y' (made by Gemm)" in record.error
    assert ": NaN" not in (tmp_path / "results.json").read_text(encoding="utf-8")


def test_two_images_of_one_name(tmp_path, model):
    images = []
    for number, folder in ((1, "a"), (2, "b")):
        (tmp_path / folder).mkdir()
        images.append(write_photo(tmp_path / folder / "same.png", number))
    report = run(model, images, tmp_path, methods=("grad-cam",))
    files = [name for record in report.records for name in record["files"]]
    assert indices(report) == [1, 2] and len(set(files)) == 4
    assert all((tmp_path / name).is_file() for name in files)
