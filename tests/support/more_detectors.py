"""Small detectors whose heads hold offsets to anchors, or list what the file itself has picked."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .detector_nets import (
    CELLS,
    CLASSES,
    SIDE,
    STRIDES,
    A,
    Net,
    decoded,
    features_of,
    lists,
    raw_map,
)


def _doubled(net: Net, channels: int, name: str) -> list[str]:
    """Two anchors a cell: a map of each scale as [N, 2 cells, channels], all of them named raw."""
    parts = []
    shape = net.constant([0, 2 * channels, -1], np.int64)
    pairs = net.constant([0, -1, channels], np.int64)
    for map_ in features_of(net):
        flat = net("Reshape", net.conv(map_, 6, 2 * channels, size=2.0), shape)
        parts.append(net("Reshape", net("Transpose", flat, perm=[0, 2, 1]), pairs))
    net.named(net("Concat", *parts, axis=1), f"raw_{name}", shape=["N", 2 * A, channels])
    return parts


def scrfd(net: Net) -> tuple[bool, bool]:
    """All scores, all distances, all points, of three scales."""
    boxes, classes = _doubled(net, 4, "boxes"), _doubled(net, 1, "classes")
    points = _doubled(net, 10, "points")
    for k, count in enumerate(CELLS):
        net.named(net("Sigmoid", classes[k]), f"{440 + k}", shape=["N", 2 * count, 1])
    for k, count in enumerate(CELLS):
        net.named(net("Exp", boxes[k]), f"{450 + k}", shape=["N", 2 * count, 4])
    for k, count in enumerate(CELLS):
        net.named(points[k], f"{460 + k}", shape=["N", 2 * count, 10])
    return False, False


def scrfd_flat(net: Net) -> tuple[bool, bool]:
    """The same without a batch axis, as InsightFace's files are, and without points."""
    boxes, classes = _doubled(net, 4, "boxes"), _doubled(net, 1, "classes")
    for k, count in enumerate(CELLS):
        one = net("Reshape", net("Sigmoid", classes[k]), net.constant([-1, 1], np.int64))
        net.named(one, f"score_{STRIDES[k]}", shape=[2 * count, 1])
    for k, count in enumerate(CELLS):
        four = net("Reshape", net("Exp", boxes[k]), net.constant([-1, 4], np.int64))
        net.named(four, f"bbox_{STRIDES[k]}", shape=[2 * count, 4])
    return False, False


def retinaface(net: Net) -> tuple[bool, bool]:
    """Offsets to priors, Softmax with the background first, points."""
    boxes, classes = _doubled(net, 4, "boxes"), _doubled(net, 1, "classes")
    boxes, classes = (net("Concat", *parts, axis=1) for parts in (boxes, classes))
    ground = net("Add", net("Mul", classes, net.constant(0.1)), net.constant(1.0))
    scores = net("Softmax", net("Concat", ground, classes, axis=2), axis=2)
    points = net("Concat", *_doubled(net, 10, "points"), axis=1)
    net.named(boxes, "output0", shape=["N", 2 * A, 4])
    net.named(scores, "586", shape=["N", 2 * A, 2])
    net.named(points, "585", shape=["N", 2 * A, 10])
    return False, True


def blazeface(net: Net) -> tuple[bool, bool]:
    """Two anchors a cell of stride 8, six of stride 16; scores before their Sigmoid."""
    maps, boxes, classes = features_of(net)[:2], [], []
    for map_, each in zip(maps, (2, 6), strict=True):
        for found, channels in ((boxes, 16), (classes, 1)):
            shape = net.constant([0, each * channels, -1], np.int64)
            rows = net.constant([0, -1, channels], np.int64)
            flat = net("Reshape", net.conv(map_, 6, each * channels, size=2.0), shape)
            found.append(net("Reshape", net("Transpose", flat, perm=[0, 2, 1]), rows))
    count = 2 * CELLS[0] + 6 * CELLS[1]
    for name, parts, channels in (("regressors", boxes, 16), ("classificators", classes, 1)):
        whole = net("Concat", *parts, axis=1)
        raw = f"raw_{'boxes' if channels == 16 else 'classes'}"
        scaled = net("Abs", net("Mul", whole, net.constant(9.0))) if channels == 16 else whole
        net.named(scaled, raw, shape=["N", count, channels])
        net.named(scaled, name, shape=["N", count, channels])
    return False, False


