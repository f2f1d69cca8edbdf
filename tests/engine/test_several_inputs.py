"""Several inputs explained at once, and several targets of one input."""

from __future__ import annotations

import io
import warnings

import captum.attr
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.digits import DATA, digit
from torch import nn

import onnxplain
from onnxplain.engine.explanation.attributions import each
from onnxplain.engine.running.plan import Plan

NAMES = ("left", "right")
DIGITS = DATA / "jax_digits.onnx"


class Pair(nn.Module):
    """Two images of different sizes and a vector; products between them, and ReLUs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(2, 6, 3, stride=2)
        self.head = nn.Linear(6, 4)
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU6()])

    def forward(self, left, right, state):
        a = self.relus[0](self.first(left)).mean((2, 3))
        b = torch.tanh(self.second(right)).mean((2, 3))
        return self.head(self.relus[1](3 * a + b + a * state))


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(3)
    module = Pair().eval()
    random = np.random.default_rng(3)
    shapes = {"left": (2, 3, 8, 8), "right": (2, 2, 9, 7), "state": (2, 6)}
    arrays = {k: random.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(v) for v in arrays.values()),
            buffer,
            dynamo=False,
            input_names=list(arrays),
            output_names=["logits"],
            dynamic_axes={name: {0: "N"} for name in (*arrays, "logits")},
        )
    return module, buffer.getvalue(), arrays


def tensors(arrays: dict[str, np.ndarray], names=NAMES) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(arrays[name]) for name in names)


def test_integrated_gradients_of_all_inputs(pair):
    module, model, arrays = pair
    explainer = onnxplain.Explainer(model, "integrated-gradients", input=NAMES, steps=16)
    ours = explainer(arrays, 1)
    theirs = captum.attr.IntegratedGradients(module).attribute(
        tensors(arrays), target=1, additional_forward_args=tensors(arrays, ["state"]), n_steps=16
    )
    for name, expected in zip(NAMES, theirs, strict=True):
        np.testing.assert_allclose(ours.attribution[name], expected.numpy(), atol=1e-6)
    assert ours.relative_delta is not None and ours.relative_delta.max() < 0.02


@pytest.mark.parametrize("rule", ["rescale", "reveal-cancel"])
def test_deeplift_of_all_inputs_sums_over_all(pair, rule):
    _, model, arrays = pair
    starts = {"left": 0.5, "right": arrays["right"][::-1].copy()}
    explainer = onnxplain.Explainer(model, "deeplift", input=NAMES, baseline=starts, rule=rule)
    ours = explainer(arrays, [0, 3])
    assert {n: a.shape for n, a in ours.attribution.items()} == {n: arrays[n].shape for n in NAMES}
    assert ours.relative_delta is not None and ours.relative_delta.max() < 1e-5
    at_start = {**arrays, "left": np.full_like(arrays["left"], 0.5), "right": starts["right"]}
    expected = onnxplain.Explainer(model, "deeplift")(at_start, [0, 3]).score
    np.testing.assert_allclose(ours.baseline_score, expected, rtol=1e-5)


def test_a_tolerance_holds_for_all_inputs_together(pair):
    _, model, arrays = pair
    options = {"input": list(NAMES), "steps": 200}
    adaptive = onnxplain.Explainer(model, "integrated-gradients", tolerance=1e-3, **options)
    found, fixed = (
        e(arrays, 2)
        for e in (adaptive, onnxplain.Explainer(model, "integrated-gradients", **options))
    )
    assert found.relative_delta.max() <= 1e-3
    for name in NAMES:
        scale = np.abs(fixed.attribution[name]).max()
        np.testing.assert_allclose(
            found.attribution[name], fixed.attribution[name], atol=0.05 * scale
        )


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
@pytest.mark.parametrize("baseline_input", [False, True])
def test_the_exported_file_has_an_attribution_for_each(pair, method, baseline_input, tmp_path):
    _, model, arrays = pair
    starts = {"left": 0.25, "right": -0.5}
    explainer = onnxplain.Explainer(model, method, input=NAMES, baseline=starts, steps=6)
    ours = explainer(arrays, 2)
    file = tmp_path / "pair.onnx"
    explainer.export(file, baseline_input=baseline_input)
    onnx.checker.check_model(str(file))
    feeds = {**arrays, "target": np.array([2, 2])}
    if baseline_input:
        for name, value in starts.items():
            feeds[f"baseline_{name}"] = np.full((1, 1, 1, 1), value, np.float32)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    results = dict(zip(names, session.run(names, feeds), strict=True))
    for name in NAMES:
        found = results[f"attribution_{name}"]
        np.testing.assert_allclose(found, ours.attribution[name], atol=1e-6)
    np.testing.assert_allclose(results["delta"], ours.delta, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "grad-cam", "input": NAMES}, "one input at a time"),
        ({"method": "deeplift", "input": ["left", "left"]}, "different"),
        ({"method": "deeplift", "input": []}, "input"),
        ({"method": "deeplift", "input": 5}, "no input 5"),
        ({"method": "deeplift", "input": ["left", "middle"]}, "'middle'"),
        ({"method": "deeplift", "input": NAMES, "baseline": {"left": 0.0}}, "right"),
    ],
)
def test_wrong_choices_get_one_line(pair, options, words):
    with pytest.raises(onnxplain.InvalidInputError) as error:
        onnxplain.Explainer(pair[1], **options)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("grad-cam", {}),
        ("integrated-gradients", {"steps": 5}),
        ("integrated-gradients", {"tolerance": 0.05}),
        ("deeplift", {}),
        ("deeplift", {"rule": "reveal-cancel"}),
    ],
)
def test_targets_of_one_input_share_a_forward_pass(method, options, monkeypatch):
    """[K] targets of one input, and the input K times, are what each target gives by itself."""
    explainer = onnxplain.Explainer(DIGITS, method, **options)
    x, targets = digit(7), [7, -1, 2]
    alone = [explainer(x, target) for target in targets]
    calls = []
    shared = Plan.run_shared
    monkeypatch.setattr(Plan, "run_shared", lambda *args: calls.append(1) or shared(*args))
    together, repeated = explainer(x, targets), explainer(np.repeat(x, 3, axis=0), targets)
    assert len(calls) == 2
    for e, rows in ((together, 1), (repeated, 3)):
        expected = np.concatenate([one.attribution for one in alone])
        np.testing.assert_allclose(e.attribution, expected, atol=1e-6)
        np.testing.assert_array_equal(e.target, np.concatenate([one.target for one in alone]))
        np.testing.assert_allclose(e.score, np.concatenate([one.score for one in alone]), 1e-5)
        assert all(len(value) == rows for value in e.outputs.values())
        if method != "grad-cam":
            np.testing.assert_allclose(e.delta, [one.delta[0] for one in alone], atol=1e-5)


def test_different_inputs_share_nothing():
    explainer = onnxplain.Explainer(DIGITS, "deeplift")
    x = np.concatenate([digit(7), digit(3)])
    both = explainer(x, [7, 3])
    for row, target in enumerate((7, 3)):
        one = explainer(x[row : row + 1], target)
        np.testing.assert_allclose(both.attribution[row], one.attribution[0], atol=1e-6)


def test_another_baseline_gets_activations_of_its_own():
    """What is kept of one baseline is not taken for another's."""
    explainer = onnxplain.Explainer(DIGITS, "deeplift")
    x = digit(7)
    results = [explainer(x, 7, baseline=b) for b in (0.0, 1.0, 0.0)]
    fresh = [onnxplain.Explainer(DIGITS, "deeplift", baseline=b)(x, 7) for b in (0.0, 1.0, 0.0)]
    for ours, expected in zip(results, fresh, strict=True):
        np.testing.assert_allclose(ours.attribution, expected.attribution, atol=1e-6)
    assert np.abs(results[0].attribution - results[1].attribution).max() > 0.01


