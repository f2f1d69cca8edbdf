"""How alike two maps are: against literal replicas, and what ties and empty maps do."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.engine.comparing.likeness import (
    by_location,
    by_region,
    centre_moved,
    centre_of_mass,
    relative_difference,
    spearman,
    top_overlap,
)

RANDOM = np.random.default_rng(5)
A, B = RANDOM.normal(size=(2, 9, 12))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks counted one by one; ties have their mean."""
    flat = values.ravel()
    return np.array([(flat < v).sum() + ((flat == v).sum() + 1) / 2 for v in flat])


@pytest.mark.parametrize("digits", [8, 0])
def test_spearman_is_the_correlation_of_ranks(digits: int) -> None:
    a, b = np.round(A, digits), np.round(B + 0.5 * A, digits)
    expected = np.corrcoef(ranks(a), ranks(b))[0, 1]
    assert spearman(a, b) == pytest.approx(expected, abs=1e-12)
    assert spearman(a, np.exp(3 * a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)


def test_spearman_of_a_flat_map_is_no_number() -> None:
    assert np.isnan(spearman(A, np.zeros_like(A)))


def test_overlap_counts_places() -> None:
    a, b = np.zeros((2, 10, 10))
    a[0] = np.arange(10) + 1
    b[0, :4], b[1, :6] = 5, 4
    assert top_overlap(a, b) == pytest.approx(0.4)
    assert top_overlap(a, a) == 1
    assert top_overlap(a, np.roll(a, 5, axis=0)) == 0


def test_ties_share_the_room_that_is_left() -> None:
    flat, a = np.zeros((10, 10)), np.zeros((10, 10))
    a[0] = 1
    # All hundred places tie for ten: each is on top by a tenth.
    assert top_overlap(a, flat) == pytest.approx(0.1)
    assert top_overlap(flat, flat) == pytest.approx(1)


def test_relative_difference() -> None:
    assert relative_difference(A, 1.5 * A) == pytest.approx(0.5)
    assert relative_difference(np.zeros(3), np.zeros(3)) == 0
    assert relative_difference(np.zeros(3), np.ones(3)) == np.inf


def test_centre_of_mass_of_the_positive_part() -> None:
    a = np.full((4, 8), -1.0)
    a[1, 2] = 3
    assert centre_of_mass(a) == (1.5 / 4, 2.5 / 8)
    b = np.roll(a, (2, 3), axis=(0, 1))
    assert centre_moved(a, b) == pytest.approx(np.hypot(2, 3) / np.hypot(4, 8))
    assert centre_of_mass(-np.abs(A)) is None
    assert np.isnan(centre_moved(a, -np.abs(a)))


def test_regions_are_means() -> None:
    a = RANDOM.normal(size=(28, 30))
    found = by_region(a, 14)
    assert found.shape == (14, 14)
    assert found[0, 0] == pytest.approx(a[:2, :2].mean())
    edges = np.linspace(0, 30, 15).astype(int)
    assert found[13, 5] == pytest.approx(a[26:28, edges[5] : edges[6]].mean())
    assert by_region(A[:5, :7], 14) == pytest.approx(A[:5, :7])


@pytest.mark.parametrize("axis", [0, 2, None])
def test_channels_are_summed_with_their_signs(axis: int | None) -> None:
    a = RANDOM.normal(size=(3, 4, 3) if axis is not None else (3, 4))
    expected = a if axis is None else a.sum(axis=axis)
    np.testing.assert_allclose(by_location(a, axis), expected)
