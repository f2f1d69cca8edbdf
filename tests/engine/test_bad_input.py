"""Bad input: one line on stderr says what was expected and what came; the status is 2 or 1."""

import json
import struct
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.digits import (
    CARD,
    flat_model,
    save,
    simple,
    unsupported_model,
    write_model,
    write_photo,
)

from onnxplain import UnsupportedModelError, inspect, vjp

METHODS = ("grad-cam", "integrated-gradients", "deeplift")
OTHERS = METHODS[1:]


@pytest.fixture
def seven(tmp_path):
    return write_photo(tmp_path / "seven.png", 7)


@pytest.fixture
def refused(command, tmp_path, seven):
    """Explain with these arguments after the model; returns the only line on stderr."""

    def run(model, *arguments, status=2, images=None):
        images = [seven] if images is None else images
        found, out, err = command("explain", model, *images, "-o", tmp_path / "out", *arguments)
        assert found == status, err
        assert err.startswith("onnxplain: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert "Traceback" not in err and (status != 2 or out == "")
        return err

    return run


# Models


def test_missing_model(refused, tmp_path):
    assert "nowhere.onnx: no such file" in refused(tmp_path / "nowhere.onnx")


def test_not_a_model(refused, seven, tmp_path):
    assert "PNG image" in refused(seven)
    (tmp_path / "text.onnx").write_text("This is no model.\n" * 9)
    assert "text.onnx" in refused(tmp_path / "text.onnx")
    assert "directory" in refused(tmp_path)


def test_empty_model(refused, tmp_path):
    (tmp_path / "empty.onnx").touch()
    assert "empty" in refused(tmp_path / "empty.onnx")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated_model(refused, tmp_path, model, kept):
    data = model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * kept)])
    assert "cut.onnx" in refused(tmp_path / "cut.onnx")


def test_no_float_input(refused, tmp_path):
    """An integer that integer arithmetic swallows before anything becomes float."""
    nodes = [
        ("Abs", ["x"], ["a"]),
        ("Cast", ["a"], ["f"], {"to": TensorProto.FLOAT}),
        ("Flatten", ["f"], ["g"]),
        ("MatMul", ["g", "w"], ["y"]),
    ]
    integers = simple(nodes, input_type=TensorProto.INT64)
    assert "no float input" in refused(save(integers, tmp_path / "integers.onnx"))


def test_no_float_output(refused, tmp_path):
    nodes = [
        ("Flatten", ["x"], ["f"]),
        ("MatMul", ["f", "w"], ["s"]),
        ("Cast", ["s"], ["y"], {"to": TensorProto.INT64}),
    ]
    labels = simple(nodes, output_type=TensorProto.INT64, output=("N", 1))
    error = refused(save(labels, tmp_path / "labels.onnx"))
    assert "no float output" in error and "'y' (int64)" in error


def test_no_convolution(refused, tmp_path):
    error = refused(flat_model(tmp_path), "-m", "grad-cam")
    assert "Grad-CAM needs" in error and "integrated-gradients and deeplift work" in error


@pytest.mark.parametrize("method", OTHERS)
def test_unsupported_operators_are_all_named_at_once(refused, tmp_path, method):
    error = refused(unsupported_model(tmp_path), "-m", method)
    for text in ("Unheard", "node_2_Unheard", "Unseen", "node_3_Unseen"):
        assert text in error


def test_a_model_that_no_method_serves(refused, tmp_path):
    assert "Unheard" in refused(unsupported_model(tmp_path))


def test_unsupported_operators_elsewhere(tmp_path):
    path = unsupported_model(tmp_path)
    reasons = inspect(path).unsupported
    assert all(len(reasons[method]) == 2 for method in OTHERS)
    with pytest.raises(UnsupportedModelError, match=r"Unheard.*Unseen"):
        vjp(path)


def test_not_an_image_model(refused, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 12])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "rows.onnx")
    error = refused(tmp_path / "rows.onnx")
    assert "[N, 12]" in error and "Python API" in error


def test_a_batch_that_one_image_cannot_fill(refused, tmp_path):
    fixed = onnx.load(flat_model(tmp_path))
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, tmp_path / "flat.onnx")
    assert "exactly 4 images" in refused(tmp_path / "flat.onnx")


# Options


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("10", ["target 10 is out of range", "0..9"]),
        ("-2", ["target -2 is out of range"]),
        ("99999999999999", ["out of range"]),
        ("sevn", ["'sevn'", "did you mean 'seven'"]),
        ("top11", ["top11", "10 classes"]),
        ("top0", ["top0"]),
        ("3,4", ["index tuple"]),
        ("", ["''"]),
        ("7.0", ["'7.0'"]),
        ("²", ["'²'"]),
    ],
)
def test_targets(refused, model, target, words):
    error = refused(model, "-t", target)
    assert all(word in error for word in words), error


def test_a_label_without_labels(refused, tmp_path):
    card = {key: value for key, value in CARD.items() if key != "labels"}
    assert "--labels" in refused(write_model(tmp_path, card), "-t", "seven")


