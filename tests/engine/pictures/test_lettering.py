"""Text in pictures: every script is drawn, and no label pushes the score out."""

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, features

from onnxplain.engine.pictures import lettering
from onnxplain.engine.pictures.lettering import drawable, text_width, wrap, write
from onnxplain.engine.pictures.overlay import overlay
from onnxplain.engine.pictures.panel import PanelRow, panel
from onnxplain.engine.records.captions import drawn_target
from onnxplain.engine.records.record import Outcome
from onnxplain.engine.targets.recorded import TargetRecord

SCRIPTS = {
    "Greek": "γάτα",
    "Cyrillic": "полосатый кот",
    "Arabic": "قطة منزلية",
    "Hebrew": "חתול",
    "Devanagari": "बिल्ली",
    "Bengali": "বিড়াল",
    "Tamil": "பூனை",
    "Thai": "แมว",
    "Georgian": "კატა",
    "Armenian": "կատու",
    "Ethiopic": "ድመት",
    "Chinese": "虎斑猫",
    "Japanese": "とら猫",
    "Korean": "얼룩 고양이",
    "Latin": "Kočka ñandú Größe Mèo vằn",
    "emoji": "\N{CAT}",
}


def drawn(text):
    image = Image.new("L", (400, 60), 255)
    write(ImageDraw.Draw(image), (10, 10), text, 25, (0,))
    return image


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn(script):
    text = SCRIPTS[script]
    assert drawable(text)
    ink = np.asarray(drawn(text)) < 128
    assert ink.any() and ink[:, 10:].sum() > 30
    # Neither question marks nor the box of a font that lacks the letters.
    assert "?" not in "".join(part for part, _ in lettering._runs(text))
    box = lettering._glyph(lettering._BASE, "\U0010fffe")
    assert lettering._glyph(lettering._runs(text)[0][1], text[0]) != box
    assert 10 < text_width(text, 25) < 400


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow without Raqm")
def test_arabic_is_joined_and_runs_from_right_to_left():
    """Letters that join are narrower than each by itself; the first of a word stands right."""
    assert text_width("سس", 25) < 2 * text_width("س", 25) - 2
    # Sin is low and Alef a tall stroke.
    ink = np.asarray(drawn("سسسا")) < 128
    columns = np.flatnonzero(ink.any(axis=0))
    left, right = ink[:, columns[0] : columns[0] + 5], ink[:, columns[-1] - 5 : columns[-1]]
    tops = [np.flatnonzero(side.any(axis=1))[0] for side in (left, right)]
    assert tops[0] < tops[1] - 3


def test_what_no_font_has_is_named_by_its_index():
    assert not drawable("\U00010330") and not drawable("cat \U00010330")
    for label, expected in (
        ("\U00010330\U00010331", "class 281"),
        ("虎斑猫", "虎斑猫"),
        (None, "class 281"),
    ):
        assert (
            drawn_target(Outcome(method="x", target=TargetRecord(index=281, label=label)))
            == expected
        )


def test_without_the_fonts_the_index_stands_in(monkeypatch):
    monkeypatch.setattr(lettering, "_path", lambda face: None)
    caches = [value for value in vars(lettering).values() if hasattr(value, "cache_clear")]
    for cache in caches:
        cache.cache_clear()
    assert drawable("cat · 1.0") and drawable("Größe") and not drawable("虎斑猫")
    assert text_width("Größe", 25) > 0
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    "label", ["a very long label " * 20, "x" * 500, "猫" * 300, "قطة " * 100, "short", ""]
)
def test_the_end_is_kept(label):
    keep = "· score 8.24 · probability 0.714"
    lines = wrap(label, 25, 580, 2, keep)
    assert 1 <= len(lines) <= 2 and " ".join(lines).endswith(keep)
    assert all(text_width(line, 25) <= 580 for line in lines)
    if len(label) > 100:
        assert "..." in " ".join(lines) and lines[0][:2] == label[:2]


def test_pictures_keep_the_score():
    view, maps = Image.new("RGB", (60, 60)), np.ones((6, 6))
    long = "a very long label " * 20

    def picture(score):
        return overlay(view, maps, method="grad-cam", title=long, keep=score, subtitle="")

    def figure(score):
        return panel([PanelRow(view, long, {"grad-cam": maps}, {}, keep=score)])

    for draw in (picture, figure):
        assert ImageChops.difference(draw("· score 1.23"), draw("· score 4.56")).getbbox()
