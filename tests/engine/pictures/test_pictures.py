"""Pictures out: what is drawn must be readable, true to the numbers, and never crash."""

import numpy as np
import pytest
from PIL import Image, ImageChops

from onnxplain import InvalidInputError, methods
from onnxplain.engine.pictures.heatmap import blend, heatmap_of
from onnxplain.engine.pictures.overlay import overlay, scale_words
from onnxplain.engine.pictures.panel import PanelRow, panel

PHOTO = Image.new("RGB", (90, 60), (120, 120, 120))
CORNER = (20, 20)


def draw(
    attribution,
    method="grad-cam",
    title="cup  1.0",
    subtitle="note",
    view=PHOTO,
    axis=None,
    detail="regions",
):
    how = {"method": method, "title": title, "subtitle": subtitle}
    return overlay(view, attribution, **how, channel_axis=axis, detail=detail)


def same(one, other):
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def margins_are_white(picture, width=12):
    pixels = np.asarray(picture)
    edges = (pixels[:, :width], pixels[:, -width:], pixels[:8], pixels[-8:])
    return all((edge == 255).all() for edge in edges)


def photo_area(picture):
    """The rows and columns of the map, found by comparing with another photo."""
    return np.asarray(picture)[80 : picture.height - 100, 20:600].astype(int)


def test_size_and_mode():
    picture = draw(np.ones((4, 6)))
    assert picture.mode == "RGB" and 512 <= picture.width <= 640
    assert 580 * 60 / 90 < picture.height < 580 * 60 / 90 + 180
    assert margins_are_white(picture)


def test_deterministic_and_leaves_its_inputs_alone():
    attribution = np.random.default_rng(0).normal(size=(3, 20, 30))
    before, photo = attribution.copy(), PHOTO.copy()
    first = draw(attribution, "deeplift", axis=0)
    assert same(first, draw(attribution, "deeplift", axis=0))
    np.testing.assert_array_equal(attribution, before)
    assert same(PHOTO, photo)


def test_grad_cam_is_bright_where_the_evidence_is():
    attribution = np.zeros((30, 45))
    attribution[:, 30:] = 1
    area = photo_area(draw(attribution)).sum(axis=2)
    assert area[:, 500:].mean() > area[:, :200].mean() + 100


def test_signed_maps_are_red_for_and_blue_against():
    attribution = np.zeros((30, 45))
    attribution[:, :10] = -1
    attribution[:, -10:] = 1
    for method in ("integrated-gradients", "deeplift"):
        area = photo_area(draw(attribution, method, detail="pixels"))
        red_less_blue = area[..., 0] - area[..., 2]
        assert red_less_blue[:, 20:80].max() < -60
        assert red_less_blue[:, -80:-20].min() > 60
        assert np.abs(red_less_blue[:, 280:300]).max() == 0


def test_signed_maps_show_no_false_opposite_beside_a_spike():
    attribution = np.zeros((8, 12))
    attribution[4, 6] = 1
    area = photo_area(draw(attribution, "deeplift"))
    assert (area[..., 0] - area[..., 2]).min() >= 0


def test_channels_are_summed_over_the_axis_told():
    attribution = np.random.default_rng(0).normal(size=(3, 20, 30))
    expected = draw(attribution.sum(axis=0), "deeplift")
    assert same(draw(attribution, "deeplift", axis=0), expected)
    assert same(draw(attribution.transpose(1, 2, 0), "deeplift", axis=2), expected)
    assert same(draw(attribution.transpose(1, 2, 0), "deeplift", axis=-1), expected)


def test_scale_is_robust_to_one_spike():
    attribution = np.random.default_rng(0).normal(size=(100, 150))
    spiky = attribution.copy()
    spiky[50, 75] = 1e6
    one, other = (photo_area(draw(a, "deeplift", detail="pixels")) for a in (attribution, spiky))
    far = np.s_[:, :200]
    assert np.abs(one[far] - other[far]).mean() < 5


