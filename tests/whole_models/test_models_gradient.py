"""Gradients of whole models: `onnxplain.vjp` in ONNX Runtime against PyTorch's autograd."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import torch
from support import networks, torch_runner, zoo
from support.often import by_day

import onnxplain

TOLERANCE = 1e-4

Arrays = dict[str, np.ndarray]


@functools.cache
def cotangents(name: str) -> dict[str, torch.Tensor]:
    """A random cotangent for each output, by the output's name."""
    model = onnx.load_from_string(zoo.smooth_content(name))
    with torch.no_grad():
        outputs = torch_runner.run(model, zoo.torch_feeds(zoo.feeds(name)))
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(value.shape, generator=generator) for key, value in outputs.items()}


def run_vjp(content: bytes, feeds: Arrays, seeds: dict[str, torch.Tensor]) -> Arrays:
    """Run the vjp model, which must be valid and named as the contract says."""
    model = onnxplain.vjp(content)
    onnx.checker.check_model(model, full_check=True)
    session = zoo.session(model.SerializeToString())
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    own = [value.name for value in onnx.load_from_string(content).graph.output]
    assert inputs == [*feeds, *(f"cotangent_{key}" for key in own)]
    assert outputs == [*own, *(f"grad_{key}" for key in feeds)]
    given = {f"cotangent_{key}": value.numpy() for key, value in seeds.items()}
    results = dict(zip(outputs, map(np.asarray, session.run(outputs, feeds | given)), strict=True))
    for key, value in feeds.items():
        assert results[f"grad_{key}"].shape == value.shape
    return results


@functools.cache
def result(name: str) -> Arrays:
    return run_vjp(zoo.smooth_content(name), zoo.feeds(name), cotangents(name))


@pytest.mark.parametrize("name", by_day(zoo.MODELS, zoo.LONG))
def test_gradient_is_autograds(name: str):
    """In float32, against a float64 interpreter that shares no code with the library."""
    model = onnx.load_from_string(zoo.smooth_content(name))
    feeds = zoo.torch_feeds(zoo.feeds(name))
    expected = torch_runner.gradients(model, feeds, cotangents(name), list(feeds))
    with torch.no_grad():
        outputs = torch_runner.run(model, feeds)
    found = result(name)
    for key, value in outputs.items():
        assert zoo.relative_error(found[key], value) < TOLERANCE
    for key, value in expected.items():
        assert zoo.relative_error(found[f"grad_{key}"], value) < TOLERANCE


@pytest.mark.parametrize("name", zoo.EXPORTED)
def test_gradient_is_the_original_modules(name: str):
    x = torch.from_numpy(zoo.example(name)).double().requires_grad_()
    y = networks.network64(zoo.EXPORTED[name])(x)
    (expected,) = torch.autograd.grad(y, x, cotangents(name)["output"].double())
    assert zoo.relative_error(result(name)["grad_input"], expected) < TOLERANCE


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "unet", "vit", "odd_shapes"])
def test_one_symbolic_file_serves_every_size(name: str):
    """Another batch and, where the network allows it, another height and width."""
    content = zoo.model(f"{name}-dynamo-dynamic").SerializeToString()
    shape = list(networks.NETWORKS[name].input_shape)
    axes = networks.NETWORKS[name].dynamic_axes
    step = 8 if name == "unet" else 7  # the U-Net halves twice
    for change in (1, 3):
        sizes = [size + step * change if axis in axes else size for axis, size in enumerate(shape)]
        x = networks.images([change, *sizes[1:]], seed=change)
        y = networks.network64(name)(leaf := x.double().requires_grad_())
        seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(change))
        (expected,) = torch.autograd.grad(y, leaf, seed.double())
        found = run_vjp(content, {"input": x.numpy()}, {"output": seed})
        assert zoo.relative_error(found["grad_input"], expected) < TOLERANCE


def test_chosen_inputs_and_outputs():
    """P-net's box output alone: the other output stays, its cotangent is not asked for."""
    model = onnxplain.vjp(zoo.model("pnet"), ["input_1"], ["conv2d_4"])
    assert [value.name for value in model.graph.input] == ["input_1", "cotangent_conv2d_4"]
    outputs = [value.name for value in model.graph.output]
    assert outputs == ["conv2d_4", "softmax", "grad_input_1"]
    feeds = zoo.torch_feeds(zoo.feeds("pnet"))
    seed = {"conv2d_4": cotangents("pnet")["conv2d_4"]}
    expected = torch_runner.gradients(zoo.model("pnet"), feeds, seed, ["input_1"])["input_1"]
    session = zoo.session(model.SerializeToString())
    given = {"cotangent_conv2d_4": seed["conv2d_4"].numpy()}
    (found,) = session.run(["grad_input_1"], zoo.feeds("pnet") | given)
    assert zoo.relative_error(found, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("names", "known"),
    [({"inputs": ["nothing"]}, "'input_2'"), ({"outputs": ["nothing"]}, "'dense_2', 'softmax_1'")],
)
def test_unknown_names_are_refused(names: dict[str, list[str]], known: str):
    with pytest.raises(onnxplain.InvalidInputError, match=f"'nothing'; it has {known}"):
        onnxplain.vjp(zoo.model("rnet"), **names)
