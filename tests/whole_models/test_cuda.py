"""On a CUDA device: every method against the CPU. Skipped, with the reason, where there is none."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from support import networks, zoo

import onnxplain
from onnxplain.engine.running import session
from onnxplain.engine.running.session import CUDA, cuda_problem
from onnxplain.models.shipped import demo_model

PROBLEM = cuda_problem()
pytestmark = pytest.mark.skipif(PROBLEM is not None, reason=f"no CUDA here: {PROBLEM}")

METHODS = {
    "grad-cam": {},
    "integrated-gradients": {"steps": 8, "quadrature": "gauss-legendre"},
    "deeplift": {},
}
MODELS = ["demo", "resnet", "vit", "convnext", "unet"]
# Of the map's largest number: in float32, and where products keep 10 bits.
EXACT, TF32 = 1e-3, 5e-2


def model_of(name: str) -> onnx.ModelProto:
    return onnx.load(demo_model()) if name == "demo" else networks.exported(name, dynamic=True)


def images_of(name: str, count: int = 2) -> np.ndarray:
    if name == "demo":
        return np.concatenate([zoo.photo(k % 2) for k in range(count)])
    return networks.example(name, batch=count).numpy()


def target_of(name: str) -> int | tuple[int, ...]:
    return (3, 4, 5) if name == "unet" else 3


def explained(name: str, method: str, provider: str, x, target) -> onnxplain.Explanation:
    explainer = onnxplain.Explainer(model_of(name), method, providers=provider, **METHODS[method])
    if provider == "cuda":
        assert explainer._default_plan.provider == CUDA
    return explainer(x, target)


def assert_close(found: np.ndarray, expected: np.ndarray, share: float) -> None:
    np.testing.assert_allclose(found, expected, atol=share * np.abs(expected).max())


@pytest.fixture
def with_tf32(monkeypatch):
    """Sessions as ONNX Runtime opens them by itself; the API always asks for exact products."""
    monkeypatch.setattr(session, "_EXACT", {})
    monkeypatch.setattr(session, "_cache", session.Kept(8))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_as_on_the_cpu(name, method):
    x, target = images_of(name), target_of(name)
    expected, found = (explained(name, method, p, x, target) for p in ("cpu", "cuda"))
    assert_close(found.attribution, expected.attribution, EXACT)
    assert_close(found.score, expected.score, EXACT)
    for key, values in expected.outputs.items():
        assert_close(found.outputs[key], values, EXACT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["demo", "resnet", "vit"])
def test_with_tf32(with_tf32, name, method):
    x = images_of(name)
    expected, found = (explained(name, method, p, x, 3) for p in ("cpu", "cuda"))
    assert_close(found.attribution, expected.attribution, TF32)


@pytest.mark.parametrize("name", MODELS)
def test_deeplift_sums_to_delta(name):
    e = explained(name, "deeplift", "cuda", images_of(name), target_of(name))
    assert e.relative_delta is not None
    assert np.abs(e.relative_delta).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_of_one_image(method):
    x = np.repeat(images_of("demo", 1), 5, axis=0)
    targets = [281, 282, 285, 967, 3]
    together = explained("demo", method, "cuda", x, targets)
    for row, target in enumerate(targets):
        alone = explained("demo", method, "cuda", x[:1], target)
        assert_close(together.attribution[row], alone.attribution[0], EXACT)


@pytest.mark.parametrize("method", METHODS)
def test_one_by_one_as_in_a_batch(method):
    x = images_of("demo", 3)
    together = explained("demo", method, "cuda", x, 282)
    for row in range(len(x)):
        alone = explained("demo", method, "cuda", x[row : row + 1], 282)
        assert_close(together.attribution[row], alone.attribution[0], EXACT)


def test_to_a_tolerance():
    x = images_of("demo", 1)
    for provider in ("cpu", "cuda"):
        explainer = onnxplain.Explainer(
            model_of("demo"), "integrated-gradients", providers=provider
        )
        e = explainer(x, 967)
        assert e.relative_delta is not None and abs(e.relative_delta[0]) <= 0.01


@pytest.mark.parametrize("method", METHODS)
def test_an_exported_file(method, tmp_path):
    """The file, written for any provider, on the device by plain ONNX Runtime."""
    x, file = images_of("resnet"), tmp_path / "explaining.onnx"
    explainer = onnxplain.Explainer(model_of("resnet"), method, providers="cpu", **METHODS[method])
    explainer.export(file)
    opened = onnxruntime.InferenceSession(
        file, providers=[(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]
    )
    assert opened.get_providers()[0] == CUDA
    feeds = {"input": x, "target": np.full(len(x), 3, np.int64)}
    taken = [value.name for value in opened.get_inputs()]
    (attribution,) = opened.run(["attribution"], {k: feeds[k] for k in taken})
    assert_close(np.asarray(attribution), explainer(x, 3).attribution, EXACT)
