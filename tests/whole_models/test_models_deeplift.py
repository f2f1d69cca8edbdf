"""DeepLIFT of whole models: against Captum where Captum is right, and against summation-to-delta.

Captum 0.9 is right on networks of modules that it has rules for, each used once, but for max
pooling behind an activation: there its attributions do not sum to delta, and a slow replica of the
published rule takes its place.
"""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from support import networks, zoo
from support.often import by_day
from torch import nn
from torch.nn import functional as F

import onnxplain

CAPTUM = [name for name in zoo.EXPORTED if name.startswith(("captum_smooth", "captum_dense"))]
TARGETS = [3, 7]


def captums(module: nn.Module, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Captum's attributions, which must sum to its own delta."""
    oracle = captum.attr.DeepLift(module)
    found, delta = oracle.attribute(
        x.double(), baseline.double(), target=torch.tensor(TARGETS), return_convergence_delta=True
    )
    assert delta.abs().max() < 1e-9
    return found.detach()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CAPTUM)
@pytest.mark.parametrize("baseline", ["zeros", "array"])
def test_deeplift_is_captums(name: str, baseline: str):
    x = torch.from_numpy(zoo.example(name))
    start = torch.zeros_like(x)
    if baseline == "array":
        start = networks.example(zoo.EXPORTED[name], seed=8)
    module = networks.network64(zoo.EXPORTED[name])
    given = None if baseline == "zeros" else start.numpy()
    found = zoo.explainer(name, "deeplift")(x.numpy(), TARGETS, baseline=given)
    assert zoo.relative_error(found.attribution, captums(module, x, start)) < 1e-4
    assert found.target.tolist() == TARGETS
    assert zoo.relative_error(found.score, module(x.double())[[0, 1], TARGETS]) < 1e-5


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_deeplift_with_relus_is_captums():
    """`captum_relu` with averages for maxima."""
    layers = list(networks.network("captum_relu"))
    layers[2] = nn.AvgPool2d(2)
    module = nn.Sequential(*layers).eval()
    x = networks.example("captum_relu")
    model = networks.export(module, x, "torchscript", 17)
    explainer = onnxplain.Explainer(model, "deeplift", providers="cpu", threads=2)
    module64 = nn.Sequential(*networks.network64("captum_relu"))
    module64[2] = nn.AvgPool2d(2)
    expected = captums(module64, x, torch.zeros_like(x))
    assert zoo.relative_error(explainer(x.numpy(), TARGETS).attribution, expected) < 1e-4


