"""Inspection: what would be explained, said before anything runs."""

import json

import numpy as np
import onnx
import pytest
from support import keras_like
from support.digits import CARD, DATA, LABELS, flat_model, simple, unsupported_model, write_model
from support.networks import exported
from support.served import OF_ALL, OF_ATTENTION

import onnxplain
from onnxplain.engine.inspection import table
from onnxplain.models.card import METADATA_KEY
from onnxplain.models.shipped import demo_model

METHODS = ["grad-cam", "integrated-gradients", "deeplift"]
ROWS = [
    "model", "inputs", "explained input", "preprocessing", "outputs", "explained score",
    "feature map", "operators on the path", "quantisation", *METHODS, "further methods",
]  # fmt: skip


def serves(found, methods):
    """Whether these methods are supported, and others have one reason."""
    assert list(found.unsupported) == list(onnxplain.methods())
    assert all(len(reasons) < 2 for reasons in found.unsupported.values())
    return [name for name, reasons in found.unsupported.items() if not reasons] == list(methods)


def test_the_demo_model():
    found = onnxplain.inspect(demo_model())
    assert found.input == "input: float32 [batch, 3, 224, 224]"
    assert found.inputs == [found.input]
    assert [text.split(":")[0] for text in found.outputs] == ["logits"]
    assert found.output == "logits" and "as the model returns it" in found.score
    assert found.feature_map == "hardtanh_32"
    assert "[batch, 1280, 7, 7]" in found.feature_map_reason
    assert found.operators["Conv"] == 49 and found.operators["Gemm"] == 1
    assert serves(found, OF_ALL)
    assert found.card is not None and found.card.labels is not None
    assert found.card.labels[967] == "espresso" and not found.card.assumed
    assert found.card_note.endswith("efficientnet-lite0-w16.json")
    assert (found.opset, found.quantisation) == (18, None)


@pytest.mark.parametrize("name", ["resnet", "unet", "vit"])
def test_networks(name):
    found = onnxplain.inspect(exported(name, "torchscript", dynamic=True))
    assert serves(found, onnxplain.methods() if name == "vit" else OF_ALL)
    assert found.card is not None and found.card.layout == "NCHW"
    assert found.card.assumed and found.card_note.startswith("assumed")
    assert found.output == "output" and found.feature_map is not None
    assert ("height" in found.input) == (name != "vit")


def test_keras_models():
    found = onnxplain.inspect(keras_like.rnet())
    assert found.output == "softmax_1"
    assert "before its final Softmax" in found.score and len(found.outputs) == 2
    assert found.card is not None and found.card.layout == "NHWC" and found.card.size == (24, 24)


def test_paddle_model():
    found = onnxplain.inspect(DATA / "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    assert found.input == "x: float32 [?, 3, ?, ?]" and found.opset == 11
    assert "before its final Softmax" in found.score
    assert serves(found, OF_ALL)


def test_quantised_weights():
    """What the file holds counts, not what is left after constants are folded."""
    nodes = [
        ("QuantizeLinear", ["w", "scale"], ["q"]),
        ("DequantizeLinear", ["q", "scale"], ["v"]),
        ("Flatten", ["x"], ["f"]),
        ("MatMul", ["f", "v"], ["y"]),
    ]
    model = simple(nodes)
    scale = onnx.numpy_helper.from_array(np.float32(1 / 255), "scale")
    model.graph.initializer.append(scale)
    found = onnxplain.inspect(model)
    assert found.quantisation is not None
    assert found.quantisation.startswith("DequantizeLinear, QuantizeLinear: gradient straight")
    assert not found.unsupported["deeplift"]


def test_no_feature_map(tmp_path):
    found = onnxplain.inspect(flat_model(tmp_path))
    assert found.feature_map is None and "Grad-CAM needs" in found.feature_map_reason
    assert found.unsupported["grad-cam"] and not found.unsupported["deeplift"]


def test_unsupported_operators(tmp_path):
    found = onnxplain.inspect(unsupported_model(tmp_path))
    for method in METHODS[1:]:
        first, second = found.unsupported[method]
        assert first.startswith("nobody.Unheard (node 'node_2_Unheard')")
        assert second.startswith("nobody.Unseen (node 'node_3_Unseen')")


def test_no_image():
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 12]) for name in "xy"
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Tanh", ["x"], ["y"])], "rows", [x], [y])
    found = onnxplain.inspect(onnx.helper.make_model(graph))
    assert found.card is None and "[N, 12]" in found.card_note
    assert not found.unsupported["deeplift"] and found.unsupported["grad-cam"]


def test_cards_beside_in_metadata_and_given(tmp_path):
    path = write_model(tmp_path)
    beside = onnxplain.inspect(path)
    assert beside.card_note == str(path.with_suffix(".json"))
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(CARD)})
    inside = onnxplain.inspect(model)
    assert inside.card == beside.card and "metadata" in inside.card_note
    given = onnxplain.inspect(DATA / "jax_digits.onnx", card=beside.card)
    assert given.card == beside.card and given.card_note == "given"
    assert beside.card is not None and beside.card.labels == LABELS


def test_layer_and_output():
    model = keras_like.rnet()
    other = onnxplain.inspect(model, output="dense_2")
    assert other.output == "dense_2" and "as the model returns it" in other.score
    layer = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    assert onnxplain.inspect(model, layer=layer).feature_map == layer
    for wrong in ({"output": "nothing"}, {"layer": "nothing"}):
        with pytest.raises(onnxplain.InvalidInputError, match="nothing"):
            onnxplain.inspect(model, **wrong)


def test_table_has_a_row_for_everything():
    rows = table(onnxplain.inspect(demo_model()))
    assert [name for name, _ in rows] == ROWS
    text = dict(rows)
    assert "centre crop 0.875" in text["preprocessing"] and "127" in text["preprocessing"]
    assert "Conv 49x" in text["operators on the path"]
    assert [text[method] for method in METHODS] == ["supported"] * 3


def test_printed(command):
    status, out, err = command("inspect", demo_model())
    assert (status, err) == (0, "")
    *lines, last = out.splitlines()
    assert last.split(":")[0].strip() == f"not {', '.join(OF_ATTENTION)}"
    assert len(lines) == len(ROWS)
    assert all(line.startswith(name) for line, name in zip(lines, ROWS, strict=True))


def test_printed_assumptions_and_reasons(command, tmp_path):
    status, out, _ = command("inspect", DATA / "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    assert status == 0 and "no model card; assumed:" in out and "size 224 x 224" in out
    status, out, _ = command("inspect", unsupported_model(tmp_path))
    assert status == 0 and out.count("not supported:") == 3 and out.count("node_3_Unseen") >= 3
    (refused,) = [line for line in out.splitlines() if "nobody.Unheard" in line and " not " in line]
    assert "saliency" in refused and "occlusion" not in refused


def test_json(command, tmp_path):
    status, out, err = command("inspect", write_model(tmp_path), "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert set(found) >= {
        "input", "inputs", "outputs", "output", "score", "feature_map", "feature_map_reason",
        "operators", "unsupported", "card", "card_note", "opset", "quantisation",
    }  # fmt: skip
    assert found["card"]["labels"] == list(LABELS) and found["operators"]["Conv"] == 2
