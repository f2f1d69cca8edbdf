"""compare --against: what changed between two files of a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.stats import spearmanr
from support.digits import CARD, digit, write_model, write_photo

import onnxplain
from onnxplain import InvalidInputError

METHODS = ("saliency", "deeplift")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("drift")
    write_model(place)
    for number in (3, 7):
        write_photo(place / f"{number}.png", number)
    shutil.copyfile(place / "digits.onnx", place / "same.onnx")
    for name, size in (("noisy", 0.02), ("broken", 1.0)):
        onnx.save(with_noise(onnx.load(place / "digits.onnx"), size), place / f"{name}.onnx")
    renamed = onnx.load(place / "digits.onnx")
    rename(renamed, {"in_0": "picture", "add_out_2": "scores"})
    onnx.save(renamed, place / "renamed.onnx")
    return place


def with_noise(model: onnx.ModelProto, size: float) -> onnx.ModelProto:
    random = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 16:
            noise = random.normal(0, size * values.std(), values.shape)
            tensor.CopyFrom(numpy_helper.from_array((values + noise).astype("f4"), tensor.name))
    return model


def rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    graph = model.graph
    for one in (*graph.input, *graph.output):
        one.name = names.get(one.name, one.name)
    for one in graph.node:
        one.input[:] = [names.get(n, n) for n in one.input]
        one.output[:] = [names.get(n, n) for n in one.output]


def against(folder: Path, *others: str, **options) -> onnxplain.Drift:
    images = [folder / "3.png", folder / "7.png"]
    paths = [folder / f"{name}.onnx" for name in others]
    return onnxplain.compare(folder / "digits.onnx", images, METHODS, against=paths, **options)


def test_the_same_file_has_no_drift(folder: Path) -> None:
    found = against(folder, "same")
    assert found.mean_spearman == 1 and found.verdict(0.999) == 0
    assert all(m.relative_difference == 0 and m.top_overlap == 1 for m in found.maps)
    assert all(m.centre_moved == 0 for m in found.maps)
    assert all(s.score == s.other_score and not s.changed for s in found.scores)
    assert len(found.maps) == 4 and len(found.scores) == 2


def test_numbers_are_the_maps(folder: Path) -> None:
    found = against(folder, "noisy")
    x = digit(7)
    maps = [
        onnxplain.Explainer(folder / f"{n}.onnx", "deeplift", baseline=0)(x, 7).attribution[
            0, ..., 0
        ]
        for n in ("digits", "noisy")
    ]
    (one,) = [m for m in found.maps if m.method == "deeplift" and m.image.endswith("7.png")]
    assert one.spearman == pytest.approx(spearmanr(*(m.ravel() for m in maps)).statistic, abs=1e-3)
    gap = np.linalg.norm(maps[1] - maps[0]) / np.linalg.norm(maps[0])
    assert one.relative_difference == pytest.approx(gap, rel=1e-2)


def test_worse_files_drift_further_and_the_worst_comes_first(folder: Path) -> None:
    found = against(folder, "noisy", "broken")
    by_model = {
        Path(row["model"]).stem: row["spearman"]["mean"]
        for row in found.summary()
        if row["method"] == "deeplift"
    }
    assert by_model["broken"] < by_model["noisy"] < 1
    assert found.maps[0].model.endswith("broken.onnx")
    assert found.maps[0].spearman == min(m.spearman for m in found.maps)
    assert len(found.findings) == 2 and "broken.onnx beside digits.onnx" in found.findings[1]


def test_inputs_and_outputs_by_order_where_names_differ(folder: Path) -> None:
    found = against(folder, "renamed")
    (said,) = found.matched.values()
    assert "input 'in_0' is 'picture' there, by order" in said
    assert "output 'add_out_2' is 'scores' there, by order" in said
    assert found.mean_spearman == 1
    assert "by name" in next(iter(against(folder, "same").matched.values()))


def test_exit_status_and_files(folder: Path, tmp_path: Path, command) -> None:
    arguments = [folder / "digits.onnx", folder / "3.png", folder / "7.png", "-m", "deeplift"]
    how = ["--against", folder / "broken.onnx", "-o", tmp_path / "out"]
    status, out, err = command("compare", *arguments, *how)
    assert status == 0 and "broken.onnx beside digits.onnx" in out and "by name" in err
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"panel.png", "panel.svg", "table.md", "comparison.json"} <= files
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    mean = record["mean_spearman"]
    assert mean == pytest.approx(np.mean([m["spearman"] for m in record["maps"]]))
    for limit, expected in ((mean + 0.01, 1), (mean - 0.01, 0)):
        status, *_ = command("compare", *arguments, *how, "--fail-under", f"{limit:.4f}")
        assert status == expected


def test_a_model_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    card = {**CARD, "size": [16, 16]}
    model = onnx.load(folder / "digits.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "h"
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "w"
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "other.json").write_text(json.dumps(card))
    with pytest.raises(InvalidInputError, match=r"its input is \[1, 16, 16, 1\]"):
        onnxplain.compare(
            folder / "digits.onnx", folder / "7.png", METHODS, against=tmp_path / "other.onnx"
        )


def test_a_class_stays_the_first_models(folder: Path) -> None:
    found = against(folder, "broken", target="three")
    assert {s.label for s in found.scores} == {"three"} and {s.target for s in found.scores} == {3}


def test_a_missing_file_is_one_line(folder: Path, tmp_path: Path, command) -> None:
    status, _, err = command(
        "compare", folder / "digits.onnx", folder / "7.png", "-o", tmp_path, "--against", "no.onnx"
    )
    assert status == 2 and "no.onnx" in err and err.count("\n") == 1


def test_flips_stand_first_everywhere(folder: Path, tmp_path: Path, command) -> None:
    paths = [folder / "digits.onnx", folder / "3.png", folder / "7.png", "-m", "saliency"]
    out = tmp_path / "out"
    how = ["--against", folder / "broken.onnx", "-o", out, "--junit", tmp_path / "ci" / "j.xml"]
    status, text, _ = command("compare", *paths, *how, "--fail-on-flip")
    record = json.loads((out / "comparison.json").read_text())
    assert record["flips"] and status == 1
    assert text.splitlines()[0] == record["flips"][0] and text.splitlines()[-1].startswith("FAIL")
    for one in record["scores"]:
        assert len(one["best"]) == len(one["other_best"]) == 3
        assert one["answer"].count(" %") == 3
    page, table = (out / "report.html").read_text(), (out / "table.md").read_text()
    flip = record["flips"][0].removeprefix("FLIP ").replace(">", "&gt;")
    assert page.index(flip) < page.index("mean Spearman by method")
    assert table.index("-&gt;" if "-&gt;" in table else "->") < table.index("mean Spearman")
    assert "Best of digits.onnx" in page and "Best of broken.onnx" in page
    assert '<failure message="the top class changed' in (tmp_path / "ci" / "j.xml").read_text()


@pytest.mark.parametrize("more", [["--fail-on-flip"], ["--junit", "j.xml"], ["--fail-under", "0"]])
def test_gates_go_with_another_file(folder: Path, tmp_path: Path, command, more) -> None:
    status, _, err = command(
        "compare", folder / "digits.onnx", folder / "7.png", "-o", tmp_path / "out", *more
    )
    assert status == 2 and f"{more[0]} goes with --against" in err
