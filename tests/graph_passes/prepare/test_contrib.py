"""Files that ONNX Runtime optimised: its own operators, and the same explanation as before."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer, QuantFormat
from support.differences import assert_vjp_fits
from support.networks import example, exported
from support.small import f32, node, run, small, value

import onnxplain


def optimised(model: onnx.ModelProto, path) -> onnx.ModelProto:
    """What ONNX Runtime writes after its extended optimisations."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(path)


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "vit", "convnext", "efficientnet"])
def test_optimised_file_gives_the_same_explanation(name: str, tmp_path) -> None:
    model = exported(name, "torchscript", 17)
    fused = optimised(model, tmp_path / "optimised.onnx")
    domains = {node.domain for node in fused.graph.node}
    assert "com.microsoft" in domains, "ONNX Runtime fused nothing: the case shows nothing"
    x = np.asarray(example(name), np.float32)
    for method in ("integrated-gradients", "deeplift"):
        before = onnxplain.Explainer(model, method, steps=4, providers="cpu")(x)
        after = onnxplain.Explainer(fused, method, steps=4, providers="cpu")(x)
        scale = np.abs(before.attribution).max()
        if method == "integrated-gradients":
            np.testing.assert_allclose(after.attribution, before.attribution, atol=1e-4 * scale)
        else:
            assert after.relative_delta is not None and after.relative_delta.max() < 1e-3


