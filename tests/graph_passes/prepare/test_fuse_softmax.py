"""Softmax written out becomes one operator again; what only looks like one stays."""

from __future__ import annotations

import pytest
from onnx import parser

from onnxplain.graph_passes.prepare.pipeline import prepare

BEGIN = {
    "kept": "top = ReduceMax <axes = [1], keepdims = 1> (x)",
    "by a Reshape": "m = ReduceMax <axes = [1], keepdims = 0> (x) top = Reshape (m, column)",
    "by an Unsqueeze": "m = ReduceMax <axes = [1], keepdims = 0> (x) top = Unsqueeze (m, one)",
    "jax": """m = ReduceMax <axes = [1], keepdims = 0> (x) n = Max (least, m)
        r = Reshape (n, column) s = Shape (x) top = Expand (r, s)""",
}
END = {
    "kept": "sum = ReduceSum <keepdims = 1> (e, one)",
    "by a Reshape": "t = ReduceSum <keepdims = 0> (e, one) sum = Reshape (t, column)",
    "by an Expand": """t = ReduceSum <keepdims = 0> (e, one) u = Unsqueeze (t, one)
        z = Shape (x) sum = Expand (u, z)""",
}
NO = {
    "the maximum of another axis": (
        "m = ReduceMax <axes = [0], keepdims = 1> (x) top = Abs (m)",
        "kept",
    ),
    "another bound": ("m = ReduceMax <axes = [1], keepdims = 1> (x) top = Max (m, low)", "kept"),
    "of a batch that is turned": (
        "kept",
        "t = ReduceSum <keepdims = 0> (e, zero) sum = Reshape (t, row)",
    ),
}


def model_of(begin: str, end: str):
    return parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 17]>
        net (float[N, 4] x) => (float[N, 4] y)
        <int64[1] one = {{1}}, int64[1] zero = {{0}}, int64[2] column = {{-1, 1}},
         int64[2] row = {{1, 4}}, float least = {{-inf}}, float low = {{-1}}>
        {{ {BEGIN.get(begin, begin)} d = Sub (x, top) e = Exp (d) {END.get(end, end)}
           y = Div (e, sum) }}""")


@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize("begin", BEGIN)
def test_softmax_is_found(begin, end):
    graph = prepare(model_of(begin, end))
    assert "Softmax" in [node.op for node in graph.nodes]
    assert "Exp" not in [node.op for node in graph.cleanup().nodes]


@pytest.mark.parametrize("name", NO)
def test_what_is_none_stays(name):
    graph = prepare(model_of(*NO[name]))
    assert "Softmax" not in [node.op for node in graph.nodes]