def _chosen(net: Net) -> tuple[str, str, str, str]:
    """Boxes [1, A, 4] and scores [1, C, A], and (class, place) of those that NMS leaves: [K, 1]."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", decoded(net, boxes), two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    scores = net("Transpose", net("Sigmoid", classes), perm=[0, 2, 1])
    most, overlap = net.constant([100], np.int64), net.constant([0.45])
    kept = net("NonMaxSuppression", corners, scores, most, overlap, net.constant([0.25]))
    label = net("Gather", kept, net.constant([1], np.int64), axis=1)
    place = net("Gather", kept, net.constant([2], np.int64), axis=1)
    return corners, scores, label, place


def _rows_of(net: Net) -> tuple[str, str, str]:
    """Of what NMS leaves: boxes [K, 4], scores [K, 1] and classes [K, 1] as float."""
    corners, scores, label, place = _chosen(net)
    flat = net.constant([-1], np.int64)
    zero = net.constant([0], np.int64)
    boxes = net("Gather", net("Squeeze", corners, zero), net("Reshape", place, flat), axis=0)
    at = net("Concat", label, place, axis=1)
    one = net("GatherND", net("Squeeze", scores, zero), at)
    score = net("Unsqueeze", one, net.constant([1], np.int64))
    return boxes, score, net("Cast", label, to=TensorProto.FLOAT)


def paddle(net: Net) -> tuple[bool, bool]:
    """PicoDet's and PP-YOLOE's: class, score, box, and how many of each picture."""
    boxes, score, label = _rows_of(net)
    whole = net("Concat", label, score, boxes, axis=1)
    net.named(whole, "multiclass_nms3_0.tmp_0", shape=["K", 6])
    return False, False


def yolov7(net: Net) -> tuple[bool, bool]:
    """End to end: picture, box, class, score."""
    boxes, score, label = _rows_of(net)
    picture = net("Mul", label, net.constant(0.0))
    net.named(net("Concat", picture, boxes, label, score, axis=1), "output", shape=["K", 7])
    return False, False


def _parts(net: Net) -> tuple[str, str]:
    """Boxes as Sigmoids, parts of the sides, and raw classes."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    return net("Sigmoid", boxes), classes


def rtdetr_parts(net: Net) -> tuple[bool, bool]:
    """Ultralytics' RT-DETR up to 8.3: [N, Q, 4 + C], and all of it Sigmoids."""
    boxes, classes = _parts(net)
    whole = net("Concat", boxes, net("Sigmoid", classes), axis=2)
    net.named(whole, "output0", shape=["N", A, 4 + CLASSES])
    return False, False


def rtdetr_picked(net: Net) -> tuple[bool, bool]:
    """Ultralytics' RT-DETR since: [N, K, 6] with middle, lengths, score and class."""
    boxes, classes = _parts(net)
    flat, number = net("Flatten", net("Sigmoid", classes), axis=1), net.constant(CLASSES, np.int64)
    top, at = net("TopK", flat, net.constant([12], np.int64), count=2, axis=1)
    last = net.constant([2], np.int64)
    four = net(
        "Tile", net("Unsqueeze", net("Div", at, number), last), net.constant([1, 1, 4], np.int64)
    )
    label = net("Cast", net("Mod", at, number), to=TensorProto.FLOAT)
    ends = [net("Unsqueeze", t, last) for t in (top, label)]
    whole = net("Concat", net("GatherElements", boxes, four, axis=1), *ends, axis=2)
    net.named(whole, "output0", shape=["N", 12, 6])
    return False, False


