"""Integrated Gradients of whole models: against Captum with the same quadrature, and numpy."""

from __future__ import annotations

import captum.attr
import numpy as np
import onnx
import pytest
import torch
from support import networks, torch_runner, zoo

import onnxplain

STEPS = 50
# The library's name of a quadrature and Captum's. Captum's trapezoid sums to 49/50: see below.
CAPTUMS = {
    "gauss-legendre": "gausslegendre",
    "left": "riemann_left",
    "right": "riemann_right",
    "middle": "riemann_middle",
}
NETWORKS = [
    "resnet-torchscript13",
    "mobilenet_v3-dynamo",
    "efficientnet-dynamo-dynamic",
    "convnext-dynamo",
    "vit-torchscript17-dynamic",
    "captum_relu-torchscript17-dynamic",
    "captum_dense-dynamo-dynamic",
]
METHOD = "integrated-gradients"


def captums(forward, x: np.ndarray, targets: list[int], **options) -> np.ndarray:
    oracle = captum.attr.IntegratedGradients(forward)
    inputs = torch.from_numpy(x).double()
    found = oracle.attribute(inputs, target=torch.tensor(targets), n_steps=STEPS, **options)
    return found.detach().numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_ig_is_captums(name: str):
    """On the original torch modules, from the same zero baseline, for other targets by image."""
    module = networks.network64(zoo.EXPORTED[name])
    x, targets = zoo.example(name), [2, 5]
    expected = captums(module, x, targets, method="gausslegendre")
    found = zoo.explainer(name, METHOD, steps=50)(x, targets)
    assert zoo.relative_error(found.attribution, expected) < 1e-4
    assert found.steps == STEPS and found.target.tolist() == targets


@pytest.mark.parametrize("quadrature", CAPTUMS)
@pytest.mark.parametrize("name", ["efficientnet-dynamo-dynamic", "captum_smooth-torchscript13"])
def test_quadratures_are_captums(name: str, quadrature: str):
    module = networks.network64(zoo.EXPORTED[name])
    x, targets = zoo.example(name), [4, 4]
    expected = captums(module, x, targets, method=CAPTUMS[quadrature])
    found = zoo.explainer(name, METHOD, quadrature=quadrature)(x, targets)
    assert zoo.relative_error(found.attribution, expected) < 1e-4


@pytest.mark.parametrize("name", ["rnet", "nhwc_transposes", "jax_digits"])
def test_ig_of_files_is_captums(name: str):
    """Files from other frameworks: Captum on the interpreter; the score before the Softmax."""
    model = zoo.model(name)
    scores = {"rnet": "biased_tensor_name1", "nhwc_transposes": "logits/BiasAdd"}
    score = scores.get(name, model.graph.output[0].name)
    (source,) = zoo.feeds(name)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch_runner.run(model, {source: x}, keep=[score])[score]

    x = zoo.example(name)
    targets = [1, 0, 1][: len(x)]
    expected = captums(forward, x, targets, method="gausslegendre")
    found = zoo.explainer(name, METHOD, steps=50)(x, targets)
    assert zoo.relative_error(found.attribution, expected) < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_trapezoid_by_numpy(steps: int):
    """Equal steps from 0 to 1 with half weights at both ends; one step is the middle."""
    name = "efficientnet-dynamo-dynamic"
    module = networks.network64("efficientnet")
    alphas = np.linspace(0, 1, steps) if steps > 1 else np.array([0.5])
    weights = np.ones(steps)
    if steps > 1:
        weights[[0, -1]] = 0.5
    weights /= weights.sum()
    x = torch.from_numpy(zoo.example(name)[:1]).double()
    start = torch.full_like(x, 0.25)
    points = start + torch.from_numpy(alphas).reshape(-1, 1, 1, 1) * (x - start)
    points.requires_grad_()
    (slopes,) = torch.autograd.grad(module(points)[:, 3].sum(), points)
    mean = np.average(slopes.numpy(), axis=0, weights=weights)
    explainer = zoo.explainer(name, METHOD, quadrature="trapezoid", steps=steps)
    found = explainer(zoo.example(name)[:1], 3, baseline=0.25)
    assert zoo.relative_error(found.attribution[0], mean * (x - start)[0].numpy()) < 1e-4