@pytest.mark.parametrize("shape", [(224, 224), (90, 160), (30, 45), (8, 8)])
def test_regions_keep_the_sum(shape):
    values = np.random.default_rng(0).normal(0.1, 1, shape)
    values[:3, -2:] += 5
    heatmap = heatmap_of(values, "deeplift", None)
    assert heatmap.values.sum() == pytest.approx(values.sum(), rel=1e-9)
    assert max(shape) < 90 or np.abs(heatmap.values).max() < np.abs(values).max() / 2
    pixels = heatmap_of(values, "deeplift", None, detail="pixels")
    assert np.abs(pixels.values).max() > np.abs(heatmap.values).max() or max(shape) < 90
    with pytest.raises(InvalidInputError, match="regions or pixels"):
        heatmap_of(values, "deeplift", None, detail="dots")


def upsampled(cells, factor):
    """As ONNX's Resize does it, linear, half a pixel's shift."""
    for axis in (0, 1):
        count = cells.shape[axis] * factor
        places = np.clip((np.arange(count) + 0.5) / factor - 0.5, 0, cells.shape[axis] - 1)
        low = np.minimum(places.astype(int), cells.shape[axis] - 2)
        part = np.expand_dims(places - low, 1 - axis)
        cells = cells.take(low, axis) * (1 - part) + cells.take(low + 1, axis) * part
    return cells


@pytest.mark.parametrize(("cells", "factor"), [((7, 7), 32), ((14, 9), 16), ((4, 5), 8)])
def test_a_coarse_map_has_no_crosses(cells, factor):
    values = upsampled(np.random.default_rng(1).random(cells), factor)
    heatmap = heatmap_of(values, "grad-cam", None)
    assert f"{cells[0]} x {cells[1]} cells" in heatmap.drawing[0]
    bends = [np.abs(np.diff(a, 2, axis=0)).max() for a in (values, heatmap.values)]
    assert bends[1] < bends[0] / 3
    assert heatmap.values.mean() == pytest.approx(values.mean(), rel=1e-3)


def test_what_is_not_drawn_between_cells_is_left_alone():
    values = np.random.default_rng(0).random((40, 40))
    np.testing.assert_array_equal(heatmap_of(values, "grad-cam", None).values, values)
    flat = np.ones((40, 40))
    np.testing.assert_array_equal(heatmap_of(flat, "grad-cam", None).values, flat)


def test_where_there_is_no_evidence_the_photo_keeps_its_colours():
    view = Image.fromarray(np.random.default_rng(0).integers(0, 255, (58, 58, 3), np.uint8))
    values = np.zeros((58, 58))
    values[40:, 40:] = 1
    area = np.asarray(blend(view, heatmap_of(values, "grad-cam", None), (58, 58)))
    np.testing.assert_array_equal(area[:30, :30], np.asarray(view)[:30, :30])
    assert (area[50:, 50:] != np.asarray(view)[50:, 50:]).any()


@pytest.mark.parametrize("method", methods())
def test_every_methods_legend_says_what_its_signs_mean(method):
    low, high = scale_words(heatmap_of(np.array([[-1.0, 1.0]]), method, None), method)
    assert low and high and low != high
    if method in ("guided-backprop", "smoothgrad", "deconvnet", "guided-grad-cam"):
        assert "brighter" in high


def test_very_sparse_signed_map_is_still_drawn():
    attribution = np.zeros((100, 150))
    attribution[50, 75] = 1
    assert not same(draw(attribution, "deeplift"), draw(attribution * 0, "deeplift"))


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "deeplift"])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-30, 1e30, np.nan, np.inf])
def test_constant_maps_do_not_crash(method, value):
    with np.errstate(all="raise"):
        picture = draw(np.full((7, 7), value, np.float32), method)
    assert margins_are_white(picture)


