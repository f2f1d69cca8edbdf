"""SmoothGrad and VarGrad of other methods: mean and variance of these at the noisy copies."""

from __future__ import annotations

import pickle

import numpy as np
import onnx
import pytest
from support import torch_methods as oracle
from support.small import INT64, node, run, small, value

import onnxplain
from onnxplain.engine.reports.words import how_to_read
from onnxplain.engine.running.settings import asked_methods
from onnxplain.graph_passes.methods import find_method, methods
from onnxplain.graph_passes.methods.smoothgrad import SINGLES

RANDOM = np.random.default_rng(4)
X = RANDOM.random((2, 2, 8, 8)).astype(np.float32)
NOISE = {"samples": 5, "noise": 0.2, "seed": 3}
# The method that does at one point what SmoothGrad averages.
SINGLE = {
    "gradient": ("saliency", {"signed": True}),
    "input-x-gradient": ("input-x-gradient", {}),
    "guided-backprop": ("guided-backprop", {}),
    "deeplift": ("deeplift", {}),
    "lrp": ("lrp", {}),
}


def f32(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 0.5).astype(np.float32)


def network(batch="N"):
    """Two convolutions, a pooling, a Softplus, a product, an attention-like softmax, a head."""
    nodes = [
        node("Conv", ["x", "a", "b"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "c"], ["c2"], pads=[1, 1, 1, 1]),
        node("Softplus", ["c2"], ["s"]),
        node("Mul", ["s", "p"], ["m"]),
        node("Flatten", ["m"], ["f"]),
        node("MatMul", ["f", "w"], ["h"]),
        node("Softmax", ["h"], ["q"], axis=-1),
        node("Mul", ["q", "h"], ["g"]),
        node("MatMul", ["g", "v"], ["y"]),
    ]
    return small(nodes, [value("x", [batch, 2, 8, 8])], [value("y", [batch, 3])], WEIGHTS)


SHAPES = {"a": (4, 2, 3, 3), "b": (4,), "c": (4, 4, 3, 3), "w": (64, 6), "v": (6, 3)}
WEIGHTS = {name: f32(*shape) for name, shape in SHAPES.items()}
MODEL, ONE_ROW = network(), network(1)


def copies(x: np.ndarray, samples: int, noise: float, seed: int) -> np.ndarray:
    """x + noise (max x - min x) z, [K, N, ...], as the oracle draws z."""
    wide = x.astype(np.float64)
    axes = tuple(range(1, x.ndim))
    width = wide.max(axes, keepdims=True) - wide.min(axes, keepdims=True)
    z = oracle.normal(np.arange(samples), x[0].size, seed).reshape(samples, 1, *x.shape[1:])
    return (wide + noise * width * z).astype(np.float32)


def one_by_one(of: str, x: np.ndarray, targets, baseline=None, model=MODEL, **noise) -> np.ndarray:
    """The attributions of separate runs at each copy, [K, N, ...]."""
    method, options = SINGLE[of]
    explainer = onnxplain.Explainer(model, method, baseline=baseline, **options)
    return np.stack([explainer(c, targets).attribution for c in copies(x, **noise)]).astype(float)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())


def test_each_has_a_single_run():
    assert SINGLE.keys() == {"gradient", *SINGLES}


@pytest.mark.parametrize("of", SINGLE)
def test_mean_and_variance_of_separate_runs(of):
    baseline = 0.3 if of == "deeplift" else None
    parts = one_by_one(of, X, [1, 2], baseline, **NOISE)
    mean = onnxplain.Explainer(MODEL, "smoothgrad", of=of, baseline=baseline, **NOISE)
    close(mean(X, [1, 2]).attribution, parts.mean(0))
    variance = onnxplain.Explainer(MODEL, "vargrad", of=of, baseline=baseline, **NOISE)
    close(variance(X, [1, 2]).attribution, parts.var(0))


@pytest.mark.parametrize("of", SINGLE)
def test_a_fixed_batch_and_one_sample_at_once(of):
    parts = one_by_one(of, X[:1], 0, model=ONE_ROW, **NOISE)
    mean = onnxplain.Explainer(ONE_ROW, "smoothgrad", of=of, **NOISE)
    close(mean(X[:1], 0).attribution, parts.mean(0))


@pytest.mark.parametrize("of", SINGLE)
def test_the_file_as_the_engine(of, tmp_path):
    explainer = onnxplain.Explainer(MODEL, "smoothgrad", of=of, **NOISE)
    explainer.export(tmp_path / "e.onnx")
    model = onnx.load(tmp_path / "e.onnx")
    found = run(model, {"x": X, "target": np.array([1, 2], np.int64)})
    close(found["attribution"], explainer(X, [1, 2]).attribution)


def test_the_baseline_counts_row_by_row():
    rows = RANDOM.random(X.shape).astype(np.float32)
    explainer = onnxplain.Explainer(MODEL, "smoothgrad", of="deeplift", **NOISE)
    black = explainer(X, [0, 1]).attribution
    given = explainer(X, [0, 1], baseline=rows).attribution
    assert np.abs(black - given).max() > 1e-3
    deeplift = onnxplain.Explainer(MODEL, "deeplift")
    parts = [deeplift(c, [0, 1], baseline=rows).attribution for c in copies(X, **NOISE)]
    close(given, np.mean(parts, axis=0, dtype=np.float64))


