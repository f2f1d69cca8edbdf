"""Grad-CAM's map lies where the picture was before the graph flipped, cropped or padded it."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
from support.small import INT64, node, small, value

import onnxplain
from onnxplain.graph_passes.prepare.pipeline import prepare
from onnxplain.graph_passes.select.feature_map import find_feature_map
from onnxplain.graph_passes.select.geometry import weights_at
from onnxplain.graph_passes.select.subject import select

ROW, COLUMN, SIDE = 40, 26, 64
Y, X = np.mgrid[:SIDE, :SIDE]
SPOT = np.exp(-((Y - ROW) ** 2 + (X - COLUMN) ** 2) / 18.0).astype(np.float32)
NUMBERS = {
    **{"m1": [-1], "low": [-(2**31)], "a3": [3], "a2": [2], "a23": [2, 3], "z": [0], "e": [99]},
    **{"c0": [16, 16], "c1": [48, 48], "w0": [8], "w1": [40], "s": [48], "s8": [8], "h1": [32]},
    **{"pad": [0, 0, 0, 32, 0, 0, 0, 0], "box": [0, 0, 16, 0, 0, 0, 16, 0]},
    **{"sizes": [1, 1, 80, 80], "r0": [8, 8], "r1": [72, 72], "half": [1, 1, 32, 64]},
    **{"back": np.arange(63, -1, -1), "middle": np.arange(10, 58), "f0": [2, 2], "f1": [14, 14]},
}


def flip(axis, name="q", of="x"):
    return node("Slice", [of, "m1", "low", axis, "m1"], [name])


MOVES = {
    "nothing": [node("Identity", ["x"], ["q"])],
    "mirrored": [flip("a3")],
    "upside down": [flip("a2")],
    "both": [flip("a2", "u"), flip("a3", "q", "u")],
    "mirrored by Gather": [node("Gather", ["x", "back"], ["q"], axis=3)],
    "centre crop": [node("Slice", ["x", "c0", "c1", "a23"], ["q"])],
    "columns": [node("Slice", ["x", "w0", "w1", "a3"], ["q"])],
    "rows by Gather": [node("Gather", ["x", "middle"], ["q"], axis=2)],
    "padded at the left": [node("Pad", ["x", "pad"], ["q"])],
    "letterbox": [
        node("Resize", ["x", "", "", "half"], ["u"], mode="linear"),
        node("Pad", ["u", "box"], ["q"]),
    ],
    "rolled": [
        node("Slice", ["x", "s", "e", "a3"], ["u"]),
        node("Slice", ["x", "z", "s", "a3"], ["v"]),
        node("Concat", ["u", "v"], ["q"], axis=3),
    ],
    "larger, then its centre": [
        node("Resize", ["x", "", "", "sizes"], ["o"], mode="linear"),
        node("Slice", ["o", "r0", "r1", "a23"], ["q"]),
    ],
    "crop of a mirror": [
        flip("a3", "u"),
        node("Slice", ["u", "c0", "c1", "a23"], ["q"]),
    ],
    "turned by 90 degrees": [
        node("Transpose", ["x"], ["u"], perm=[0, 1, 3, 2]),
        flip("a3", "q", "u"),
    ],
    "split": [
        node("Split", ["x"], ["u", "v"], axis=2, num_outputs=2),
        node("Identity", ["v"], ["q"]),
    ],
    "normalised between": [
        node("Slice", ["x", "w0", "w1", "a3"], ["u"]),
        node("Mul", ["u", "k"], ["v"]),
        node("Div", ["v", "k"], ["q"]),
    ],
}


def network(moves, behind=(), shape=(1, 1, SIDE, SIDE)):
    """Two convolutions of stride 2 and a mean over places."""
    weights = {k: np.asarray(v) for k, v in NUMBERS.items()}
    weights |= {"K": np.full((2, 1, 3, 3), 0.2, np.float32), "k": np.float32(0.5)}
    weights["M"] = np.full((1, 2, 1, 1), 0.5, np.float32)
    weights["L"] = np.full((2, 2, 3, 3), 0.2, np.float32)
    nodes = [
        *moves,
        node("Conv", ["q", "K"], ["c"], strides=[2, 2], pads=[1] * 4),
        node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "L"], ["f"], strides=[2, 2], pads=[1] * 4),
        node("Relu", ["f"], ["map"]),
        *(behind or [node("Identity", ["map"], ["last"])]),
        node("GlobalAveragePool", ["last"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ]
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in weights.items() if k in used}
    return small(nodes, [value("x", shape)], [value("y", None)], weights, 18)


def centre(attribution):
    return (attribution * (Y + 0.5)).sum() / attribution.sum(), (
        attribution * (X + 0.5)
    ).sum() / attribution.sum()


@pytest.mark.parametrize("method", ["grad-cam", "layercam", "xgrad-cam"])
@pytest.mark.parametrize("name", MOVES)
def test_the_map_lies_on_the_spot(name, method):
    e = onnxplain.Explainer(network(MOVES[name]), method)(SPOT[None, None], target=0)
    assert e.attribution.shape == (1, SIDE, SIDE)
    row, column = centre(e.attribution[0])
    assert np.hypot(row - ROW - 0.5, column - COLUMN - 0.5) < 3


def test_what_was_cropped_away_shows_nothing():
    e = onnxplain.Explainer(network(MOVES["centre crop"]), "grad-cam")
    shown = e(np.ones((1, 1, SIDE, SIDE), np.float32), target=0).attribution[0] > 0
    assert shown[18:46, 18:46].all()
    assert not shown[:13].any() and not shown[51:].any() and not shown[:, 51:].any()


@pytest.mark.parametrize("name", ["nothing", "mirrored", "upside down", "both"])
def test_inputs_of_any_size(name):
    model = network(MOVES[name], shape=("N", 1, "h", "w"))
    e = onnxplain.Explainer(model, "grad-cam")(SPOT[None, None], target=0)
    row, column = centre(e.attribution[0])
    assert np.hypot(row - ROW - 0.5, column - COLUMN - 0.5) < 3


def test_a_feature_map_that_is_cropped_itself():
    """Rows 8 to 55 of the picture are what is left of it."""
    crop = [node("Slice", ["map", "f0", "f1", "a23"], ["m"]), node("Conv", ["m", "L"], ["last"])]
    model = network(MOVES["nothing"], crop)
    e = onnxplain.Explainer(model, "grad-cam", layer="m")(SPOT[None, None], target=0)
    row, column = centre(e.attribution[0])
    assert np.hypot(row - ROW - 0.5, column - COLUMN - 0.5) < 3


def test_nothing_moved_keeps_the_stretched_map():
    """Windows, their pads and strides are no moves: numbers stay those of half-pixel resizing."""
    for shape in ((1, 1, SIDE, SIDE), ("N", 1, "h", "w")):
        found = find_feature_map(select(prepare(network(MOVES["nothing"], shape=shape))))
        assert found.placed is None and not any(found.turned) and found.doubt is None
    small_pad = {"pads": [0, 0, 1, 1, 0, 0, 1, 1]}
    nodes = [node("Pad", ["x", "pads"], ["q"])]
    model = network(nodes)
    model.graph.initializer.append(
        small([], [], [], {"pads": np.asarray(small_pad["pads"])}).graph.initializer[0]
    )
    assert find_feature_map(select(prepare(model))).placed is None


DOUBTFUL = {
    "a mirror beside it": [flip("a3", "m"), node("Add", ["x", "m"], ["q"])],
    "a mirror in other channels": [
        flip("a3", "m"),
        node("Concat", ["x", "m"], ["two"], axis=1),
        node("Conv", ["two", "M"], ["q"]),
    ],
    "places that another input names": [node("Gather", ["x", "places"], ["q"], axis=3)],
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_cannot_be_followed_is_said(name, caplog):
    model = network(DOUBTFUL[name])
    feeds = {"x": SPOT[None, None]}
    if "places" in {i for n in model.graph.node for i in n.input}:
        model.graph.input.append(value("places", [SIDE], INT64))
        feeds["places"] = np.arange(SIDE)[::-1].copy()
    with caplog.at_level(logging.WARNING, "onnxplain"):
        explainer = onnxplain.Explainer(model, "grad-cam")
    assert "may lie elsewhere" in caplog.text
    e = explainer(feeds, target=0)
    assert e.origin.doubt and "may lie elsewhere" in e.origin.doubt
    assert "may lie elsewhere" in str(onnxplain.inspect(model))


def test_weights_are_those_of_half_pixel_resizing_where_nothing_moved():
    from onnxplain.graph_passes.methods.grad_cam import half_pixel_weights

    for size, length in ((7, 56), (16, 64), (3, 30)):
        at = (np.arange(size) + 0.5) * length / size
        np.testing.assert_allclose(
            weights_at(at, length), half_pixel_weights(size, length), atol=1e-9
        )


@pytest.mark.parametrize("side", ["before", "behind"])
def test_a_windows_own_padding_moves_nothing(side):
    """Blocks of 2 x 2 windows with one row and column more: as with the padding in the Conv."""
    pads = [0, 0, 1, 1, 0, 0, 0, 0] if side == "before" else [0, 0, 0, 0, 0, 0, 1, 1]
    models = []
    for apart in (True, False):
        behind, of = [], "map"
        for k in range(4):
            conv = {} if apart else {"pads": [*pads[2:4], *pads[6:]]}
            read = [f"wider{k}" if apart else of, "two"]
            behind += [node("Pad", [of, "own"], [f"wider{k}"])] if apart else []
            behind += [
                node("Conv", read, [f"wide{k}"], **conv),
                node("Relu", [f"wide{k}"], [f"bent{k}"]),
            ]
            last = "last" if k == 3 else f"sum{k}"
            behind.append(node("Add", [f"bent{k}", of], [last]))
            of = last
        model = network(MOVES["nothing"], behind)
        more = {"own": np.asarray(pads), "two": np.full((2, 2, 2, 2), 0.1, np.float32)}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(v, k) for k, v in more.items() if k == "two" or apart
        )
        models.append(model)
    one, other = (onnxplain.Explainer(m, "grad-cam")(SPOT[None, None], target=0) for m in models)
    assert one.feature_map == other.feature_map == "last"
    np.testing.assert_allclose(one.attribution, other.attribution, rtol=1e-6)
