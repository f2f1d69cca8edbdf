"""Metrics: each against an independent oracle, and what must hold of perfect and random maps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from support.faithful import (
    FEATURES,
    MODEL,
    MODULE,
    SIDE,
    TARGET,
    Convolutional,
    X,
    gradient,
    logits,
    maps,
    pictures,
    regions,
    softmax,
)

import onnxplain
from onnxplain import metrics
from onnxplain.engine.metrics.curves import removed
from onnxplain.engine.metrics.metric import MOST_IMAGES
from onnxplain.engine.metrics.randomised_weights import shuffled
from onnxplain.engine.metrics.road import curve_of, imputed
from onnxplain.engine.metrics.sensitivity_n import drops, sets_of
from onnxplain.engine.metrics.trial import trials_of

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def explainer():
    return onnxplain.Explainer(MODEL, "saliency", signed=True, providers="cpu", threads=1)


@pytest.fixture(scope="module")
def quantus():
    return pytest.importorskip("quantus", reason="Quantus is not installed")


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
