"""What must hold of metrics whatever the model: perfect, random and flat maps, wrong input."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.faithful import (
    FEATURES,
    MODEL,
    SIDE,
    TARGET,
    X,
    convolutional,
    linear,
    logits,
    maps,
    regions,
    softmax,
)

import onnxplain
from onnxplain import InvalidInputError, metrics
from onnxplain.engine.evaluating.measuring import references
from onnxplain.engine.metrics.curves import fractions
from onnxplain.engine.metrics.insertion import METRIC as INSERTION
from onnxplain.engine.metrics.randomised_weights import shuffled, weights_by_layer
from onnxplain.engine.metrics.trial import trials_of


@pytest.fixture(scope="module")
def explainer():
    return onnxplain.Explainer(MODEL, "saliency", signed=True, providers="cpu", threads=1)


@pytest.mark.parametrize("shape", [(30,), (1, 6, 7), (6, 7, 1), (5, 8)])
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_a_perfect_map_of_a_linear_model(shape, baseline):
    model, w = linear(shape)
    explainer = onnxplain.Explainer(model, "integrated-gradients", baseline=baseline or 0.0)
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    e = explainer(x, 0)
    how = {"baseline": baseline}
    np.testing.assert_allclose(metrics.sensitivity_n(explainer, x, e, **how), 1, atol=1e-5)
    np.testing.assert_allclose(metrics.infidelity(explainer, x, e, **how), 0, atol=1e-8)
    plain = metrics.infidelity(explainer, x, e, normalise=False, **how)
    np.testing.assert_allclose(plain, 0, atol=1e-8)
    own = metrics.infidelity(explainer, x, np.stack([w] * 3), target=0, multiply=True, **how)
    np.testing.assert_allclose(own, 0, atol=1e-8)
    assert (metrics.srg(explainer, x, e, value="score", **how) > 0.5).all()
    assert (metrics.srg(explainer, x, -e.attribution, target=0, value="score", **how) < -0.5).all()


def test_a_random_map_gains_nothing_on_average():
    model, _ = linear((1, 8, 8))
    # Nothing in its graph tells channels from positions.
    card = {"kind": "array", "channel_axis": 1}
    explainer = onnxplain.Explainer(model, "input-x-gradient", card=card)
    x = np.random.default_rng(1).normal(size=(40, 1, 8, 8)).astype(np.float32)
    a = np.random.default_rng(2).random(x.shape)
    random = metrics.srg(explainer, x, a, target=0, value="score")
    perfect = metrics.srg(explainer, x, explainer(x, 0), value="score")
    assert abs(random.mean()) < 4 * random.std() / np.sqrt(40) < perfect.mean() / 4
    assert abs(metrics.sensitivity_n(explainer, x, a, target=0).mean()) < 0.1
    assert metrics.infidelity(explainer, x, a, target=0).mean() > 0.7


def test_a_flat_map_says_nothing(explainer):
    flat = np.ones((len(X), SIDE, SIDE))
    np.testing.assert_array_equal(metrics.sensitivity_n(explainer, X, flat), 0)
    assert np.isnan(metrics.max_sensitivity(explainer, X, 0 * flat, explain=lambda x: 0)).all()


def test_ties_are_broken_by_the_seed_and_not_by_place(explainer):
    flat = np.zeros((1, SIDE, SIDE))
    orders = [trials_of(explainer, X[:1], flat, seed=seed)[0].order() for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all() and (orders[0] != orders[2]).any()
    assert abs(np.corrcoef(orders[0], np.arange(FEATURES))[0, 1]) < 0.3
    assert sorted(orders[0]) == list(range(FEATURES))
    some = flat.copy()
    some[0, 3, 3], some[0, 5, 5] = 2, 1
    first = trials_of(explainer, X[:1], some)[0].order()[:2]
    assert first.tolist() == [3 * SIDE + 3, 5 * SIDE + 5]


def test_results_are_the_same_again_and_row_by_row(explainer):
    e = explainer(X, TARGET)
    for name, metric in metrics.metrics().items():
        more = [regions()] if metric.needs_region else []
        first, again = (metric.function(explainer, X, e, *more) for _ in range(2))
        np.testing.assert_array_equal(first, again, err_msg=name)
        assert first.shape == (len(X),) and first.dtype == np.float64
        one = metric.function(
            explainer, X[:1], explainer(X[:1], TARGET[:1]), *[m[:1] for m in more]
        )
        np.testing.assert_allclose(one[0], first[0], rtol=1e-4, atol=1e-6, err_msg=name)


def test_channels_first_and_last_are_the_same():
    found = []
    for last in (False, True):
        explainer = onnxplain.Explainer(convolutional(last=last), "saliency", signed=True)
        x = np.moveaxis(X, 1, -1) if last else X
        e = explainer(x, TARGET)
        found.append(
            [
                metric.function(explainer, np.ascontiguousarray(x), e, *more)
                for metric in metrics.metrics().values()
                # Noise is drawn in the input's own order of axes.
                if metric.name not in ("max-sensitivity", "road")
                for more in [[regions()] if metric.needs_region else []]
            ]
        )
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_probability_is_the_files_own_or_the_softmax_of_its_logits():
    a = maps()
    plain, ended = (onnxplain.Explainer(convolutional(softmax=s), "saliency") for s in (0, 1))
    one, other = (metrics.deletion(e, X, a, target=TARGET) for e in (plain, ended))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    both = [metrics.deletion(e, X, a, target=TARGET, value="score") for e in (plain, ended)]
    np.testing.assert_allclose(*both, rtol=1e-5)
    assert np.abs(both[0] - one).min() > 1e-3
    assert ((one > 0) & (one < 1)).all()
    scores = plain.scores(X, TARGET)
    np.testing.assert_allclose(scores.score, logits(X)[range(3), TARGET], rtol=1e-5)
    np.testing.assert_allclose(scores.probability, softmax(X)[range(3), TARGET], rtol=1e-5)


def test_shuffling_goes_from_the_output_downwards():
    def held(model):
        return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}

    layers = weights_by_layer(MODEL, {t.name: t for t in MODEL.graph.initializer})
    assert layers == [["w1", "b1"], ["w2", "b2"], ["w3", "b3"]]
    before = held(MODEL)
    for part, changed in ((1 / 3, "3"), (2 / 3, "23"), (1.0, "123")):
        after = held(shuffled(MODEL, part, 0))
        moved = {name for name in before if (before[name] != after[name]).any()}
        assert moved == {f"{kind}{number}" for kind in "wb" for number in changed}
        for name in before:
            np.testing.assert_array_equal(np.sort(before[name], None), np.sort(after[name], None))
    again, other = held(shuffled(MODEL, 1, 0)), held(shuffled(MODEL, 1, 1))
    assert (again["w3"] == after["w3"]).all() and (other["w3"] != after["w3"]).any()


def test_a_map_that_ignores_the_weights_keeps_its_ranks():
    explainer = onnxplain.Explainer(convolutional(), "grad-cam")
    (trial,) = trials_of(explainer, X[:1], explainer(X[:1]))
    found = references(trial, 0)
    how = {"levels": 2, "absolute": True, "seed": 0}
    metric = metrics.metrics()["randomised-weights"]
    assert metric.measure(found["edges"], **how) == 1.0
    assert abs(metric.measure(found["random"], **how)) < 0.3


def test_insertion_starts_from_the_blur_of_pictures_alone():
    model, _ = linear((30,))
    explainer = onnxplain.Explainer(model, "input-x-gradient")
    x = np.ones((1, 30), np.float32)
    (trial,) = trials_of(explainer, x, explainer(x))
    assert INSERTION.curves is not None
    settings = {**INSERTION.settings, "value": "score"}
    places, values = INSERTION.curves(trial, **settings)["insertion"]
    assert (places == fractions(16)).all()
    assert values[0] == 0 and values[-1] == pytest.approx(explainer(x).score[0], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("deletion", {"steps": 0}, "steps"),
        ("deletion", {"value": "odds"}, "value"),
        ("deletion", {"baseline": np.zeros(7)}, "baseline"),
        ("insertion", {"start": "grey"}, "start"),
        ("road", {"parts": (0.5, 0.2)}, "parts"),
        ("sensitivity_n", {"sizes": (1.5,)}, "sizes"),
        ("sensitivity_n", {"samples": 1}, "samples"),
        ("infidelity", {"sets": np.ones((3, 4), bool)}, "sets"),
        ("max_sensitivity", {"samples": True}, "samples"),
        ("randomised_weights", {"levels": 0}, "levels"),
    ],
)
def test_wrong_settings(explainer, name, settings, said):
    with pytest.raises(InvalidInputError, match=f"^{said}") as raised:
        getattr(metrics, name)(explainer, X, explainer(X), **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "a", [np.zeros((2, SIDE, SIDE)), np.zeros((3, 5, 5)), np.full((3, SIDE, SIDE), np.nan), 3.0]
)
def test_wrong_maps(explainer, a):
    with pytest.raises(InvalidInputError, match=r"^explanation: expected"):
        metrics.srg(explainer, X, a)


def test_what_does_not_apply_says_why(explainer):
    with pytest.raises(InvalidInputError, match="told how"):
        metrics.max_sensitivity(explainer, X, maps())
    with pytest.raises(InvalidInputError, match="regions: expected"):
        metrics.mass_inside(explainer, X, maps(), np.ones((3, 3), bool))
    assert np.isnan(metrics.mass_inside(explainer, X, maps(), np.zeros((SIDE, SIDE), bool))).all()
    model, _ = linear((30,))
    with pytest.raises(InvalidInputError, match="pictures"):
        metrics.road(
            onnxplain.Explainer(model, "saliency"), np.ones((1, 30), np.float32), [[0.0] * 30]
        )
