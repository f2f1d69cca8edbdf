"""What a file says is what ONNX Runtime does: each way in which they might part, on the file.

Where ONNX Runtime loads the file, the outputs are its own, or the file is refused; where it does
not, the file is refused, but for what harms nobody.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.functions_of_models import CASES, calling, case
from support.hostile_constants import parsed

import onnxplain

# Refused by name, though ONNX Runtime runs the file: it does something else than is written.
PARTED = {
    "function_named_as_an_operator": "the function 'Relu' is in 'ai.onnx'",
    "function_in_the_written_domain": "the function 'Relu' is in 'ai.onnx'",
    "function_of_another_domain": "the function 'Gelu' is in 'com.microsoft'",
    "function_of_machine_learning": "the function 'Normalizer' is in 'ai.onnx.ml'",
    "two_versions": "states 21 and 11 of 'ai.onnx'",
    "two_versions_by_two_names": "states 21 and 11 of 'ai.onnx'",
    "attribute_of_no_function": "refers to one of a function",
    "function_of_another_version": "not compatible",
    "two_kinds_of_data": "one and only one value field",
    "sparse_and_dense": "not unique",
    "batch_statistics": "training mode",
    "no_version": "expected a valid ONNX model",
}
# ONNX Runtime does not load these; what they say is plain.
PLAIN = {"node_names_twice", "old_version", "older_ir", "attributes_of_version_1"}


def softmax(*versions: tuple[str, int]) -> onnx.ModelProto:
    model = calling("", "Softmax")
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*version) for version in versions)
    return model


@case
def two_versions():
    return softmax(("", 21), ("", 11))


@case
def two_versions_by_two_names():
    return softmax(("", 21), ("ai.onnx", 11))


@case
def one_version_twice():
    return softmax(("", 11), ("ai.onnx", 11))


@case
def the_other_name():
    return softmax(("ai.onnx", 11))


@case
def no_version():
    return softmax(("own", 1))


@case
def domain_written_out():
    model = parsed("y = Neg (x)")
    model.graph.node[0].domain = "ai.onnx"
    model.opset_import.append(helper.make_opsetid("ai.onnx", 21))
    return model


@case
def old_version():
    model = parsed("y = Relu (x)")
    model.opset_import[0].version = 1
    return model


@case
def attributes_of_version_1():
    return consumed(1)


@case
def attributes_of_version_1_in_6():
    return consumed(6)


def consumed(version: int) -> onnx.ModelProto:
    model = parsed("y = Relu (x)")
    model.opset_import[0].version = version
    model.graph.node[0].attribute.append(helper.make_attribute("consumed_inputs", [0]))
    return model


@case
def limits_as_attributes():
    model = parsed("y = Clip (x)")
    model.graph.node[0].attribute.append(helper.make_attribute("max", 0.5))
    return model


@case
def attribute_twice():
    model = parsed("y = LeakyRelu <alpha = 0.5> (x)")
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.1))
    return model


@case
def initializer_twice():
    model = weighed()
    model.graph.initializer.append(numpy_helper.from_array(np.full(4, 9, np.float32), "w"))
    return model


def weighed() -> onnx.ModelProto:
    return parsed("y = Add (x, w)", ", float[4] w = {1, 2, 3, 4}")


@case
def sparse_and_dense():
    model = weighed()
    one = numpy_helper.from_array(np.ones(1, np.float32), "w")
    place = numpy_helper.from_array(np.array([3]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(one, place, [4]))
    return model


@case
def two_kinds_of_data():
    model = weighed()
    model.graph.initializer[-1].raw_data = np.ones(4, np.float32).tobytes()
    return model


@case
def initializer_of_a_nodes_name():
    model = parsed("w = Relu (x) y = Add (x, w)")
    model.graph.initializer.append(numpy_helper.from_array(np.full(4, 9, np.float32), "w"))
    return model


@case
def annotated():
    model = weighed()
    model.graph.quantization_annotation.add(tensor_name="w")
    return model


def described(name: str, kind: int, shape: list) -> onnx.ModelProto:
    model = parsed("r = Relu (x) y = Neg (r)")
    model.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
    return model


@case
def another_shape():
    return described("r", TensorProto.FLOAT, [7, 7])


@case
def another_type():
    return described("r", TensorProto.INT64, ["N", 4])


@case
def another_shape_of_the_input():
    return described("x", TensorProto.FLOAT, ["N", 9])


@case
def another_shape_of_the_output():
    model = parsed("y = Neg (x)")
    kind = helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 9])
    model.graph.output[0].CopyFrom(kind)
    return model


@case
def another_type_of_the_output():
    model = parsed("y = Neg (x)")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


@case
def output_twice():
    model = parsed("y = Neg (x)")
    model.graph.output.append(model.graph.output[0])
    return model


@case
def trained():
    model = weighed()
    training = model.training_info.add()
    training.initialization.name = "start"
    training.initialization.node.append(helper.make_node("Constant", [], ["v"], value_float=9.0))
    training.initialization_binding.add(key="w", value="v")
    return model


@case
def mask_of_dropout():
    return parsed("y, k = Dropout (x)")


@case
def batch_statistics():
    return parsed(
        "y, a, b = BatchNormalization <training_mode = 1> (x, w, w, w, w)",
        ", float[4] w = {1, 2, 3, 4}",
    )


@case
def empty_operand():
    model = parsed("y = Clip (x, one, one)")
    model.graph.node[0].input[1] = ""
    return model


@case
def empty_operand_behind():
    model = parsed("y = Relu (x)")
    model.graph.node[0].input.append("")
    return model


@case
def empty_output_behind():
    model = parsed("y = Relu (x)")
    model.graph.node[0].output.append("")
    return model


@case
def node_names_twice():
    model = parsed("r = Relu (x) y = Neg (r)")
    for node in model.graph.node:
        node.name = "same"
    return model


@case
def node_of_a_tensors_name():
    model = parsed("r = Relu (x) y = Neg (r)")
    model.graph.node[0].name = "y"
    return model


@case
def unsorted():
    model = parsed("r = Relu (x) y = Neg (r)")
    model.graph.node.reverse()
    return model


@case
def older_ir():
    model = parsed("y = Neg (x)")
    model.ir_version = 3
    return model


def branching(inner: str, name: str) -> onnx.ModelProto:
    return parsed(
        "b = Cast <to = 9> (one) r = Neg (x) y = If (b) "
        f"<then_branch = t () => (float[9, 9] {name}) {{ {inner} }}, "
        "else_branch = e () => (float[N, 4] c) { c = Neg (r) }>"
    )


@case
def branch_of_another_shape():
    return branching("a = Relu (x)", "a")


@case
def branch_with_the_name_of_the_other():
    return branching("c = Relu (x)", "c")


@case
def branch_that_hides_a_name():
    return branching("r = Relu (x)", "r")


def in_runtime(data: bytes, x: np.ndarray) -> np.ndarray | None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        return session.run(["y"], {"x": x})[0]
    except Exception:
        return None


@pytest.mark.parametrize("name", CASES)
def test_one_meaning(name: str) -> None:
    model = CASES[name]()
    rank = len(model.graph.input[0].type.tensor_type.shape.dim)
    x = np.random.default_rng(0).standard_normal([1, 4, 3][:rank]).astype(np.float32)
    data = copy.deepcopy(model).SerializeToString()
    wanted = in_runtime(data, x)
    target = 0 if rank == 2 else (0,) * (rank - 1)
    try:
        found = onnxplain.Explainer(data, "saliency", providers="cpu")(x, target).outputs["y"]
    except onnxplain.UnsupportedModelError as error:
        assert wanted is None or PARTED[name] in str(error)
        assert "\n" not in str(error)
        return
    assert name not in PARTED
    if wanted is None:
        assert name in PLAIN
    else:
        np.testing.assert_allclose(found, wanted, atol=1e-6)
