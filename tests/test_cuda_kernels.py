"""Every node of a graph that the engine builds for a GPU has a CUDA kernel in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

import light
import networks
import numpy as np
import onnx
import onnxruntime
import pytest
import zoo
from cuda_kernels import Wanted, kernels, nodes_of, parsed, problem
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

import onnxplain
from onnxplain.engine import plan
from onnxplain.engine.session import CUDA
from onnxplain.models.shipped import demo_model

METHODS = {
    "grad-cam": [{}],
    # Points chosen on the way, and fixed ones: the graph of the path differs.
    "integrated-gradients": [{"steps": 3, "quadrature": q} for q in ("adaptive", "gauss-legendre")],
    "deeplift": [{}],
}
CASES = [(method, options) for method, several in METHODS.items() for options in several]
NAMES = ["-".join([method, *map(str, options.values())]) for method, options in CASES]
MODELS = ["demo", "resnet50", "resnet", "vit", "quantised"]


class Images(CalibrationDataReader):
    """What the quantiser calibrates on."""

    def __init__(self):
        x = networks.example("resnet").numpy()
        self.left = iter([{"input": x}])

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore
        return next(self.left, None)


@cache
def _quantised(folder: str) -> bytes:
    plain = networks.exported("resnet", "torchscript", 17, dynamic=True)
    signed = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(plain, f"{folder}/int8.onnx", Images(), per_channel=True, **signed)
    return onnx.load(f"{folder}/int8.onnx").SerializeToString()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, tuple[onnx.ModelProto, np.ndarray]]:
    """Name -> model and input. "resnet50" is the whole graph, "resnet" has unknown sizes."""
    folder = str(tmp_path_factory.mktemp("cuda"))
    image = networks.example("resnet").numpy()
    deep = next(iter(light.light_example("resnet50", size=64).values())).numpy()
    return {
        "demo": (onnx.load(demo_model()), zoo.photo(0)),
        "resnet50": (light.light_model("resnet50", size=64, batch="N"), deep),
        "resnet": (networks.exported("resnet", dynamic=True), image),
        "vit": (networks.exported("vit", dynamic=True), networks.example("vit").numpy()),
        "quantised": (onnx.load_from_string(_quantised(folder)), image),
    }


@pytest.fixture
def for_cuda(monkeypatch):
    """The engine writes its graphs for CUDA, and runs them on the CPU."""
    monkeypatch.setattr(plan, "resolve_providers", lambda providers: [CUDA])


def built(model: onnx.ModelProto, method: str, options: Mapping) -> dict[str, onnx.ModelProto]:
    explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1, **options)
    return explainer._default_plan._models


def without_kernels(model: onnx.ModelProto) -> Counter[str]:
    """Why nodes have no kernel -> how many; those of lengths, which go to the CPU, apart."""
    wanted = Counter(found.wanted for found in nodes_of(model) if not found.aside)
    reasons = {one: problem(one, kernels()) for one in wanted}
    return Counter({reason: wanted[one] for one, reason in reasons.items() if reason})


@pytest.mark.parametrize("method, options", CASES, ids=NAMES)
@pytest.mark.parametrize("name", MODELS)
def test_every_node_has_a_kernel(models, for_cuda, name, method, options):
    graphs = built(models[name][0], method, options)
    for part, graph in graphs.items():
        onnx.checker.check_model(graph)
        assert not without_kernels(graph), f"{name}, {part}"
