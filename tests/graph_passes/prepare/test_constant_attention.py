"""Attention among constants is folded, except where queries of other attention come from it."""

from __future__ import annotations

import onnx_graphsurgeon as gs
import pytest
from onnx import parser

from onnxplain.graph_passes.prepare.folding import fold

ROWS = "{1, 2, 3, 4, 5, 6}"
HEAD = f"""<ir_version: 8, opset_import: ["": 17]> g (float[1, 4, 2] x) => (float[N, M, K] y)
<float[1, 3, 2] q = {ROWS}, float[1, 2, 3] k = {ROWS}, float[1, 3, 2] v = {ROWS}> {{
    p = MatMul (q, k)  s = Softmax <axis = -1> (p)  c = MatMul (s, v)
    t = Transpose <perm = [0, 2, 1]> (x)
"""
# What follows, and whether the Softmax among constants stays.
CASES = {
    "queries of attention": ("a = MatMul (c, t) w = Softmax <axis = -1> (a) y = MatMul (w, x)", 2),
    "compared with the input": ("a = MatMul (c, t) y = Softmax <axis = -1> (a)", 1),
    "added to the input": ("r = ReduceSum <keepdims = 1> (c) y = Add (x, r)", 0),
    "keys of attention": (
        "d = Transpose <perm = [0, 2, 1]> (c) a = MatMul (x, d) w = Softmax <axis = -1> (a) "
        "y = MatMul (w, c)",
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stays(name):
    body, expected = CASES[name]
    graph = gs.import_onnx(parser.parse_model(f"{HEAD}{body} }}"))
    for _ in range(2):  # and it stays when folding is asked for again
        fold(graph)
        assert sum(node.op == "Softmax" for node in graph.nodes) == expected
