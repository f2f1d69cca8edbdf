"""compare's verdict: which method it names for given numbers, and how sure it says it is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from onnxplain import Comparison
from onnxplain.engine.comparing.facts import Agreement, MethodFacts
from onnxplain.engine.comparing.hiding import Hidden, blots, strongest_part, tried_by_hiding
from onnxplain.engine.records.record import Outcome
from onnxplain.engine.targets.recorded import TargetRecord
from onnxplain.graph_passes.select.features import with_channels
from onnxplain.models.text import part_text

TITLES = {"a": "Grad-CAM", "b": "DeepLIFT", "c": "Saliency", "d": "LRP"}
NAMES = {"a": "grad-cam", "b": "deeplift", "c": "saliency", "d": "lrp"}
PICTURE = with_channels(4, 1)


def fact(name, lost, chance=None, **more):
    chance = [0.0] * len(lost) if chance is None else chance
    own = {"between_classes": 0.6, "seconds": 0.1, **more}
    return MethodFacts(
        NAMES[name], TITLES[name], True, hiding=Hidden(lost, chance, "probability"), **own
    )


def comparison(facts, count):
    targets = [{"label": "cat", "score": 1.0, "probability": 0.6, "index": k} for k in (0, 1)]
    images = [{"image": f"{k}.png", "targets": targets} for k in range(count)]
    names = [one.method for one in facts]
    same = np.eye(len(names))
    return Comparison(facts, Agreement(names, same, same, same, {}), images, model="m.onnx")


def spread(mean, count=20, width=0.02):
    return list(mean + width * np.linspace(-1, 1, count))


def test_what_takes_most_suits_best():
    found = comparison([fact("a", spread(0.3)), fact("b", spread(0.8))], 20)
    assert found.verdict.startswith("On these 20 images DeepLIFT suits this model best: hiding ")
    assert "takes 80 % of the class's probability (Grad-CAM 30 %, places at random nothing)" in (
        found.verdict
    )
    assert "few" not in found.verdict and "chance" not in found.verdict


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "One image is few"), (3, "Three images are few"), (9, "Nine images are few"), (10, "")],
)
def test_few_images_are_said_to_be_few(count, said):
    found = comparison([fact("a", spread(0.8, count)), fact("b", spread(0.2, count))], count)
    assert said in found.verdict and ("few" in found.verdict) == bool(said)
    assert ("On this image" in found.verdict) == (count == 1)


def test_points_of_a_score_are_no_percents():
    """A score has no zero that means anything: 3 points of 0.5 are not 600 %."""
    facts = [fact("a", spread(3.0)), fact("b", spread(0.0, width=0.0))]
    facts = [replace(o, hiding=o.hiding._replace(of="score", size=0.5)) for o in facts]
    found = comparison(facts, 20)
    assert "takes 3 points of the score (DeepLIFT nothing, places at random nothing)" in (
        found.verdict
    )
    assert "DeepLIFT is no better than places at random" in found.verdict
    assert "probability" not in found.reasons[0] and "3 (at random nothing)" in found.lines("")[1]


def test_no_better_than_chance_is_said():
    random = spread(0.3)
    found = comparison(
        [fact("a", spread(0.8), random), fact("b", spread(0.31), random)], 20
    ).verdict
    assert "Grad-CAM suits" in found and "DeepLIFT is no better than places at random." in found
    none = comparison([fact(k, spread(0.31), random) for k in "ab"], 20).verdict
    assert "no method stands out" in none and "suits" not in none
    assert "(Grad-CAM 31 % and DeepLIFT 31 %; places at random 30 %)" in none


def test_a_lead_that_may_be_chance_is_called_that():
    lost = [0.9, -0.2, 0.9, -0.3]
    found = comparison([fact("a", lost), fact("b", spread(0.0, 4))], 4).verdict
    assert "Grad-CAM suits" in found and "may still be chance" in found


@pytest.mark.parametrize(
    ("more", "best"),
    [
        ({"between_classes": 0.95}, "Saliency"),
        ({"reference": "a baseline", "baselines": {"white": 0.1}}, "Saliency"),
        ({"map_error": 0.4}, "Saliency"),
        ({"between_classes": 0.1}, "Grad-CAM"),
    ],
)
def test_of_equals_the_other_numbers_decide(more, best):
    """Class-discriminative, steady against the baseline, exact."""
    found = comparison([fact("a", spread(0.8), **more), fact("c", spread(0.79))], 20).verdict
    assert f"{best} suits this model best" in found and "cannot tell it from" in found
    assert "but its other numbers are better" in found


def test_without_a_test_that_is_said():
    facts = [
        MethodFacts("grad-cam", "Grad-CAM", True, between_classes=0.1, seconds=0.1),
        MethodFacts("lrp", "LRP", True, between_classes=0.9, seconds=0.1),
    ]
    found = comparison(facts, 12).verdict
    assert "could not be tested" in found and "Grad-CAM looks best" in found


def test_numbers_that_are_not_finite_do_not_count():
    nan = float("nan")
    facts = [fact("a", [nan, 0.8, 0.8]), fact("b", [nan, 0.1, 0.1]), fact("c", [nan] * 3)]
    found = comparison(facts, 3)
    assert "takes 80 %" in found.verdict and "nan" not in found.verdict
    assert "nan" not in " ".join(found.reasons)


def test_it_stands_first_everywhere(tmp_path):
    found = comparison([fact("a", spread(0.3)), fact("b", spread(0.8))], 20)
    assert found.lines("out")[0] == found.verdict
    found.save(tmp_path)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["verdict"] == found.verdict and record["reasons"] == found.reasons
    assert record["facts"][0]["hiding"]["lost"] == pytest.approx(spread(0.3))
    table = (tmp_path / "table.md").read_text()
    assert table.index(found.verdict) < table.index("| Applies to this model")


def test_reasons_name_every_method_that_was_measured():
    facts = [
        fact("a", spread(0.3), relative_delta=None, dummy=0.1),
        fact(
            "b", spread(0.8), relative_delta=1e-6, dummy=0.0, baselines={"white": 0.2, "blur": 0.9}
        ),
    ]
    said = comparison(facts, 20).reasons
    assert all("Grad-CAM" in said[k] and "DeepLIFT" in said[k] for k in (0, 1))
    assert any("DeepLIFT 0.20 (white)" in one for one in said)
    assert any("take DeepLIFT" in one and "< 0.01 %" in one for one in said)


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0 %"), (0.00001, "< 0.01 %"), (0.0094, "0.94 %"), (0.0999, "10 %"), (0.526, "53 %")],
)
def test_parts_in_words(part, text):
    assert part_text(part) == text


@pytest.mark.parametrize("part", [0.1, 0.25])
def test_the_strongest_part(part):
    values = np.arange(400.0).reshape(20, 20) - 10
    chosen = strongest_part(values, part)
    assert chosen.sum() == part * 400 and values[chosen].min() > values[~chosen].max()
    few = np.where(values > 380, values, 0.0)
    assert strongest_part(few, part).sum() == (few > 0).sum()
    assert not strongest_part(-np.abs(values), part).any()


def test_blots_are_drawn_once_and_know_nothing():
    a, b, c = blots([24, 30], 0), blots([24, 30], 0), blots([24, 30], 1)
    assert np.array_equal(a, b) and not np.array_equal(a, c) and a.min() > 0
    assert strongest_part(a).sum() == 72


class Bright:
    """A model whose score is the mean of the left upper quarter."""

    def scores(self, x, target):
        from types import SimpleNamespace

        score = x[:, 0, :8, :8].mean(axis=(1, 2))
        return SimpleNamespace(score=score, probability=score / 10)


def test_hiding_takes_what_the_score_rests_on():
    """A map of the object takes most of it, one of the opposite corner nothing."""
    x = np.zeros((1, 1, 16, 16), np.float32)
    x[0, 0, 2:6, 2:6] = 10
    right, wrong = np.zeros((2, 1, 16, 16), np.float32)
    right[0, 2:6, 2:6], wrong[0, 11:15, 11:15] = 1, 1
    maps = {"grad-cam": right, "layer-cam": wrong, "hires-cam": np.zeros_like(right)}
    score = float(x[0, 0, :8, :8].mean())
    target = TargetRecord(index=0)
    record = Outcome(method="x", target=target, score=score, probability=score / 10)
    found = tried_by_hiding(Bright(), x, maps, PICTURE, record)
    assert found is not None and found.of == "probability"
    assert found.lost["grad-cam"] > 0.2 > abs(found.lost["layer-cam"]) + 0.15
    assert found.lost["hires-cam"] == 0 and found.chance < found.lost["grad-cam"]
    plain = tried_by_hiding(Bright(), x, maps, PICTURE, replace(record, probability=None))
    assert plain is not None and plain.of == "score" and plain.size == pytest.approx(score)
    assert plain.lost == pytest.approx({m: part * score for m, part in found.lost.items()})
    against = replace(record, target=TargetRecord(index=0, against=True))
    assert tried_by_hiding(Bright(), x, maps, PICTURE, against) is None
    assert tried_by_hiding(Bright(), x, maps, PICTURE, replace(record, probability=0.0)) is None
