"""Every method against an independent implementation, on the demo model and three small nets."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from captum.attr import InputXGradient, Occlusion, Saliency
from support import networks
from support import torch_methods as oracle
from support.often import by_night
from support.torch_methods import Asked

import onnxplain
from onnxplain.engine.inputs.image import image_to_tensor, read_image
from onnxplain.models.card import find_card
from onnxplain.models.shipped import demo_model, demo_photos

NETS = ("demo", "relu", "smooth", "resnet")
DEMO = pytest.param("demo", marks=by_night)
CLOSE = 1e-4
# In float32 a few of the demo model's ReLU6 fall to the other side than in the oracle's float64.
AT_KINKS = {"demo": 2e-2}
NOISE = {"samples": 3, "noise": 0.15, "seed": 5}
LRP_RULES = ("epsilon", "gamma", "z-plus", "alpha-beta", "composite")
CAMS = ("grad-cam", "grad-cam++", "hirescam", "layercam", "xgrad-cam")
# By test: that each method has one is checked below.
TESTED: dict[str, str] = {
    "saliency": "test_gradients",
    "input-x-gradient": "test_gradients",
    "guided-backprop": "test_rectifiers",
    "deconvnet": "test_rectifiers",
    **dict.fromkeys(CAMS, "test_cams"),
    "guided-grad-cam": "test_guided_grad_cam",
    "smoothgrad": "test_noise",
    "vargrad": "test_noise",
    "expected-gradients": "test_expected_gradients",
    "lrp": "test_lrp",
    "occlusion": "test_occlusion",
    "rise": "test_rise",
    "integrated-gradients": "test_models_ig",
    "attention-rollout": "test_attention",
    "chefer": "test_attention",
    "attn-lrp": "test_attn_lrp",
    "deeplift": "test_models_deeplift",
}
# Files of their own.
IN_FILES = {"test_models_ig", "test_models_deeplift", "test_attention", "test_attn_lrp"}


class Net(NamedTuple):
    """A file, what it is fed, and the same for the oracle."""

    file: bytes
    x: np.ndarray
    asked: Asked


@functools.cache
def net(name: str) -> Net:
    if name == "demo":
        file = demo_model().read_bytes()
        card = find_card(onnx.load_from_string(file), demo_model())
        assert card is not None
        x = image_to_tensor(read_image(demo_photos()[0]), card)[0]
    else:
        name = {"relu": "captum_relu", "smooth": "captum_smooth"}.get(name, name)
        file = networks.exported(name, dynamic=True)
        x = networks.example(name).numpy()
    model = onnx.load_from_string(file) if isinstance(file, bytes) else file
    target = [281, 3][: len(x)] if name == "demo" else [3, 7][: len(x)]
    wide = torch.from_numpy(x).double()
    data = model.SerializeToString()
    names = model.graph.input[0].name, model.graph.output[0].name
    return Net(data, x, Asked(model, *names, wide, target))


def explain(name: str, method: str, **options: Any) -> onnxplain.Explanation:
    found = net(name)
    explainer = onnxplain.Explainer(found.file, method, providers="cpu", threads=2, **options)
    return explainer(found.x, found.asked.target)


def check(found: np.ndarray, expected: torch.Tensor | np.ndarray, close: float = CLOSE) -> None:
    right = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected)
    size = np.abs(right).max()
    assert size > 0 and found.shape == right.shape
    assert np.abs(found - right).max() <= close * size


def test_every_method_has_an_oracle():
    assert set(TESTED) == set(onnxplain.methods())
    assert all(name in globals() or name in IN_FILES for name in TESTED.values())


@pytest.mark.parametrize("name", NETS)
def test_gradients(name):
    slope, close = oracle.gradient(net(name).asked), AT_KINKS.get(name, CLOSE)
    check(explain(name, "saliency").attribution, slope.abs(), close)
    check(explain(name, "saliency", signed=True).attribution, slope, close)
    check(explain(name, "input-x-gradient").attribution, slope * net(name).asked.x, close)


@pytest.mark.parametrize("name", ("relu", "smooth", "resnet"))
def test_gradients_by_captum(name):
    asked = net(name).asked
    module = networks.network64({"relu": "captum_relu", "smooth": "captum_smooth"}.get(name, name))
    for method, kind in (("saliency", Saliency), ("input-x-gradient", InputXGradient)):
        x = asked.x.clone().requires_grad_()
        check(explain(name, method).attribution, kind(module).attribute(x, list(asked.target)))


@pytest.mark.parametrize("name", (DEMO, "relu", "resnet"))
def test_rectifiers(name):
    check(explain(name, "guided-backprop").attribution, oracle.guided_backprop(net(name).asked))
    check(explain(name, "deconvnet").attribution, oracle.deconvnet(net(name).asked))


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("name", (DEMO, *NETS[1:]))
def test_cams(name, method):
    e = explain(name, method)
    check(e.attribution, oracle.cam(net(name).asked, [e.feature_map], method))


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("name", (DEMO, "resnet"))
def test_cams_of_several_layers(name, method):
    asked = net(name).asked
    made = [node.output[0] for node in asked.model.graph.node if node.op_type in ("Relu", "Clip")]
    layers = [made[len(made) // 2], made[-1]]
    e = explain(name, method, layer=layers)
    assert e.feature_map == ", ".join(layers)
    check(e.attribution, oracle.cam(asked, layers, method))


@pytest.mark.parametrize("name", (DEMO, "relu", "resnet"))
def test_guided_grad_cam(name):
    asked, e = net(name).asked, explain(name, "guided-grad-cam")
    places = oracle.cam(asked, [e.feature_map], "grad-cam")
    check(e.attribution, oracle.guided_backprop(asked) * places[:, None])


@pytest.mark.parametrize("name", (DEMO, *NETS[1:]))
def test_noise(name):
    slopes = oracle.noisy_gradients(net(name).asked, *NOISE.values())
    close = AT_KINKS.get(name, CLOSE)
    check(explain(name, "smoothgrad", **NOISE).attribution, slopes.mean(0), close)
    check(explain(name, "vargrad", **NOISE).attribution, slopes.var(0, unbiased=False), close)


@pytest.mark.parametrize("name", (DEMO, *NETS[1:]))
def test_expected_gradients(name):
    """Of one baseline the midpoint rule; of several each gets as many points, one of each part."""
    asked, count, close = net(name).asked, 6, AT_KINKS.get(name, CLOSE)
    alphas = (np.arange(count) + 0.5) / count
    e = explain(name, "expected-gradients", baseline=0.25, samples=count)
    one = torch.full_like(asked.x[:1], 0.25)
    equal = np.full(count, 1 / count)
    expected = oracle.along_the_way(asked, [one], alphas, [0] * count, equal)
    check(e.attribution, expected, close)
    random = np.random.default_rng(2)
    several = [random.random(asked.x.shape[1:]).astype(np.float32) for _ in range(3)]
    e = explain(name, "expected-gradients", baseline=several, samples=count, seed=3)
    orders = np.random.default_rng(3)
    which = np.concatenate([orders.permutation(3) for _ in range(2)])
    wide = [torch.from_numpy(b).double() for b in several]
    check(e.attribution, oracle.along_the_way(asked, wide, alphas, which, equal), close)
    scores = [oracle.score(asked, b.expand_as(asked.x))[0] for b in wide]
    np.testing.assert_allclose(e.baseline_score, torch.stack(scores).mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ("relu", "smooth", "resnet"))
def test_expected_gradients_are_integrated_gradients(name):
    """At the default, within a few percent."""
    exact = explain(
        name, "integrated-gradients", steps=500, quadrature="gauss-legendre", baseline=0
    )
    e = explain(name, "expected-gradients", baseline=0)
    assert np.abs(e.attribution - exact.attribution).sum() < 0.05 * np.abs(exact.attribution).sum()


@pytest.mark.parametrize("rule", LRP_RULES)
@pytest.mark.parametrize("name", (DEMO, "relu", "resnet"))
def test_lrp(name, rule):
    asked = net(name).asked
    e = explain(name, "lrp", rule=rule)
    right = oracle.lrp(asked, rule)
    if name == "demo":
        # Relevance that a hundred biases have eaten up is rounding noise in places.
        size = float(right.abs().max())
        assert np.abs(e.attribution - right.numpy()).max() <= 1e-2 * size
        return
    check(e.attribution, right)
    taken = right.flatten(1).sum(1) - oracle.score(asked, asked.x)[0]
    np.testing.assert_allclose(e.delta, taken.detach(), rtol=1e-3, atol=1e-4)


def test_lrp_conserves_without_biases():
    """And gamma 0 is epsilon, alpha 1 z-plus."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, bias=False),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(6, 8, 3, bias=False),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(8 * 4 * 4, 5, bias=False),
        ).eval()
        x = torch.rand(2, 3, 14, 14)
    file = networks.export(module, x).SerializeToString()

    def found(**options):
        explainer = onnxplain.Explainer(file, "lrp", providers="cpu", threads=1, **options)
        return explainer(x.numpy(), 2)

    for rule in LRP_RULES:
        assert found(rule=rule).relative_delta.max() < 1e-3, rule
    plain = found(rule="epsilon").attribution
    check(found(rule="gamma", gamma=0).attribution, plain)
    check(found(rule="alpha-beta", alpha=1).attribution, found(rule="z-plus").attribution)


