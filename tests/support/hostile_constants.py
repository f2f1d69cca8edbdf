"""Small files whose constants would take hours or all memory; `hostile` has them all."""

from __future__ import annotations

from collections.abc import Callable

import onnx

HUGE = 2**62
BUILDERS: dict[str, Callable[[], onnx.ModelProto]] = {}


def hostile(build: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    BUILDERS[build.__name__] = build
    return build


def parsed(
    body: str, weights: str = "", functions: str = "", shape: str = "N, 4"
) -> onnx.ModelProto:
    """A model of x [N, 4] and y; `h` is the tensor that a classifier goes on from."""
    return onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 21, "own" : 1]>
        net (float[{shape}] x) => (float[N, M] y) <float one = {{1}} {weights}> {{ {body} }}
        {functions}
    """)


def constant(body: str, weights: str = "") -> onnx.ModelProto:
    """`big` is computed from constants, and its mean added to the score."""
    return parsed(f"{body} m = ReduceMean <keepdims = 0> (big) y = Add (x, m)", weights)


@hostile
def constant_of_shape():
    return constant("big = ConstantOfShape (s)", ", int64[2] s = {1048576, 1048576}")


@hostile
def constant_of_shape_beyond_bytes():
    return constant("big = ConstantOfShape (s)", f", int64[2] s = {{{HUGE}, {HUGE}}}")


@hostile
def expanded():
    return constant("big = Expand (one, s)", ", int64[3] s = {4096, 4096, 4096}")


@hostile
def tiled():
    return constant("big = Tile (w, s)", ", float[2, 2] w = {1,2,3,4}, int64[2] s = {99999, 99999}")


@hostile
def padded():
    return constant("big = Pad (w, s)", ", float[1] w = {1}, int64[2] s = {0, 99999999999}")


@hostile
def ranged():
    return constant("big = Range (one, e, one)", ", float e = {1e12}")


@hostile
def ranged_integers():
    weights = ", int64 a = {0}, int64 e = {9223372036854775807}, int64 d = {1}"
    return constant("r = Range (a, e, d) big = Cast <to = 1> (r)", weights)


@hostile
def resized():
    weights = ", float[1, 1, 2, 2] w = {1,2,3,4}, int64[4] s = {1, 1, 100000, 100000}"
    return constant('big = Resize <mode = "linear"> (w, , , s)', weights)


@hostile
def scaled():
    weights = ", float[1, 1, 2, 2] w = {1,2,3,4}, float[4] s = {1, 1, 1e6, 1e6}"
    return constant('big = Resize <mode = "nearest"> (w, , s)', weights)


@hostile
def one_hot():
    weights = ", int64[2] i = {1, 2}, int64 d = {99999999999}, float[2] v = {0, 1}"
    return constant("big = OneHot (i, d, v)", weights)


@hostile
def gathered():
    weights = ", float[2, 2] w = {1,2,3,4}, int64[2] s = {50000, 50000}, int64 z = {0}"
    return constant("e = Expand (z, s) big = Gather (w, e)", weights)


@hostile
def outer_product():
    weights = ", int64[2] a = {200000, 1}, int64[2] b = {1, 200000}"
    return constant("p = Expand (one, a) q = Expand (one, b) big = MatMul (p, q)", weights)


@hostile
def much_work_for_a_small_result():
    weights = ", int64[2] a = {4096, 4096}"
    return constant(
        "p = Expand (one, a) q = MatMul (p, p) r = MatMul (q, p) big = MatMul (r, q)", weights
    )


@hostile
def einsum():
    weights = ", int64[1] a = {60000}"
    return constant('p = Expand (one, a) big = Einsum <equation = "i,j,k->"> (p, p, p)', weights)


@hostile
def convolved():
    weights = ", int64[4] a = {1, 1, 4000, 4000}, int64[4] b = {1, 1, 2000, 2000}"
    return constant("p = Expand (one, a) q = Expand (one, b) big = Conv (p, q)", weights)


@hostile
def doubled_sixty_times():
    nodes = ["d0 = Concat <axis = 0> (w, w)"]
    nodes += [f"d{k} = Concat <axis = 0> (d{k - 1}, d{k - 1})" for k in range(1, 60)]
    return constant(" ".join(nodes) + " big = Identity (d59)", ", float[1] w = {1}")


def _doubled(name: str) -> str:
    return " ".join(
        f"{name}{k} = Concat <axis = 0> ({name}{k - 1}, {name}{k - 1})" for k in range(1, 60)
    )


@hostile
def sizes_doubled_sixty_times():
    """Whole numbers, which ONNX's shape inference follows as values."""
    return constant(
        f"d0 = Identity (w) {_doubled('d')} big = Cast <to = 1> (d59)", ", int64[2] w = {2, 3}"
    )


