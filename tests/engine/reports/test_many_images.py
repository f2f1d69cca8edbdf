"""Pages of many images: contact sheet, maps in rows, singular and plural."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.folders import ROOT
from support.pages import Read, contrast, page_of_noise

from onnxplain.engine.pictures.heatmap import heatmap_of
from onnxplain.engine.reports.html import report_html
from onnxplain.engine.reports.page import Bar, Map, Shown, Table, View, one_for_all
from onnxplain.models.text import few, listed


def page_of(margins, **more):
    """A page of images that differ in how sure the model is."""
    page = page_of_noise(len(margins), ("grad-cam",), side=16)
    images = [
        replace(
            image,
            margin=margin,
            close=margin is not None and margin < 0.1,
            bars=[Bar("tabby, tabby cat", "52 %", 0.52, True), Bar("lynx", "40 %", 0.4, False)],
        )
        for image, margin in zip(page.images, margins, strict=True)
    ]
    return replace(page, images=images, sheet=True, **more)


def links(page):
    return [a["href"] for a in Read(report_html(page)).all("a") if a["href"].startswith("#image-")]


def test_the_contact_sheet_has_the_closest_call_first():
    page = page_of([0.9, 0.02, None, 0.5, 0.0, 0.3])
    assert links(page) == ["#image-5", "#image-2", "#image-6", "#image-4", "#image-1", "#image-3"]
    text = Read(report_html(page)).text
    assert "All 6 images, the closest calls first" in text and text.count("close call") == 2
    assert "photo-4.jpg tabby 52 % lynx 40 % close call photo-1.jpg" in text


def test_without_probabilities_the_order_is_the_images():
    page = page_of([None] * 7)
    assert links(page) == [f"#image-{k}" for k in range(1, 8)]
    assert "closest" not in Read(report_html(page)).text


@pytest.mark.parametrize("count", [1, 5])
def test_few_images_need_no_sheet(count):
    assert links(page_of([0.5] * count)) == []


def test_the_sheet_draws_the_photos_that_are_there_and_adds_few_bytes():
    page = page_of([0.5] * 8)
    with_sheet, without = (len(report_html(p)) for p in (page, replace(page, sheet=False)))
    assert 0 < with_sheet - without < 8 * 600
    html = Read(report_html(page))
    uses = [one["href"] for one in html.all("use") if one["href"].startswith("#photo-")]
    ids = {one.get("id") for one in html.all("image")}
    assert len(uses) == 8 + 8 and {use[1:] for use in uses} <= ids


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 more image is not shown here"), (2, "2 more images are not shown")]
)
def test_what_is_left_out_is_counted(count, said):
    page = replace(page_of_noise(2, ("grad-cam",), side=16), images_left_out=count)
    assert said in Read(report_html(page)).text


def view(count):
    one = Map("grad-cam", heatmap_of(np.ones((2, 2)), "grad-cam", None), "for 'tabby'")
    return View("tabby", "", [one] * count)


@pytest.mark.parametrize(
    ("count", "columns"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (8, 4), (9, 3)]
)
def test_rows_of_maps_are_full_where_they_can_be(count, columns):
    assert view(count).columns == columns


@pytest.mark.parametrize(
    ("views", "rows"), [([1], 1), ([3], 1), ([4], 2), ([3, 3], 2), ([2, 2, 2], 3), ([3, 3, 6], 4)]
)
def test_rows_on_paper(views, rows):
    image = Shown("a.png", Image.new("RGB", (8, 4)), [view(count) for count in views])
    assert image.print_rows == rows and image.drawn == (4000, 2000)


def test_a_column_that_says_one_thing_is_said_once():
    table = Table("", ["Image", "Provider", "Seconds"], [["a", "CPU", 1], ["b", "CPU", 2]])
    short = one_for_all(table, "Provider")
    assert short.heads == ["Image", "Seconds"] and short.notes == ["Provider: CPU."]
    assert short.rows == [["a", 1], ["b", 2]]
    several = table._replace(rows=[["a", "CPU", 1], ["b", "CUDA", 2]])
    assert one_for_all(several, "Provider") is several and one_for_all(table, "Nothing") is table


def test_words():
    assert few(1) == "One image is few: add more." and few(10) == ""
    assert few(2, "row") == "Two rows are few: add more."
    assert [listed(list("abc")[:k]) for k in (0, 1, 2, 3)] == ["", "a", "a and b", "a, b and c"]


STYLE = (ROOT / "engine/reports/report.css").read_text(encoding="utf-8")


@pytest.mark.parametrize("start", ["color-scheme: light dark", "prefers-color-scheme: dark"])
def test_colours_of_a_table_can_be_read_and_told_apart_in_grey(start):
    begin = STYLE.index(start)
    block = STYLE[begin : STYLE.index("}", begin)]
    found = dict(re.findall(r"--(\w+): (#\w{6})", block))
    for name in ("good", "fair", "poor"):
        assert contrast(found[name], found["ink"]) >= 4.5
    assert contrast(found["good"], found["poor"]) > 1.25
