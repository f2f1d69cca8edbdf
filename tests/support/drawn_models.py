"""Models drawn at random of what networks seldom have: strings, sequences, subgraphs, functions."""

from __future__ import annotations

from random import Random

import onnx
from onnx import helper, numpy_helper

from .damage import INTEGERS, TEXTS
from .hostile_constants import BUILDERS, parsed

_UNARY = ("Relu", "Neg", "Sigmoid", "Identity", "Abs", "Softplus", "Exp")
_COUNTS = (0, 1, 2, 3, 17, 64, 2049, 100_000, 2**31, 2**40, 2**62, -1)


def drawn_model(random: Random) -> bytes:
    """A model of x [N, 4] whose y is computed by one to six drawn parts."""
    parts: list[str] = []
    weights: list[str] = [", float[4] w = {1, 2, 3, 4}, bool go = {1}, int64 zero = {0}"]
    functions: list[str] = []
    last = "x"
    for number in range(random.randrange(1, 7)):
        draw = _matched if random.random() < 0.03 else random.choice(DRAWN)
        text, last = draw(random, f"p{number}_", last, weights, functions)
        parts.append(text)
    body = f"{' '.join(parts)} y = Add (x, {last})"
    try:
        model = parsed(body, "".join(weights), " ".join(functions))
    except onnx.parser.ParseError:
        return drawn_model(random)
    if random.random() < 0.4:
        _rename(random, model)
    if random.random() < 0.1:
        extra = random.choice([*BUILDERS.values()])()
        model.functions.extend(extra.functions)
        model.graph.node.extend(extra.graph.node[:1])
    return model.SerializeToString()


