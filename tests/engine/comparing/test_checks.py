"""compare --against as a gate: each method, flips, failed images; JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from onnxplain import Drift
from onnxplain.engine.comparing.changes import MapDrift, ScoreDrift, flips_first, worst_first
from onnxplain.engine.comparing.checks import apart
from onnxplain.engine.running.answers import Top

NAN = float("nan")


def best(*pairs, start=0):
    return [Top(start + k, label, 1.0, chance) for k, (label, chance) in enumerate(pairs)]


def score(image, own, other, model="int8.onnx"):
    return ScoreDrift(image, model, 0, "x", 1.0, 0.9, own[0].label, other[0].label, own, other)


def one_map(image, method, spearman, gap=0.1, model="int8.onnx"):
    return MapDrift(image, model, method, spearman, 1.0, gap, 0.0)


SHIP = best(("missile, rocket", 0.43), ("ship", 0.2))
RIG = best(("drilling platform", 0.51), ("ship", 0.3), start=5)


def drift(maps, scores=(), judged=(), others=("int8.onnx",), **more):
    return Drift(list(maps), list(scores), {}, others=list(others), judged=list(judged), **more)


MAPS = [
    one_map("a.png", "grad-cam", 0.986),
    one_map("a.png", "deeplift", 0.13),
    one_map("a.png", "integrated-gradients", 0.19),
]


@pytest.mark.parametrize(
    ("judged", "limit", "expected"),
    [
        ((), 0.98, ["PASS grad-cam 0.986 >= 0.980"]),
        ((), 0.995, ["FAIL grad-cam 0.986 < 0.995"]),
        ((), 0.98601, ["FAIL grad-cam 0.98600 < 0.98601"]),
        (("deeplift",), 0.9, ["FAIL deeplift 0.130 < 0.900"]),
        (("grad-cam", "deeplift"), 0.1, ["PASS grad-cam 0.986 >= 0.100", "PASS deeplift 0.130 >= 0.100"]),  # noqa: E501
        (("lrp",), 0.1, ["FAIL lrp not compared: no rule for Foo"]),
        (("grad-cam",), None, []),
    ],
)  # fmt: skip
def test_methods_that_were_named_are_judged(judged, limit, expected):
    found = drift(MAPS, judged=judged, left_out={"lrp": "no rule for Foo"})
    assert found.verdict_lines(limit) == expected
    assert found.verdict(limit) == (1 if any("FAIL" in line for line in expected) else 0)


def test_a_good_file_does_not_hide_a_bad_one():
    maps = [one_map("a.png", "grad-cam", 1.0, model="a.onnx"), one_map("a.png", "grad-cam", 0.7)]
    found = drift(maps, others=("a.onnx", "int8.onnx"))
    assert found.verdict(0.8) == 1
    assert found.verdict_lines(0.8) == [
        "PASS grad-cam 1.000 >= 0.800 (a.onnx)",
        "FAIL grad-cam 0.700 < 0.800 (int8.onnx)",
    ]


@pytest.mark.parametrize(("gap", "status"), [(0.0, 0), (float("inf"), 1), (1.0, 1)])
def test_a_map_that_went_empty_is_no_agreement(gap, status):
    """Two empty maps agree; an empty one and another do not."""
    maps = [one_map("a.png", "grad-cam", NAN, gap), one_map("b.png", "grad-cam", 1.0)]
    assert drift(maps).verdict(0.9) == status


def test_flips():
    scores = [score("a.png", SHIP, SHIP), score("b.png", SHIP, RIG)]
    found = drift(MAPS, scores)
    assert found.flip_lines == ["FLIP b.png: missile 43 % -> drilling platform 51 %"]
    assert found.verdict(0.9) == 0 and found.verdict(0.9, fail_on_flip=True) == 1
    assert found.verdict_lines(None, True) == [
        "FAIL flips the top class changed for 1 of 2 images (b.png)"
    ]
    assert drift(MAPS, scores[:1]).verdict(fail_on_flip=True) == 0
    assert found.lines("out")[0] == found.flip_lines[0]


def test_classes_of_one_name_are_two():
    crane, other = best(("crane", 0.5)), best(("crane", 0.6), start=7)
    (one,) = drift([], [score("a.png", crane, other)]).flips
    assert one.flip == "crane 50 % (class 0) -> crane 60 % (class 7)"


def test_flips_come_first_then_the_worst_map():
    maps = worst_first([one_map(n, "grad-cam", s) for n, s in (("a", 0.5), ("b", 0.9), ("c", 0.7))])
    scores = [score("a", SHIP, SHIP), score("b", SHIP, RIG), score("c", SHIP, SHIP)]
    images, ranked = flips_first(scores, maps)
    assert images == ["b", "a", "c"] and [one.image for one in ranked] == images


def test_junit(tmp_path):
    found = drift(
        [*MAPS, one_map("\x00\uffff.png", "grad-cam", 0.9)],
        [score("b\x1b.png", SHIP, RIG)],
        failed=[{"image": "c.png", "error": "no"}],
    )
    found.save_junit(tmp_path / "junit.xml", 0.995, fail_on_flip=True)
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {
        "grad-cam": ["failure"],
        "deeplift": ["skipped"],
        "integrated-gradients": ["skipped"],
        "flips": ["failure"],
        "images": ["error"],
    }
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "2", "errors": "1", "skipped": "2"}
    found.save_junit(tmp_path / "junit.xml")
    (suite,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert [c[0].tag for c in suite if c.get("name") != "images"] == ["skipped"] * 4


def test_numbers_are_told_apart():
    assert apart(0.9949, 0.995) == ("0.9949", "0.9950") and apart(0.5, 0.5) == ("0.500", "0.500")
