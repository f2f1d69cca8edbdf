"""evaluate's verdict, and the table whose colours say what each number beats."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.engine.evaluating.evaluation import Evaluation
from onnxplain.engine.metrics import metrics
from onnxplain.engine.metrics.intervals import interval
from onnxplain.engine.reports.evaluation_page import evaluation_page, report_lines
from onnxplain.engine.reports.html import report_html
from onnxplain.engine.reports.page import Cell

CAM, IG, LIFT = "grad-cam", "integrated-gradients", "deeplift"


def evaluation(values):
    """Of metric -> method -> a number for each image."""
    values = {name: {m: np.array(v, float) for m, v in of.items()} for name, of in values.items()}
    count = len(next(iter(next(iter(values.values())).values())))
    records = []
    for name, of in values.items():
        for method, own in of.items():
            known = own[np.isfinite(own)]
            low, high = interval(known, 0)
            numbers = {"mean": known.mean(), "low": low, "high": high, "images": len(known)}
            better = metrics()[name].higher_is_better
            records.append(
                {"method": method, "metric": name, **numbers, "higher_is_better": better}
            )
    images = [{"image": f"{k}.png", "target": 0, "region": None} for k in range(count)]
    return Evaluation(records, images, values, {}, model="m.onnx")


def around(mean, count, width=0.01, seed=0):
    return mean + width * np.random.default_rng(seed).uniform(-1, 1, count)


def usual(count):
    return {
        CAM: around(0.4, count),
        IG: around(0.0, count, seed=1),
        LIFT: around(-0.01, count, seed=2),
        "random": around(0.02, count, seed=3),
        "edges": around(0.1, count, seed=4),
    }


def test_the_answer_of_three_images():
    found = evaluation({"srg": usual(3)}).verdict
    assert found.startswith("On these 3 images Grad-CAM is the most faithful (SRG 0.4")
    assert "; a random map 0.0" in found and ", an edge detector 0.1" in found
    assert "Integrated Gradients and DeepLIFT are no better than a random map." in found
    assert found.endswith("Three images are few: add more.")


@pytest.mark.parametrize(("count", "few"), [(1, True), (2, True), (9, True), (10, False)])
def test_few_images_are_said_to_be_few(count, few):
    found = evaluation({"srg": usual(count)}).verdict
    assert ("add more" in found) == few
    assert ("On this image" in found) == (count == 1)


def test_none_is_better_than_random():
    own = usual(20) | {CAM: around(0.0, 20, seed=7)}
    found = evaluation({"srg": own}).verdict
    assert "no method is better than a random map (SRG: " in found and "faithful (" not in found
    alone = {"srg": {k: own[k] for k in (CAM, "random")}}
    assert "Grad-CAM is not better than a random map" in evaluation(alone).verdict


def test_an_edge_detector_that_does_as_well_is_named():
    own = usual(20) | {"edges": around(0.4, 20, seed=9)}
    assert "but an edge detector, which knows nothing of the model, does as well" in (
        evaluation({"srg": own}).verdict
    )


def test_methods_that_cannot_be_told_apart_share_the_lead():
    own = usual(20)
    own[LIFT] = own[CAM] + np.where(np.arange(20) % 2, 0.2, -0.2)
    found = evaluation({"srg": own}).verdict
    assert "lead, and cannot be told apart," in found
    assert "Grad-CAM" in found.split(" lead,")[0] and "DeepLIFT" in found.split(" lead,")[0]
    assert "smaller than its uncertainty" in found


def test_lower_is_better_where_it_is():
    deletion = {CAM: around(0.1, 20), LIFT: around(0.6, 20), "random": around(0.5, 20, seed=1)}
    found = evaluation({"deletion": deletion}).verdict
    assert "Grad-CAM is the most faithful (deletion 0.1" in found
    assert "DeepLIFT is no better than a random map" in found


def test_other_metrics_have_a_say():
    own = usual(20)
    other = {**own, CAM: own[LIFT], LIFT: own[CAM]}
    found = evaluation({"srg": own, "insertion": own, "mass-inside": other}).verdict
    assert "1 of the 2 other metrics of faithfulness put Grad-CAM first, too." in found


def test_steadiness_alone_is_no_faithfulness():
    """A random map is as steady as can be: nothing is said to be better or worse than it."""
    steady = {CAM: around(0.1, 20), LIFT: around(0.9, 20), "random": np.full(20, 0.7)}
    found = evaluation({"max-sensitivity": steady})
    assert "was not measured" in found.verdict and "random" not in found.verdict
    assert not any("random" in one for one in found.findings)
    assert all(not c.level for row in evaluation_page(found).key.rows for c in row[1:])


def test_it_is_the_first_line_and_in_the_json():
    found = evaluation({"srg": usual(3)})
    assert report_lines(found, "out")[0] == found.verdict == found.to_dict()["verdict"]


def test_nothing_measured_is_no_traceback():
    assert Evaluation([], [], {}, {}).verdict == "Nothing could be measured."


def test_colours_say_what_is_beaten_and_numbers_are_printed():
    own = usual(20) | {LIFT: around(0.06, 20, seed=5)}
    page = evaluation_page(evaluation({"srg": own, "max-sensitivity": own}))
    cells = {row[0]: row[1:] for row in page.key.rows}
    levels = {name: row[0].level for name, row in cells.items()}
    assert levels == {
        "Grad-CAM": "good",
        "Integrated Gradients": "poor",
        "DeepLIFT": "fair",
        "Random map": "",
        "Edge detector": "",
    }
    assert all(isinstance(c, Cell) and float(c.text) < 1 for row in cells.values() for c in row)
    assert all(not row[1].level for row in cells.values())
    html = report_html(page).decode()
    # A sign for the eye, words for the ear.
    for level, sign in (("good", "▲"), ("fair", "△"), ("poor", "▽")):
        assert f'class="{level}"><span class="sign" aria-hidden="true">{sign}</span>' in html
    assert "-0.00" not in html.split("At a glance</h2>")[1].split("</table>")[0]
    # The answer, the table, then what else there is.
    order = [
        "In short",
        "At a glance</h2>",
        "What else the numbers say</h2>",
        "image by image</caption>",
    ]
    places = [html.index(text) for text in order]
    assert places == sorted(places)


def test_small_numbers_keep_two_digits():
    own = {name: numbers / 1000 for name, numbers in usual(20).items()}
    page = evaluation_page(evaluation({"srg": own}))
    assert page.key.rows[0][1].text.startswith("0.0004")


@pytest.mark.parametrize(
    ("counts", "said"),
    [((20, 20), "all 20 images"), ((20, 6), "6 of 20 images"), ((1, 1), "1 image")],
)
def test_each_metric_says_on_how_many(counts, said):
    every, measured = counts
    own = {
        name: np.where(np.arange(every) < measured, v, np.nan) for name, v in usual(every).items()
    }
    (table,) = evaluation_page(evaluation({"srg": own})).tables
    assert f"measured on {said}." in table.notes[0]
