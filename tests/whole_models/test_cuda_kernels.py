"""Every node of a graph that the engine builds for a GPU has a CUDA kernel in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from support import light, networks, zoo
from support.cuda_kernels import Wanted, kernels, nodes_of, parsed, problem
from support.often import by_night

import onnxplain
from onnxplain.engine.running import plan
from onnxplain.engine.running.session import CUDA
from onnxplain.graph_passes.backward import polyphase
from onnxplain.graph_passes.finish.cuda_opset import OPSET, to_cuda_opset
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
BY_DAY = [pytest.param(m, marks=by_night) if m == "resnet50" else m for m in MODELS]


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
@pytest.mark.parametrize("name", BY_DAY)
def test_every_node_has_a_kernel(models, for_cuda, name, method, options):
    graphs = built(models[name][0], method, options)
    for part, graph in graphs.items():
        onnx.checker.check_model(graph)
        assert not without_kernels(graph), f"{name}, {part}"


@pytest.mark.parametrize("method, options", CASES, ids=NAMES)
@pytest.mark.parametrize("name", BY_DAY)
def test_same_numbers_as_for_a_cpu(models, monkeypatch, name, method, options):
    """Run on the CPU.

    Without phases, which a GPU's graphs do not have: they add up in another order, and a gradient
    jumps where rounding moves an activation across its kink.
    """
    monkeypatch.setattr(polyphase, "_WORTH", np.inf)
    model, x = models[name]

    def explained() -> tuple[int, onnxplain.Explanation]:
        explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1, **options)
        graphs = explainer._default_plan._models
        return graphs["explain"].opset_import[0].version, explainer(x[:1])

    opset, usual = explained()
    monkeypatch.setattr(plan, "resolve_providers", lambda providers: [CUDA])
    changed, other = explained()
    assert (opset, changed) == (21, OPSET)
    np.testing.assert_array_equal(other.target, usual.target)
    for a, b in ((other.attribution, usual.attribution), (other.score, usual.score)):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max(), rtol=1e-5)
    for key, values in usual.outputs.items():
        np.testing.assert_allclose(other.outputs[key], values, atol=1e-5 * np.abs(values).max())


def one_node(op: str, opset: int, *, values=(), **attributes) -> onnx.ModelProto:
    """A model of one node; `values` are its constants."""
    names = [f"c{k}" for k in range(len(values))]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for v, k in zip(values, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_an_operator_that_the_table_lacks_fails_by_name():
    (reason,) = without_kernels(one_node("Det", 18))
    assert "the table has no Det" in reason


def test_types_and_versions_are_asked_for():
    assert not without_kernels(one_node("Flatten", 18))
    (reason,) = without_kernels(one_node("Flatten", 21))
    assert reason.startswith("Flatten-21") and "13+" in reason
    ints = problem(Wanted("Conv", 11, (("T", "int32"),)), kernels())
    assert ints is not None and "int32" in ints
    assert problem(Wanted("Conv", 11, (("T", "float"),)), kernels()) is None
    # Between two versions the table says where a kernel ends.
    assert problem(Wanted("HardSigmoid", 6, (("T", "float"),)), kernels()) is None


def test_the_table_is_read():
    """Rows as the file has them: a name once, a version's rows below it, domains apart."""
    found = parsed(
        "## Operators implemented by CPUExecutionProvider\n"
        "|**Operator Domain:** *ai.onnx*||||\n"
        "|Acos|*in* input:**T**<br> *out* output:**T**|22+|**T** = tensor(float)|\n"
        "## Operators implemented by CUDAExecutionProvider\n\n"
        "| Op Name | Parameters | OpSet Version | Types Supported |\n"
        "|---------|------------|---------------|-----------------|\n"
        "|**Operator Domain:** *ai.onnx*||||\n"
        "|And|*in* A:**T**<br> *out* C:**T1**|7+|**T** = tensor(bool)<br/> **T1** = tensor(bool)|\n"
        "|If|*in* cond:**B**|19+|**V** = seq(tensor(int8)), tensor(float)|\n"
        "|||[1, 18]|**V** = tensor(float), tensor(double)|\n"
        "| |\n"
        "|**Operator Domain:** *com.microsoft*||||\n"
        "|And|*in* A:**T**|1+|**T** = tensor(float)|\n"
        "## Operators implemented by DmlExecutionProvider\n"
        "|**Operator Domain:** *ai.onnx*||||\n"
        "|Cos|*in* A:**T**|1+|**T** = tensor(float)|\n"
    )
    assert found == {
        "And": {"7+": {"T": "bool", "T1": "bool"}},
        "If": {"19+": {"V": "float seq(int8)"}, "[1, 18]": {"V": "double float"}},
    }


LATER = {
    "wrap": one_node("Pad", 21, values=(np.ones(8, np.int64),), mode="wrap"),
    "dilated": one_node("AveragePool", 21, kernel_shape=[2, 2], dilations=[2, 2]),
    "rounded up": one_node("AveragePool", 21, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    "16 bits": one_node("QuantizeLinear", 21, values=(np.float32(1), np.int16(0))),
}


@pytest.mark.parametrize("name", LATER)
def test_what_opset_18_cannot_say_stays(name):
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(LATER[name]))
    to_cuda_opset(graph)
    assert gs.export_onnx(graph).opset_import[0].version == 21


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("opset", [20, 23])
def test_gelu(opset, approximate):
    model = one_node("Gelu", opset, approximate=approximate)
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    to_cuda_opset(graph)
    written = gs.export_onnx(graph)
    assert written.opset_import[0].version == OPSET
    x = np.linspace(-6, 6, 72, dtype=np.float32).reshape(1, 2, 6, 6)
    y, expected = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for m in (written, model)
    )
    np.testing.assert_allclose(y, expected, atol=1e-6)
