"""What was assumed is said before the result, by each command, once."""

import contextlib
import io

import numpy as np
import onnx
import onnx.parser
import pytest
from support.digits import write_photo

import onnxplain
from onnxplain.cli import main

CARD = "onnxplain: no model card, assumed: "
ZEROS = "onnxplain: no model card: the baseline is zeros"
OTHERS = "onnxplain: explaining the output 'scores' [N, 3]; the model also has 'more'"


@pytest.fixture
def model(tmp_path):
    """No card, two outputs like scores, and an input that may be a picture."""
    text = """<ir_version: 10, opset_import: ["": 21]>
    g (float[N,3,16,16] x) => (float[N,3] scores, float[N,3] more)
    <float[3,3,3,3] w = {WEIGHTS}, int64[2] axes = {2, 3}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w)
      b = Relu (a)
      m = ReduceMean <keepdims = 0> (b, axes)
      scores = Softplus (m)
      more = Exp (m)
    }"""
    weights = np.random.default_rng(0).standard_normal(81)
    made = onnx.parser.parse_model(text.replace("WEIGHTS", ", ".join(f"{w:.3f}" for w in weights)))
    onnx.save(made, tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def lines(*arguments):
    """What is printed, stdout and stderr as they come."""
    both = io.StringIO()
    with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            assert not end.code, both.getvalue()
    return both.getvalue().splitlines()


@pytest.mark.parametrize("command", ["explain", "compare", "evaluate", "batch", "export"])
def test_said_first_and_once(tmp_path, model, command):
    out, photo = tmp_path / "out", write_photo(tmp_path / "p.png", 3)
    more = {
        "compare": ["--baseline", "black", "-m", "deeplift"],
        "evaluate": ["-m", "deeplift", "--metric", "deletion"],
    }.get(command, ["-m", "deeplift"])
    if command == "export":
        found = lines("export", model, "-o", tmp_path / "e.onnx", *more, "--baseline", "white")
    else:
        found = lines(command, model, photo, "-o", out, *more)
    expected = [CARD, OTHERS] + [ZEROS] * (command in ("explain", "evaluate", "batch"))
    for text in expected:
        assert sum(line.startswith(text) for line in found) == 1, found
    own = [place for place, line in enumerate(found) if not line.startswith("onnxplain: ")]
    last = max(p for p, line in enumerate(found) if line.startswith(tuple(expected)))
    assert own and last < own[0], found


def test_methods_left_out_are_said_first(tmp_path, model):
    made = onnx.load(model)
    made.graph.node[1].op_type, made.graph.node[1].domain = "Relu", ""
    made.graph.node[3].op_type = "Mish"
    onnx.save(made, model)
    found = lines("explain", model, write_photo(tmp_path / "p.png", 3), "-o", tmp_path / "out")
    kinds = [line.startswith("onnxplain: ") for line in found]
    assert kinds == sorted(kinds, reverse=True)


def test_quiet_leaves_them_out(tmp_path, model):
    photo = write_photo(tmp_path / "p.png", 3)
    assert lines("explain", model, photo, "-o", tmp_path / "out", "-q", "-m", "deeplift") == []
    assert len(lines("explain", model, photo, "-o", tmp_path / "out", "-m", "deeplift")) > 4


def test_python_assumes_no_card(tmp_path, model):
    with pytest.raises(onnxplain.InvalidInputError, match="no model card says"):
        onnxplain.Explainer(model).explain(write_photo(tmp_path / "p.png", 3))