@pytest.mark.parametrize("window, stride", [(9, 5), ((12, 7), (12, 3)), (8, None)])
@pytest.mark.parametrize("name", ("relu", "smooth", "resnet"))
def test_occlusion(name, window, stride):
    asked = net(name).asked
    module = networks.network64({"relu": "captum_relu", "smooth": "captum_smooth"}.get(name, name))
    e = explain(name, "occlusion", baseline=0.3, window=window, stride=stride)
    windows = (window, window) if isinstance(window, int) else window
    strides = stride if isinstance(stride, tuple) else (stride or 4,) * 2
    expected = Occlusion(module).attribute(
        asked.x,
        (3, *windows),
        strides=(3, *strides),
        baselines=0.3,
        target=list(asked.target),
    )
    check(e.attribution, expected[:, 0])


def test_occlusion_of_the_demo():
    """By ONNX Runtime on the file itself, window by window."""
    found, window = net("demo"), 56
    session = onnxruntime.InferenceSession(found.file, providers=["CPUExecutionProvider"])
    (target,) = found.asked.target

    def score(x):
        return np.asarray(session.run(None, {found.asked.input: x})[0])[0, target]

    falls = np.zeros((224, 224))
    for top in range(0, 224, window):
        for left in range(0, 224, window):
            x = found.x.copy()
            x[:, :, top : top + window, left : left + window] = -1
            falls[top : top + window, left : left + window] = score(found.x) - score(x)
    e = explain("demo", "occlusion", window=window, stride=window, baseline=-1)
    check(e.attribution[0], falls)


