"""Loading: what is a model is loaded whole; what is not is refused in one clear line."""

import gzip
import hashlib
import io
import os
import pickle
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain import UnsupportedModelError
from onnxplain.models import load as load_module
from onnxplain.models.load import load, sha256
from onnxplain.models.shipped import demo_model, demo_photos

WEIGHT = numpy_helper.from_array(np.arange(300, dtype=np.float32), "w")


def value(name, shape=("N", 300)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def network(nodes=None, inputs=None, outputs=None, initializers=(WEIGHT,), domains=(), **options):
    nodes = nodes if nodes is not None else [helper.make_node("Add", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", inputs or [value("x")], outputs or [value("y")], list(initializers)
    )
    opset = options.pop("opset", 18)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, **{"ir_version": 9, **options})


def error_of(model):
    with pytest.raises(UnsupportedModelError) as error:
        load(model)
    text = str(error.value)
    assert text.startswith("model") and "\n" not in text
    if isinstance(model, os.PathLike):
        assert str(model) in text
    return text


def save_external(tmp_path, folder="", location="net.data"):
    model = network()
    path = tmp_path / folder / "net.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    assert (path.parent / location).stat().st_size >= 1200
    return path


def weight_of(model):
    return numpy_helper.to_array(model.graph.initializer[0])


def test_path_text_bytes_and_proto_give_the_same(tmp_path):
    model = network()
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    content = path.read_bytes()
    for given in (path, str(path), content, bytearray(content), memoryview(content), model):
        assert load(given).SerializeToString() == model.SerializeToString()


def test_a_proto_is_copied():
    model = network()
    loaded = load(model)
    loaded.graph.node[0].op_type = "Sub"
    assert model.graph.node[0].op_type == "Add"


def test_demo_model():
    loaded = load(demo_model())
    assert len(loaded.graph.node) > 50
    assert sha256(demo_model()) == hashlib.sha256(demo_model().read_bytes()).hexdigest()


def test_external_data_is_loaded(tmp_path):
    path = save_external(tmp_path)
    loaded = load(path)
    np.testing.assert_array_equal(weight_of(loaded), np.arange(300))
    assert loaded.graph.initializer[0].data_location == TensorProto.DEFAULT
    assert not loaded.graph.initializer[0].external_data


def test_external_data_from_the_working_directory(tmp_path, monkeypatch):
    save_external(tmp_path)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(weight_of(load("net.onnx")), np.arange(300))


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no links on this file system")


def test_external_data_behind_links(tmp_path, caplog):
    """Within a model hub's cache, and said; anywhere else they are not followed."""
    snapshot = tmp_path / "models--owner--net" / "snapshots" / "5f0c"
    snapshot.mkdir(parents=True)
    path = save_external(tmp_path / "models--owner--net", "blobs")
    for name in ("net.onnx", "net.data"):
        link(snapshot / name, path.parent / name)
    np.testing.assert_array_equal(weight_of(load(snapshot / "net.onnx")), range(300))
    assert "followed to" in caplog.text


@pytest.mark.parametrize("layout", ["snapshot", "models--owner--net/snapshots/5f0c"])
def test_external_data_behind_links_that_lead_elsewhere(tmp_path, layout):
    outside = save_external(tmp_path, "outside")
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    (folder / "net.onnx").write_bytes(outside.read_bytes())
    link(folder / "net.data", outside.with_name("net.data"))
    assert "leads out of its folder" in error_of(folder / "net.onnx")
    (folder / "net.data").unlink()
    link(folder / "net.data", folder / "inside.data")
    (folder / "inside.data").write_bytes(outside.with_name("net.data").read_bytes())
    np.testing.assert_array_equal(weight_of(load(folder / "net.onnx")), range(300))


def test_a_hub_whose_blobs_lie_elsewhere(tmp_path):
    """A folder of links that only looks like a cache."""
    outside = save_external(tmp_path, "outside")
    folder = tmp_path / "models--owner--net" / "snapshots" / "5f0c"
    folder.mkdir(parents=True)
    link(tmp_path / "models--owner--net" / "blobs", outside.parent)
    (folder / "net.onnx").write_bytes(outside.read_bytes())
    link(folder / "net.data", tmp_path / "models--owner--net" / "blobs" / "net.data")
    assert "leads out of its folder" in error_of(folder / "net.onnx")


def test_external_data_in_constants_and_subgraphs(tmp_path):
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(300)))
    constant.attribute[0].t.ClearField("raw_data")
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key="location", value="c.data")
    branch = helper.make_graph([constant], "branch", [], [value("c", (300,))])
    choose = helper.make_node("If", ["b"], ["y"], then_branch=branch, else_branch=branch)
    flag = numpy_helper.from_array(np.array(True), "b")
    path = tmp_path / "net.onnx"
    path.write_bytes(network([choose], initializers=[flag]).SerializeToString())
    assert "c.data" in error_of(path)
    (tmp_path / "c.data").write_bytes(np.ones(300).tobytes())
    branches = [attribute.g for attribute in load(path).graph.node[0].attribute]
    assert all(len(b.node[0].attribute[0].t.raw_data) == 2400 for b in branches)