@pytest.mark.parametrize("option", ["--card", "--labels"])
def test_files_named_by_options(refused, model, tmp_path, option):
    assert "no such file" in refused(model, option, tmp_path / "nowhere")
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    assert "UTF-8" in refused(model, option, tmp_path / "bytes")


def test_a_card_that_does_not_fit_the_model(refused, tmp_path):
    error = refused(write_model(tmp_path, CARD | {"size": [9, 8]}))
    assert "card" in error and "[B, 8, 8, 1]" in error and "[1, 9, 8, 1]" in error


def test_a_card_with_a_wrong_key(refused, tmp_path):
    assert "did you mean 'resize'" in refused(write_model(tmp_path, CARD | {"resise": "crop"}))


def test_layers(refused, model):
    assert "'nothing'" in refused(model, "-m", "grad-cam", "--layer", "nothing")
    assert "'add_out_2'" in refused(model, "-m", "grad-cam", "--layer", "add_out_2")


def test_baselines(refused, model, tmp_path):
    assert "expected black, white, mean, blur or a file" in refused(model, "--baseline", "gray")
    np.save(tmp_path / "wide.npy", np.zeros((1, 9, 8, 1), np.float32))
    error = refused(model, "--baseline", tmp_path / "wide.npy")
    assert "[1, 8, 8, 1]" in error and "[1, 9, 8, 1]" in error
    assert "wide.csv" in refused(model, "--baseline", tmp_path / "wide.csv")


@pytest.mark.parametrize("folder", ["seven.png", "seven.png/deeper", "/proc/nothing"])
def test_output_folder_not_writable(command, tmp_path, model, seven, folder):
    status, _, err = command("explain", model, seven, "-o", tmp_path / folder)
    assert status == 2 and err.count("\n") == 1
    assert "cannot write to the output folder" in err and str(tmp_path / folder) in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "grad-cam", "--baseline", "white"], "grad-cam compares with no baseline"),
        (["-m", "grad-cam", "--baseline-input"], "grad-cam compares with no baseline"),
        (["-m", "deeplift", "--baseline", "blur"], "depends on each image"),
        (["-m", "deeplift", "--baseline", "white", "--baseline-input"], "not both"),
        (["-m", "deeplift", "--baseline", "gray"], "expected black, white"),
        (["-m", "grad-cam", "--layer", "nothing"], "'nothing'"),
    ],
)
def test_export_options(command, tmp_path, model, arguments, words):
    file = tmp_path / "out.onnx"
    status, out, err = command("export", model, *arguments, "-o", file)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1
    assert not file.exists()


def test_export_file_not_writable(command, tmp_path, model):
    status, _, err = command("export", model, "-m", "grad-cam", "-o", tmp_path / "no" / "x.onnx")
    assert status == 2 and "cannot write" in err and err.count("\n") == 1


def test_inspect_names(command, model):
    for option in ("--layer", "--output"):
        status, _, err = command("inspect", model, option, "nothing")
        assert status == 2 and "'nothing'" in err and err.count("\n") == 1


# Images in a batch: the others are done, and the status is 1


def png_of(width, height):
    """A PNG file that claims this size, and holds next to nothing."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


BAD_IMAGES = {
    "missing.png": None,
    "empty.png": b"",
    "text.jpg": b"This is no image.",
    "truncated.png": "half",
    "bomb.png": png_of(30000, 30000),
    "folder.png": "folder",
}


def write_bad_image(path, seven):
    content = BAD_IMAGES[path.name]
    if content == "half":
        content = seven.read_bytes()[: seven.stat().st_size * 3 // 4]
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image(refused, tmp_path, model, seven, name):
    bad = write_bad_image(tmp_path / name, seven)
    error = refused(model, "-m", "grad-cam", status=1, images=[bad])
    assert str(bad) in error
    (record,) = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert record["image"] == str(bad) and str(bad) in record["error"]


def test_bad_images_among_good_ones(command, tmp_path, model, seven):
    (tmp_path / "bad").mkdir()
    bad = [write_bad_image(tmp_path / "bad" / name, seven) for name in BAD_IMAGES]
    eight = write_photo(tmp_path / "eight.png", 8)
    images = [*bad[:3], seven, *bad[3:], eight]
    status, out, err = command(
        "explain", model, *images, "-m", "grad-cam", "-o", tmp_path, "--json"
    )
    assert status == 1
    lines = err.splitlines()
    assert len(lines) == len(bad)
    assert all(str(path) in line for path, line in zip(bad, lines, strict=True))
    records = json.loads(out)
    assert [record["image"] for record in records] == [str(path) for path in images]
    assert [record["image"] for record in records if "error" in record] == [str(p) for p in bad]
    for name in ("seven.grad-cam.7", "eight.grad-cam.8"):
        assert (tmp_path / f"{name}.png").is_file() and (tmp_path / f"{name}.npz").is_file()
