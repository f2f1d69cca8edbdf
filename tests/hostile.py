"""Small files that would take hours or all memory: `python tests/hostile.py` tries each, apart.

Prints time, peak memory and what was said of each, as a table, or with `--json` for the tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import fuzz_files
import numpy as np
import onnx
import support.hostile_models
import support.hostile_windows  # noqa: F401  (further files)
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from support.hostile_constants import BUILDERS, HUGE, hostile, parsed


@hostile
def inside_a_branch():
    body = """b = Cast <to = 9> (one)
        h = If (b) <then_branch = yes () => (float[K] a) { a = ConstantOfShape (s) },
                    else_branch = no () => (float[K] e) { e = ConstantOfShape (s) }>
        m = ReduceMean <keepdims = 0> (h) y = Add (x, m)"""
    return parsed(body, ", int64[1] s = {99999999999}")


@hostile
def inside_a_function():
    return parsed(
        "big = own.f (s) m = ReduceMean <keepdims = 0> (big) y = Add (x, m)",
        ", int64[1] s = {99999999999}",
        '<domain: "own", opset_import: ["" : 21]> f (s) => (b) { b = ConstantOfShape (s) }',
    )


def loop(body: str, trips: int, extra: str = "") -> onnx.ModelProto:
    return parsed(
        f"y = Loop (n, go, x) <body = turn (int64 i, bool c0, float[N, 4] v0) => "
        f"(bool c1, float[N, 4] v1) {{ c1 = Identity (c0) {body} }}> {extra}",
        f", int64 n = {{{trips}}}, bool go = {{1}}",
    )


@hostile
def endless_loop():
    return loop("v1 = Identity (v0)", 2**63 - 1)


@hostile
def long_loop():
    return loop("a = Sin (v0) b = Add (a, v0) v1 = Mul (b, a)", 10_000_000)


@hostile
def loop_of_constants():
    return parsed(
        "k = Loop (n, go, one) <body = turn (int64 i, bool c0, float v0) => (bool c1, float v1) "
        "{ c1 = Identity (c0) v1 = Add (v0, v0) }> y = Add (x, k)",
        ", int64 n = {4611686018427387904}, bool go = {1}",
    )


@hostile
def loop_that_collects():
    return parsed(
        "k, all = Loop (n, go, one) <body = turn (int64 i, bool c0, float v0) => "
        "(bool c1, float v1, float w) { c1 = Identity (c0) v1 = Add (v0, v0) w = Identity (v0) }> "
        "m = ReduceMean <keepdims = 0> (all) y = Add (x, m)",
        ", int64 n = {4611686018427387904}, bool go = {1}",
    )


@hostile
def loop_as_long_as_the_input_says():
    """ONNX Runtime alone would run it, for ever."""
    return parsed(
        "s = ReduceSum <keepdims = 0> (x) z = Mul (s, zero) t = Add (z, much) "
        "n = Cast <to = 7> (t) "
        "k = Loop (n, go, one) <body = turn (int64 i, bool c0, float v0) => (bool c1, float v1) "
        "{ c1 = Identity (c0) v1 = Identity (v0) }> y = Add (x, k)",
        ", float zero = {0}, float much = {4e18}, bool go = {1}",
    )


@hostile
def loop_beside_the_path():
    """A second output that ONNX Runtime would compute for ever."""
    model = parsed(
        "y = Relu (x) s = ReduceSum <keepdims = 0> (x) z = Mul (s, zero) t = Add (z, much) "
        "n = Cast <to = 7> (t) "
        "k = Loop (n, go, one) <body = turn (int64 i, bool c0, float v0) => (bool c1, float v1) "
        "{ c1 = Identity (c0) v1 = Identity (v0) }>",
        ", float zero = {0}, float much = {4e18}, bool go = {1}",
    )
    model.graph.output.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, []))
    return model


@hostile
def nested_loops():
    inner = "v1 = Sin (v0)"
    for level in range(7):
        names = f"int64 i{level}, bool c{level}, float[N, 4] u{level}"
        inner = inner.replace("v0", f"u{level}").replace("v1", f"w{level}")
        inner = (
            f"v1 = Loop (n, go, v0) <body = b{level} ({names}) => "
            f"(bool d{level}, float[N, 4] w{level}) {{ d{level} = Identity (c{level}) {inner} }}>"
        )
    return loop(inner, 100)


@hostile
def scanned():
    return parsed(
        "s = Expand (one, n) "
        "k, all = Scan <num_scan_inputs = 1, body = turn (float v0, float u) => "
        "(float v1, float w) { v1 = Add (v0, u) w = Mul (v0, u) }> (one, s) "
        "m = ReduceMean <keepdims = 0> (all) y = Add (x, m)",
        ", int64[1] n = {9000000}",
    )


@hostile
def functions_of_functions():
    parts = [
        f'<domain: "own", opset_import: ["" : 21, "own" : 1]> f{k} (a) => (c) '
        f"{{ b = own.f{k - 1} (a) c = own.f{k - 1} (b) }}"
        for k in range(1, 41)
    ]
    first = '<domain: "own", opset_import: ["" : 21]> f0 (a) => (c) { c = Relu (a) }'
    return parsed("y = own.f40 (x)", functions=" ".join([first, *parts]))


@hostile
def function_that_calls_itself():
    return parsed(
        "y = own.f (x)",
        functions='<domain: "own", opset_import: ["" : 21, "own" : 1]> f (a) => (c) '
        "{ b = own.f (a) c = Relu (b) }",
    )


@hostile
def branches_in_branches():
    body = "a = Relu (x)"
    for level in range(28):
        body = (
            f"a = If (go) <then_branch = t{level} () => (float[N, 4] a) {{ {body} }}, "
            f"else_branch = e{level} () => (float[N, 4] o) {{ o = Identity (x) }}>"
        )
    return parsed(f"{body} y = Identity (a)", ", bool go = {1}")


@hostile
def thirty_thousand_nodes():
    nodes = ["t0 = Relu (x)"] + [f"t{k} = Relu (t{k - 1})" for k in range(1, 30_000)]
    return parsed(" ".join(nodes) + " y = Identity (t29999)")


@hostile
def declared_batch():
    return parsed("y = Relu (x)", shape=f"{2**40}, 4")


@hostile
def declared_batch_of_thousands():
    return parsed("y = Relu (x)", shape="1000000, 4")


@hostile
def declared_size():
    return parsed("f = Flatten (x) y = Relu (f)", shape=f"1, {2**20}, {2**20}")


@hostile
def declared_size_beyond_bytes():
    return parsed("f = Flatten (x) y = Relu (f)", shape=f"1, {HUGE}, {HUGE}")


@hostile
def activations():
    return parsed(
        "e = Unsqueeze (x, a) b = Expand (e, s) m = ReduceMean <keepdims = 0> (b) y = Add (x, m)",
        ", int64[1] a = {2}, int64[3] s = {1, 4, 500000000}",
    )


@hostile
def activations_beside_the_path():
    return parsed(
        "y = Relu (x) e = Unsqueeze (x, a) b = Expand (e, s) m = ReduceMean <keepdims = 0> (b)"
        " h = Relu (b)",
        ", int64[1] a = {2}, int64[3] s = {1, 4, 500000000}",
    )


@hostile
def upsampled_again_and_again():
    nodes = [f't{k} = Resize <mode = "nearest"> (t{k - 1}, , s)' for k in range(1, 40)]
    return parsed(
        "t0 = Identity (x) " + " ".join(nodes) + " p = GlobalAveragePool (t39) y = Flatten (p)",
        ", float[4] s = {1, 1, 2, 2}",
        shape="N, 1, 8, 8",
    )


@hostile
def outer_product_of_the_input():
    nodes = [f"t{k} = Concat <axis = 1> (t{k - 1}, t{k - 1})" for k in range(1, 34)]
    return parsed("t0 = Identity (x) " + " ".join(nodes) + " m = ReduceMean (t33) y = Add (x, m)")


@hostile
def transposed_convolution():
    return parsed(
        "t = ConvTranspose <strides = [30000, 30000]> (x, k) p = GlobalAveragePool (t) "
        "y = Flatten (p)",
        ", float[1, 1, 1, 1] k = {1}",
        shape="N, 1, 8, 8",
    )


@hostile
def pads_by_attribute():
    return parsed(
        "t = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 99999, 99999]> (x) "
        "p = GlobalAveragePool (t) y = Flatten (p)",
        shape="N, 1, 8, 8",
    )


@hostile
def half_a_million_integers():
    """As an attribute."""
    model = parsed("y = Relu (x)")
    node = helper.make_node("Constant", [], ["i"])
    node.attribute.append(
        AttributeProto(name="value_ints", type=AttributeProto.INTS, ints=[1] * 500_000)
    )
    model.graph.node.insert(0, node)
    return model


@hostile
def ten_thousand_initializers():
    model = parsed("y = Relu (x)")
    weights = (numpy_helper.from_array(np.float32(k), f"w{k}") for k in range(10_000))
    model.graph.initializer.extend(weights)
    return model


@hostile
def ten_thousand_outputs():
    model = parsed("y = Relu (x)")
    for k in range(10_000):
        model.graph.node.append(helper.make_node("Identity", ["y"], [f"o{k}"]))
        model.graph.output.append(
            helper.make_tensor_value_info(f"o{k}", TensorProto.FLOAT, ["N", 4])
        )
    return model


@hostile
def a_long_name():
    model = parsed("t = Nonsense (x) y = Relu (t)")
    model.graph.node[0].op_type = "N" * 900_000
    return model


@hostile
def a_wide_sum():
    model = parsed("y = Relu (x)")
    model.graph.node[0].CopyFrom(helper.make_node("Sum", ["x"] * 100_000, ["y"]))
    return model


@hostile
def recurrent():
    """An LSTM of many steps, written out."""
    return parsed(
        "e = Unsqueeze (x, a) b = Expand (e, s) o, h = LSTM <hidden_size = 2> (b, w, r) "
        "q = Squeeze (h, z) y = Identity (q)",
        f", int64[1] a = {{0}}, int64[1] z = {{0}}, int64[3] s = {{100000, 1, 4}}, "
        f"float[1, 8, 4] w = {{{', '.join(['0.1'] * 32)}}}, "
        f"float[1, 8, 2] r = {{{', '.join(['0.1'] * 16)}}}",
    )


def deep_message() -> bytes:
    """Graphs within graphs, deeper than any parser should go."""
    data = b""
    for _ in range(9000):
        # GraphProto.node { NodeProto.attribute { AttributeProto.g { ... } } }
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + _varint(len(data)) + data
        if len(data) > 500_000:
            break
    return b"\x08\x0a" + b"\x3a" + _varint(len(data)) + data + b"\x42\x04\x0a\x00\x10\x15"


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def files() -> dict[str, bytes]:
    """Every file by its name."""
    found = {name: build().SerializeToString() for name, build in BUILDERS.items()}
    return found | {"deep_message": deep_message()}


def main() -> int:
    """Try all files; exit status 1 where one is not refused or explained as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--without", nargs="*", default=[], help="names of files to leave out")
    options = parser.parse_args()
    rows = []
    for name, data in files().items():
        if options.only not in (None, name) or name in options.without:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            path.write_bytes(data)
            outcome = fuzz_files.apart(lambda p=path: fuzz_files.by_python(0, str(p)), Path(folder))
            problem = fuzz_files.problem_of(outcome, Path(folder))
        said = outcome.err.strip().split("\n")[0].replace(folder, "")
        row = {"name": name, "bytes": len(data), "status": outcome.status, "problem": problem}
        rows.append(row | {"s": round(outcome.seconds, 1), "mb": outcome.peak >> 20, "said": said})
        if not options.json:
            figures = f"{outcome.seconds:5.1f} s {outcome.peak >> 20:5} MB"
            print(f"{name:34} {figures} {problem or ''} {said[:150]}")
    if options.json:
        print(json.dumps(rows))
    return 1 if any(row["problem"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
