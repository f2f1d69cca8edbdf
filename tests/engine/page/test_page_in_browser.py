"""The page in a browser: its pictures and numbers, the keyboard, wrong files, nothing outside.

They need Chromium, `pip install -e '.[browser]'`, and onnxruntime-web: ONNXPLAIN_RUNTIME says
where it is (see `onnxplain serve --help`), else it is fetched into the user's cache.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import threading

import numpy as np
import pytest
from PIL import Image
from support.browsers import axe_api, chromium, watched
from support.digits import CARD, LABELS, simple, write_model, write_photo
from support.often import thinned

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.inputs import kind_of_arrays, read_input
from onnxplain.engine.jobs.page import page_of_model
from onnxplain.engine.page import runtime
from onnxplain.engine.page.server import served
from onnxplain.engine.pictures.heatmap import blend, fit
from onnxplain.engine.running.answers import percent
from onnxplain.graph_passes.finish.look import WITHIN
from onnxplain.models.shipped import demo_model, demo_photos

METHODS = ("grad-cam", "deeplift")
# Seconds that a run may take on a busy machine.
PATIENCE = 60_000
DROP = """([bytes, name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, {type}));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector("main").dispatchEvent(
      new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
  }
}"""
PIXELS = "(id) => document.getElementById(id).toDataURL('image/png').split(',')[1]"


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def files():
    """A folder with onnxruntime-web, or its archive; None: the user's cache."""
    given = os.environ.get("ONNXPLAIN_RUNTIME")
    try:
        runtime.runtime_files(given)
    except InvalidInputError as error:
        pytest.skip(f"no onnxruntime-web: {error}")
    return given


@pytest.fixture(scope="module")
def sites(tmp_path_factory, files):
    """The address of a model's page, made once."""
    opened, made = [], {}

    def site(name, model, methods=METHODS):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            page_of_model(str(model), str(folder), methods=methods, runtime=files)
            context = served(folder)
            server = context.__enter__()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            opened.append((context, server))
            made[name] = f"http://127.0.0.1:{server.server_address[1]}/"
        return made[name]

    yield site
    for context, server in opened:
        server.shutdown()
        context.__exit__(None, None, None)


@pytest.fixture
def shown(browser):
    """Open a page; at the end nothing came from elsewhere, and nothing complained or asked."""

    def show(address, **how):
        page = blank(lambda url: url.startswith((address, f"blob:{address}")), **how)
        page.goto(address)
        page.wait_for_selector("#status:has-text('Ready')")
        return page

    with watched(browser) as blank:
        yield show


def drop(page, content: bytes, name="photo.png", kind="image/png"):
    page.evaluate(DROP, [base64.b64encode(content).decode(), name, kind])


def until(page, *words):
    """Wait until the page says that it has explained this."""
    for word in words:
        page.wait_for_selector(f"#status:has-text('{word}')", timeout=PATIENCE)
    page.wait_for_selector("#status:has-text('done in')", timeout=PATIENCE)
    return page.inner_text("#status")


def canvas(page, name) -> np.ndarray:
    png = base64.b64decode(page.evaluate(PIXELS, name))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float64)


def own_picture(explainer, photo, e) -> tuple[np.ndarray, np.ndarray]:
    """What the command line lays over the photo, and what it lays it over."""
    view = read_input(photo, explainer.into).view()
    heatmap = kind_of_arrays(explainer.into).draw(e.attribution[0], explainer.into, e.method)
    size = fit(view.size, *WITHIN)
    plain = view.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return np.asarray(blend(view, heatmap, size), np.float64), np.asarray(plain, np.float64)


def answers(page) -> list[tuple[str, str]]:
    """The rows of the answer: label and probability."""
    rows = page.query_selector_all("#answer label")
    return [
        (r.query_selector("span").inner_text(), r.query_selector("b").inner_text()) for r in rows
    ]


