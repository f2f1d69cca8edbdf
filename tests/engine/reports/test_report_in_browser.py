"""Reports in a browser: keyboard, print, accessibility, no script, and nothing foreign that runs.

They need Chromium (CHROMIUM says where, else it is looked for) and `pip install -e '.[browser]'`.
"""

from __future__ import annotations

import io
import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.browsers import axe_api, chromium, watched
from support.digits import write_model, write_photo
from support.often import often
from support.pages import HOSTILE, page_of_noise

from onnxplain import cli
from onnxplain.engine.pictures.heatmap import blend, heatmap_of
from onnxplain.engine.reports.html import report_html, write_report
from onnxplain.engine.reports.page import Map, Shown, View


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The reports of all commands, by name."""
    folder = tmp_path_factory.mktemp("reports")
    model = write_model(folder)
    photos = [write_photo(folder / f"{number}.png", number) for number in (3, 7, 8)]
    (folder / "bad.png").write_text("no image")
    methods = ["-m", "grad-cam", "-m", "deeplift"]
    asked = {
        "explain": [folder / "bad.png", *methods, "-t", "top1", "-t", "rank2", "--report"],
        "compare": methods,
        "drift": [*methods, "--against", shutil.copy(model, folder / "other.onnx")],
        "evaluate": [*methods, "--metric", "srg", "--metric", "deletion"],
    }
    for name, arguments in asked.items():
        command = "compare" if name == "drift" else name
        with pytest.raises(SystemExit):
            cli.main(list(map(str, [command, model, *photos, "-o", folder / name, *arguments])))
    return {name: folder / name / "report.html" for name in asked}


@pytest.fixture
def shown(browser):
    """Open a report; at the end nothing else was loaded, and nothing complained or asked."""

    def show(path, **how):
        own = path.resolve().as_uri()
        page = blank(lambda url: url.startswith("data:") or url.split("#")[0] == own, **how)
        page.goto(own)
        return page

    with watched(browser) as blank:
        yield show


def visible(page, what):
    """How many of these are seen."""
    return sum(one.is_visible() for one in page.query_selector_all(what))


COMMANDS = ("explain", "compare", "drift", "evaluate")


# By day each page narrow in the dark, and wide in the light.
AXE = list(itertools.product((400, 1200), COMMANDS, ("light", "dark")))
BY_DAY = [case for case in AXE if (case[0] == 400) == (case[2] == "dark")]


@pytest.mark.parametrize(("width", "name", "scheme"), often(BY_DAY, AXE))
def test_axe_finds_nothing(shown, reports, name, scheme, width):
    page = shown(reports[name], color_scheme=scheme, viewport={"width": width, "height": 900})
    if name != "evaluate":
        page.select_option("#choose-image", "all")
    found = axe_api.Axe().run(page).response
    assert len(found["passes"]) > 15
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_narrow_pages_do_not_scroll_sideways(shown, reports, name):
    page = shown(reports[name], viewport={"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_switches_by_keyboard(shown, reports):
    page = shown(reports["explain"])
    assert (visible(page, ".image"), visible(page, ".view"), visible(page, ".map")) == (1, 1, 2)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    for control in ("choose-image", "next", "choose-view", "method", "opacity"):
        assert control in reached
    page.focus("#next")
    page.keyboard.press("Enter")
    assert page.is_visible("#image-2") and not page.is_visible("#image-1")
    page.focus("#choose-view")
    page.keyboard.press("ArrowDown")
    assert page.is_visible("#image-2 [data-view='1']")
    assert not page.is_visible("#image-2 [data-view='0']")
    page.focus("input[name=method]")
    page.keyboard.press("ArrowDown")
    assert visible(page, ".map[data-method=grad-cam]") == 1
    assert visible(page, ".map[data-method=deeplift]") == 0
    assert "grad-cam" in page.inner_text("#said").lower()
    page.focus("#choose-image")
    page.keyboard.press("Home")
    assert visible(page, ".image") == 3


def test_the_slider_by_keyboard(shown, reports):
    page = shown(reports["explain"])

    def opacity():
        return float(page.evaluate("getComputedStyle(document.querySelector('.over')).opacity"))

    assert opacity() == 1
    page.focus("#opacity")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert opacity() == pytest.approx(0.8) and page.inner_text("#opacity-said") == "80 %"
    page.keyboard.press("Home")
    assert opacity() == 0


def test_focus_is_seen(shown, reports):
    page = shown(reports["explain"])
    for _ in range(12):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none"


@pytest.mark.parametrize("scripts", [True, False])
def test_print_shows_all(shown, reports, scripts):
    page = shown(reports["explain"], java_script_enabled=scripts)
    page.emulate_media(media="print")
    assert (visible(page, ".image"), visible(page, ".map")) == (3, 12)
    assert not page.is_visible(".controls") and not page.is_visible("nav")
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_all_is_shown(shown, reports):
    page = shown(reports["explain"], java_script_enabled=False)
    assert (visible(page, ".image"), visible(page, ".map")) == (3, 12)
    assert not page.is_visible("#controls")


def test_a_link_to_an_image_shows_it(shown, reports):
    page = shown(reports["explain"])
    page.evaluate("location.hash = 'image-3'")
    page.wait_for_function("document.querySelector('#choose-image').value === 'image-3'")
    assert page.is_visible("#image-3") and visible(page, ".image") == 1


@pytest.mark.parametrize("method", ["grad-cam", "deeplift"])
def test_a_map_looks_as_its_picture(shown, tmp_path, method):
    """What the browser makes of photo and layer is what the picture of the command line shows."""
    page = page_of_noise(1, (method,))
    smooth = np.random.default_rng(2).integers(0, 256, (6, 6, 3), np.uint8)
    photo = Image.fromarray(smooth).resize((360, 360), Image.Resampling.BICUBIC)
    values = np.random.default_rng(3).normal(size=(9, 9)).astype(np.float32)
    few = Image.fromarray(values).resize((224, 224), Image.Resampling.BICUBIC)
    own = Map(method, heatmap_of(np.asarray(few), method, None), "for 'tabby'")
    image = Shown("smooth.png", photo, [View("tabby", "", [own])])
    write_report(replace(page, images=[image]), tmp_path)
    stack = shown(tmp_path / "report.html").query_selector(".stack")
    seen = Image.open(io.BytesIO(stack.screenshot())).convert("RGB")
    drawn = blend(photo, own.heatmap, seen.size)
    gap = np.abs(np.asarray(seen, np.float64) - np.asarray(drawn, np.float64))
    # WebP, two enlargements, and corners that are round.
    assert gap[20:-20, 20:-20].mean() < 6


def test_foreign_texts_run_nothing(shown, tmp_path):
    page = page_of_noise(2, ("grad-cam", "lrp"), side=32)
    text = " ".join(HOSTILE)
    for one in page.images:
        object.__setattr__(one, "path", text)
        object.__setattr__(one, "facts", [(text, text)])
        for view in one.views:
            object.__setattr__(view, "name", text)
            for own in view.maps:
                object.__setattr__(own, "subject", text)
    object.__setattr__(page, "data", {text: [text]})
    object.__setattr__(page, "title", text)
    object.__setattr__(page, "failed", [(text, text)])
    write_report(page, tmp_path)
    opened = shown(tmp_path / "report.html")
    assert opened.title().startswith("<script>alert(1)</script>")
    opened.click("#next")
    opened.select_option("#choose-image", "all")
    counts = opened.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.matches('script, b, [onclick]')).length"
    )
    assert counts == 2
    assert opened.evaluate("JSON.parse(document.getElementById('data').textContent)") == {
        text: [text]
    }


def test_many_images_open(shown, tmp_path):
    count = often(12, 100)
    (tmp_path / "report.html").write_bytes(report_html(page_of_noise(count, ("grad-cam", "lrp"))))
    page = shown(tmp_path / "report.html")
    assert page.query_selector_all("#choose-image option")[-1].inner_text() == (
        f"{count}. photo-{count - 1}.jpg"
    )
    broken = page.evaluate("[...document.images].filter(one => !one.naturalWidth).length")
    assert broken == 0 and page.evaluate("document.images.length") == 2 * count
    page.emulate_media(media="print")
    assert visible(page, ".image") == count


def lefts(page, what):
    """Where the elements of each row begin, row by row."""
    rows = {}
    for one in page.query_selector_all(what):
        box = one.bounding_box()
        rows.setdefault(round(box["y"]), []).append(round(box["x"]))
    return list(rows.values())


@pytest.mark.parametrize(("width", "columns"), [(1200, 3), (800, 2), (400, 1)])
def test_three_maps_stand_in_a_row_where_they_fit(shown, tmp_path, width, columns):
    write_report(page_of_noise(1, ("grad-cam", "deeplift", "lrp"), side=32), tmp_path)
    page = shown(tmp_path / "report.html", viewport={"width": width, "height": 900})
    assert max(map(len, lefts(page, ".map"))) == columns
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def sheet_of(count, methods=("grad-cam", "deeplift", "lrp"), views=1, side=32):
    page = page_of_noise(count, methods, side)
    images = [
        replace(one, margin=(k * 7 % count) / count, views=list(one.views) * views)
        for k, one in enumerate(page.images)
    ]
    return replace(page, images=images, sheet=True)


def test_the_contact_sheet_leads_to_an_image(shown, tmp_path):
    write_report(sheet_of(6), tmp_path)
    page = shown(tmp_path / "report.html")
    assert page.inner_text(".sheet li:nth-child(2) .name") == "photo-1.jpg"
    page.click(".sheet li:nth-child(2) a")
    page.wait_for_function("document.querySelector('#choose-image').value === 'image-2'")
    assert page.is_visible("#image-2") and visible(page, ".image") == 1
    # The photos of images that are not shown themselves are drawn, too.
    photo = page.query_selector(".sheet li:nth-child(5) svg").screenshot()
    assert len(Image.open(io.BytesIO(photo)).convert("L").getcolors()) > 20


@pytest.mark.parametrize(
    ("paper", "shape", "views"),
    [
        ("Letter", (40, 40), 1),
        ("Letter", (40, 60), 1),
        ("Letter", (60, 40), 2),
        ("Letter", (40, 60), 3),
        ("A4", (40, 40), 3),
    ],
)
def test_an_image_is_printed_on_one_sheet(shown, tmp_path, paper, shape, views):
    """Photo and maps are together: two images more are two sheets more."""
    sheets = []
    for count in (2, 4):
        page = sheet_of(count, views=views)
        images = [replace(one, photo=one.photo.resize(shape)) for one in page.images]
        write_report(replace(page, images=images, sheet=False), tmp_path)
        printed = shown(tmp_path / "report.html").pdf(format=paper)
        sheets.append(printed.count(b"/Type /Page\n"))
    assert sheets[0] > 0 and sheets[1] - sheets[0] == 2