def nms_inside(net: Net) -> tuple[bool, bool]:
    """Ultralytics' `nms=True`: the best class of each place over 0.25, suppressed, and zeros."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    whole = net("Concat", decoded(net, boxes), net("Sigmoid", classes), axis=2)
    zero, last, four = (net.constant([k], np.int64) for k in (0, 2, 4))
    end, one = net.constant([4 + CLASSES], np.int64), net.constant([1], np.int64)
    middles = net("Squeeze", net("Slice", whole, zero, four, last), zero)
    scores = net("Slice", whole, four, end, last)
    best = net("Squeeze", net("ReduceMax", scores, axes=[2], keepdims=0), zero)
    label = net("Squeeze", net("ArgMax", scores, axis=2, keepdims=0), zero)
    found = net("NonZero", net("Greater", best, net.constant(0.25)))
    kept = net("Transpose", found, perm=[1, 0])
    middles, best, label = (net("GatherND", t, kept) for t in (middles, best, label))
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", middles, two, count=2, axis=1)
    half = net("Mul", wh, net.constant(0.5))
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=1)
    number = net("Unsqueeze", net("Cast", label, to=TensorProto.FLOAT), one)
    # As many columns as there are boxes: a size that the values decide.
    size = net("Concat", net("Shape", net("Squeeze", number, one)), four, axis=0)
    apart = net("Mul", net("Expand", number, size), net.constant(4096.0))
    apart = net("Unsqueeze", net("Add", corners, apart), zero)
    listed = net("Unsqueeze", net("Unsqueeze", best, zero), zero)
    most, limit = net.constant([30], np.int64), net.constant([0.45])
    chosen = net("NonMaxSuppression", apart, listed, most, limit)
    rows = net("Squeeze", net("Gather", chosen, last, axis=1), one)
    corners, best, number = (net("Gather", t, rows) for t in (corners, best, number))
    whole = net("Concat", corners, net("Unsqueeze", best, one), number, axis=1)
    missing = net("Sub", most, net("Shape", best))
    pads = net("Concat", net.constant([0, 0], np.int64), missing, zero, axis=0)
    whole = net("Unsqueeze", net("Pad", whole, pads), zero)
    places = net.constant([[0]], np.int64)
    empty = net.constant(np.zeros((1, 30, 6)))
    net.named(net("ScatterND", empty, places, whole), "output0", shape=[1, 30, 6])
    return False, False


def segment(net: Net) -> tuple[bool, bool]:
    """YOLO's segmenters: what weighs masks stands behind the classes, and the masks beside."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    weights = lists(net, 5, first=False)
    whole = net("Concat", decoded(net, boxes), net("Sigmoid", classes), weights, axis=2)
    net.named(net("Transpose", whole, perm=[0, 2, 1]), "output0", shape=["N", 9 + CLASSES, A])
    masks = features_of(net)[0]
    for _ in range(6):
        masks = net("Tanh", net.conv(masks, 6, 6))
    net.named(net("Mul", masks, net("Sigmoid", masks)), "output1", shape=["N", 6, 8, 8])
    return False, False


def torchvision(net: Net) -> tuple[bool, bool]:
    """Boxes [K, 4], class numbers [K], scores [K], under numbers for names."""
    boxes, score, label = _rows_of(net)
    flat = net.constant([-1], np.int64)
    net.named(boxes, "4242", shape=["K", 4])
    whole = net("Cast", net("Reshape", label, flat), to=TensorProto.INT64)
    net.named(whole, "4243", TensorProto.INT64, ["K"])
    net.named(net("Reshape", score, flat), "4244", shape=["K"])
    return False, False


def tensorflow(net: Net) -> tuple[bool, bool]:
    """SSD's four outputs: parts of the sides, rows before columns."""
    boxes, score, label = _rows_of(net)
    order = net.constant([1, 0, 3, 2], np.int64)
    parts = net("Div", net("Gather", boxes, order, axis=1), net.constant(float(SIDE)))
    first, row = net.constant([0], np.int64), net.constant([1, -1], np.int64)
    count = net("Cast", net("Shape", score, start=0, end=1), to=TensorProto.FLOAT)
    net.named(count, "num_detections:0", shape=[1])
    net.named(net("Unsqueeze", parts, first), "detection_boxes:0", shape=[1, "K", 4])
    net.named(net("Reshape", score, row), "detection_scores:0", shape=[1, "K"])
    net.named(net("Reshape", label, row), "detection_classes:0", shape=[1, "K"])
    return False, False