def turned_jpeg() -> bytes:
    """A photo that lies on its side, and says so."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(demo_photos()[1]) as cat:
        turned = cat.convert("RGB").transpose(Image.Transpose.ROTATE_90)
        turned.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def glass() -> bytes:
    """A photo that one looks through."""
    with Image.open(demo_photos()[1]) as cat:
        rgba = np.asarray(cat.convert("RGBA")).copy()
    rgba[:, :, 3] = np.linspace(0, 255, rgba.shape[1]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return file.getvalue()


def test_the_page_is_the_command_line(shown, sites):
    """Pictures, answer and numbers, of photos as they come."""
    page = shown(sites("demo", demo_model()))
    explainers = {name: onnxplain.Explainer(demo_model(), name) for name in METHODS}
    photos = {"coffee.png": demo_photos()[0].read_bytes(), "turned.jpg": turned_jpeg()}
    photos["glass.png"] = glass()
    for name, content in photos.items():
        kind = "image/jpeg" if name.endswith("jpg") else "image/png"
        drop(page, content, name, kind)
        page.wait_for_selector(f"#stack[aria-label^='{name}']", timeout=PATIENCE)
        for method, explainer in explainers.items():
            e = explainer.explain(content)
            page.check(f"input[name=method][value={method}]")
            words = f"{name} with the {onnxplain.methods()[method].title} map of {e.label} over it"
            page.wait_for_selector(f'#stack[aria-label="{words}"]', timeout=PATIENCE)
            picture, view = own_picture(explainer, content, e)
            assert np.abs(canvas(page, "picture") - picture).mean() < 2, (name, method)
            assert np.abs(canvas(page, "view") - view).mean() < 2, (name, method)
            assert abs(float(page.inner_text("#score")) - e.score[0]) < 0.02
            assert [label for label, _ in answers(page)[:3]] == [one.label for one in e.top(3)]
            first = answers(page)[0][1]
            assert abs(float(first.strip("<> %")) / 100 - (e.probability or 0)) < 0.01
            assert first in page.inner_text("#status")
            told = page.inner_text("#delta")
            assert told == "none" if e.delta is None else told.startswith("complete")


def test_how_exact_a_map_is(shown, sites, tmp_path):
    """As the picture's line says it: how exactly it sums, and how good the map is itself."""
    methods = ("integrated-gradients", "grad-cam", "deeplift")
    page = shown(sites("digits exactly", write_model(tmp_path), methods))
    photo = write_photo(tmp_path / "7.png", 7)
    drop(page, photo.read_bytes())
    until(page, "of seven")
    for method in methods:
        e = onnxplain.Explainer(write_model(tmp_path), method).explain(photo)
        page.check(f"input[name=method][value={method}]")
        until(page, onnxplain.methods()[method].title)
        told = page.inner_text("#delta")
        if e.relative_delta is None:
            assert told == "none"
            continue
        sums, _, good = told.partition(", map good to ")
        assert sums.startswith("complete ")
        part = float(re.sub(r"[^0-9.]", "", sums)) / 100
        assert abs(part - max(e.relative_delta[0], 1e-4)) < 0.1 * part + 1e-6
        assert bool(good) == (e.map_error is not None)
        if e.map_error is not None:
            assert float(good.removesuffix(" %")) / 100 == pytest.approx(e.map_error[0], rel=0.1)


@pytest.mark.parametrize("method", thinned(METHODS, 2))
def test_classes_by_name_and_number(shown, sites, tmp_path, method):
    page = shown(sites("digits", write_model(tmp_path)))
    photo = write_photo(tmp_path / "7.png", 7).read_bytes()
    explainer = onnxplain.Explainer(write_model(tmp_path), method)
    drop(page, photo)
    until(page, "of seven")
    page.check(f"input[name=method][value={method}]")
    for text, index in (("three", 3), ("9", 9), ("ZERO", 0)):
        page.fill("#class", text)
        page.press("#class", "Enter")
        until(page, f"of {LABELS[index]}")
        e = explainer.explain(photo, index)
        assert abs(float(page.inner_text("#score")) - e.score[0]) < 2e-3
        assert np.abs(canvas(page, "picture") - own_picture(explainer, photo, e)[0]).mean() < 2
        assert page.inner_text("#answer label:has(:checked) span") == LABELS[index]
    page.fill("#class", "eleven")
    page.press("#class", "Enter")
    said = page.wait_for_selector("#error:has-text('eleven')").inner_text()
    assert said == "No class “eleven”: expected a name of the list, or a number from 0 to 9."


