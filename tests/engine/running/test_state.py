"""Streaming models: a frame and the state that the last call left; two images of which one moves.

The frame is explained, the state stands still, and PyTorch's autograd is the judge.
"""

from __future__ import annotations

import io
import warnings
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch
from support.small import model_of, run
from torch import nn

import onnxplain

STEPS = 12


class Camera(nn.Module):
    """A convolutional gated unit over video frames; its state has the features' size."""

    names = ("state_in", "frame")
    outputs = ("scores", "state_out")
    shapes: ClassVar = {"state_in": (2, 4, 9, 10), "frame": (2, 3, 9, 10)}

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(7, 4, 3, padding=1)
        self.update = nn.Conv2d(7, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def scores(self, state, frame):
        both = torch.cat([frame, state], 1)
        gate = torch.sigmoid(self.gate(both))
        state = gate * state + (1 - gate) * torch.tanh(self.update(both))
        return self.head(state.mean((2, 3))), state

    def forward(self, state, frame):
        logits, state = self.scores(state, frame)
        return torch.softmax(logits, 1), state


class Microphone(nn.Module):
    """Voice activity in audio frames: two LSTM layers, whose states are one input of rank 3."""

    names = ("frame", "state")
    outputs = ("speech", "state_next")
    shapes: ClassVar = {"frame": (2, 24), "state": (4, 2, 6)}

    def __init__(self):
        super().__init__()
        self.filters = nn.Conv1d(1, 5, 6, stride=3)
        self.memory = nn.LSTM(5, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 1)

    def scores(self, frame, state):
        features = torch.relu(self.filters(frame[:, None])).transpose(1, 2)
        found, (hidden, cell) = self.memory(features, (state[:2], state[2:]))
        return self.head(found[:, -1]), torch.cat([hidden, cell])

    def forward(self, frame, state):
        logit, state = self.scores(frame, state)
        return torch.sigmoid(logit), state


class Case:
    """A network, its exported file, and what it is fed."""

    def __init__(self, network: type[Camera] | type[Microphone], dynamic_axes=None):
        torch.manual_seed(0)
        self.module = network().eval()
        self.target = 1 if network is Camera else 0
        random = np.random.default_rng(0)
        self.arrays = {
            name: random.standard_normal(shape).astype(np.float32)
            for name, shape in network.shapes.items()
        }
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module,
                tuple(torch.from_numpy(a) for a in self.arrays.values()),
                buffer,
                dynamo=False,
                input_names=list(network.names),
                output_names=list(network.outputs),
                dynamic_axes=dynamic_axes,
            )
        self.model = onnx.load_from_string(buffer.getvalue())

    def gradient(self, name: str, value: np.ndarray) -> np.ndarray:
        """Autograd's gradient of the target's logit by one input at a value, the others fed."""
        tensors = {k: torch.from_numpy(a) for k, a in self.arrays.items()}
        tensors[name] = torch.from_numpy(value).requires_grad_()
        self.module.scores(*tensors.values())[0][:, self.target].sum().backward()
        gradient = tensors[name].grad
        assert gradient is not None
        return gradient.numpy()


@pytest.fixture(scope="module", params=[Camera, Microphone], ids=lambda network: network.__name__)
def case(request) -> Case:
    return Case(request.param)


def test_the_frame_is_what_is_explained(case: Case) -> None:
    """Wherever it stands, and although an LSTM's state has more axes than its audio frame."""
    assert onnxplain.inspect(case.model).input.startswith("frame:")


@pytest.mark.parametrize("level_shape", [["n"], [8, 9]])
def test_a_picture_handed_back_is_no_state(level_shape) -> None:
    """An image and a few numbers for each image; the image is also the second output."""
    kind = onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Mul", ["image", "level"], ["bright"]),
        onnx.helper.make_node("ReduceMean", ["bright"], ["scores"], keepdims=0),
    ]
    image, level = ("image", kind, ["n", 3, 8, 9]), ("level", kind, level_shape)
    outputs = [("scores", kind, None), ("bright", kind, None)]
    assert onnxplain.inspect(model_of(nodes, [level, image], outputs, {})).input.startswith("image")


def test_gradient_by_frame_and_state(case: Case) -> None:
    """vjp by all inputs, of the scores and of the next state together."""
    tensors = [torch.from_numpy(a).requires_grad_() for a in case.arrays.values()]
    results = case.module(*tensors)
    seeds = [torch.randn(y.shape, generator=torch.manual_seed(1)) for y in results]
    expected = torch.autograd.grad(results, tensors, seeds)
    cotangents = {
        f"cotangent_{name}": seed.numpy()
        for name, seed in zip(case.module.outputs, seeds, strict=True)
    }
    found = run(onnxplain.vjp(case.model), case.arrays | cotangents)
    for name, gradient in zip(case.module.names, expected, strict=True):
        np.testing.assert_allclose(found[f"grad_{name}"], gradient.numpy(), atol=1e-5)


@pytest.mark.parametrize("axes", [None, {"frame": {0: "n"}, "state": {1: "n"}, "speech": {0: "n"}}])
def test_a_batch_on_another_axis_is_refused(axes) -> None:
    """An LSTM's state has it on axis 1: fed as an input, but not explained."""
    model = Case(Microphone, axes).model
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"'state' .* first axis"):
        onnxplain.Explainer(model, "deeplift", input="state")


