"""Small files whose windows, counts and axes would take hours or all memory."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .hostile_constants import constant, hostile, parsed
from .hostile_models import with_nodes

# Windows, counts and axes that attributes declare.


@hostile
def normalised_over_all_channels():
    return parsed(
        "u = Unsqueeze (x, ax) c = LRN <size = 2147483647> (u) r = ReduceMean <keepdims = 0> (c) "
        "y = Add (x, r)",
        ", int64[2] ax = {2, 3}",
    )


@hostile
def window_of_a_pool():
    return parsed(
        "c = AveragePool <kernel_shape = [40000, 40000], pads = [39999, 39999, 39999, 39999], "
        "strides = [40000, 40000]> (x) p = GlobalAveragePool (c) y = Flatten (p)",
        shape="N, 1, 8, 8",
    )


@hostile
def stride_of_a_convolution():
    return parsed(
        "c = Conv <strides = [50000, 50000]> (x, k) p = GlobalAveragePool (c) y = Flatten (p)",
        ", float[1, 1, 1, 1] k = {1}",
        shape="N, 1, 8, 8",
    )


@hostile
def parts_by_the_trillion():
    return with_nodes(
        [
            helper.make_node("Split", ["x"], ["a"], axis=1, num_outputs=2**40),
            helper.make_node("Relu", ["a"], ["y"]),
        ]
    )


@hostile
def many_axes():
    """Each node behind it would have them, too."""
    nodes = " ".join(f"t{k} = Relu (t{k - 1})" for k in range(1, 9000))
    model = parsed(
        f"t0 = Reshape (x, s) {nodes} r = ReduceMean <keepdims = 0> (t8999) y = Add (x, r)"
    )
    shape = np.ones(60_000, np.int64)
    shape[0] = -1
    tensor = helper.make_tensor("s", TensorProto.INT64, [60_000], shape.tolist())
    model.graph.initializer.append(tensor)
    return model


@hostile
def axes_by_attribute():
    return constant(f"big = RandomNormal <shape = [{', '.join(['1'] * 100_000)}]> ()")


@hostile
def sampled_boxes():
    return parsed(
        "a = RoiAlign <output_height = 1, output_width = 1, sampling_ratio = 2147483647> "
        "(x, b, i) p = GlobalAveragePool (a) y = Flatten (p)",
        ", float[1, 4] b = {0, 0, 4, 4}, int64[1] i = {0}",
        shape="1, 1, 8, 8",
    )


@hostile
def boxes_of_many_bins():
    return parsed(
        "a = RoiAlign <output_height = 100000, output_width = 100000> "
        "(x, b, i) p = GlobalAveragePool (a) y = Flatten (p)",
        ", float[1, 4] b = {0, 0, 4, 4}, int64[1] i = {0}",
        shape="1, 1, 8, 8",
    )


@hostile
def spectrum_of_many():
    return constant(
        "e = Reshape (w, s) d = DFT (e, n) big = ReduceMean <keepdims = 0> (d)",
        ", float[4] w = {1,2,3,4}, int64[3] s = {1, 4, 1}, int64 n = {999999999999}",
    )


@hostile
def filter_bank():
    return constant(
        "big = MelWeightMatrix (n, k, r, lo, hi)",
        ", int64 n = {1000000}, int64 k = {1000000}, int64 r = {16000}, float lo = {0}, "
        "float hi = {8000}",
    )


@hostile
def reduced_again_and_again():
    nodes = [f"m{k} = ReduceMean <keepdims = 0> (c)" for k in range(15_000)]
    names = ", ".join(f"m{k}" for k in range(2000))
    return constant(
        f"c = Expand (one, s) {' '.join(nodes)} big = Sum ({names})", ", int64[1] s = {16000000}"
    )


@hostile
def sparse_constant():
    model = parsed("s = ReduceMean <keepdims = 0> (w) y = Add (x, s)")
    model.graph.sparse_initializer.append(sparse("w", 10**9))
    return model


@hostile
def many_sparse_constants():
    names = [f"w{k}" for k in range(400)]
    model = parsed(f"t = Sum ({', '.join(names)}) s = ReduceMean <keepdims = 0> (t) y = Add (x, s)")
    model.graph.sparse_initializer.extend(sparse(name, 16_000_000) for name in names)
    return model


def sparse(name: str, size: int) -> onnx.SparseTensorProto:
    one = numpy_helper.from_array(np.ones(1, np.float32), name)
    return helper.make_sparse_tensor(one, numpy_helper.from_array(np.array([3]), "i"), [size])


@hostile
def nonzero_of_an_expanded_input():
    return parsed(
        "e = Expand (x, s) n = NonZero (e) f = Cast <to = 1> (n) r = ReduceMean <keepdims = 0> (f) "
        "y = Add (x, r)",
        ", int64[3] s = {100000000, 1, 4}",
    )


@hostile
def four_thousand_leaves():
    body, number = "", 0

    def branch(level: int) -> str:
        nonlocal number
        number += 1
        own = number
        if level == 12:
            return f"r{own} = Relu (x) a{own} = Identity (r{own})"
        yes, no = number + 1, None
        then = branch(level + 1)
        no = number + 1
        other = branch(level + 1)
        return (
            f"a{own} = If (go) <then_branch = t{own} () => (float[N, 4] a{yes}) {{ {then} }}, "
            f"else_branch = e{own} () => (float[N, 4] a{no}) {{ {other} }}>"
        )

    body = branch(0)
    return parsed(f"g = ReduceMax <keepdims = 0> (x) go = Greater (g, one) {body} y = Relu (a1)")