@pytest.mark.parametrize("quadrature", [*CAPTUMS, "trapezoid"])
def test_weights_sum_to_one(quadrature: str):
    """IG of a linear model is exact at any number of steps."""
    weight = onnx.numpy_helper.from_array(np.float32([[1], [-2], [3]]), "weight")
    describe = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "linear",
        [describe("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [describe("y", onnx.TensorProto.FLOAT, ["N", 1])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    for steps in (1, 3, 50):
        explainer = onnxplain.Explainer(
            model, METHOD, quadrature=quadrature, steps=steps, providers="cpu"
        )
        found = explainer(np.float32([[5, 7, 11]]))
        np.testing.assert_allclose(found.attribution, [[5, -14, 33]], rtol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_delta_is_what_completeness_leaves_over(name: str):
    found = zoo.explainer(name, METHOD)(zoo.example(name), [2, 5])
    module = networks.network64(zoo.EXPORTED[name])
    x = torch.from_numpy(zoo.example(name)).double()
    score = module(x)[[0, 1], [2, 5]].numpy()
    baseline_score = module(torch.zeros_like(x))[[0, 1], [2, 5]].numpy()
    np.testing.assert_allclose(found.score, score, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.baseline_score, baseline_score, rtol=1e-4, atol=1e-5)
    sums = found.attribution.reshape(2, -1).sum(1, dtype=np.float64)
    gap = found.score - found.baseline_score
    np.testing.assert_allclose(found.delta, sums - gap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.relative_delta, np.abs(sums - gap) / np.abs(gap))


@pytest.mark.parametrize("name", ["efficientnet-dynamo-dynamic", "captum_smooth-torchscript13"])
def test_completeness_comes_with_steps(name: str):
    """Smooth networks: the sum converges to the difference of the scores."""
    x = zoo.example(name)
    deltas = [zoo.explainer(name, METHOD, steps=n)(x, 1).relative_delta.max() for n in (2, 8, 50)]
    assert deltas[0] > 4 * deltas[1] > 16 * deltas[2]
    assert deltas[2] < 1e-3
    middles = [
        zoo.explainer(name, METHOD, steps=n, quadrature="middle")(x, 1).relative_delta.max()
        for n in (4, 16, 64)
    ]
    assert middles[0] > 4 * middles[1] > 16 * middles[2]


@pytest.mark.parametrize(
    "name", ["convnext-dynamo-dynamic", "densenet-torchscript17-dynamic", "pnet"]
)
def test_a_batch_is_its_images_one_by_one(name: str):
    """Whatever share of the path's points goes through the graph at once."""
    x = np.concatenate([zoo.example(name), zoo.example(name)[:1] * 0.5])
    targets = [1, 0, 1]
    explainer = zoo.explainer(name, METHOD, steps=10)
    found = explainer(x, targets)
    assert found.attribution.shape == x.shape and found.target.tolist() == targets
    for row, target in enumerate(targets):
        alone = explainer(x[row : row + 1], target)
        assert zoo.relative_error(found.attribution[row], alone.attribution[0]) < 1e-4
        np.testing.assert_allclose(found.score[row], alone.score[0], rtol=1e-5)


def test_one_baseline_for_each_image():
    name = "captum_smooth-torchscript17-dynamic"
    x = zoo.example(name)
    starts = np.stack([np.zeros_like(x[0]), np.full_like(x[0], 0.5)])
    explainer = zoo.explainer(name, METHOD)
    found = explainer(x, 6, baseline=starts)
    for row in range(2):
        rows = slice(row, row + 1)
        alone = explainer(x[rows], 6, baseline=starts[rows])
        assert zoo.relative_error(found.attribution[row], alone.attribution[0]) < 1e-5
    assert found.baseline_score[0] != found.baseline_score[1]


def test_top1_and_its_index_are_one():
    name = "resnet-torchscript17-dynamic"
    x = zoo.example(name)
    best = networks.network("resnet")(torch.from_numpy(x)).argmax(1).tolist()
    found = zoo.explainer(name, METHOD, steps=5)(x)
    assert found.target.tolist() == best
    same = zoo.explainer(name, METHOD, steps=5)(x, best)
    np.testing.assert_array_equal(found.attribution, same.attribution)
    for row, target in enumerate(best):
        tupled = zoo.explainer(name, METHOD, steps=5)(x[row : row + 1], (target,))
        assert zoo.relative_error(found.attribution[row], tupled.attribution[0]) < 1e-5


@pytest.mark.parametrize("threads", [1, 2, None])
def test_threads_do_not_change_the_numbers(threads: int | None):
    name = "mobilenet_v2-torchscript17-dynamic"
    model = zoo.model(name)
    found = onnxplain.Explainer(model, METHOD, steps=8, providers="cpu", threads=threads)
    expected = zoo.explainer(name, METHOD, steps=8)(zoo.example(name), 0)
    assert zoo.relative_error(found(zoo.example(name), 0).attribution, expected.attribution) < 1e-5


def test_progress_counts_to_the_end():
    seen: list[tuple[int, int]] = []
    name = "captum_dense-torchscript17-dynamic"
    explainer = zoo.explainer(name, METHOD, steps=50)
    explainer(zoo.example(name), 0, progress=lambda done, of: seen.append((done, of)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {of for _, of in seen} == {len(seen)}