@pytest.mark.parametrize("explained", [None, "frame", "state"])
def test_integrated_gradients(case: Case, explained: str | None) -> None:
    """Along the path of one input, the other at its given value."""
    if explained == "state" and isinstance(case.module, Microphone):
        return
    named = next((n for n in case.module.names if explained and n.startswith(explained)), None)
    name = named or "frame"
    x = case.arrays[name]
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    total = np.zeros(x.shape)
    for alpha, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += weight * case.gradient(name, np.float32(alpha) * x)
    explainer = onnxplain.Explainer(
        case.model, "integrated-gradients", input=named, steps=STEPS, providers="cpu"
    )
    e = explainer(case.arrays, case.target)
    expected = total * x
    np.testing.assert_allclose(e.attribution, expected, atol=1e-5 * np.abs(expected).max())
    assert set(e.outputs) == set(case.module.outputs)


@pytest.mark.parametrize("explained", ["frame", "state"])
def test_deeplift_sums_to_delta(case: Case, explained: str) -> None:
    """The state adds nothing while the frame is explained, and the other way round."""
    if explained == "state" and isinstance(case.module, Microphone):
        return
    name = next(n for n in case.module.names if n.startswith(explained))
    explainer = onnxplain.Explainer(case.model, "deeplift", input=name, providers="cpu")
    e = explainer(case.arrays, case.target)
    assert e.attribution.shape == case.arrays[name].shape
    assert e.relative_delta is not None and e.relative_delta.max() < 1e-4


def test_another_state_is_another_explanation(case: Case) -> None:
    explainer = onnxplain.Explainer(case.model, "deeplift", providers="cpu")
    other = {k: a if k == "frame" else np.float32(-a) for k, a in case.arrays.items()}
    found = [explainer(arrays, case.target).attribution for arrays in (case.arrays, other)]
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found[0]).max()


def test_a_missing_state_is_named(case: Case) -> None:
    explainer = onnxplain.Explainer(case.model, "deeplift", providers="cpu")
    state = next(n for n in case.module.names if n.startswith("state"))
    with pytest.raises(onnxplain.InvalidInputError, match=f"'{state}'"):
        explainer(case.arrays["frame"])


def test_export_takes_the_state(case: Case, tmp_path) -> None:
    """The exported file has the state among its inputs and its next value among its outputs."""
    explainer = onnxplain.Explainer(case.model, "integrated-gradients", steps=4, providers="cpu")
    explainer.export(tmp_path / "explained.onnx")
    batch = len(case.arrays["frame"])
    feeds = case.arrays | {"target": np.full(batch, case.target)}
    found = run(onnx.load(tmp_path / "explained.onnx"), feeds)
    expected = explainer(case.arrays, case.target)
    size = np.abs(expected.attribution).max()
    np.testing.assert_allclose(found["attribution"], expected.attribution, atol=1e-5 * size)
    name = case.module.outputs[1]
    np.testing.assert_allclose(found[name], expected.outputs[name], atol=1e-6)


def test_grad_cam_of_a_camera_with_memory() -> None:
    """The map behind the gate, where frame and state have met, against autograd."""
    case = Case(Camera)
    tensors = [torch.from_numpy(a) for a in case.arrays.values()]
    _, values = case.module(*tensors)
    values = values.detach().requires_grad_()
    scores = case.module.head(values.mean((2, 3)))[:, case.target]
    (gradient,) = torch.autograd.grad(scores.sum(), values)
    expected = torch.relu((gradient.mean((2, 3), keepdim=True) * values).sum(1))
    e = onnxplain.Explainer(case.model, "grad-cam", providers="cpu")(case.arrays, case.target)
    np.testing.assert_allclose(e.attribution, expected.detach().numpy(), atol=1e-6)


class Stereo(nn.Module):
    """Two images through one branch each, compared place by place."""

    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.merge = nn.Conv2d(6, 8, 3)
        self.head = nn.Linear(8, 4)

    def maps(self, left, right):
        right = nn.functional.interpolate(self.right(right), scale_factor=2.0, mode="bilinear")
        return torch.relu(self.merge(self.left(left) * right))

    def forward(self, left, right):
        return self.head(self.maps(left, right).mean((2, 3)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_two_image_branches(side: str) -> None:
    """The gradient by either image, and Grad-CAM on the map where the branches have met."""
    torch.manual_seed(0)
    module = Stereo().eval()
    images = {name: torch.randn(2, 3, 10, 12) for name in ("left", "right")}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(images.values()),
            buffer,
            dynamo=False,
            input_names=list(images),
            output_names=["scores"],
        )
    arrays = {name: image.numpy() for name, image in images.items()}
    seed = np.tile(np.float32([0, 0, 1, 0]), (2, 1))
    found = run(
        onnxplain.vjp(buffer.getvalue(), inputs=[side]), arrays | {"cotangent_scores": seed}
    )
    images[side].requires_grad_()
    values = module.maps(**images)
    scores = module.head(values.mean((2, 3)))[:, 2].sum()
    gradient, at_map = torch.autograd.grad(scores, [images[side], values])
    size = float(gradient.abs().max())
    np.testing.assert_allclose(found[f"grad_{side}"], gradient.numpy(), atol=1e-5 * size)
    coarse = torch.relu((at_map.mean((2, 3), keepdim=True) * values).sum(1, keepdim=True)).detach()
    expected = nn.functional.interpolate(coarse, size=(10, 12), mode="bilinear")[:, 0].numpy()
    explainer = onnxplain.Explainer(buffer.getvalue(), "grad-cam", input=side, providers="cpu")
    attribution = explainer(arrays, 2).attribution
    np.testing.assert_allclose(attribution, expected, atol=1e-5 * expected.max())
