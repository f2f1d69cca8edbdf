"""Pictures that are printed in grey: evidence and none, for and against, are still told apart."""

import numpy as np
import pytest
from PIL import Image

from onnxplain.engine.pictures.heatmap import blend, half_contour, heatmap_of, layer, striped

SIZE = 240, 240


def blobs(signs):
    """A round spot for each sign, side by side."""
    y, x = np.mgrid[:60, : 60 * len(signs)]
    spots = [
        sign * np.exp(-((y - 30) ** 2 + (x - 30 - 60 * k) ** 2) / 150)
        for k, sign in enumerate(signs)
    ]
    return sum(spots)


def grey(signs, method, shade):
    values = blobs(signs)
    view = Image.new("RGB", (120, 60), (shade,) * 3)
    picture = blend(view, heatmap_of(values, method, None), (480, 240))
    return np.asarray(picture.convert("L"), float)


def roughness(grey):
    """How much neighbours differ, where the spot is."""
    spot = grey[100:140, 100:140]
    return np.abs(np.diff(spot, axis=1)).mean()


@pytest.mark.parametrize("shade", [0, 60, 128, 200, 255])
def test_against_is_striped_and_for_is_not(shade):
    values = grey((-1, 1), "deeplift", shade)
    against, favour = values[:, :240], values[:, 240:]
    assert roughness(against) > 8 and roughness(favour) < 2


@pytest.mark.parametrize("shade", [0, 60, 128, 200, 255])
def test_a_line_goes_around_the_strongest_evidence(shade):
    values = grey((1, 0), "grad-cam", shade)
    row = values[120, :240]
    # Light on one side and dark on the other: one of them is seen on any photo.
    assert np.abs(np.diff(row)).max() > 20
    assert np.ptp(values[:, 260:]) < 3


def test_the_contour_is_closed_and_thin():
    level = np.asarray(blobs((1,)))
    inside, outside = half_contour(level)
    assert (level[inside] >= 0.5).all() and (level[outside] < 0.5).all()
    assert not (inside & outside).any() and 0 < inside.mean() < 0.02
    middle = inside[30]
    assert middle[:30].sum() == middle[30:].sum() == 1


def test_a_scribble_has_no_contour():
    noise = np.random.default_rng(0).random((60, 60))
    inside, outside = half_contour(noise)
    assert not inside.any() and not outside.any()


def test_faint_evidence_against_has_no_stripes():
    level = np.full((30, 30), -0.1)
    assert np.array_equal(striped(level), level.astype(np.float32))
    assert len(np.unique(striped(level * 5))) == 2
    assert np.array_equal(striped(-level), -level.astype(np.float32))


def test_layers_of_pages_are_striped_as_well():
    made = np.asarray(layer(heatmap_of(blobs((-1, 1)), "deeplift", None), (480, 240)), float)
    against, favour = made[110:130, 110:130, 3], made[110:130, 350:370, 3]
    assert np.ptp(against) > 60 > np.ptp(favour)