def by_layers(layers: nn.Sequential, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """DeepLIFT's rules, spelt out layer by layer, for one input of class `TARGETS[0]`."""
    values, references = [x], [baseline]
    for layer in layers:
        values.append(layer(values[-1]))
        references.append(layer(references[-1]))
    m = F.one_hot(torch.tensor(TARGETS[:1]), networks.modules.CLASSES).double()
    for index in reversed(range(len(layers))):
        layer, a, b = layers[index], values[index], references[index]
        y, z = values[index + 1], references[index + 1]
        moved = a != b
        dx = torch.where(moved, a - b, 1.0)
        if isinstance(layer, nn.ReLU):
            m = torch.where(moved, m * (y - z) / dx, m * (a > 0))
        elif isinstance(layer, nn.MaxPool2d):
            top = torch.maximum(y, z)
            _, at = F.max_pool2d(a, 2, return_indices=True)
            _, at_reference = F.max_pool2d(b, 2, return_indices=True)
            owed = F.max_unpool2d(m * (top - z), at, 2)
            owed += F.max_unpool2d(m * (y - top), at_reference, 2)
            m = owed / dx  # where nothing moved, nothing is owed
        else:
            leaf = a.clone().requires_grad_()
            (m,) = torch.autograd.grad(layer(leaf), leaf, m)
    return m * (x - baseline)


@pytest.mark.parametrize("name", [n for n in zoo.EXPORTED if n.startswith("captum_relu")])
def test_deeplift_with_max_pooling_is_the_published_rule(name: str):
    module = networks.network64("captum_relu")
    assert isinstance(module, nn.Sequential)
    x, start = networks.example("captum_relu"), networks.example("captum_relu", seed=8)
    found = zoo.explainer(name, "deeplift")(x.numpy(), TARGETS[0], baseline=start.numpy())
    for row in range(2):
        rows = slice(row, row + 1)
        expected = by_layers(module, x[rows].double(), start[rows].double())
        assert zoo.relative_error(found.attribution[rows], expected) < 1e-4


@pytest.mark.parametrize("name", by_day(zoo.MODELS, {*zoo.LONG, *list(zoo.MODELS)[1::2]}))
def test_summation_to_delta(name: str):
    """Overlapping max pooling, gates, attention, normalisation and all: it always sums."""
    found = zoo.explainer(name, "deeplift")(zoo.example(name))
    rows = found.attribution.reshape(len(found.attribution), -1).sum(1, dtype=np.float64)
    gap = found.score - found.baseline_score
    assert (np.abs(gap) > 1e-2 * np.abs(found.score)).all()  # the input differs from its baseline
    assert (np.abs(rows - gap) < 1e-3 * np.abs(gap)).all()
    np.testing.assert_allclose(found.delta, rows - gap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.relative_delta, np.abs(rows - gap) / np.abs(gap))


def test_the_demo_model_sums_to_the_espressos_score(capsys):
    """Captum's rules give -0.85 here, where the scores of photo and black image differ by 10.84."""
    found = zoo.explainer("demo", "deeplift")(zoo.photo(0))
    total = found.attribution.sum(dtype=np.float64)
    with capsys.disabled():
        print(f" sum {total:.6f}, relative delta {found.relative_delta[0]:.1e}", end=" ")
    assert found.target.tolist() == [967]  # espresso
    assert found.relative_delta[0] < 1e-5
    assert abs(total - 10.84) < 0.01


def test_deeplift_of_the_demo_model_starts_from_black():
    """The card's black image is (0 - 127) / 128, not the tensor of zeros."""
    explainer = zoo.explainer("demo", "deeplift")
    black = explainer(zoo.photo(0), 967, baseline=-127 / 128)
    np.testing.assert_array_equal(explainer(zoo.photo(0), 967).attribution, black.attribution)
    gray = explainer(zoo.photo(0), 967, baseline=0.0)
    assert gray.baseline_score != black.baseline_score and gray.relative_delta[0] < 1e-3


@pytest.mark.parametrize("name", ["resnet-dynamo-dynamic", "vit-torchscript17-dynamic", "rnet"])
def test_an_input_equal_to_its_baseline_is_attributed_nothing(name: str):
    x = zoo.example(name)
    found = zoo.explainer(name, "deeplift")(x, 1, baseline=x)
    assert not found.attribution.any()
    # Two graphs compute them, which ONNX Runtime may fuse differently.
    np.testing.assert_allclose(found.score, found.baseline_score, atol=2e-6)


@pytest.mark.parametrize("name", ["efficientnet-dynamo-dynamic", "vit-dynamo-dynamic"])
def test_a_nearby_baseline_gives_the_gradient(name: str):
    """As the baseline approaches the input, multipliers become derivatives, as in IG."""
    x = zoo.example(name)
    step = 1e-2 * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    found = zoo.explainer(name, "deeplift")(x, 2, baseline=x - step)
    path = zoo.explainer(name, "integrated-gradients")(x, 2, baseline=x - step)
    assert zoo.relative_error(found.attribution, path.attribution) < 2e-2


@pytest.mark.parametrize(
    "name", ["mobilenet_v3-dynamo-dynamic", "pnet", "captum_dense-dynamo-dynamic"]
)
def test_a_batch_is_its_images_one_by_one(name: str):
    x = np.concatenate([zoo.example(name), zoo.example(name)[:1] * 0.5])
    explainer = zoo.explainer(name, "deeplift")
    targets = [0, 1, 1]
    found = explainer(x, targets)
    for row, target in enumerate(targets):
        alone = explainer(x[row : row + 1], target)
        assert zoo.relative_error(found.attribution[row], alone.attribution[0]) < 1e-5
        assert abs(found.score[row] - alone.score[0]) < 1e-5 * abs(alone.score[0])
