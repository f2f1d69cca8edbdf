"""Metrics: each against an independent oracle, and what must hold of perfect and random maps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest
import scipy.stats
import torch
from faithful import CLASSES, SIDE, Convolutional, convolutional, gradient, linear, pictures

import onnxplain
from onnxplain import InvalidInputError, metrics
from onnxplain.engine.metrics.curves import fractions, removed
from onnxplain.engine.metrics.insertion import METRIC as INSERTION
from onnxplain.engine.metrics.metric import MOST_IMAGES
from onnxplain.engine.metrics.randomised_weights import shuffled, weights_by_layer
from onnxplain.engine.metrics.road import curve_of, imputed
from onnxplain.engine.metrics.sensitivity_n import drops, sets_of
from onnxplain.engine.metrics.trial import trials_of

FEATURES = SIDE * SIDE
X = pictures()
TARGET = np.array([1, 0, 3])
MODEL = convolutional()
MODULE = Convolutional(MODEL).eval()
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def explainer():
    return onnxplain.Explainer(MODEL, "saliency", signed=True, providers="cpu", threads=1)


@pytest.fixture(scope="module")
def quantus():
    return pytest.importorskip("quantus", reason="Quantus is not installed")


def maps(seed=1):
    return np.random.default_rng(seed).normal(size=X.shape)


def softmax(x):
    with torch.no_grad():
        return MODULE(torch.tensor(np.asarray(x, np.float32))).softmax(1).numpy()


def logits(x):
    with torch.no_grad():
        return MODULE(torch.tensor(np.asarray(x, np.float32))).double().numpy()


def asked(quantus_metric, a, softmax=False, **more):
    given = {"model": MODULE, "x_batch": X, "y_batch": TARGET, "a_batch": a, "device": "cpu"}
    return quantus_metric(**given, channel_first=True, softmax=softmax, **more)


PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}


def say(name, ours, theirs):
    print(f"{name}: {np.round(ours, 6).tolist()} beside {np.round(theirs, 6).tolist()}")


def curves_beside_quantus(quantus, explainer, a, most_first):
    """Our curves and those of Quantus's pixel flipping, from the second point on."""
    flipping = quantus.PixelFlipping(features_in_step=9, perturb_baseline=0.25, **PLAIN)
    theirs = np.array(asked(flipping, a if most_first else -a, softmax=True))
    trials = trials_of(explainer, X, a, target=TARGET, baseline=0.25)
    ours = np.array([removed(trial, most_first, 16, "probability") for trial in trials])
    start = softmax(X)[np.arange(len(X)), TARGET]
    return ours, np.concatenate([start[:, None], theirs], axis=1)


def oracle_deletion(quantus, explainer):
    a = maps()
    ours, theirs = curves_beside_quantus(quantus, explainer, a, True)
    np.testing.assert_allclose(ours, theirs, **CLOSE)
    found = metrics.deletion(explainer, X, a, target=TARGET, baseline=0.25, steps=16)
    return found, np.trapezoid(theirs, dx=1 / 16, axis=1)


def oracle_srg(quantus, explainer):
    a = maps()
    _, most_theirs = curves_beside_quantus(quantus, explainer, a, True)
    least, least_theirs = curves_beside_quantus(quantus, explainer, a, False)
    np.testing.assert_allclose(least, least_theirs, **CLOSE)
    found = metrics.srg(explainer, X, a, target=TARGET, baseline=0.25, steps=16)
    return found, np.trapezoid(least_theirs - most_theirs, dx=1 / 16, axis=1)


def oracle_insertion(quantus, explainer):
    """Quantus has none: a literal one."""
    import torch.nn.functional as functional

    a = maps()
    line = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / 50)
    kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
    blur = functional.conv2d(functional.pad(torch.tensor(X), (5,) * 4, mode="replicate"), kernel)
    areas = []
    for row, start in enumerate(blur.numpy()):
        order = np.argsort(-a[row].reshape(-1))
        now, curve = start.reshape(-1).copy(), []
        for step in range(17):
            now[order[: step * 9]] = X[row].reshape(-1)[order[: step * 9]]
            curve.append(softmax(now.reshape(1, 1, SIDE, SIDE))[0, TARGET[row]])
        areas.append(sum((p + q) / 2 / 16 for p, q in pairwise(curve)))
    return metrics.insertion(explainer, X, a, target=TARGET), areas