def test_missing_external_data(tmp_path):
    path = save_external(tmp_path)
    (tmp_path / "net.data").unlink()
    text = error_of(path)
    assert str(tmp_path / "net.data") in text and "missing" in text and "'w'" in text


def test_truncated_external_data(tmp_path):
    path = save_external(tmp_path)
    (tmp_path / "net.data").write_bytes(b"\0" * 100)
    text = error_of(path)
    assert str(tmp_path / "net.data") in text and "truncated" in text


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("number", ["-4", "much"])
def test_bad_external_offsets(tmp_path, key, number):
    path = save_external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = number
    path.write_bytes(model.SerializeToString())
    assert "net.data" in error_of(path)


@pytest.mark.parametrize("location", ["../net.data", "/etc/hostname", "", "a/../../b"])
def test_external_data_outside_of_the_folder(tmp_path, location):
    path = save_external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    next(
        e for e in model.graph.initializer[0].external_data if e.key == "location"
    ).value = location
    path.write_bytes(model.SerializeToString())
    assert "beside the file" in error_of(path)


def test_external_data_without_a_path(tmp_path):
    path = save_external(tmp_path)
    for given in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        text = error_of(given)
        assert "net.data" in text and "path" in text


def test_too_large(tmp_path, monkeypatch):
    path = save_external(tmp_path)
    inside = tmp_path / "inside.onnx"
    onnx.save(network(), inside)
    assert load_module.MOST_BYTES == 2**31 - 1
    monkeypatch.setattr(load_module, "MOST_BYTES", 1000)
    assert path.stat().st_size < 1000
    for given in (path, inside, inside.read_bytes()):
        assert "at most 1,000 bytes" in error_of(given)


def test_no_file_directory_empty_and_wrong_type(tmp_path):
    assert "no such file" in error_of(tmp_path / "missing.onnx")
    assert "directory" in error_of(tmp_path)
    (tmp_path / "empty.onnx").touch()
    assert "empty" in error_of(tmp_path / "empty.onnx")
    assert "empty" in error_of(b"")
    assert "got int" in error_of(3)
    assert "got NoneType" in error_of(None)


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return buffer.getvalue()


