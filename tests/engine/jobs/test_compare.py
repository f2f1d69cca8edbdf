"""compare: methods side by side, by command line and in Python."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr
from support.digits import flat_model, write_model, write_photo

import onnxplain
from onnxplain import InvalidInputError, UnsupportedModelError
from onnxplain.engine.comparing.claims import claims_of
from onnxplain.engine.comparing.likeness import by_region
from onnxplain.engine.comparing.tables import ROWS

FILES = {"panel.png", "panel.svg", "table.md", "comparison.json", "report.html"}
METHODS = ("grad-cam", "integrated-gradients", "deeplift")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    write_model(place)
    for number in (3, 7):
        write_photo(place / f"{number}.png", number)
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> onnxplain.Comparison:
    return onnxplain.compare(folder / "digits.onnx", [folder / "3.png", folder / "7.png"])


def test_a_row_for_each_method(found: onnxplain.Comparison) -> None:
    rows = {row["method"]: row for row in found.table()}
    assert tuple(rows) == METHODS and all(row["applies"] for row in rows.values())
    for name in METHODS[1:]:
        assert rows[name]["relative_delta"] < 0.02
        assert rows[name]["dummy"] < 1e-6
        assert set(rows[name]["baselines"]) == {"white", "mean", "blur"}
        assert rows[name]["negative"] > 0
    cam = rows["grad-cam"]
    assert cam["relative_delta"] is None and cam["negative"] == 0 and not cam["baselines"]
    assert cam["dummy"] > 0.01 and "places of" in cam["area"]
    for row in rows.values():
        assert row["seconds"] > 0 and row["forwards"] > 0
        assert set(row["invariance"]) == {"prepared", "optimised"}
        assert -1 <= row["between_classes"] <= 1 and 0 <= row["top_between_classes"] <= 1
        assert row["sensitivity"][0] <= row["sensitivity"][1]


def test_numbers_are_the_maps(folder: Path, found: onnxplain.Comparison) -> None:
    """Agreement and discrimination once more from explanations by hand."""
    from onnxplain.engine.inputs.image import image_to_tensor, read_image

    explainers = {m: onnxplain.Explainer(folder / "digits.onnx", m) for m in METHODS}
    card = explainers["deeplift"].card
    pairs, between = [], []
    for name in ("3.png", "7.png"):
        x, _ = image_to_tensor(read_image(folder / name), card)
        order = np.argsort(-explainers["deeplift"](x).outputs["add_out_2"][0])[:2]
        maps = {}
        for method in METHODS:
            both = [explainers[method](x, int(k)).attribution[0] for k in order]
            maps[method] = [by_region(m.sum(-1) if m.ndim == 3 else m) for m in both]
        pairs.append(spearmanr(*(maps[m][0].ravel() for m in METHODS[1:])).statistic)
        between.append(spearmanr(*(m.ravel() for m in maps["deeplift"])).statistic)
    names = found.agreement.methods
    rank = found.agreement.rank[names.index(METHODS[1]), names.index(METHODS[2])]
    assert rank == pytest.approx(np.mean(pairs), abs=0.02)
    deeplift = found.of("deeplift")
    assert deeplift is not None
    assert deeplift.between_classes == pytest.approx(np.mean(between), abs=1e-6)


def test_what_the_text_speaks_of_is_shown(found: onnxplain.Comparison) -> None:
    """The second class's maps and those against other baselines are the ones that were measured."""
    assert len(found.beside) == 2
    for method in METHODS:
        fact = found.of(method)
        assert fact is not None and fact.hiding is not None
        assert len(fact.hiding.lost) == len(fact.hiding.chance) == 2
        ranks = [one.second_rank[method] for one in found.beside]
        assert fact.between_classes == pytest.approx(np.mean(ranks))
        for choice, rank in fact.baselines.items():
            own = [one.baselines[method][choice] for one in found.beside]
            assert rank == pytest.approx(np.mean([r for _, r in own]))
            for row, (values, r) in zip(found.panels, own, strict=True):
                first = by_region(row.attributions[method])
                again = spearmanr(first.ravel(), by_region(values).ravel()).statistic
                assert r == pytest.approx(again, abs=1e-5)
    assert "beside" not in found.to_dict()


