"""Which axis of an input holds channels: what its first layer takes for them, however many."""

from __future__ import annotations

import numpy as np
import pytest
from support.small import node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.subject import select

RANDOM = np.random.default_rng(0)


def network(shape, perm=None, kernel=(3, 3), before=()):
    """Convolutions of an input that lies as `shape` says, transposed as tf2onnx writes Keras."""
    spatial = len(kernel)
    channels = shape[-1] if perm else shape[0]
    weights = {
        "K": abs(RANDOM.normal(size=(4, channels, *kernel))).astype(np.float32),
        "L": abs(RANDOM.normal(size=(3, 4, *kernel))).astype(np.float32),
        "half": np.float32(0.5),
        "axes": np.arange(2, 2 + spatial),
    }
    first = node("Transpose", ["b"], ["t"], perm=perm) if perm else node("Identity", ["b"], ["t"])
    nodes = [
        *(before or [node("Mul", ["x", "half"], ["b"])]),
        first,
        node("Conv", ["t", "K"], ["c"], strides=[2] * spatial, pads=[1] * 2 * spatial),
        node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "L"], ["m"], pads=[1] * 2 * spatial),
        node("ReduceMean", ["m", "axes"], ["y"], keepdims=0),
    ]
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in weights.items() if k in used}
    return small(nodes, [value("x", ["N", *shape])], [value("y", ["N", 3])], weights, 18)


LAST = {f"picture, {c} channels": ((16, 12, c), [0, 3, 1, 2], (3, 3)) for c in (1, 2, 3, 6, 13)} | {
    **{f"signal, {c} channels": ((32, c), [0, 2, 1], (3,)) for c in (1, 2, 4, 9, 12)},
    **{f"volume, {c} channels": ((8, 6, 5, c), [0, 4, 1, 2, 3], (3, 3, 3)) for c in (1, 2, 4)},
}
FIRST = {
    **{f"picture, {c} channels": ((c, 16, 12), None, (3, 3)) for c in (1, 2, 3, 13)},
    # As short as channels are, and no channels.
    "picture of 4 columns": ((6, 16, 4), None, (3, 3)),
    "picture of 3 rows": ((13, 3, 12), None, (3, 3)),
}


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize("name", LAST)
def test_channels_last(name, method):
    shape, perm, kernel = LAST[name]
    model = network(shape, perm, kernel)
    assert select(prepare(model)).sources[0].features.channel_axis == len(shape)
    x = np.zeros((1, *shape), np.float32)
    spot = tuple(size * 3 // 4 for size in shape[:-1])
    x[(0, *spot)] = 1
    e = onnxplain.Explainer(model, method)(x, 0)
    assert e.attribution.shape == (1, *shape[:-1])
    peak = np.unravel_index(e.attribution[0].argmax(), shape[:-1])
    assert np.abs(np.subtract(peak, spot)).max() <= 3


@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name):
    shape, perm, kernel = FIRST[name]
    model = network(shape, perm, kernel)
    assert select(prepare(model)).sources[0].features.channel_axis == 1
    x = RANDOM.normal(size=(1, *shape)).astype(np.float32)
    e = onnxplain.Explainer(model, "occlusion")(x, 0)
    assert e.attribution.shape == (1, *shape[1:])


def test_the_graph_says_more_than_a_short_axis():
    """3 rows of 12 columns with 13 bands last: the rows are no channels."""
    model = network((3, 12, 13), [0, 3, 1, 2])
    assert select(prepare(model)).sources[0].features.channel_axis == 3
    e = onnxplain.Explainer(model, "occlusion")(np.ones((1, 3, 12, 13), np.float32), 0)
    assert e.attribution.shape == (1, 3, 12)


def test_one_axis_more_on_the_way():
    """Conv1D as Keras writes it: an axis of 1, a Conv over two."""
    nodes = [
        node("Unsqueeze", ["x", "one"], ["u"]),
        node("Transpose", ["u"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "K"], ["c"], pads=[0, 1, 0, 1]),
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    weights = {"one": np.array([1]), "K": np.ones((4, 9, 1, 3), np.float32)}
    model = small(nodes, [value("x", ["N", 32, 9])], [value("y", ["N", 4])], weights)
    assert select(prepare(model)).sources[0].features.channel_axis == 2
