"""Which outputs of a detector hold its scores, and which its boxes: a row a form of head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ..graph.dims import Shape
from ..graph.tensors import is_float
from .ending import ending_of
from .raw_scores import Raw

_CORNERS = 4
# Axes of a list of scores.
_LISTED = 3
# x1, y1, x2, y2, score, class; or with the image's number in front.
_PICKED = (6, 7)
# Numbers of five points of a face.
_POINTS = 10
# (stride, anchors a cell) of BlazeFace for near faces and palms, for far ones, and of full range.
_BLAZE = (((8, 2), (16, 6)), ((16, 2), (32, 6)), ((4, 1),))


class Detector(NamedTuple):
    """Where a detector's boxes and scores are.

    Attributes:
        form: the row of the table.
        scores: the outputs of the scores; of several, one after the other.
        boxes: those of the boxes, in the same order; where they are the same, boxes stand ahead.
        objectness: those of what the scores are multiplied by, or none.
        labels: the output of class numbers, where scores are of boxes that were picked; or None.
        raw: whether boxes are offsets in their cell of a grid.
        softmax: whether classes exclude each other; then one of them is "no object".
        middles: whether boxes are a middle and two lengths for sure, as a DETR's Sigmoids are.
        rows_first: whether boxes are y0, x0, y1, x1, as TensorFlow's are.
        anchors: (stride, how many a cell) of each of BlazeFace's scales.
        alone: whether its outputs have no batch axis: they are of one picture.
        maps: what the last convolutions ahead of the scores look at, one for each scale.
    """

    form: str
    scores: tuple[str, ...]
    boxes: tuple[str, ...]
    objectness: tuple[str, ...] = ()
    labels: str | None = None
    raw: bool = False
    softmax: bool = False
    maps: tuple[str, ...] = ()
    alone: bool = False
    middles: bool = False
    rows_first: bool = False
    anchors: tuple[tuple[int, int], ...] = ()


def detector_of(graph: gs.Graph, inputs: Sequence[gs.Variable]) -> Detector | None:
    """The detector that outputs of these names and shapes are of; None: it is none for sure.

    One output with boxes and scores side by side is told by what makes it; see `mixed`.
    """
    pictures = [t for t in inputs if len(t.shape or []) == 4]
    if not pictures or len(graph.outputs) < 2:
        return None
    outputs = {t.name: t for t in graph.outputs}
    for row in _ROWS:
        if (found := row(outputs)) is not None:
            return found
    return _unit_anchors(outputs, pictures[0])


def mixed(inputs: Sequence[gs.Variable], output: gs.Variable, raw: Raw | None) -> Detector | None:
    """A detector whose one output has Sigmoids' numbers behind others: [N, A, K] or [N, K, A].

    So have YOLO's heads of all versions, YOLOX's and, with picked boxes, [N, M, 6] and [M, 7].
    """
    shape = output.shape
    pictures = [t for t in inputs if len(t.shape or []) == 4]
    if raw is None or not raw.others or not pictures or shape is None:
        return None
    lengths = [d for d in list(shape)[1:] if isinstance(d, int)]
    listed = len(shape) == 3 and bool(lengths) and min(lengths) > _CORNERS
    if listed or (len(shape) == 2 and shape[1] in _PICKED):
        in_cells = raw.others[0] == "Conv"
        return Detector("mixed", (output.name,), (output.name,), raw=in_cells, middles=raw.boxed)
    return None


def _scales(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """YuNet: cls_8, obj_8, bbox_8 and so for each stride."""
    strides = sorted(int(n[4:]) for n in outputs if n.startswith("cls_") and n[4:].isdigit())
    wanted = [[f"{kind}_{s}" for s in strides] for kind in ("cls", "bbox", "obj")]
    if not strides or not all(name in outputs for names in wanted for name in names):
        return None
    scores, boxes, objectness = map(tuple, wanted)
    return Detector("scales", scores, boxes, objectness, raw=True)


def _cells(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """Class scores [N, A, C] of several strides, by their names alone: cls_8, cls_16."""
    by_name = {name: name.removeprefix("cls_") for name in outputs if name.startswith("cls_")}
    strides = sorted(int(s) for s in by_name.values() if s.isdigit())
    listed = all(len(t.shape or ()) == _LISTED and is_float(t) for t in outputs.values())
    if len(strides) < 2 or len(strides) != len(outputs) or not listed:
        return None
    return Detector("cells", tuple(f"cls_{s}" for s in strides), ())


def _pairs(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """Boxes [N, Q, 4] beside scores [N, Q, C], or [N, Q] of boxes that were picked, with labels.

    DETR and its kin, RF-DETR, SSD, UltraFace, torchvision's, and those with NMS inside.
    """
    floats = {name: t for name, t in outputs.items() if is_float(t) and t.shape}
    boxes = [name for name, t in floats.items() if _ends_in(t.shape, _CORNERS)]
    whole = [name for name, t in outputs.items() if not is_float(t)]
    # Without names that say so, they are boxes where class numbers stand beside them.
    boxes = [name for name in boxes if _is_box(name)] or (boxes if whole else [])
    if len(boxes) != 1:
        return None
    own = floats[boxes[0]].shape
    for name in sorted(floats, key=lambda n: not _is_score(n)):
        shape = floats[name].shape
        if name == boxes[0] or not _same_places(own, shape):
            continue
        if len(shape) == len(own):
            ending = ending_of(outputs[name]).activation
            softmax = ending is not None and ending.op == "Softmax"
            return Detector("pairs", (name,), (boxes[0],), softmax=softmax)
        numbers = [n for n in outputs if "label" in n.lower() or "class" in n.lower()]
        labels = [n for n in [*numbers, *whole] if n not in (name, boxes[0])]
        if labels:
            rows_first = any("detection_boxes" in n.lower() for n in boxes)
            found = Detector("picked", (name,), (boxes[0],), labels=labels[0])
            return found._replace(rows_first=rows_first)
    return None


def _distances(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """SCRFD: of 3 or 5 scales all scores [A, 1], all boxes [A, 4] and perhaps all points [A, 10].

    With a batch axis or without.
    """
    lasts = [t.shape[-1] if t.shape else None for t in outputs.values()]
    names, floats = list(outputs), all(is_float(t) for t in outputs.values())
    for scales in (3, 5):
        parts = [1] * scales + [_CORNERS] * scales
        if floats and lasts in (parts, [*parts, *[_POINTS] * scales]):
            scores, boxes = tuple(names[:scales]), tuple(names[scales : 2 * scales])
            return Detector("distances", scores, boxes)
    return None


def _priors(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """RetinaFace: offsets [N, A, 4], two classes [N, A, 2] and five points [N, A, 10]."""
    by_length = {t.shape[-1]: n for n, t in outputs.items() if t.shape and len(t.shape) == 3}
    if len(outputs) != 3 or set(by_length) != {_CORNERS, 2, _POINTS}:
        return None
    if not all(is_float(t) for t in outputs.values()):
        return None
    return Detector("priors", (by_length[2],), (by_length[_CORNERS],), softmax=True)


def _unit_anchors(outputs: Mapping[str, gs.Variable], picture: gs.Variable) -> Detector | None:
    """BlazeFace and its kin: [N, A, 4 and 2 for each point] beside [N, A, 1].

    A is what its scales hold: two anchors a cell of stride 8 and six of 16, or of 16 and 32; or
    one of stride 4.
    """
    pairs = {
        n: t.shape for n, t in outputs.items() if t.shape and len(t.shape) == 3 and is_float(t)
    }
    sides = sorted(d for d in picture.shape if isinstance(d, int))[-2:]
    if len(outputs) != 2 or len(pairs) != 2 or len(sides) < 2:
        return None
    scores, boxes = sorted(
        pairs, key=lambda n: pairs[n][-1] if isinstance(pairs[n][-1], int) else 0
    )
    count, wide = pairs[boxes][1], pairs[boxes][-1]
    whole = isinstance(wide, int) and wide > _CORNERS and wide % 2 == 0
    if pairs[scores][-1] != 1 or not whole or pairs[scores][1] != count:
        return None
    for anchors in _BLAZE:
        held = sum((sides[0] // s) * (sides[1] // s) * each for s, each in anchors)
        if held == count:
            return Detector("unit anchors", (scores,), (boxes,), anchors=anchors)
    return None


def _scored(outputs: Mapping[str, gs.Variable]) -> Detector | None:
    """MMDeploy: dets [N, K, 5], of which the last number is the score, and labels [N, K]."""
    dets, labels = outputs.get("dets"), outputs.get("labels")
    if dets is None or labels is None or is_float(labels) or not _ends_in(dets.shape, 5):
        return None
    return Detector("scored", ("dets",), ("dets",), labels="labels")


def _ends_in(shape: Shape, length: int) -> bool:
    return shape is not None and len(shape) in (2, 3) and shape[-1] == length


def _is_box(name: str) -> bool:
    return any(word in name.lower() for word in ("box", "dets", "loc"))


def _is_score(name: str) -> bool:
    return any(word in name.lower() for word in ("score", "logit", "conf", "prob", "cls"))


def _same_places(boxes: Shape, scores: Shape) -> bool:
    """Whether there may be scores for each box, by the lengths that are known."""
    if boxes is None or scores is None or len(scores) not in (len(boxes), len(boxes) - 1):
        return False
    ahead = zip(list(boxes)[:-1], scores, strict=False)
    return all(p == q or not (isinstance(p, int) and isinstance(q, int)) for p, q in ahead)


def is_alone(form: str, scores: Shape) -> bool:
    """Whether scores of a form have no batch axis: [K] of picked boxes, rows [K, 6], [A, 1]."""
    own = {"picked": 1, "mixed": 2, "distances": 2}.get(form)
    return scores is not None and len(scores) == own


Row = Callable[[Mapping[str, gs.Variable]], Detector | None]
_ROWS: tuple[Row, ...] = (_scales, _cells, _scored, _distances, _priors, _pairs)