def test_a_baseline_is_asked_for_where_one_counts():
    of_deeplift = onnxplain.Explainer(MODEL, "smoothgrad", of="deeplift", baseline=0.5)
    assert "baseline='given'" in repr(of_deeplift)
    assert "baseline" not in repr(onnxplain.Explainer(MODEL, "smoothgrad", baseline=0.5))


def test_without_noise_it_is_the_method_itself():
    for of, (method, options) in SINGLE.items():
        quiet = onnxplain.Explainer(MODEL, "smoothgrad", of=of, samples=2, noise=0.0)
        expected = onnxplain.Explainer(MODEL, method, **options)(X, [2, 0]).attribution
        close(quiet(X, [2, 0]).attribution, expected)


def test_several_targets_and_pickles():
    explainer = onnxplain.Explainer(MODEL, "smoothgrad", of="deeplift", baseline=0.1, **NOISE)
    both = explainer(X[:1], target=["top2"])
    again = pickle.loads(pickle.dumps(explainer))(X[:1], target=["top2"])
    np.testing.assert_array_equal(both.attribution, again.attribution)
    assert both.attribution.shape == (2, *X.shape[1:])


def test_as_the_command_line_writes_it():
    names, own = asked_methods(["smoothgrad:of=deeplift,samples=4"])
    assert names == ("smoothgrad-of-deeplift",) and own == {names[0]: {"samples": 4}}
    names, own = asked_methods(["smoothgrad", "vargrad:of=lrp,rule=epsilon", "smoothgrad:of=lrp"])
    assert names == ("smoothgrad", "vargrad-of-lrp", "smoothgrad-of-lrp")
    assert own == {"vargrad-of-lrp": {"rule": "epsilon"}}
    for wrong in ("ig", "smoothgrad", ""):
        expected = rf"of must be one of gradient.*got '{wrong}'"
        with pytest.raises(onnxplain.InvalidInputError, match=expected):
            asked_methods([f"smoothgrad:of={wrong}"])
        with pytest.raises(onnxplain.InvalidInputError, match=expected):
            onnxplain.Explainer(MODEL, "smoothgrad", of=wrong)


def test_what_it_is_of_is_said():
    e = onnxplain.Explainer(MODEL, "smoothgrad", of="deeplift")(X[:1], 0)
    method = find_method(e.method)
    assert method is find_method("SmoothGrad of DeepLIFT") and method.name not in methods()
    assert method.title == "SmoothGrad of DeepLIFT"
    assert method.sign == find_method("deeplift").sign != find_method("smoothgrad").sign
    assert "DeepLIFT averaged over noisy copies" in how_to_read(e.method)


def test_options_of_what_it_is_of():
    explainer = onnxplain.Explainer(
        MODEL, "smoothgrad", of="deeplift", rule="reveal-cancel", **NOISE
    )
    deeplift = onnxplain.Explainer(MODEL, "deeplift", rule="reveal-cancel")
    parts = [deeplift(c, [0, 1]).attribution for c in copies(X, **NOISE)]
    close(explainer(X, [0, 1]).attribution, np.mean(parts, axis=0, dtype=np.float64))
    explainer = onnxplain.Explainer(MODEL, "smoothgrad", of="lrp", rule="z-plus", **NOISE)
    lrp = onnxplain.Explainer(MODEL, "lrp", rule="z-plus")
    parts = [lrp(c, [0, 1]).attribution for c in copies(X, **NOISE)]
    close(explainer(X, [0, 1]).attribution, np.mean(parts, axis=0, dtype=np.float64))


def test_a_file_that_takes_the_baseline():
    explainer = onnxplain.Explainer(MODEL, "smoothgrad", of="deeplift", **NOISE)
    rows = RANDOM.random(X.shape).astype(np.float32)
    found = run(explainer.model, {"x": X, "target": np.array([1, 2], np.int64), "baseline": rows})
    close(found["attribution"], explainer(X, [1, 2], baseline=rows).attribution)


def test_what_the_walk_cannot_pass_is_refused_by_name():
    """The gradient passes a TopK's values, DeepLIFT does not."""
    weights = {"w": f32(5, 6), "k": np.array([3], np.int64)}
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("TopK", ["h", "k"], ["y", "i"])]
    model = small(nodes, [value("x", ["N", 5])], [value("y", ["N", 3])], weights)
    assert onnxplain.Explainer(model, "smoothgrad")(f32(1, 5), 0).attribution.shape == (1, 5)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"SmoothGrad of DeepLIFT.*TopK"):
        onnxplain.Explainer(model, "smoothgrad", of="deeplift")


def test_tokens_are_explained_by_their_embeddings():
    weights = {"table": f32(11, 4), "w": f32(12, 3)}
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("Softplus", ["e"], ["s"]),
        node("Flatten", ["s"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    model = small(nodes, [value("ids", ["N", 3], INT64)], [value("y", ["N", 3])], weights)
    ids = np.array([[1, 5, 9], [0, 2, 10]])
    quiet = onnxplain.Explainer(model, "smoothgrad", of="deeplift", samples=3, noise=0.0)
    expected = onnxplain.Explainer(model, "deeplift")(ids, [0, 1]).attribution
    close(quiet(ids, [0, 1]).attribution, expected)