@hostile
def computed_numbers_doubled():
    """Numbers that nobody knows but whose number is known: ONNX writes out as many unknown ones."""
    body = f"a = Div (w, w) b = Cast <to = 1> (a) d0 = ReduceMean (b) {_doubled('d')}"
    return constant(f"{body} big = Identity (d59)", ", int64[2] w = {2, 3}")


@hostile
def sizes_doubled_in_a_function():
    nodes = "d0 = Identity (a) " + _doubled("d").replace(" d40 =", " c =", 1).split(" d41 =")[0]
    return parsed(
        "s = own.f (w) big = Cast <to = 1> (s) m = ReduceMean <keepdims = 0> (big) y = Add (x, m)",
        ", int64[2] w = {2, 3}",
        f'<domain: "own", opset_import: ["" : 21]> f (a) => (c) {{ {nodes} }}',
    )


@hostile
def as_many_as_a_shape_says():
    """Shape, Mul, ConstantOfShape: a length that only following values tells."""
    body = """s = Shape (x) i = Slice (s, one_, two) a = Mul (i, big_) c = ConstantOfShape (a)
        d = Cast <to = 7> (c) g = Gather (d, one_) f = Cast <to = 1> (g) y = Add (x, f)"""
    return parsed(body, ", int64[1] one_ = {1}, int64[1] two = {2}, int64[1] big_ = {1000000000}")


@hostile
def many_that_are_just_allowed():
    nodes = [f"c{k} = Expand (one, s) m{k} = ReduceMean <keepdims = 0> (c{k})" for k in range(200)]
    names = ", ".join(f"c{k}" for k in range(200))
    return constant(" ".join(nodes) + f" big = Sum ({names})", ", int64[1] s = {16000000}")


@hostile
def sizes_by_arithmetic():
    weights = ", int64[1] a = {100000}"
    return constant("b = Mul (a, a) c = Mul (b, a) big = ConstantOfShape (c)", weights)


@hostile
def sizes_of_a_shape():
    weights = ", int64[2] a = {60000, 60000}"
    body = "b = Expand (one, a) s = Shape (b) big = ConstantOfShape (s)"
    return constant(body, weights)


@hostile
def power_of_shapes():
    nodes = ["s0 = Shape (x)"] + [
        f"s{k} = Concat <axis = 0> (s{k - 1}, s{k - 1})" for k in range(1, 40)
    ]
    return constant(" ".join(nodes) + " big = Cast <to = 1> (s39)")


@hostile
def nonzero_of_many():
    weights = ", int64[3] a = {5000, 5000, 4}"
    return constant("p = Expand (one, a) n = NonZero (p) big = Cast <to = 1> (n)", weights)


@hostile
def sequence_of_many():
    weights = ", int64[1] a = {90000000}"
    body = "p = Expand (one, a) s = SplitToSequence (p) big = ConcatFromSequence <axis = 0> (s)"
    return constant(body, weights)


@hostile
def random_constant():
    return constant("big = RandomNormal <shape = [100000, 100000]> ()")


@hostile
def window():
    return constant("big = HannWindow (n)", ", int64 n = {99999999999}")


@hostile
def eye_like():
    weights = ", int64[2] s = {100000, 100000}, int64 z = {0}"
    return constant("e = Expand (z, s) big = EyeLike <dtype = 1> (e)", weights)