@pytest.mark.parametrize("how", ["logits", "sigmoid", "softmax in the file", "float16"])
def test_probabilities_are_those_of_python(shown, sites, tmp_path, how):
    nodes = [("Flatten", ["x"], ["f"]), ("Gemm", ["f", "w"], ["z"])]
    if how == "float16":
        nodes += [("Cast", ["z"], ["y"], {"to": 10})]
        model = simple(nodes, output_type=10)
    else:
        last = "Softmax" if how == "softmax in the file" else "Identity"
        model = simple([*nodes, (last, ["z"], ["y"])])
    path = tmp_path / "plain.onnx"
    path.write_bytes(model.SerializeToString())
    card = {**CARD, "probability": "sigmoid"} if how == "sigmoid" else CARD
    path.with_suffix(".json").write_text(json.dumps(card))
    page = shown(sites(f"plain-{how.replace(' ', '-')}", path, ["saliency"]))
    photo = write_photo(tmp_path / "7.png", 7).read_bytes()
    drop(page, photo)
    until(page, "of ")
    e = onnxplain.Explainer(path, "saliency").explain(photo)
    assert answers(page) == [(one.label, percent(one.probability)) for one in e.top(5)]
    assert abs(float(page.inner_text("#score")) - e.score[0]) < 2e-3


def test_by_keyboard_alone(shown, sites, tmp_path):
    page = shown(sites("digits", write_model(tmp_path)))
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        reached.append(
            (page.evaluate("document.activeElement.id || document.activeElement.tagName"), style)
        )
    # The input itself is unseen: the outline is its label's.
    assert [name for name, _ in reached] == ["photo", "BUTTON", "BUTTON"]
    assert [style for _, style in reached][1:] == ["solid", "solid"]
    page.keyboard.press("Enter")
    until(page, "Grad-CAM of ")
    first = answers(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    until(page, f"of {first[1][0]}")
    # What has the focus keeps it when the answer is drawn anew.
    assert page.evaluate("document.activeElement.name") == "target" and answers(page) == first
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    page.keyboard.press("Tab")
    until(page, "of four")
    page.keyboard.press("ArrowDown")
    until(page, "DeepLIFT of four")
    page.keyboard.press("Tab")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#opacity-said") == "80 %"
    assert page.evaluate("getComputedStyle(document.getElementById('picture')).opacity") == "0.8"


def test_a_wrong_file_gives_one_line(shown, sites, tmp_path):
    page = shown(sites("digits", write_model(tmp_path)))
    for content, name, kind in (
        (b"no photo", "notes.txt", "text/plain"),
        (b"no photo either", "photo.png", "image/png"),
        (b"", "empty.jpg", "image/jpeg"),
        (demo_photos()[0].read_bytes()[:200], "cut.png", "image/png"),
    ):
        drop(page, content, name, kind)
        said = page.wait_for_selector(f"#error:has-text('{name}')").inner_text()
        assert (
            said.startswith(f"{name} is no photo that this browser can read") and "\n" not in said
        )
        assert not page.is_visible("#shown")
    drop(page, write_photo(tmp_path / "3.png", 3).read_bytes())
    until(page, "of three")
    assert page.inner_text("#error") == ""


def test_the_last_of_many_wishes_counts(shown, sites, tmp_path):
    page = shown(sites("digits", write_model(tmp_path)))
    for number in (3, 7, 8):
        drop(page, write_photo(tmp_path / f"{number}.png", number).read_bytes(), f"{number}.png")
    until(page, "of eight")
    page.check("input[value=deeplift]")
    page.check("input[value=grad-cam]")
    until(page, "Grad-CAM of eight")
    assert page.get_attribute("#stack", "aria-label").startswith("8.png with the Grad-CAM map")


@pytest.mark.parametrize(
    ("width", "scheme"), thinned([(400, "dark"), (400, "light"), (1200, "dark")], 3)
)
def test_axe_finds_nothing(shown, sites, tmp_path, width, scheme):
    size = {"width": width, "height": 900}
    page = shown(sites("digits", write_model(tmp_path)), color_scheme=scheme, viewport=size)
    page.click("#samples button")
    until(page, "of ")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe_api.Axe().run(page).response
    assert len(found["passes"]) > 15
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []


def test_nothing_is_asked_for_once_it_is_loaded(shown, sites, tmp_path):
    """Offline: the network may go when the page is there."""
    page = shown(sites("digits", write_model(tmp_path)))
    drop(page, write_photo(tmp_path / "3.png", 3).read_bytes())
    until(page, "of three")
    page.context.set_offline(True)
    drop(page, write_photo(tmp_path / "8.png", 8).read_bytes())
    until(page, "of eight")
