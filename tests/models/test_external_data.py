"""External data that cannot be read: links in a circle, names of no file, 2 GiB."""

from __future__ import annotations

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain import UnsupportedModelError
from onnxplain.models.load import load, sha256


def error_of(model):
    with pytest.raises(UnsupportedModelError) as error:
        load(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_external(tmp_path, location):
    """A model whose weight is said to lie in a file of that name."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 300]) for n in "xy"]
    weight = numpy_helper.from_array(np.arange(300, dtype=np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "external data file" in error_of(with_external(tmp_path, "a"))
    assert "symbolic link" in error_of(tmp_path / "a")


@pytest.mark.parametrize("location", ["a" * 300, "a/" * 3000 + "b", "a" * 70_000])
def test_names_that_no_file_can_have(tmp_path, location):
    assert "external data file" in error_of(with_external(tmp_path, location))
    with pytest.raises(UnsupportedModelError, match="model a"):
        load(location)
    with pytest.raises(UnsupportedModelError, match="external data file"):
        sha256(with_external(tmp_path, location))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_external_data_that_is_no_file(tmp_path, kind):
    (tmp_path / "a").mkdir() if kind == "folder" else os.mkfifo(tmp_path / "a")
    said = "a directory" if kind == "folder" else "a pipe"
    text = error_of(with_external(tmp_path, "a"))
    assert "expected a" in text and f"file, got {said}" in text


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**31 + 1])
def test_a_model_of_2_gib(tmp_path, size):
    """A file with holes, which takes no room; it is no model, or too large."""
    path = tmp_path / "net.data"
    path.touch()
    os.truncate(path, size)
    model = with_external(tmp_path, "net.data")
    text = error_of(model)
    assert "expected at most 2,147,483,647 bytes with its external data" in text
