"""Exported files hold each constant once, and compute what they computed, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import zoo
from support.often import often

import onnxplain
from onnxplain.graph_passes.finish.compact import compact
from onnxplain.graph_passes.methods import find_method

RANDOM = np.random.default_rng(0)
METHODS = ("grad-cam", "deeplift", "integrated-gradients", "rise", "lrp", "smoothgrad")
FEW = {"samples": 4, "steps": 3}


def answers(model: onnx.ModelProto, feeds) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def check_same(model: onnx.ModelProto, feeds) -> onnx.ModelProto:
    small = compact(model)
    onnx.checker.check_model(small, full_check=True)
    for before, behind in zip(answers(model, feeds), answers(small, feeds), strict=True):
        np.testing.assert_array_equal(before, behind)
    return small


# Half precision; kernels that are turned and flipped; groups.
NETWORKS = ("demo", "light_squeezenet", "light_shufflenet", "resnet-dynamo")
BY_DAY = [("resnet-dynamo", method) for method in METHODS]
BY_DAY += [("demo", "deeplift"), ("demo", "rise"), ("light_shufflenet", "integrated-gradients")]


@pytest.mark.parametrize(
    ("name", "method"), often(BY_DAY, list(itertools.product(NETWORKS, METHODS)))
)
def test_no_larger_than_the_source(name, method):
    few = {key: value for key, value in FEW.items() if find_method(method).takes(key)}
    explainer = zoo.explainer(name, method, **few)
    feeds = zoo.feeds(name)
    rows = len(next(iter(feeds.values())))
    feeds = {**feeds, "target": np.full(rows, -1)}
    if find_method(method).takes("baseline"):
        (given,) = [v for v in explainer.model.graph.input if v.name not in feeds]
        black = np.zeros((1, *next(iter(zoo.feeds(name).values())).shape[1:]), np.float32)
        feeds[given.name] = black
    small = check_same(explainer.model, feeds)
    source = zoo.model(name)
    source = source if isinstance(source, onnx.ModelProto) else onnx.load(source)
    nodes = small.ByteSize() - sum(t.ByteSize() for t in small.graph.initializer)
    assert small.ByteSize() - nodes <= 1.1 * source.ByteSize()


@pytest.mark.parametrize("name", often(["resnet-dynamo"], ["resnet-dynamo", "demo"]))
def test_a_path_that_chooses_its_points_is_no_larger_either(name, tmp_path):
    """A Loop in a Loop: each body makes its constants of those that the file holds once."""
    explainer = zoo.explainer(name, "integrated-gradients", tolerance=0.5)
    small = explainer.export(tmp_path / "file.onnx")
    stored = sum(tensor.ByteSize() for tensor in small.graph.initializer)
    assert stored <= 1.1 * zoo.model(name).ByteSize()
    inside = [body for node in small.graph.node for body in bodies(node)]
    assert inside and not [t for body in inside for t in body.initializer if np.prod(t.dims) >= 256]


def bodies(node: onnx.NodeProto):
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
            for inner in attribute.g.node:
                yield from bodies(inner)


def layers(constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model whose outputs are its constants, each times x."""
    nodes = [helper.make_node("Mul", ["x", name], [f"y_{name}"]) for name in constants]
    outputs = [
        helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, value.shape)
        for name, value in constants.items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "shape", [(20, 20), (6, 5, 4, 3), (8, 2, 3, 3), (16, 16, 3), (4, 4, 2, 3, 3)]
)
def test_every_turn_and_flip(shape, half):
    base = RANDOM.normal(size=shape).astype(np.float16 if half else np.float32)
    base = np.resize(base, (max(shape[0], -(-256 * shape[0] // base.size)), *shape[1:]))
    base = base.astype(np.float32)
    constants = {"base": base}
    rank = len(shape)
    for place, perm in enumerate(itertools.permutations(range(rank))):
        turned = base.transpose(perm)
        for axes in ((), (rank - 1,), tuple(range(2, rank))):
            if all(axis > 1 for axis in axes):
                constants[f"c{place}_{len(axes)}"] = np.flip(turned, axes).copy()
    small = check_same(layers(constants), {"x": np.array(2, np.float32)})
    (stored,) = [t for t in small.graph.initializer if np.prod(t.dims) >= 256]
    assert stored.data_type == (TensorProto.FLOAT16 if half else TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("groups", "rows", "columns"), [(4, 8, 6), (2, 16, 16), (8, 1, 8), (8, 8, 1)]
)
def test_groups(groups, rows, columns):
    weight = RANDOM.normal(size=(groups * rows, columns, 3, 3)).astype(np.float32)
    apart = weight.reshape(groups, rows, columns, 3, 3).transpose(0, 2, 1, 3, 4)
    back = apart.reshape(groups * columns, rows, 3, 3)[..., ::-1, ::-1].copy()
    small = check_same(layers({"w": weight, "back": back}), {"x": np.array(1, np.float32)})
    assert len([t for t in small.graph.initializer if np.prod(t.dims) >= 256]) == 1


def test_what_half_precision_does_not_hold():
    exact = np.array([0.0, -0.0, np.inf, -np.inf, 65504, 6e-8, 2**-24, 1.5] * 40, np.float32)
    exact = exact.astype(np.float16).astype(np.float32)
    constants = {
        "exact": exact,
        "too_large": np.full(300, 65520, np.float32),
        "too_fine": np.full(300, 1 + 2**-12, np.float32),
        "too_small": np.full(300, 1e-8, np.float32),
        "few": np.ones(9, np.float32),
        "whole": np.arange(300, dtype=np.float32),
    }
    small = check_same(layers(constants), {"x": np.array(1, np.float32)})
    kinds = {t.name.rsplit("/")[-1]: t.data_type for t in small.graph.initializer}
    assert {n for n, kind in kinds.items() if kind == TensorProto.FLOAT16} == {"exact", "whole"}
    assert kinds["few"] == TensorProto.FLOAT


def test_bodies_within_bodies():
    """Constants of one name in several bodies, the same numbers and others."""
    w = RANDOM.normal(size=(20, 20)).astype(np.float32)
    other = RANDOM.normal(size=(20, 20)).astype(np.float32)

    def branch(name: str, value: np.ndarray) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["v_in", "w"], [f"{name}_out"])
        made = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [20, 20])
        return helper.make_graph([node], name, [], [made], [numpy_helper.from_array(value, "w")])

    choose = helper.make_node(
        "If",
        ["c_in"],
        ["v_if"],
        then_branch=branch("t", w.T.copy()),
        else_branch=branch("e", other),
    )
    add = helper.make_node("Add", ["v_if", "w"], ["v_out"])
    turn = helper.make_node("Not", ["c_in"], ["c_out"])
    go_on = helper.make_node("Identity", ["go_in"], ["go_out"])
    body = helper.make_graph(
        [choose, add, turn, go_on],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, [20, 20]),
            helper.make_tensor_value_info("c_in", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, [20, 20]),
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
        ],
        [numpy_helper.from_array(w, "w")],
    )
    loop = helper.make_node("Loop", ["turns", "go", "x", "first"], ["y", "last"], body=body)
    graph = helper.make_graph(
        [loop],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [20, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [20, 20])],
        [
            numpy_helper.from_array(np.array(3), "turns"),
            numpy_helper.from_array(np.array(True), "go"),
            numpy_helper.from_array(np.array(True), "first"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = RANDOM.normal(size=(20, 20)).astype(np.float32) / 9
    small = check_same(model, {"x": x})
    assert len([t for t in small.graph.initializer if np.prod(t.dims) >= 256]) == 2


def test_the_model_of_an_explainer_is_left_as_it_is(tmp_path):
    explainer = onnxplain.Explainer(zoo.model("jax_digits"), "deeplift", baseline=0.0)
    before = explainer.model.SerializeToString(deterministic=True)
    explainer.export(tmp_path / "file.onnx")
    assert explainer.model.SerializeToString(deterministic=True) == before