@pytest.mark.parametrize("name", (DEMO, *NETS[1:]))
def test_rise(name):
    count = 5 if name == "demo" else 25
    e = explain(name, "rise", baseline=0.2, samples=count, seed=7)
    check(e.attribution, oracle.rise(net(name).asked, 0.2, count, 7))


@pytest.mark.parametrize("name", (DEMO, "resnet"))
def test_deeplift_from_several_baselines(name):
    """DeepSHAP: the mean over them, by Python, and one by one."""
    random = np.random.default_rng(0)
    shape = net(name).x.shape[1:]
    several = [random.random(shape).astype(np.float32) for _ in range(3)]
    e = explain(name, "deeplift", baseline=several)
    ones = [explain(name, "deeplift", baseline=one) for one in several]
    check(e.attribution, np.mean([one.attribution for one in ones], axis=0))
    scores = np.mean([one.baseline_score for one in ones], axis=0)
    np.testing.assert_allclose(e.baseline_score, scores, atol=1e-4)
    assert e.relative_delta.max() < 1e-4


def test_random_numbers_look_random():
    numbers = oracle.normal(np.arange(40), 2001, 3)
    assert abs(numbers.mean()) < 0.02 and abs(numbers.var() - 1) < 0.02
    assert abs((numbers**3).mean()) < 0.05 and abs((numbers**4).mean() - 3) < 0.1
    for other in (
        np.roll(numbers, 1, 0),
        np.roll(numbers, 1, 1),
        oracle.normal(np.arange(40), 2001, 4),
    ):
        assert abs((numbers * other).mean()) < 0.02