def contrib_node(op: str, shapes, **attributes) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One contrib node with float inputs of the shapes given."""
    random = np.random.default_rng(0)
    feeds = {f"x{k}": random.standard_normal(s).astype(np.float32) for k, s in enumerate(shapes)}
    node = helper.make_node(op, list(feeds), ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "contrib",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


NODES = [
    ("Gelu", [(2, 3, 4)], {}),
    ("BiasGelu", [(2, 3, 4), (4,)], {}),
    ("FastGelu", [(2, 3, 4), (4,)], {}),
    ("QuickGelu", [(2, 3, 4)], {"alpha": 1.3}),
    ("FusedMatMul", [(2, 3, 4), (2, 5, 4)], {"transB": 1, "alpha": 0.7}),
    ("FusedConv", [(1, 3, 6, 6), (4, 3, 3, 3), (4,)], {"activation": "Tanh"}),
    ("SkipLayerNormalization", [(2, 3, 4), (2, 3, 4), (4,), (4,), (4,)], {"epsilon": 1e-3}),
]


@pytest.mark.parametrize(("op", "shapes", "attributes"), NODES, ids=[n[0] for n in NODES])
def test_node_forward_and_gradient(op, shapes, attributes) -> None:
    """The decomposition computes what ONNX Runtime does; its gradient fits differences of that."""
    model, feeds = contrib_node(op, shapes, **attributes)
    expected = run(model, feeds)["y"]
    seed = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
    found = run(onnxplain.vjp(model), feeds | {"cotangent_y": seed})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-3, atol=1e-4)
    for name in feeds:
        direction = np.random.default_rng(2).standard_normal(feeds[name].shape)
        slopes = []
        for step in (2e-2, 1e-2):
            ahead, behind = (
                run(model, feeds | {name: (feeds[name] + s * direction).astype(np.float32)})["y"]
                for s in (step, -step)
            )
            slopes.append(((ahead - behind).astype(np.float64) * seed).sum() / (2 * step))
        numeric = (4 * slopes[1] - slopes[0]) / 3
        products = found[f"grad_{name}"].astype(np.float64) * direction
        assert abs(products.sum() - numeric) < 2e-2 * np.abs(products).sum()


def test_unknown_contrib_operator_is_named() -> None:
    model, _ = contrib_node("Inverse", [(2, 3, 3)])
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"com\.microsoft\.Inverse"):
        onnxplain.vjp(model)


def run_as_written(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The one output, without the 8-bit products that ONNX Runtime's optimiser may choose."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def linear_model(inputs: int, outputs: int) -> onnx.ModelProto:
    random = np.random.default_rng(4)
    weights = [random.standard_normal((inputs, 24)), random.standard_normal((24, outputs))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["h"]),
            helper.make_node("Relu", ["h"], ["a"]),
            helper.make_node("MatMul", ["a", "w1"], ["y"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(w.astype(np.float32), f"w{k}") for k, w in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ], ids=["nbits", "qdq"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "inputs"), [(4, 64), (4, 41), (8, 64)])
def test_weights_of_few_bits_in_blocks(bits, inputs, symmetric, form) -> None:
    """What ONNX Runtime's own quantiser writes: the weights are another model's, and exact."""
    if (bits, form) == (8, QuantFormat.QDQ):
        pytest.skip("the quantiser writes blocks of 8 bits as MatMulNBits only")
    quantiser = MatMulNBitsQuantizer(
        linear_model(inputs, 5),
        block_size=16,
        is_symmetric=symmetric,
        bits=bits,
        quant_format=form,
    )
    quantiser.process()
    model = quantiser.model.model
    operators = {node.op_type for node in model.graph.node}
    assert operators & {"MatMulNBits", "DequantizeLinear"}
    x = np.random.default_rng(5).standard_normal((3, inputs)).astype(np.float32)
    expected = run_as_written(model, x)
    lift = onnxplain.Explainer(model, "deeplift", providers="cpu")(x, [0, 2, 4])
    np.testing.assert_allclose(lift.score, expected[[0, 1, 2], [0, 2, 4]], rtol=1e-4, atol=1e-4)
    assert lift.relative_delta is not None and lift.relative_delta.max() < 1e-4
    seed = np.eye(5, dtype=np.float32)[[0, 2, 4]]
    found = run(onnxplain.vjp(model), {"x": x, "cotangent_y": seed})["grad_x"]
    step = 1e-3 * np.random.default_rng(6).standard_normal(x.shape).astype(np.float32)
    ahead, behind = (run_as_written(model, x + s) for s in (step, -step))
    np.testing.assert_allclose(
        (found * step).sum(), ((ahead - behind) * seed).sum() / 2, rtol=2e-2, atol=1e-4
    )


ACTIVATIONS = [
    *(("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}), ("Softsign", {})),
    *(("LeakyRelu", {"alpha": a}) for a in (0.3, -0.2)),
    ("LeakyRelu", {}),
    *(("Elu", {"alpha": 0.5}), ("Elu", {})),
    *(("HardSigmoid", {"alpha": 0.4, "beta": 0.3}), ("HardSigmoid", {"beta": 0.4})),
    *(("ThresholdedRelu", {"alpha": 0.7}), ("Selu", {"alpha": 1.2, "gamma": 0.8}), ("Selu", {})),
]


def activated(layer: str, activation: str, attributes: dict) -> onnx.ModelProto:
    """A product or a convolution, its activation, and a product again."""
    random = np.random.default_rng(8)
    shape = (5,) if layer == "Gemm" else (5, 1, 1)
    w = random.standard_normal((6, *shape)).astype(np.float32)
    first = node(layer, ["x", "w", "b"], ["h"], **({"transB": 1} if layer == "Gemm" else {}))
    nodes = [first, node(activation, ["h"], ["a"], **attributes), node("Flatten", ["a"], ["f"])]
    nodes.append(node("MatMul", ["f", "v"], ["y"]))
    weights = {"w": w, "b": f32(*random.standard_normal(6)), "v": f32(*random.normal(size=(6, 4)))}
    return small(nodes, [value("x", ["N", *shape])], [value("y", ["N", 4])], weights)


@pytest.mark.parametrize("layer", ["Gemm", "Conv"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_fused_activations_keep_their_parameters(activation, layer, tmp_path) -> None:
    """As ONNX Runtime's own optimiser writes them, under each of its spellings."""
    model = activated(layer, *activation)
    fused = optimised(model, tmp_path / "optimised.onnx")
    x = np.random.default_rng(9).normal(0, 0.8, (3, 5, *([1, 1] if layer == "Conv" else [])))
    x = x.astype(np.float32)
    assert_vjp_fits(fused, {"x": x})
    np.testing.assert_allclose(run(fused, {"x": x})["y"], run(model, {"x": x})["y"], atol=1e-5)
    for method in ("saliency", "deeplift"):
        before, after = (onnxplain.Explainer(m, method)(x, 1) for m in (model, fused))
        np.testing.assert_allclose(after.attribution, before.attribution, rtol=1e-4, atol=1e-5)


def test_an_activation_that_is_not_known_is_named() -> None:
    model, _ = contrib_node(
        "FusedGemm", [(2, 3), (3, 4)], activation="Mystery", activation_alpha=1.0
    )
    with pytest.raises(onnxplain.UnsupportedModelError, match="FusedGemm"):
        onnxplain.vjp(model)
