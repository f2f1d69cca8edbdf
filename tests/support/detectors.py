"""Small detectors in the forms that exporters write, with the raw maps that tell what is right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

SIDE, STRIDES, CLASSES = 64, (8, 16, 32), 3
NAMES = ("person", "bus", "dog")
CELLS = [(SIDE // s) ** 2 for s in STRIDES]
A = sum(CELLS)


class Detector(NamedTuple):
    """A model, what holds its class logits before everything, and how a cell's box is decoded."""

    model: onnx.ModelProto
    classes: int
    objectness: bool
    softmax: bool = False


class _Net:
    def __init__(self, seed: int):
        self.nodes, self.constants, self.outputs = [], [], []
        self.random = np.random.default_rng(seed)

    def __call__(self, op: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if count == 1 else names

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def weights(self, *shape: int, size: float = 1.0) -> str:
        return self.constant(self.random.normal(size=shape) * size / np.sqrt(np.prod(shape[1:])))

    def conv(self, x: str, ins: int, outs: int, kernel: int = 1, size: float = 1.0) -> str:
        k = [kernel, kernel]
        w = self.weights(outs, ins, kernel, kernel, size=size)
        return self("Conv", x, w, self.weights(outs), kernel_shape=k, strides=k)

    def named(
        self, tensor: str, name: str, kind: int = TensorProto.FLOAT, shape: Any = None
    ) -> None:
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, **metadata: str) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        graph = helper.make_graph(self.nodes, "net", [x], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, metadata)
        return onnx.shape_inference.infer_shapes(model)


def _features(net: _Net) -> list[str]:
    eight = net("Tanh", net.conv("images", 3, 6, 8, size=3.0))
    sixteen = net("Tanh", net.conv(eight, 6, 6, 2, size=2.0))
    return [eight, sixteen, net("Tanh", net.conv(sixteen, 6, 6, 2, size=2.0))]


def _lists(net: _Net, channels: int, first: bool, size: float = 2.0) -> str:
    """A 1x1 convolution on each scale, as one list: [N, channels, A], or [N, A, channels]."""
    parts = []
    shape = net.constant([0, channels, -1], np.int64)
    for map_ in _features_of(net):
        parts.append(net("Reshape", net.conv(map_, 6, channels, size=size), shape))
    whole = net("Concat", *parts, axis=2)
    return whole if first else net("Transpose", whole, perm=[0, 2, 1])


