"""Models with functions that may mean one thing to onnxplain and another to ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import helper

from .hostile_constants import parsed

CASES: dict[str, Callable[[], onnx.ModelProto]] = {}


def case(build: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    CASES[build.__name__] = build
    return build


def function(domain: str, name: str, op: str = "Neg", opset: int = 21, overload: str = ""):
    return helper.make_function(
        domain,
        name,
        ["a"],
        ["c"],
        [helper.make_node(op, ["a"], ["c"])],
        [helper.make_opsetid("", opset)],
        overload=overload,
    )


def calling(domain: str, name: str, *functions, version: int = 1, overload: str = ""):
    """y is what the operator or function of that name makes of x [N, 4, 3]."""
    model = parsed("y = Relu (x)", shape="N, 4, 3")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    node = model.graph.node[0]
    node.domain, node.op_type, node.overload = domain, name, overload
    if domain not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(domain, version))
    model.functions.extend(functions)
    return model


@case
def function_named_as_an_operator():
    return calling("", "Relu", function("", "Relu"))


@case
def function_in_the_written_domain():
    return calling("", "Relu", function("ai.onnx", "Relu"))


@case
def function_of_another_domain():
    return calling("com.microsoft", "Gelu", function("com.microsoft", "Gelu"))


@case
def function_of_machine_learning():
    part = function("ai.onnx.ml", "Normalizer")
    model = parsed("y = Relu (x)")
    model.graph.node[0].domain, model.graph.node[0].op_type = "ai.onnx.ml", "Normalizer"
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.functions.append(part)
    return model


@case
def function_of_its_own():
    return calling("own", "Relu", function("own", "Relu"))


@case
def function_with_an_overload():
    parts = function("own", "f", "Neg", overload="a"), function("own", "f", "Abs", overload="b")
    return calling("own", "f", *parts, overload="b")


@case
def function_without_an_overload():
    return calling("own", "f", function("own", "f", overload="a"), function("own", "f", "Abs"))


@case
def function_of_another_overload():
    return calling("own", "f", function("own", "f", overload="a"))


@case
def function_twice():
    return calling("own", "f", function("own", "f"), function("own", "f", "Abs"))


@case
def function_of_another_version():
    """Softmax of version 11 is over all axes behind the first."""
    return calling("own", "f", function("own", "f", "Softmax", opset=11))


@case
def function_with_a_name_of_the_graph():
    part = helper.make_function(
        "own",
        "f",
        ["a"],
        ["y"],
        [helper.make_node("Neg", ["a"], ["x"]), helper.make_node("Abs", ["x"], ["y"])],
        [helper.make_opsetid("", 21)],
    )
    return calling("own", "f", part)


def leaky(*defaults: onnx.AttributeProto, given: float | None = None) -> onnx.ModelProto:
    """A function whose attribute k is its operator's alpha."""
    names = [] if defaults else ["k"]
    part = helper.make_function(
        "own", "f", ["a"], ["c"], [], [helper.make_opsetid("", 21)], names, list(defaults)
    )
    node = helper.make_node("LeakyRelu", ["a"], ["c"])
    node.attribute.append(
        onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="k")
    )
    part.node.append(node)
    model = calling("own", "f", part)
    if given is not None:
        model.graph.node[0].attribute.append(helper.make_attribute("k", given))
    return model


@case
def function_with_an_attribute():
    return leaky(given=0.3)


@case
def function_without_its_attribute():
    return leaky()


@case
def function_with_a_default():
    return leaky(helper.make_attribute("k", 0.7))


@case
def overload_of_an_operator():
    return calling("", "Neg", overload="other")


@case
def attribute_of_no_function():
    model = parsed("y = LeakyRelu <alpha = 0.5> (x)")
    model.graph.node[0].attribute[0].ref_attr_name = "other"
    return model