FOREIGN = [
    (demo_photos()[0].read_bytes(), "PNG"),
    (b"\xff\xd8\xff\xe0" + bytes(50), "JPEG"),
    (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    (b"\x1c\0\0\0TFL3" + bytes(50), "TensorFlow Lite"),
    (b"\x1c\0\0\0ORTM" + bytes(50), ".ort"),
    (b"GGUF" + bytes(50), "GGUF"),
    (b"\x40\0\0\0\0\0\0\0" + b'{"w":{}}' + bytes(50), "safetensors"),
    (pickle.dumps({"state": [1, 2, 3]}, protocol=2), "pickle"),
    (pickle.dumps({"state": [1, 2, 3]}), "pickle"),
    (gzip.compress(b"x" * 100), "gzip"),
    (zipped("model/data.pkl", "model/data/0"), "PyTorch"),
    (zipped("inner/net.onnx"), "inner/net.onnx"),
    (zipped("readme"), "zip archive"),
    (zipped("readme")[:40], "zip archive, cut short"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
    (b"<!DOCTYPE html>\n<html>" + b"not found " * 200, "text"),
    ("<xml>größe</xml>".encode(), "text"),
    (b"\xfe\xed" + bytes(range(256)), "another format"),
]


@pytest.mark.parametrize(("content", "name"), FOREIGN, ids=[name for _, name in FOREIGN])
def test_foreign_formats_are_recognised(tmp_path, content, name):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert "looks like" in error_of(path) and name in error_of(path)


@pytest.mark.parametrize("cut", [1, 7, 100, 1000])
def test_truncated_file(cut):
    content = network().SerializeToString()
    assert "truncated" in error_of(content[:-cut] if cut < 1000 else content[: len(content) // 2])


def test_incomplete_protos():
    assert "no graph" in error_of(b"\x08\x09")
    assert "no graph" in error_of(onnx.ModelProto())
    assert "no nodes" in error_of(network(nodes=[]))
    model = network()
    del model.graph.output[:]
    assert "no outputs" in error_of(model)
    model = network()
    del model.opset_import[:]
    assert "opset" in error_of(model)


def test_too_new():
    text = error_of(network(opset=999))
    assert "999" in text and str(onnx.defs.onnx_opset_version()) in text
    assert "999" in error_of(network(ir_version=999))


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], **attributes)


BROKEN = [
    ("missing tensor", [node("Add", ["x", "nowhere"], "y")], "'nowhere'"),
    ("cycle", [node("Add", ["x", "y"], "h"), node("Relu", ["h"], "y")], "sorted"),
    ("unknown operator", [node("Rulu", ["x"], "y")], "Rulu"),
    ("unknown attribute", [node("Relu", ["x"], "y", depth=1)], "depth"),
    ("missing attribute", [node("Concat", ["x", "x"], "y")], "axis"),
    ("too many inputs", [node("Relu", ["x", "x"], "y")], "Relu"),
    ("output from nowhere", [node("Relu", ["x"], "h")], "'y'"),
    ("two writers", [node("Relu", ["x"], "y"), node("Relu", ["x"], "y")], "'y'"),
]


def test_nodes_in_any_order_are_sorted():
    loaded = load(network([node("Relu", ["h"], "y"), node("Neg", ["x"], "h")]))
    assert [node.op_type for node in loaded.graph.node] == ["Neg", "Relu"]


@pytest.mark.parametrize(("nodes", "part"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_structural_breakage(nodes, part):
    text = error_of(network(nodes))
    assert "valid ONNX model" in text and part in text


@pytest.mark.parametrize("field", ["raw_data", "float_data"])
def test_tensor_with_fewer_values_than_its_shape(field):
    short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[300])
    if field == "raw_data":
        short.raw_data = bytes(1199)
    else:
        short.float_data.extend([1.0] * 299)
    came = {"raw_data": "1,200 bytes, got 1,199", "float_data": "300 values, got 299"}[field]
    assert came in error_of(network(initializers=[short]))


def without_type(name):
    return onnx.ValueInfoProto(name=name)


def without_shape(name):
    info = onnx.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = TensorProto.FLOAT
    return info


HARMLESS = {
    "negative dims": network(inputs=[value("x", (-1, 300))], outputs=[value("y", (-1, -1))]),
    "wrong output shape": network(outputs=[value("y", (1, 2, 3))]),
    "output without type": network(outputs=[without_type("y")]),
    "output without shape": network(outputs=[without_shape("y")]),
    "input without shape": network(inputs=[without_shape("x")]),
    "custom domain": network(
        [node("Own", ["x"], "y", domain="mine", depth=1)], domains=["mine"], initializers=[]
    ),
    "domain without version": network([node("Gelu", ["x"], "y", domain="com.microsoft")]),
    "initializer twice": network(initializers=[WEIGHT, WEIGHT]),
    "old version, initializer not an input": network(ir_version=3, opset=8),
    "old opset": network(
        [node("BatchNormalization", ["x", *"wwww"], "y", spatial=1)], opset=7, ir_version=4
    ),
}


@pytest.mark.parametrize("model", HARMLESS.values(), ids=HARMLESS.keys())
def test_harmless_oddities_load(model):
    before = model.SerializeToString(deterministic=True)
    loaded = load(model)
    assert [n.op_type for n in loaded.graph.node] == [n.op_type for n in model.graph.node]
    assert list(loaded.graph.output) == list(model.graph.output)
    assert list(loaded.graph.input) == list(model.graph.input)
    assert model.SerializeToString(deterministic=True) == before


def test_nameless_graph_and_untyped_value_infos_load():
    model = network()
    model.graph.ClearField("name")
    model.graph.value_info.extend([without_type("h"), value("w", (300,))])
    loaded = load(model)
    assert loaded.graph.name and [info.name for info in loaded.graph.value_info] == ["w"]


def test_sha256(tmp_path):
    content = network().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "net.onnx") == sha256(str(tmp_path / "net.onnx")) == expected
    assert sha256(content) == sha256(memoryview(content)) == expected
    assert sha256(network()) == sha256(network()) and len(sha256(network())) == 64
    for path, part in ((tmp_path / "missing", "no such file"), (tmp_path, "directory")):
        with pytest.raises(UnsupportedModelError) as error:
            sha256(path)
        assert part in str(error.value)