def oracle_road(quantus, explainer):
    x, parts = pictures(16), (0.1, 0.3, 0.5, 0.7, 0.9)
    target = logits(x).argmax(1)
    a = gradient(MODULE, x, target)
    road = quantus.ROAD(percentages=[round(100 * part) for part in parts], noise=0.0, **PLAIN)
    given = {"model": MODULE, "x_batch": x, "y_batch": target, "a_batch": a, "device": "cpu"}
    theirs = list(road(**given, channel_first=True, softmax=False).values())
    assert min(theirs) < 0.8
    trials = trials_of(explainer, x, a, target=target)
    ours = np.mean([curve_of(trial, parts, 0.0, "accuracy") for trial in trials], axis=0)
    return ours, theirs


def oracle_sensitivity_n(quantus, explainer):
    """Of sets of one size: literally. What it is made of: as Quantus's first step has it."""
    a = maps()
    trials = trials_of(explainer, X, a, target=TARGET, baseline=0.25)
    how = {"features_in_step": 36, "perturb_baseline": 0.25, "return_aggregate": False}
    step = quantus.SensitivityN(**how, **PLAIN)
    theirs = asked(step, a)[0]
    first = [np.isin(np.arange(FEATURES), trial.order()[:36])[None] for trial in trials]
    sums = [float((one @ trial.relevance)[0]) for one, trial in zip(first, trials, strict=True)]
    falls = [drops(trial, one)[0] for one, trial in zip(first, trials, strict=True)]
    ours = np.corrcoef(sums, falls)[0, 1]
    assert abs(ours - theirs) < 1e-5
    literal = []
    for row, trial in enumerate(trials):
        found = []
        for size in (14, 43):
            pairs = []
            for chosen in sets_of(trial, size, 20):
                moved = np.where(chosen.reshape(X[row].shape), np.float32(0.25), X[row])[None]
                fall = (logits(X[row : row + 1]) - logits(moved))[0, TARGET[row]]
                pairs.append((a[row].reshape(-1)[chosen].sum(), fall))
            found.append(scipy.stats.pearsonr(*zip(*pairs, strict=True))[0])
        literal.append(np.mean(found))
    how = {"target": TARGET, "baseline": 0.25, "sizes": (0.1, 0.3), "samples": 20}
    return metrics.sensitivity_n(explainer, X, a, **how), literal


def oracle_infidelity(quantus, explainer):
    a = maps()
    squares = quantus.Infidelity(
        perturb_patch_sizes=[4], n_perturb_samples=1, perturb_baseline=0.25, **PLAIN
    )
    theirs = asked(squares, a)
    sets, gone = [], np.zeros((SIDE, SIDE), bool)
    for top in range(0, SIDE, 4):
        for left in range(0, SIDE, 4):
            gone[top : top + 4, left : left + 4] = True
            sets.append(gone.reshape(-1).copy())
    how = {"target": TARGET, "baseline": 0.25, "multiply": True, "normalise": False}
    return metrics.infidelity(explainer, X, a, sets=np.array(sets), **how), theirs


def oracle_max_sensitivity(quantus, explainer):
    a = gradient(MODULE, X, TARGET)
    most = quantus.MaxSensitivity(nr_samples=5, lower_bound=0.1, **PLAIN)

    def explain(model, inputs, targets, **more):
        return gradient(model, inputs, targets)

    np.random.seed(3)
    theirs = asked(most, a, explain_func=explain)
    np.random.seed(3)
    shape = (len(X), FEATURES)
    noise = np.stack([[np.random.uniform(-0.1, 0.1, FEATURES) for _ in X] for _ in range(5)])
    assert noise.shape == (5, *shape)
    ours = []
    for row in range(len(X)):
        one = X[row : row + 1]
        own = noise[:, row].reshape(5, 1, SIDE, SIDE)
        e = explainer(one, TARGET[row : row + 1])
        ours.append(metrics.max_sensitivity(explainer, one, e, noise=own)[0])
    return ours, theirs