def _features_of(net: _Net) -> list[str]:
    if not hasattr(net, "maps"):
        net.maps = _features(net)  # pyright: ignore[reportAttributeAccessIssue]
    return net.maps  # pyright: ignore[reportAttributeAccessIssue]


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Cells [A, 2] and strides [A, 1], written once more than the product does."""
    cells, sizes = [], []
    for stride in STRIDES:
        for y in range(SIDE // stride):
            for x in range(SIDE // stride):
                cells.append((x, y))
                sizes.append(stride)
    return np.array(cells, float), np.array(sizes, float)[:, None]


def _decoded(net: _Net, boxes: str) -> str:
    """cx, cy, w, h in pixels of raw [N, A, 4]: (xy + cell) s, exp(wh) s."""
    cells, sizes = grid()
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", boxes, two, count=2, axis=2)
    scale = net.constant(sizes)
    middle = net("Mul", net("Add", xy, net.constant(cells)), scale)
    return net("Concat", middle, net("Mul", net("Exp", wh), scale), axis=2)


def _raw(net: _Net, channels: int, name: str) -> str:
    found = _lists(net, channels, first=False)
    net.named(found, f"raw_{name}", shape=["N", A, channels])
    return found


def yolov8(net: _Net) -> tuple[bool, bool]:
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    whole = net("Concat", _decoded(net, boxes), net("Sigmoid", classes), axis=2)
    net.named(net("Transpose", whole, perm=[0, 2, 1]), "output0", shape=["N", 4 + CLASSES, A])
    return False, False


def rtdetr(net: _Net) -> tuple[bool, bool]:
    """Parts of the sides, [N, Q, 4 + C]."""
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    parts = net("Div", _decoded(net, boxes), net.constant(float(SIDE)))
    whole = net("Concat", parts, net("Sigmoid", classes), axis=2)
    net.named(whole, "output0", shape=["N", A, 4 + CLASSES])
    return False, False


def yolov5(net: _Net) -> tuple[bool, bool]:
    """The Sigmoid is of everything at once; what follows it picks."""
    boxes, objectness = _raw(net, 4, "boxes"), _raw(net, 1, "objectness")
    classes = _raw(net, CLASSES, "classes")
    whole = net("Sigmoid", net("Concat", boxes, objectness, classes, axis=2))
    cells, sizes = grid()
    parts = net.constant([2, 2, 1 + CLASSES], np.int64)
    xy, wh, rest = net("Split", whole, parts, count=3, axis=2)
    two, scale = net.constant(2.0), net.constant(sizes)
    middle = net("Mul", net("Add", net("Mul", xy, two), net.constant(cells - 0.5)), scale)
    size = net("Mul", net("Pow", net("Mul", wh, two), two), scale)
    net.named(net("Concat", middle, size, rest, axis=2), "output0", shape=["N", A, 5 + CLASSES])
    return True, False


def yolox(net: _Net) -> tuple[bool, bool]:
    boxes, objectness = _raw(net, 4, "boxes"), _raw(net, 1, "objectness")
    classes = _raw(net, CLASSES, "classes")
    parts = boxes, net("Sigmoid", objectness), net("Sigmoid", classes)
    net.named(net("Concat", *parts, axis=2), "output", shape=["N", A, 5 + CLASSES])
    return True, False


def end_to_end(net: _Net) -> tuple[bool, bool]:
    """YOLOv10's and 26's: places by their best class, then the best of all their classes."""
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    middles, scores = _decoded(net, boxes), net("Sigmoid", classes)
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


def _normal(net: _Net, boxes: str) -> str:
    return net("Div", _decoded(net, boxes), net.constant(float(SIDE)))


def detr(net: _Net) -> tuple[bool, bool]:
    """Logits with "no object" last."""
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    cells, _ = grid()
    none = net(
        "Add", net("Mul", net("ReduceMax", classes, axes=[2]), net.constant(0.1)), net.constant(1.0)
    )
    del cells
    net.named(net("Concat", classes, none, axis=2), "logits", shape=["N", A, CLASSES + 1])
    net.named(_normal(net, boxes), "pred_boxes", shape=["N", A, 4])
    return False, True


def rfdetr(net: _Net) -> tuple[bool, bool]:
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    net.named(_normal(net, boxes), "dets", shape=["N", A, 4])
    net.named(classes, "labels", shape=["N", A, CLASSES])
    return False, False


def picked(net: _Net) -> tuple[bool, bool]:
    """RT-DETR's, D-FINE's and DEIM's: the best of all places and classes."""
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    flat = net("Flatten", net("Sigmoid", classes), axis=1)
    top, at = net("TopK", flat, net.constant([12], np.int64), count=2, axis=1)
    number = net.constant(CLASSES, np.int64)
    label, row = net("Mod", at, number), net("Div", at, number)
    column = net("Unsqueeze", row, net.constant([2], np.int64))
    four = net("Tile", column, net.constant([1, 1, 4], np.int64))
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", _decoded(net, boxes), two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    net.named(label, "labels", TensorProto.INT64, ["N", 12])
    net.named(net("GatherElements", corners, four, axis=1), "boxes", shape=["N", 12, 4])
    net.named(top, "scores", shape=["N", 12])
    return False, False


def ultraface(net: _Net) -> tuple[bool, bool]:
    """Softmax with the background first, corners as parts of the sides."""
    boxes, classes = _raw(net, 4, "boxes"), _raw(net, CLASSES, "classes")
    ground = net("Add", net("ReduceMax", classes, axes=[2]), net.constant(0.3))
    scores = net("Softmax", net("Concat", ground, classes, axis=2), axis=2)
    two = net.constant([2, 2], np.int64)
    xy, wh = net("Split", _normal(net, boxes), two, count=2, axis=2)
    half = net("Mul", wh, net.constant(0.5))
    net.named(scores, "scores", shape=["N", A, CLASSES + 1])
    corners = net("Concat", net("Sub", xy, half), net("Add", xy, half), axis=2)
    net.named(corners, "boxes", shape=["N", A, 4])
    return False, True


def yunet(net: _Net) -> tuple[bool, bool]:
    parts = {
        name: _raw(net, n, name) for name, n in (("boxes", 4), ("objectness", 1), ("classes", 1))
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


FORMS = {
    f.__name__: f
    for f in (yolov8, rtdetr, yolov5, yolox, end_to_end, detr, rfdetr, picked, ultraface, yunet)
}


def detector(form: str, seed: int = 0) -> Detector:
    """A small detector of a form, whose raw maps are further outputs `raw_...`."""
    net = _Net(seed)
    objectness, softmax = FORMS[form](net)
    names = repr(dict(enumerate(NAMES)))
    theirs = {"author": "Ultralytics", "imgsz": "[64, 64]", "task": "detect", "stride": "32"}
    metadata = {"names": names, **theirs} if form in ("yolov8", "end_to_end") else {}
    model = net.model(**metadata)
    return Detector(model, 1 if form == "yunet" else CLASSES, objectness, softmax)


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
