"""Small detectors in the forms that exporters write, with the raw maps that tell what is right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from .detector_nets import CELLS, CLASSES, NAMES, SIDE, STRIDES, A, Net, decoded, grid, raw_map
from .more_detectors import (
    blazeface,
    nms_inside,
    paddle,
    retinaface,
    rtdetr_parts,
    rtdetr_picked,
    scrfd,
    scrfd_flat,
    segment,
    tensorflow,
    torchvision,
    yolov7,
)


class Detector(NamedTuple):
    """A model, what holds its class logits before everything, and how a cell's box is decoded."""

    model: onnx.ModelProto
    classes: int
    objectness: bool
    softmax: bool = False


def yolov8(net: Net) -> tuple[bool, bool]:
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    whole = net("Concat", decoded(net, boxes), net("Sigmoid", classes), axis=2)
    net.named(net("Transpose", whole, perm=[0, 2, 1]), "output0", shape=["N", 4 + CLASSES, A])
    return False, False


def rtdetr(net: Net) -> tuple[bool, bool]:
    """Parts of the sides, [N, Q, 4 + C]."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    parts = net("Div", decoded(net, boxes), net.constant(float(SIDE)))
    whole = net("Concat", parts, net("Sigmoid", classes), axis=2)
    net.named(whole, "output0", shape=["N", A, 4 + CLASSES])
    return False, False


def yolov5(net: Net) -> tuple[bool, bool]:
    """The Sigmoid is of everything at once; what follows it picks."""
    boxes, objectness = raw_map(net, 4, "boxes"), raw_map(net, 1, "objectness")
    classes = raw_map(net, CLASSES, "classes")
    whole = net("Sigmoid", net("Concat", boxes, objectness, classes, axis=2))
    cells, sizes = grid()
    parts = net.constant([2, 2, 1 + CLASSES], np.int64)
    xy, wh, rest = net("Split", whole, parts, count=3, axis=2)
    two, scale = net.constant(2.0), net.constant(sizes)
    middle = net("Mul", net("Add", net("Mul", xy, two), net.constant(cells - 0.5)), scale)
    size = net("Mul", net("Pow", net("Mul", wh, two), two), scale)
    net.named(net("Concat", middle, size, rest, axis=2), "output0", shape=["N", A, 5 + CLASSES])
    return True, False


def yolox(net: Net) -> tuple[bool, bool]:
    boxes, objectness = raw_map(net, 4, "boxes"), raw_map(net, 1, "objectness")
    classes = raw_map(net, CLASSES, "classes")
    parts = boxes, net("Sigmoid", objectness), net("Sigmoid", classes)
    net.named(net("Concat", *parts, axis=2), "output", shape=["N", A, 5 + CLASSES])
    return True, False


def end_to_end(net: Net) -> tuple[bool, bool]:
    """YOLOv10's and 26's: places by their best class, then the best of all their classes."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    middles, scores = decoded(net, boxes), net("Sigmoid", classes)
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", middles, two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    most = net.constant([10], np.int64)
    best = net("ReduceMax", scores, axes=[2], keepdims=0)
    _, places = net("TopK", best, most, count=2, axis=1)
    column = net("Unsqueeze", places, net.constant([2], np.int64))

    def rows(tensor: str, width: int) -> str:
        tiles = net.constant([1, 1, width], np.int64)
        return net("GatherElements", tensor, net("Tile", column, tiles), axis=1)

    flat = net("Flatten", rows(scores, CLASSES), axis=1)
    top, at = net("TopK", flat, most, count=2, axis=1)
    number = net.constant(CLASSES, np.int64)
    label = net("Cast", net("Mod", at, number), to=TensorProto.FLOAT)
    row = net("Unsqueeze", net("Div", at, number), net.constant([2], np.int64))
    four = net("Tile", row, net.constant([1, 1, 4], np.int64))
    chosen = net("GatherElements", rows(corners, 4), four, axis=1)
    last = net.constant([2], np.int64)
    ends = [net("Unsqueeze", t, last) for t in (top, label)]
    net.named(net("Concat", chosen, *ends, axis=2), "output0", shape=["N", 10, 6])
    return False, False


def _normal(net: Net, boxes: str) -> str:
    return net("Div", decoded(net, boxes), net.constant(float(SIDE)))


def detr(net: Net) -> tuple[bool, bool]:
    """Logits with "no object" last."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    cells, _ = grid()
    none = net(
        "Add", net("Mul", net("ReduceMax", classes, axes=[2]), net.constant(0.1)), net.constant(1.0)
    )
    del cells
    net.named(net("Concat", classes, none, axis=2), "logits", shape=["N", A, CLASSES + 1])
    net.named(_normal(net, boxes), "pred_boxes", shape=["N", A, 4])
    return False, True


def rfdetr(net: Net) -> tuple[bool, bool]:
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    net.named(_normal(net, boxes), "dets", shape=["N", A, 4])
    net.named(classes, "labels", shape=["N", A, CLASSES])
    return False, False


def picked(net: Net) -> tuple[bool, bool]:
    """RT-DETR's, D-FINE's and DEIM's: the best of all places and classes."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    flat = net("Flatten", net("Sigmoid", classes), axis=1)
    top, at = net("TopK", flat, net.constant([12], np.int64), count=2, axis=1)
    number = net.constant(CLASSES, np.int64)
    label, row = net("Mod", at, number), net("Div", at, number)
    column = net("Unsqueeze", row, net.constant([2], np.int64))
    four = net("Tile", column, net.constant([1, 1, 4], np.int64))
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", decoded(net, boxes), two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    net.named(label, "labels", TensorProto.INT64, ["N", 12])
    net.named(net("GatherElements", corners, four, axis=1), "boxes", shape=["N", 12, 4])
    net.named(top, "scores", shape=["N", 12])
    return False, False


