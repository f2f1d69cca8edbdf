"""Small files of strings, sequences, subgraphs, windows and divisions that would hang or kill."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .hostile_constants import constant, hostile, parsed

# Refused for what they are, by name, or explained at a bounded cost: not for a limit.
HARMLESS = {
    *("regular_expression", "escapes_in_a_pattern", "strings_doubled", "strings_split"),
    *("least_by_minus_one", "constant_by_zero", "remainder_by_zero", "input_by_zero"),
    *("input_remainder_by_zero", "branch_by_zero", "body_by_zero", "function_by_zero"),
    *("conditions_doubled", "many_axes", "axes_by_attribute", "one_tensor_read_twice_over"),
    *("tree_in_a_circle", "chain_of_sequences", "unnamed_output", "optional_of_nothing"),
    "an_index_far_outside",
    *("empty_sequence", "map_of_the_batch_by_itself", "loop_of_strings", "loop_that_doubles"),
    *("groups_by_the_billion", "pads_beyond_counting", "numbers_as_strings"),
}


def with_nodes(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> onnx.ModelProto:
    model = parsed("y = Relu (x)")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    return model


def strings(name: str, *texts: bytes) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.STRING, [len(texts)], list(texts))


def matched(pattern: str, text: bytes = b"a") -> onnx.ModelProto:
    return with_nodes(
        [
            helper.make_node("RegexFullMatch", ["s"], ["b"], pattern=pattern),
            helper.make_node("Cast", ["b"], ["f"], to=1),
            helper.make_node("Add", ["x", "f"], ["y"]),
        ],
        strings("s", text),
    )


@hostile
def regular_expression():
    return matched("(a*)*\\1*b", b"a" * 60 + b"!")


@hostile
def escapes_in_a_pattern():
    return matched("\x1b]0;title\x07(")


@hostile
def strings_doubled():
    nodes = [helper.make_node("StringConcat", [f"s{k}"] * 2, [f"s{k + 1}"]) for k in range(40)]
    nodes += [
        helper.make_node("Equal", ["s40", "s0"], ["b"]),
        helper.make_node("Cast", ["b"], ["f"], to=1),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    return with_nodes(nodes, strings("s0", b"a" * 1000))


@hostile
def strings_split():
    nodes = [
        helper.make_node("StringSplit", ["s"], ["parts", "n"], delimiter=" "),
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("ReduceMean", ["f"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return with_nodes(nodes, strings("s", b"a " * 200_000, *[b"b"] * 1999))


def spread(op: str) -> onnx.ModelProto:
    """A long string, many times."""
    nodes = [
        helper.make_node(op, ["s", "n"], ["t"]),
        helper.make_node("Equal", ["t", "s"], ["b"]),
        helper.make_node("Cast", ["b"], ["f"], to=1),
        helper.make_node("ReduceMean", ["f"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    count = numpy_helper.from_array(np.array([20_000]), "n")
    return with_nodes(nodes, strings("s", b"a" * 500_000), count)


@hostile
def string_expanded():
    return spread("Expand")


@hostile
def string_tiled():
    return spread("Tile")


@hostile
def loop_of_strings():
    return parsed(
        "k = Loop (n, go, one) <body = turn (int64 i, bool c0, float v0) => (bool c1, float v1) "
        "{ c1 = Identity (c0) s = Cast <to = 8> (v0) t = StringConcat (s, s) "
        "v1 = Identity (v0) }> y = Add (x, k)",
        ", int64 n = {4611686018427387904}, bool go = {1}",
    )


# Batches that grow.


def doubled(times: int, more: str = "") -> onnx.ModelProto:
    nodes = [f"t{k} = Concat <axis = 0> (t{k - 1}, t{k - 1})" for k in range(1, times)]
    return parsed(
        f"t0 = Identity (x) {' '.join(nodes)} r = ReduceMean <keepdims = 0> (t{times - 1}) "
        f"y = Add (x, r) {more}"
    )


@hostile
def batch_doubled():
    return doubled(41)


@hostile
def batch_doubled_just_within():
    return doubled(27)


@hostile
def batch_tiled():
    return parsed(
        "t = Tile (x, n) r = ReduceMean <keepdims = 0> (t) y = Add (x, r)",
        ", int64[2] n = {100000000, 1}",
    )


@hostile
def batch_padded():
    return parsed(
        "t = Pad (x, n) r = ReduceMean <keepdims = 0> (t) y = Add (x, r)",
        ", int64[4] n = {0, 0, 100000000, 0}",
    )


@hostile
def batch_resized():
    return parsed(
        't = Resize <mode = "nearest"> (x, , n) r = ReduceMean <keepdims = 0> (t) y = Add (x, r)',
        ", float[2] n = {100000000, 1}",
    )


@hostile
def batch_doubled_in_a_loop():
    return parsed(
        "k = Loop (n, go, x) <body = turn (int64 i, bool c0, float[P, 4] v0) => "
        "(bool c1, float[Q, 4] v1) { c1 = Identity (c0) v1 = Concat <axis = 0> (v0, v0) }> "
        "r = ReduceMean <keepdims = 0> (k) y = Add (x, r)",
        ", int64 n = {45}, bool go = {1}",
    )


@hostile
def loop_that_doubles():
    """As often as the input says: only ONNX Runtime could run it."""
    return parsed(
        "s = ReduceSum <keepdims = 0> (x) z = Mul (s, zero) t = Add (z, much) "
        "n = Cast <to = 7> (t) "
        "k = Loop (n, go, x) <body = turn (int64 i, bool c0, float[P, 4] v0) => "
        "(bool c1, float[Q, 4] v1) { c1 = Identity (c0) v1 = Concat <axis = 0> (v0, v0) }> "
        "r = ReduceMean <keepdims = 0> (k) y = Add (x, r)",
        ", float zero = {0}, float much = {45}, bool go = {1}",
    )


@hostile
def map_of_the_batch_by_itself():
    return parsed(
        "t = Transpose <perm = [1, 0]> (x) m = MatMul (x, t) r = ReduceMean <keepdims = 0> (m) "
        "y = Add (x, r)"
    )


@hostile
def one_tensor_read_twice_over():
    nodes = " ".join(f"t{k} = Add (t{k - 1}, t{k - 1})" for k in range(1, 60))
    return parsed(f"t0 = Identity (x) {nodes} y = Identity (t59)")


@hostile
def conditions_doubled():
    nodes = " ".join(f"b{k} = And (b{k - 1}, b{k - 1})" for k in range(1, 60))
    return parsed(f"b0 = Greater (x, one) {nodes} a = Relu (x) y = Where (b59, a, x)")


# What has no result, or none that may be had.


@hostile
def least_by_minus_one():
    return constant(
        "n = Sub (a, o) d = Div (n, k) big = Cast <to = 1> (d)",
        ", int64[1] a = {-9223372036854775807}, int64[1] o = {1}, int64[1] k = {-1}",
    )


@hostile
def constant_by_zero():
    weights = ", int64[1] a = {7}, int64[1] z = {0}"
    return constant("d = Div (a, z) big = Cast <to = 1> (d)", weights)


@hostile
def remainder_by_zero():
    weights = ", int64[1] a = {7}, int64[1] z = {0}"
    return constant("d = Mod (a, z) big = Cast <to = 1> (d)", weights)


def by_the_input(op: str, kind: int = 7) -> str:
    """0 for every input."""
    return (
        f"h = Mul (x, zero) i = Cast <to = {kind}> (h) s = Cast <to = {kind}> (one) "
        f"d = {op} (s, i) f = Cast <to = 1> (d)"
    )


@hostile
def input_by_zero():
    return parsed(f"{by_the_input('Div')} y = Add (x, f)", ", float zero = {0}")


@hostile
def input_remainder_by_zero():
    return parsed(f"{by_the_input('Mod', 6)} y = Add (x, f)", ", float zero = {0}")


@hostile
def branch_by_zero():
    body = by_the_input("Div")
    return parsed(
        f"m = ReduceMax <keepdims = 0> (x) g = Less (m, much) r = If (g) "
        f"<then_branch = t () => (float[N, 4] f) {{ {body} }}, "
        "else_branch = e () => (float[N, 4] o) { o = Identity (x) }> y = Add (x, r)",
        ", float zero = {0}, float much = {1e9}",
    )


@hostile
def body_by_zero():
    body = by_the_input("Div")
    return parsed(
        "q = ReduceMax <keepdims = 0> (x) w = Mul (q, zero) u = Add (w, one) n = Cast <to = 7> (u) "
        "k = Loop (n, go, x) <body = turn (int64 j, bool c0, float[N, 4] v0) => "
        f"(bool c1, float[N, 4] v1) {{ c1 = Identity (c0) {body} v1 = Add (v0, f) }}> "
        "y = Add (x, k)",
        ", float zero = {0}, bool go = {1}",
    )


@hostile
def function_by_zero():
    return parsed(
        "h = Mul (x, zero) i = Cast <to = 7> (h) s = Cast <to = 7> (one) d = own.f (s, i) "
        "f = Cast <to = 1> (d) y = Add (x, f)",
        ", float zero = {0}",
        '<domain: "own", opset_import: ["" : 21]> f (a, b) => (c) { c = Div (a, b) }',
    )


@hostile
def unnamed_output():
    """ONNX Runtime dies of it."""
    model = parsed("a, b = Split <num_outputs = 2, axis = 1> (x) y = Neg (b)")
    model.graph.node[0].output[0] = ""
    return model


@hostile
def tree_in_a_circle():
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["t"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[1, 0, 0],
        target_treeids=[0],
        target_nodeids=[2],
        target_ids=[0],
        target_weights=[1.0],
    )
    model = with_nodes([tree, helper.make_node("Add", ["x", "t"], ["y"])])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


@hostile
def chain_of_sequences():
    nodes = " ".join(f"s{k} = SequenceInsert (s{k - 1}, x)" for k in range(1, 3000))
    return parsed(
        f"s0 = SequenceConstruct (x) {nodes} c = ConcatFromSequence <axis = 1> (s2999) "
        "r = ReduceMean <keepdims = 0> (c) y = Add (x, r)"
    )


@hostile
def empty_sequence():
    return parsed(
        "s = SequenceEmpty () c = ConcatFromSequence <axis = 1> (s) "
        "r = ReduceMean <keepdims = 0> (c) y = Add (x, r)"
    )


@hostile
def optional_of_nothing():
    model = parsed("y = Relu (x)")
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    model.graph.node.insert(0, helper.make_node("Optional", [], ["o"], type=kind))
    model.graph.node.insert(1, helper.make_node("OptionalGetElement", ["o"], ["e"]))
    model.graph.node[2].CopyFrom(helper.make_node("Add", ["x", "e"], ["y"]))
    return model


@hostile
def groups_by_the_billion():
    return parsed(
        "c = Conv <group = 2147483647> (x, k) p = GlobalAveragePool (c) y = Flatten (p)",
        ", float[1, 1, 1, 1] k = {1}",
        shape="N, 1, 8, 8",
    )


@hostile
def pads_beyond_counting():
    """ONNX Runtime aborts."""
    return parsed(
        f"c = LpPool <kernel_shape = [2, 2], pads = [{2**62}, {2**62}, {2**62}, {2**62}]> (x) "
        "p = GlobalAveragePool (c) y = Flatten (p)",
        shape="N, 1, 8, 8",
    )


@hostile
def an_index_far_outside():
    """ONNX's reference implementation would count it down."""
    return parsed(
        "y = GatherElements <axis = 1> (x, i)",
        f", int64[1, 3] i = {{{2**62}, 0, 1}}",
        shape="1, 4",
    )


@hostile
def numbers_as_strings():
    """Of constants, a Cast makes what is no number."""
    return parsed(
        "c = Sub (n, n) s = Cast <to = 8> (c) e = Expand (s, m) f = Cast <to = 1> (e) "
        "r = ReduceMean <keepdims = 0> (f) y = Add (x, r)",
        ", int64[2] n = {17, 64}, int64[2] m = {3, 1}",
    )
