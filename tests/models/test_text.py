"""Text of files: no control character of it reaches a terminal, and JSON says it unharmed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.digits import CARD, write_model, write_photo

import onnxplain
from onnxplain.models.text import shown, shown_json

EVIL = "\x1b]0;owned\x07\x1b[31m\nforged: line\r\u202eback\x9b2J"


def unseen(text: str) -> set[str]:
    """Control and format characters, beside the ends of lines that we write."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} - {"\n"}


def check_shown(*texts: str) -> None:
    for text in texts:
        assert not unseen(text), unseen(text)
        assert not any(line.startswith("forged") for line in text.splitlines())


def renamed(proto: onnx.ModelProto, old: str, new: str) -> None:
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                if name == old:
                    names[k] = new
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if value.name == old:
            value.name = new


def an_input(proto: onnx.ModelProto) -> None:
    renamed(proto, proto.graph.input[0].name, f"in{EVIL}")


def an_output(proto: onnx.ModelProto) -> None:
    renamed(proto, proto.graph.output[0].name, f"out{EVIL}")


def an_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = f"Relu{EVIL}"


def a_domain(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].domain = f"com{EVIL}"
    proto.opset_import.add(domain=f"com{EVIL}", version=1)


def nodes(proto: onnx.ModelProto) -> None:
    for k, node in enumerate(proto.graph.node):
        node.name = f"node{k}{EVIL}"


def weights_that_are_nan(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.full(tuple(tensor.dims), np.nan, np.float32)
            old = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"w{EVIL}"))
            renamed(proto, old, f"w{EVIL}")
            return


def the_producer(proto: onnx.ModelProto) -> None:
    proto.producer_name, proto.producer_version = f"tool{EVIL}", EVIL
    proto.graph.name, proto.doc_string, proto.domain = EVIL, EVIL, EVIL


def a_dimension(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = f"N{EVIL}"


def metadata(proto: onnx.ModelProto) -> None:
    onnx.helper.set_model_props(proto, {f"key{EVIL}": EVIL, "onnxplain.card": f"{{{EVIL}"})


CHANGES = [
    an_input, an_output, an_operator, a_domain, nodes, weights_that_are_nan, the_producer,
    a_dimension, metadata,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_model(command, tmp_path, change):
    model = write_model(tmp_path)
    proto = onnx.load(model)
    change(proto)
    onnx.save(proto, model)
    photo = write_photo(tmp_path / "seven.png", 7)
    out = tmp_path / "out"
    for arguments in (
        ["inspect", model],
        ["inspect", model, "--json"],
        ["explain", model, photo, "-o", out],
        ["explain", model, photo, "-o", out, "--json"],
        ["export", model, "-m", "deeplift", "-o", tmp_path / "exported.onnx"],
    ):
        status, printed, err = command(*arguments)
        check_shown(printed, err)
        assert status in (0, 1, 2) and "Traceback" not in err and "internal error" not in err
        if "--json" in arguments and status == 0:
            json.loads(printed)
    if (out / "results.json").is_file():
        text = (out / "results.json").read_text(encoding="utf-8")
        check_shown(text)
        assert json.loads(text)
    for kind in ("deeplift", "grad-cam"):
        try:
            onnxplain.Explainer(model, kind)
        except onnxplain.OnnxplainError as error:
            assert "\n" not in str(error)


def test_labels_and_file_names(command, tmp_path):
    labels = [f"{name}{EVIL}" for name in CARD["labels"]]
    model = write_model(tmp_path, {**CARD, "labels": labels})
    photo = write_photo(tmp_path / f"seven{EVIL.replace('/', '')}.png", 7)
    out = tmp_path / "out"
    status, printed, err = command("explain", model, photo, "-o", out)
    assert status == 0, err
    check_shown(printed, err)
    assert r"\x1b]0;owned\x07" in printed
    text = (out / "results.json").read_text(encoding="utf-8")
    check_shown(text)
    records = json.loads(text)
    assert all(record["target"]["label"] == labels[7] for record in records)
    assert {Path(record["image"]).name for record in records} == {photo.name}
    for arguments in (["-t", f"none{EVIL}"], ["--output", EVIL], ["--layer", EVIL]):
        status, printed, err = command("explain", model, photo, "-o", out, *arguments)
        assert status == 2
        check_shown(printed, err)


def test_paths_that_are_not_there(command, tmp_path):
    photo = write_photo(tmp_path / "seven.png", 7)
    for arguments in (
        ["explain", f"none{EVIL}.onnx", photo],
        ["explain", write_model(tmp_path), f"none{EVIL}.png", "-o", tmp_path / "out"],
        ["inspect", f"none{EVIL}.onnx"],
        ["explain", write_model(tmp_path), photo, "--card", f"none{EVIL}"],
        [f"command{EVIL}"],
        ["inspect", f"--option{EVIL}"],
    ):
        status, printed, err = command(*arguments)
        assert status in (1, 2), (arguments, err)
        check_shown(printed, err)


@given(st.text())
def test_shown_is_one_line_that_hides_nothing(text):
    assert not unseen(shown(text)) - {"\u00ad"} or all(
        unicodedata.category(c) == "Cf" for c in unseen(shown(text))
    )
    assert "\n" not in shown(text) and "\x1b" not in shown(text)
    visible = [c for c in text if c == shown(c)]
    assert all(c in shown(text) for c in visible)


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_says_the_same(content):
    text = shown_json(json.dumps(content, ensure_ascii=False))
    assert json.loads(text) == content and "\x1b" not in text and "\u202e" not in text