def ultraface(net: Net) -> tuple[bool, bool]:
    """Softmax with the background first, corners as parts of the sides."""
    boxes, classes = raw_map(net, 4, "boxes"), raw_map(net, CLASSES, "classes")
    ground = net("Add", net("ReduceMax", classes, axes=[2]), net.constant(0.3))
    scores = net("Softmax", net("Concat", ground, classes, axis=2), axis=2)
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", _normal(net, boxes), two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    net.named(scores, "scores", shape=["N", A, CLASSES + 1])
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    net.named(corners, "boxes", shape=["N", A, 4])
    return False, True


def yunet(net: Net) -> tuple[bool, bool]:
    parts = {
        name: raw_map(net, n, name) for name, n in (("boxes", 4), ("objectness", 1), ("classes", 1))
    }
    for name, kind in (("cls", "classes"), ("obj", "objectness"), ("bbox", "boxes")):
        first, values = 0, parts[kind]
        values = values if kind == "boxes" else net("Sigmoid", values)
        for stride, count in zip(STRIDES, CELLS, strict=True):
            begin, end = (net.constant([k], np.int64) for k in (first, first + count))
            part = net("Slice", values, begin, end, net.constant([1], np.int64))
            net.named(part, f"{name}_{stride}", shape=["N", count, 4 if kind == "boxes" else 1])
            first += count
    return True, False


ONE_CLASS = ("yunet", "scrfd", "scrfd_flat", "retinaface", "blazeface")
FORMS = {
    f.__name__: f
    for f in (
        *(yolov8, rtdetr, yolov5, yolox, end_to_end, detr, rfdetr, picked, ultraface, yunet),
        *(scrfd, scrfd_flat, retinaface, blazeface, paddle, yolov7, torchvision, tensorflow),
        *(rtdetr_parts, rtdetr_picked, segment, nms_inside),
    )
}


def corners_by_hand(form: str, boxes: np.ndarray) -> np.ndarray:
    """The corners of raw boxes [A, 4 ...], written once more than the product does: by loops."""
    cells, sizes = grid()
    found = []
    if form in ("scrfd", "scrfd_flat", "retinaface"):
        for k, b in enumerate(np.asarray(boxes, np.float64)):
            cell, stride = cells[k // 2], sizes[k // 2][0]
            if form.startswith("scrfd"):
                ahead, behind = np.exp(b[:2]), np.exp(b[2:])
                found.append([*((cell - ahead) * stride), *((cell + behind) * stride)])
                continue
            wide = stride * (2, 4)[k % 2]
            middle, size = (cell + 0.5) * stride + 0.1 * b[:2] * wide, wide * np.exp(0.2 * b[2:])
            found.append([*(middle - size / 2), *(middle + size / 2)])
        return np.array(found)
    if form == "blazeface":
        places = [(x, y, 8) for y in range(8) for x in range(8) for _ in range(2)]
        places += [(x, y, 16) for y in range(4) for x in range(4) for _ in range(6)]
        for (x, y, stride), b in zip(places, np.asarray(boxes, np.float64), strict=True):
            middle = (np.array([x, y]) + 0.5) * stride + b[:2]
            found.append([*(middle - b[2:4] / 2), *(middle + b[2:4] / 2)])
        return np.array(found)
    for cell, stride, b in zip(cells, sizes, np.asarray(boxes, np.float64), strict=True):
        middle, size = (b[:2] + cell) * stride, np.exp(b[2:]) * stride
        s = 1 / (1 + np.exp(-b))
        if form.startswith("rtdetr_"):
            middle, size = s[:2] * SIDE, s[2:] * SIDE
        if form == "yolov5":
            middle, size = (2 * s[:2] - 0.5 + cell) * stride, (2 * s[2:]) ** 2 * stride
        found.append([*(middle - size / 2), *(middle + size / 2)])
    return np.array(found)


def detector(form: str, seed: int = 0) -> Detector:
    """A small detector of a form, whose raw maps are further outputs `raw_...`."""
    net = Net(seed)
    objectness, softmax = FORMS[form](net)
    names = repr(dict(enumerate(NAMES)))
    theirs = {"author": "Ultralytics", "imgsz": "[64, 64]", "task": "detect", "stride": "32"}
    metadata = {"names": names, **theirs} if form in ("yolov8", "end_to_end") else {}
    model = net.model(**metadata)
    return Detector(model, 1 if form in ONE_CLASS else CLASSES, objectness, softmax)


def without_raw(model: onnx.ModelProto) -> onnx.ModelProto:
    """As it would be exported."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [value for value in copy.graph.output if not value.name.startswith("raw_")]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return copy


def run(model: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": x}), strict=True))