def test_zero_maps_say_so():
    for method in ("grad-cam", "deeplift"):
        zero, one = draw(np.zeros((7, 7)), method), draw(np.full((7, 7), 1.0), method)
        # The caption has one line more, or another text.
        assert not same(zero, one) and zero.height >= one.height


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3000, 2000), (40, 400)])
def test_any_view_size(size):
    picture = draw(np.ones((5, 5)), view=Image.new("RGB", size))
    assert picture.width == 620 and picture.height < 900
    assert margins_are_white(picture)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_any_view_mode(mode):
    assert draw(np.ones((5, 5)), view=PHOTO.convert(mode)).mode == "RGB"


@pytest.mark.parametrize(
    "text",
    [
        "a very long label " * 20,
        "x" * 500,
        "x" * 100_000,
        "naïve Größe тест 中文 \U0001f600",
        "two\nlines\ttabbed\0null",
        "\u2212\u00d7\u2026",
        "",
        " ",
    ],
)
def test_any_text_stays_inside(text):
    picture = draw(np.ones((5, 5)), title=text, subtitle=text)
    assert picture.width == 620 and picture.height < 700
    assert margins_are_white(picture)


def test_text_changes_the_picture():
    plain = draw(np.ones((5, 5)), title="cat")
    assert not same(plain, draw(np.ones((5, 5)), title="dog"))
    assert not same(draw(np.ones((5, 5)), title="é"), draw(np.ones((5, 5)), title="e"))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5,), None),
        ((3, 5, 5), None),
        ((3, 5, 5), 3),
        ((1, 3, 5, 5), 1),
        ((0, 5), None),
        ((), None),
    ],
)
def test_wrong_shapes(shape, axis):
    with pytest.raises(InvalidInputError) as error:
        draw(np.ones(shape), axis=axis)
    assert str(list(shape)) in str(error.value) and "\n" not in str(error.value)


def rows(count, methods=("grad-cam", "integrated-gradients", "deeplift")):
    random = np.random.default_rng(0)
    maps = {"grad-cam": random.random((20, 30))}
    maps |= {m: random.normal(size=(3, 20, 30)) for m in methods if m != "grad-cam"}
    maps = {method: maps[method] for method in methods}
    return [PanelRow(PHOTO, f"row {k}", maps, {"deeplift": "delta 0"}, 0) for k in range(count)]


def test_panel_has_a_column_for_each_method_and_a_row_for_each_photo():
    one, two = panel(rows(1)), panel(rows(2))
    assert one.width == two.width and one.mode == "RGB"
    assert two.height > one.height + 150
    fewer = panel(rows(1, ("grad-cam", "deeplift")))
    assert one.width - fewer.width == (fewer.width - panel(rows(1, ("grad-cam",))).width)
    assert all(margins_are_white(figure) for figure in (one, two, fewer))


def test_panel_order_of_columns_is_fixed():
    backwards = panel(rows(1, ("deeplift", "integrated-gradients", "grad-cam")))
    random = np.random.default_rng(0)
    maps = {"grad-cam": random.random((20, 30))}
    maps |= {m: random.normal(size=(3, 20, 30)) for m in ("deeplift", "integrated-gradients")}
    assert same(backwards, panel([PanelRow(PHOTO, "row 0", maps, {"deeplift": "delta 0"}, 0)]))


def test_panel_with_gaps_odd_sizes_and_zero_maps():
    maps = {"grad-cam": np.zeros((3, 3)), "deeplift": np.zeros((3, 3))}
    tall = PanelRow(Image.new("RGB", (10, 300)), "tall " * 200, maps, {"grad-cam": "note " * 50})
    bare = PanelRow(PHOTO, "", {}, {})
    figure = panel([*rows(1), tall, bare])
    assert margins_are_white(figure)
    assert panel([bare]).width < figure.width


def test_panel_without_rows():
    with pytest.raises(InvalidInputError):
        panel([])