def oracle_randomised_weights(quantus, explainer):
    """The changed weights in torch; Quantus's similarity of its maps, absolute as its default."""
    e = explainer(X, TARGET)
    theirs = []
    for part in (1 / 3, 2 / 3, 1.0):
        module = Convolutional(shuffled(MODEL, part, 0))
        changed = np.abs(gradient(module, X, TARGET)).reshape(len(X), -1)
        own = np.abs(gradient(MODULE, X, TARGET)).reshape(len(X), -1)
        spearman = quantus.similarity_func.correlation_spearman
        theirs.append([spearman(p, q) for p, q in zip(own, changed, strict=True)])
    return metrics.randomised_weights(explainer, X, e), np.mean(theirs, axis=0)


def regions():
    found = np.zeros((len(X), SIDE, SIDE), bool)
    found[:, 2:9, 3:10] = True
    return found


def oracle_pointing_game(quantus, explainer):
    found = []
    for seed in range(8):
        a = maps(seed)
        theirs = asked(quantus.PointingGame(**PLAIN), a, s_batch=regions()[:, None])
        ours = metrics.pointing_game(explainer, X, a, regions(), target=TARGET, tolerance=0)
        found.append((ours, np.asarray(theirs, float)))
    ours, theirs = (np.concatenate(part) for part in zip(*found, strict=True))
    assert 0 < ours.mean() < 1
    return ours, theirs


def oracle_mass_inside(quantus, explainer):
    a = maps()
    inside = quantus.AttributionLocalisation(positive_attributions=True, **PLAIN)
    theirs = asked(inside, a, s_batch=regions()[:, None])
    return metrics.mass_inside(explainer, X, a, regions(), target=TARGET), theirs


def oracle_of(metric):
    """The oracle test of a metric; a new metric without one fails here."""
    return globals()[f"oracle_{metric.replace('-', '_')}"]


@pytest.mark.parametrize("metric", metrics.metrics())
def test_oracle(metric, quantus, explainer):
    ours, theirs = oracle_of(metric)(quantus, explainer)
    say(metric, ours, theirs)
    np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_imputation_is_quantus_own(quantus):
    from quantus.functions.perturb_func import noisy_linear_imputation

    random = np.random.default_rng(0)
    pixels = random.normal(size=(3, 14, 17))
    for part in (0.05, 0.5, 0.95):
        gone = random.random((14, 17)) < part
        theirs = noisy_linear_imputation(pixels, np.flatnonzero(gone), noise=0.0)
        ours = imputed(np.moveaxis(pixels, 0, -1), gone)
        np.testing.assert_allclose(np.moveaxis(ours, -1, 0), theirs, atol=1e-9)


@pytest.mark.parametrize("multiply", [True, False])
def test_infidelity_is_captums_too(explainer, multiply):
    captum = pytest.importorskip("captum.metrics")
    sets = np.random.default_rng(2).random((30, FEATURES)) < 0.3
    a = maps()
    step = iter(sets)

    def perturbed(inputs):
        chosen = torch.tensor(next(step).reshape(1, 1, SIDE, SIDE))
        removed = torch.where(chosen, inputs - 0.25, torch.zeros_like(inputs))
        told = removed if multiply else chosen.to(inputs).expand_as(inputs)
        return told, inputs - removed

    theirs = captum.infidelity(
        lambda x: MODULE(x)[torch.arange(len(x)), torch.tensor(TARGET)],
        perturbed,
        torch.tensor(X),
        torch.tensor(a, dtype=torch.float32),
        n_perturb_samples=30,
        max_examples_per_batch=len(X),
    ).numpy()
    how = {"target": TARGET, "baseline": 0.25, "multiply": multiply, "normalise": False}
    ours = metrics.infidelity(explainer, X, a, sets=sets, **how)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_the_registry_is_told_in_full():
    for name, metric in metrics.metrics().items():
        assert metric.name == name and metric.cost in MOST_IMAGES
        assert getattr(metrics, name.replace("-", "_")) is metric.function
        assert name.replace("-", "_") in metrics.__all__
        assert metric.title and metric.cite[-4:].isdigit() and metric.summary.endswith(".")
        told = metric.function.__doc__ or ""
        assert "Returns" in told and "Raises" in told
    assert next(iter(metrics.metrics())) == "srg"


# What must hold whatever the model.


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
    explainer = onnxplain.Explainer(model, "input-x-gradient")
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
    from onnxplain.engine.measuring import references

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
    assert CLASSES == 4
