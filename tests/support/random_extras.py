"""Small random models of what whole random graphs do not draw; each is held to the file itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.subject import select
from support.differences import assert_vjp_fits
from support.small import INT64, node, run, small, value

Random = np.random.Generator
_REDUCTIONS = "Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"


def extra(seed: int) -> str:
    """Check one seed: "explained", or what was refused.

    Raises:
        AssertionError: a wrong answer.
    """
    random = np.random.default_rng(seed)
    kinds: list[Callable[[Random], str]] = [moved_rows, counted_rows, empty_axes, channels_last]
    return kinds[seed % len(kinds)](random)


def _weights(used, **more) -> dict[str, np.ndarray]:
    known = {"zero": [0], "one": [1], "m1": [-1], "low": [-99], "big": [99], "three": [3]}
    held = {k: np.asarray(v) for k, v in {**known, **more}.items()}
    return {k: v for k, v in held.items() if k in {i for n in used for i in n.input}}


def moved_rows(random: Random) -> str:
    """Rows that are flipped, rolled, taken or joined: each row's own gradient, or a refusal."""
    rows, fixed = int(random.integers(2, 5)), bool(random.integers(2))
    nodes, now = [], "x"
    for step in range(int(random.integers(1, 4))):
        new, kind = f"h{step}", int(random.integers(6))
        a, b = f"a{step}", f"b{step}"
        if kind == 0:
            nodes.append(node("Slice", [now, "m1", "low", "zero", "m1"], [new]))
        elif kind == 1:
            nodes.append(node("Slice", [now, "one", "big", "zero"], [a]))
            nodes.append(node("Slice", [now, "zero", "one", "zero"], [b]))
            nodes.append(node("Concat", [a, b], [new], axis=0))
        elif kind == 2:
            nodes.append(node("Gather", [now, "m1"], [a], axis=0))
            nodes.append(node("Sub", [now, a], [new]))
        elif kind == 3:
            nodes.append(node("Transpose", [now], [a]))
            nodes.append(node("Reshape", [a, "shape"], [new]))
        else:
            nodes.append(node(("Tanh", "Sin")[kind - 4], [now], [new]))
        now = new
    nodes += [node("MatMul", [now, "w"], ["u"]), node("Tanh", ["u"], ["y"])]
    weights = _weights(nodes, w=random.normal(size=(3, 2)).astype(np.float32), shape=[-1, 3])
    model = small(nodes, [value("x", [rows if fixed else "N", 3])], [value("y", None)], weights)
    return _own_rows(model, random.normal(size=(rows, 3)).astype(np.float32))


def counted_rows(random: Random) -> str:
    """The number of rows as a factor, a summand or a bound; or sizes alone."""
    how = ("Mul", "Div", "Add")[int(random.integers(3))]
    start = int(random.integers(2))
    nodes = [
        node("Shape", ["x"], ["s"], start=start, end=start + 1),
        node("Cast", ["s"], ["n"], to=1),
        node(how, ["x", "n"], ["h"]),
        node("MatMul", ["h", "w"], ["u"]),
        node("Tanh", ["u"], ["y"]),
    ]
    weights = {"w": random.normal(size=(3, 2)).astype(np.float32)}
    model = small(nodes, [value("x", ["N", 3])], [value("y", None)], weights)
    rows = int(random.integers(1, 4))
    return _own_rows(model, random.normal(size=(rows, 3)).astype(np.float32))


def _own_rows(model, x: np.ndarray) -> str:
    try:
        e = onnxplain.Explainer(model, "saliency", signed=True)(x, 1)
    except onnxplain.UnsupportedModelError as error:
        assert "depend on each other" in str(error) or "not explained apart" in str(error), error
        return str(error)
    expected = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 5e-3
        ahead, behind = (run(model, {"x": x + s})["y"][index[0], 1] for s in (step, -step))
        expected[index] = (ahead - behind) / 1e-2
    np.testing.assert_allclose(e.score, run(model, {"x": x})["y"][:, 1], atol=1e-4)
    np.testing.assert_allclose(e.attribution, expected, atol=1e-2 * (1 + np.abs(expected).max()))
    return "explained"


def empty_axes(random: Random) -> str:
    """A reduction over axes that are none, some or all, constant or an input's."""
    shape, listed = (2, 3, 4), [a for a in (0, 1, 2) if random.integers(3) == 0]
    op = f"Reduce{_REDUCTIONS[int(random.integers(len(_REDUCTIONS)))]}"
    how = {"keepdims": int(random.integers(2)), "noop_with_empty_axes": int(random.integers(2))}
    axes, fed = np.asarray(listed, np.int64), bool(random.integers(2))
    nodes = [node(op, ["x", "axes"], ["r"], **how), node("Mul", ["r", "k"], ["t"])]
    nodes.append(node("Tanh", ["t"], ["y"]))
    inputs = [value("x", shape), *([value("axes", ["k_"], INT64)] if fed else [])]
    weights = {"k": np.float32(0.1), **({} if fed else {"axes": axes})}
    x = random.uniform(0.4, 1.6, shape)
    if op in ("ReduceMax", "ReduceMin"):
        # So far apart that the steps of the differences change no order.
        x = 0.2 * random.permutation(x.size).reshape(shape)
    x = x.astype(np.float32)
    model = small(nodes, inputs, [value("y", None)], weights, 18)
    assert_vjp_fits(model, {"x": x, **({"axes": axes} if fed else {})})
    return "explained"


def channels_last(random: Random) -> str:
    """A dense head with channels last, behind operators of any kind."""
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[0, 3, 1, 2]),
        node("Conv", ["xt", "c"], ["m"], pads=[1] * 4),
        node("Transpose", ["m"], ["h"], perm=[0, 2, 3, 1]),
    ]
    now = "h"
    for step in range(int(random.integers(1, 4))):
        new = f"n{step}"
        made = [
            node("Neg", [now], [new]),
            node("PRelu", [now, "p"], [new]),
            node("Einsum", [now, "e"], [new], equation="nhwc,co->nhwo"),
            node("Slice", [now, "one", "big", "one"], [new]),
            node("Mean", [now, now], [new]),
            node("LayerNormalization", [now, "p"], [new]),
            node("Mul", [now, "p"], [new]),
        ]
        nodes.append(made[int(random.integers(len(made)))])
        now = new
    nodes.append(node("Identity", [now], ["y"]))
    arrays = {"c": (5, 3, 3, 3), "p": (5,), "e": (5, 5)}
    drawn = {k: random.normal(size=s).astype(np.float32) for k, s in arrays.items()}
    weights = _weights(nodes, **drawn)
    model = small(nodes, [value("x", ["N", 8, 6, 3])], [value("y", None)], weights)
    x = random.normal(size=(1, 8, 6, 3)).astype(np.float32)
    if select(prepare(model)).readings is not None:
        return "two readings"
    y = run(model, {"x": x})["y"][0]
    best = y.argmax(-1)
    e = onnxplain.Explainer(model, "saliency", score="output")(x)
    top = np.bincount(best.ravel()).argmax()
    assert e.target[0] == top, f"class {e.target[0]}, expected {top}"
    np.testing.assert_allclose(e.score[0], y[..., top][best == top].sum(), rtol=1e-3)
    return "explained"
