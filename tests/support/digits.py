"""A small model that command-line tests run in no time: digits of 8 x 8 pixels, with their card."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from support.folders import DATA

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CARD = {
    "size": [8, 8],
    "resize": "stretch",
    "layout": "NHWC",
    "channels": "GRAY",
    "scale": 1 / 255,
    "mean": 0,
    "std": 1,
    "labels": list(LABELS),
}


def write_model(folder: Path, card: dict | None = CARD, network: str = "jax_digits") -> Path:
    """Write a network of digits as `digits.onnx` with its card beside it, if any."""
    path = folder / "digits.onnx"
    shutil.copyfile(DATA / f"{network}.onnx", path)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path


def digit(number: int) -> np.ndarray:
    """The first test image of this digit that the model gets right: float32, [1, 8, 8, 1]."""
    data = np.load(DATA / "digits_test.npz")
    return data["x"][data["y"] == number][:1]


def write_photo(path: Path, number: int) -> Path:
    """Write the digit as an image file of 8 x 8 pixels."""
    pixels = np.rint(digit(number)[0, :, :, 0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def flat_model(folder, scale=1.0):
    """An image model without any convolution: [N, 8, 8, 1] -> Flatten -> Gemm -> [N, 10]."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.random.default_rng(0).uniform(-scale, scale, (64, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", float32, ["N", 8, 8, 1])]
    outputs = [helper.make_tensor_value_info("y", float32, ["N", 10])]
    weights = [onnx.numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "flat", inputs, outputs, weights)
    path = folder / "flat.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    path.with_suffix(".json").write_text(json.dumps(CARD))
    return path


def simple(nodes, input_type=TensorProto.FLOAT, output_type=TensorProto.FLOAT, output=("N", 10)):
    """A model on x [N, 8, 8, 1] with weights w [64, 10] and k [4, 1, 3, 3], that returns y."""
    random = np.random.default_rng(0)
    weights = {"w": (64, 10), "k": (4, 1, 3, 3)}
    initializers = [
        numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "simple",
        [helper.make_tensor_value_info("x", input_type, ["N", 8, 8, 1])],
        [helper.make_tensor_value_info("y", output_type, output)],
        initializers,
    )
    for number, node in enumerate(graph.node):
        node.name = f"node_{number}_{node.op_type}"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def unsupported_model(tmp_path):
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["t", "k"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("Unheard", ["c"], ["u"], {"domain": "nobody"}),
        ("Unseen", ["u"], ["v"], {"domain": "nobody"}),
        ("GlobalAveragePool", ["v"], ["p"]),
        ("Flatten", ["p"], ["y"]),
    ]
    model = simple(nodes, output=("N", 4))
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    return save(model, tmp_path / "unsupported.onnx")


def save(model, path, card=CARD):
    onnx.save(model, path)
    path.with_suffix(".json").write_text(json.dumps(card))
    return path