def _strings(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del functions
    weights.append(f", int64[3] {p}m = {{{random.choice(_COUNTS)}, 1, 1}}, int64[1] {p}n = {{-1}}")
    a = f"{p}a"
    made = random.choice(
        (
            f"StringConcat ({a}, {a})",
            f"Identity ({a})",
            f"Reshape ({a}, {p}n)",
            f"Expand ({a}, {p}m)",
        )
    )
    return (
        f"{a} = Cast <to = 8> ({x}) {p}b = {made} {p}c = Cast <to = 1> ({p}b) "
        f"{p}y = ReduceMean <keepdims = 0> ({p}c)",
        f"{p}y",
    )


def _matched(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    pattern = random.choice(("a*", "(a*)*b", "[", "\\\\1", "x{1000}{1000}"))
    return (
        f"{p}a = Cast <to = 8> ({x}) "
        f'{p}b = RegexFullMatch <pattern = "{pattern}"> ({p}a) {p}y = Cast <to = 1> ({p}b)',
        f"{p}y",
    )


def _sequence(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    count = random.choice((1, 2, 3, 40))
    inserts = " ".join(f"{p}s{k} = SequenceInsert ({p}s{k - 1}, {x})" for k in range(1, count))
    start = random.choice((f"SequenceConstruct ({x}, {x})", "SequenceEmpty ()"))
    end = random.choice(
        (
            f"ConcatFromSequence <axis = {random.choice((0, 1, -1, 9))}> ({p}s{count - 1})",
            f"SequenceAt ({p}s{count - 1}, zero)",
        )
    )
    return f"{p}s0 = {start} {inserts} {p}e = {end} {p}y = ReduceMean ({p}e)", f"{p}y"


def _optional(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    given = random.choice((x, x, ""))
    return f"{p}o = Optional ({given}) {p}y = OptionalGetElement ({p}o)", f"{p}y"


def _branch(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    first, second = random.choice(_UNARY), random.choice(_UNARY)
    names = random.choice(((f"{p}a", f"{p}b"), (f"{p}a", f"{p}a"), (x, f"{p}b")))
    test = random.choice(("go", f"{p}g"))
    return (
        f"{p}m = ReduceMax <keepdims = 0> ({x}) {p}g = Less ({p}m, one) {p}y = If ({test}) "
        f"<then_branch = {p}t () => (float[N, 4] {names[0]}) {{ {names[0]} = {first} (x) }}, "
        f"else_branch = {p}e () => (float[N, 4] {names[1]}) {{ {names[1]} = {second} (x) }}>",
        f"{p}y",
    )


def _loop(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del functions
    weights.append(f", int64 {p}n = {{{random.choice(_COUNTS)}}}")
    inner = random.choice(
        (
            f"{p}w = {random.choice(_UNARY)} ({p}v)",
            f"{p}w = Concat <axis = {random.choice((0, 1))}> ({p}v, {p}v)",
            f"{p}w = Add ({p}v, {x})",
        )
    )
    return (
        f"{p}r = Loop ({p}n, go, {x}) <body = {p}t (int64 {p}i, bool {p}c, float[{p}P, {p}Q] {p}v) "
        f"=> (bool {p}d, float[{p}R, {p}S] {p}w) {{ {p}d = Identity ({p}c) {inner} }}> "
        f"{p}y = ReduceMean <keepdims = 0> ({p}r)",
        f"{p}y",
    )


def _function(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights
    domain = random.choice(("own", "own", "ai.onnx.ml", "com.microsoft"))
    name = random.choice((f"{p}f", "Relu", "Gelu", "Normalizer"))
    op = random.choice(_UNARY)
    functions.append(
        f'<domain: "{domain}", opset_import: ["" : {random.choice((21, 21, 13, 11))}]> '
        f"{name} (a) => (c) {{ b = {op} (a) c = {random.choice(_UNARY)} (b) }}"
    )
    return f"{p}y = {domain}.{name} ({x})", f"{p}y"


def _sized(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del functions
    a, b = random.choice(_COUNTS), random.choice(_COUNTS)
    weights.append(f", int64[2] {p}n = {{{a}, {b}}}")
    made = random.choice(
        (
            f"Expand ({x}, {p}n)",
            f"Tile ({x}, {p}n)",
            f"Reshape ({x}, {p}n)",
            f"ConstantOfShape ({p}n)",
            f"Div ({p}n, {p}n)",
            f"Mod ({p}n, {p}n)",
            f"Split <axis = 1, num_outputs = {abs(a)}> ({x})",
            f"Concat <axis = {random.choice((0, 1))}> ({x}, {x})",
            f"NonZero ({x})",
            f"Unique ({x})",
        )
    )
    return f"{p}a = {made} {p}b = Cast <to = 1> ({p}a) {p}y = ReduceMean ({p}b)", f"{p}y"


def _windowed(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    a, b = (abs(random.choice(INTEGERS)) % 2**63 for _ in range(2))
    made = random.choice(
        (
            f"LRN <size = {a}> ({p}u)",
            f"AveragePool <kernel_shape = [{a % 2**31}], pads = [{b}, {b}]> ({p}u)",
            f"MaxPool <kernel_shape = [2], strides = [{a}]> ({p}u)",
            f"MaxPool <kernel_shape = [2], dilations = [{a}]> ({p}u)",
            f"LpPool <kernel_shape = [{a}], pads = [{b}, 0]> ({p}u)",
        )
    )
    return (
        f"{p}k = Constant <value_ints = [1]> () {p}u = Unsqueeze ({x}, {p}k) {p}v = {made} "
        f"{p}y = ReduceMean <keepdims = 0> ({p}v)",
        f"{p}y",
    )


def _doubled(random: Random, p: str, x: str, weights: list[str], functions: list[str]):
    del weights, functions
    op = random.choice(("Add", "Mul", "Concat <axis = 0>", "Concat <axis = 1>", "Max"))
    count = random.choice((3, 20, 30, 60))
    nodes = " ".join(f"{p}t{k} = {op} ({p}t{k - 1}, {p}t{k - 1})" for k in range(1, count))
    end = f"{p}y = ReduceMean <keepdims = 0> ({p}t{count - 1})"
    return f"{p}t0 = Identity ({x}) {nodes} {end}", f"{p}y"


DRAWN = (
    *(_strings, _sequence, _optional, _branch, _loop, _function, _sized, _windowed),
    _doubled,
)


def _rename(random: Random, model: onnx.ModelProto) -> None:
    """Names of one to three things become others', none, or what no name should be."""
    graph = model.graph
    for _ in range(random.randrange(1, 4)):
        node = random.choice(graph.node)
        text = random.choice((*TEXTS, *(n for other in graph.node for n in other.output)))
        kind = random.randrange(5)
        if kind == 0:
            node.name = text
        elif kind == 1 and node.output:
            node.output[random.randrange(len(node.output))] = text
        elif kind == 2 and node.input:
            node.input[random.randrange(len(node.input))] = text
        elif kind == 3:
            node.domain, node.overload = random.choice((("", text), ("ai.onnx", ""), (text, "")))
        else:
            tensor = numpy_helper.from_array(numpy_helper.to_array(graph.initializer[0]), text)
            graph.initializer.append(tensor)
    if random.random() < 0.2:
        domain, version = random.choice(("", "ai.onnx", "own")), random.choice((1, 11, 13, 21, 99))
        model.opset_import.append(helper.make_opsetid(domain, version))