class Sized(nn.Module):
    """A network for pictures of any size, which asks for theirs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        half = torch.relu(self.first(x))[:, :, ::2, ::2]
        wide = nn.functional.interpolate(half, size=x.shape[2:], mode="bilinear")
        return torch.tanh(self.second(wide)).mean((2, 3))


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "deeplift"])
def test_targets_of_a_picture_of_any_size(method):
    """Sizes that are known when the model runs survive the cut behind the forward pass."""
    torch.manual_seed(4)
    buffer = io.BytesIO()
    names = {"x": {0: "N", 2: "H", 3: "W"}, "scores": {0: "N"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Sized().eval(),
            (torch.zeros(1, 3, 8, 10),),
            buffer,
            dynamo=False,
            input_names=["x"],
            output_names=["scores"],
            dynamic_axes=names,
        )
    explainer = onnxplain.Explainer(buffer.getvalue(), method, steps=4, providers="cpu")
    for size in ((8, 10), (11, 7)):
        x = np.random.default_rng(4).standard_normal((1, 3, *size)).astype(np.float32)
        expected = np.concatenate([explainer(x, target).attribution for target in (0, 3)])
        for inputs in (x, np.repeat(x, 2, axis=0)):
            found = explainer(inputs, [0, 3])
            np.testing.assert_allclose(found.attribution, expected, atol=1e-6)


def test_each_target_of_several_inputs(pair):
    _, model, arrays = pair
    one = {name: value[:1] for name, value in arrays.items()}
    e = onnxplain.Explainer(model, "deeplift", input=NAMES)(one, [2, 0])
    for k, part in enumerate(each(e)):
        assert {n: a.shape[0] for n, a in part.attribution.items()} == {"left": 1, "right": 1}
        np.testing.assert_allclose(part.delta, e.delta[k : k + 1])