def test_the_verdict_is_the_first_line(folder: Path, tmp_path: Path, command) -> None:
    asked = ["-m", "grad-cam", "-m", "saliency", "--baseline", "black", "-o", tmp_path / "out"]
    status, out, _ = command("compare", folder / "digits.onnx", folder / "7.png", *asked)
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert status == 0 and out.splitlines()[0] == record["verdict"]
    assert "One image is few: add more." in record["verdict"]


def test_files(folder: Path, found: onnxplain.Comparison, tmp_path: Path) -> None:
    written = found.save(tmp_path / "out")
    own = {f"{k}.panel.{kind}" for k in (3, 7) for kind in ("png", "svg")}
    assert set(written) == {p.name for p in (tmp_path / "out").iterdir()} == FILES | own
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["method"] for one in record["facts"]] == list(METHODS)
    assert record["claims"] == found.claims and len(record["images"]) == 2
    text = (tmp_path / "out" / "table.md").read_text()
    assert all(row in text for row in ROWS) and "Integrated Gradients" in text
    with Image.open(tmp_path / "out" / "panel.png") as picture:
        assert picture.width > 1000
    for path in (tmp_path / "out").glob("*.svg"):
        tree = ElementTree.parse(path)
        texts = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert "Grad-CAM" in texts
        assert any("seven" in (t or "") for t in texts) == ("3" not in path.name)


def test_claims_follow_the_numbers(found: onnxplain.Comparison) -> None:
    from dataclasses import replace

    names = found.agreement.methods
    a, b = names.index("integrated-gradients"), names.index("deeplift")

    def with_rank(value: float) -> list[str]:
        rank = found.agreement.rank.copy()
        rank[a, b] = rank[b, a] = value
        return claims_of(replace(found, agreement=replace(found.agreement, rank=rank)))

    said = [next(c for c in with_rank(v) if "very similar results" in c) for v in (0.95, 0.6, 0.1)]
    assert [text.split(":")[0] for text in said] == ["Confirmed", "In part", "Contradicted"]

    def timed(seconds: float) -> str:
        facts = [
            replace(one, seconds=seconds if one.method == "deeplift" else 1.0)
            for one in found.facts
        ]
        return next(c for c in claims_of(replace(found, facts=facts)) if "efficiency" in c)

    assert timed(0.1).startswith("Confirmed") and timed(2.0).startswith("Contradicted")


def test_a_method_that_does_not_apply_says_so(tmp_path: Path, command) -> None:
    flat_model(tmp_path)
    write_photo(tmp_path / "7.png", 7)
    asked = ["-m", "grad-cam", "-m", "deeplift", "-m", "saliency"]
    status, out, err = command(
        "compare", tmp_path / "flat.onnx", tmp_path / "7.png", "-o", tmp_path / "out", *asked
    )
    assert status == 0 and "grad-cam does not apply" in err and "deeplift" in out
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["facts"]
    assert {row["method"]: row["applies"] for row in rows} == {
        "deeplift": True,
        "saliency": True,
        "grad-cam": False,
    }
    with pytest.raises(UnsupportedModelError):
        onnxplain.compare(tmp_path / "flat.onnx", tmp_path / "7.png", "grad-cam")


def test_a_bad_image_stops_no_other(folder: Path, tmp_path: Path, command) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    status, out, err = command(
        "compare", folder / "digits.onnx", tmp_path / "bad.png", folder / "7.png",
        "-o", tmp_path / "out", "-m", "saliency", "-m", "deeplift", "--baseline", "white",
    )  # fmt: skip
    assert status == 1 and "bad.png" in err and "saliency" in out
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(record["images"]) == len(record["failed"]) == 1
    assert record["settings"]["baselines"] == ["white"]
    with pytest.raises(InvalidInputError, match=r"bad\.png"):
        onnxplain.compare(folder / "digits.onnx", tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-under", "0.5"], "--fail-under goes with --against"),
        (["-m", "grad-kam"], "grad-cam"),
        (["--baseline", "pink"], "pink"),
        (["-t", "eleventy"], "eleventy"),
    ],
)
def test_wrong_usage_is_one_line(folder: Path, tmp_path: Path, command, arguments, said) -> None:
    status, _, err = command(
        "compare", folder / "digits.onnx", folder / "7.png", "-o", tmp_path / "out", *arguments
    )
    assert status == 2 and said in err and err.count("\n") == 1


def test_arrays_are_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected paths, got ndarray"):
        onnxplain.compare(folder / "digits.onnx", [np.zeros((1, 8, 8, 1))])
