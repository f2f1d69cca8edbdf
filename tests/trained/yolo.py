"""YOLO's heads: v5 (anchors, objectness), v8 (DFL), end to end (TopK inside), `nms=True`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drawing import NAMES, SIDE, Picture
from .parts import CELLS, STRIDES, WIDTH, Backbone, Block, corners, overlaps, points

CLASSES = len(NAMES)
BINS = 8
# A shape whose longer side is up to this is found at stride 8.
_SMALL = 30.0
ANCHORS = (((20, 20), (22, 32), (32, 22)), ((33, 33), (28, 40), (40, 28)))
# Boxes that an end-to-end file lists.
LISTED = 10
# As Ultralytics' exporter writes it.
METADATA = {
    "description": "Ultralytics YOLO model trained on drawn shapes",
    "author": "Ultralytics",
    "date": "2026-12-01T00:00:00.000000",
    "version": "8.4.0",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "docs": "https://docs.ultralytics.com",
    "stride": max(STRIDES),
    "task": "detect",
    "batch": 1,
    "imgsz": [SIDE, SIDE],
    "names": dict(enumerate(NAMES)),
    "channels": 3,
}


class Heads(NamedTuple):
    """What a head says before anything is picked.

    Attributes:
        logits: [N, A, C] of the classes.
        boxes: [N, A, 4], corners in pixels.
        objectness: [N, A, 1], logits; None: there is none.
    """

    logits: Tensor
    boxes: Tensor
    objectness: Tensor | None = None

    def chances(self) -> Tensor:
        own = self.logits.sigmoid()
        return own if self.objectness is None else own * self.objectness.sigmoid()


def _branch(outs: int) -> nn.Sequential:
    return nn.Sequential(Block(WIDTH, WIDTH), nn.Conv2d(WIDTH, outs, 1))


def _listed(maps: list[Tensor], channels: int) -> Tensor:
    """[N, A, channels] of the maps of all scales."""
    flat = [m.reshape(m.shape[0], channels, -1) for m in maps]
    return torch.cat(flat, 2).transpose(1, 2)


class V8(nn.Module):
    """Two branches on each scale: class logits, and bins of the four distances (DFL, Li 2020)."""

    def __init__(self, one_to_one: bool = False):
        super().__init__()
        self.backbone, self.one_to_one = Backbone(), one_to_one
        self.cv2 = nn.ModuleList([_branch(4 * BINS) for _ in STRIDES])
        self.cv3 = nn.ModuleList([_branch(CLASSES) for _ in STRIDES])
        for head in self.cv3:
            nn.init.constant_(head[1].bias, -4.0)  # pyright: ignore
        middles, strides = points()
        self.register_buffer("middles", middles)
        self.register_buffer("strides", strides)

    def heads(self, x: Tensor) -> Heads:
        maps = self.backbone(x)
        bins = _listed([c(m) for c, m in zip(self.cv2, maps, strict=True)], 4 * BINS)
        logits = _listed([c(m) for c, m in zip(self.cv3, maps, strict=True)], CLASSES)
        weights = bins.reshape(bins.shape[0], -1, 4, BINS).softmax(-1)
        middles, strides = self.middles, self.strides
        assert isinstance(middles, Tensor) and isinstance(strides, Tensor)
        far = (weights * torch.arange(BINS, dtype=x.dtype)).sum(-1) * strides
        return Heads(logits, torch.cat([middles - far[..., :2], middles + far[..., 2:]], -1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 4 + C, A]: middle, lengths, and Sigmoids."""
        found = self.heads(x)
        begin, end = found.boxes.split((2, 2), -1)
        whole = torch.cat([(begin + end) / 2, end - begin, found.logits.sigmoid()], -1)
        return whole.transpose(1, 2)

    def loss(self, x: Tensor, pictures: list[Picture]) -> Tensor:
        found, middles = self.heads(x), points()[0]
        wanted, boxes = torch.zeros_like(found.logits), torch.zeros_like(found.boxes)
        for row, picture in enumerate(pictures):
            for box, label in zip(picture.boxes, picture.labels, strict=True):
                for place in _places(box, middles.numpy(), self.one_to_one):
                    wanted[row, place] = F.one_hot(torch.tensor(label), CLASSES).float()
                    boxes[row, place] = torch.tensor(box)
        chosen = wanted.sum(-1) > 0
        count = chosen.sum()
        near = 1 - overlaps(found.boxes[chosen], boxes[chosen], generalised=True)
        classes = F.binary_cross_entropy_with_logits(found.logits, wanted, reduction="sum")
        return classes / count + 2 * near.mean()


def _scale(box: np.ndarray) -> int:
    return 0 if max(box[2] - box[0], box[3] - box[1]) <= _SMALL else 1


def _places(box: np.ndarray, middles: np.ndarray, one: bool) -> list[int]:
    """The cells of a box's scale in its middle; the nearest of them alone where one is enough."""
    scale, first = _scale(box), 0
    for k in range(scale):
        first += CELLS[k] ** 2
    own = np.arange(first, first + CELLS[scale] ** 2)
    far = np.abs(middles[own] - (box[:2] + box[2:]) / 2).max(axis=1)
    if one:
        return [int(own[np.argmin(far)])]
    return [int(k) for k in own[far < max(STRIDES[scale], far.min() + 1e-6)]]


class V5(nn.Module):
    """Three anchors a cell; [x, y, w, h, objectness, classes], all of them Sigmoids'."""

    def __init__(self):
        super().__init__()
        self.backbone, self.columns = Backbone(), 5 + CLASSES
        self.neck = nn.ModuleList([Block(WIDTH, WIDTH) for _ in STRIDES])
        self.m = nn.ModuleList([nn.Conv2d(WIDTH, 3 * self.columns, 1) for _ in STRIDES])
        for convolution in self.m:
            nn.init.constant_(convolution.bias.view(3, -1)[:, 4], -4.0)  # pyright: ignore

    def _scales(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each scale the raw rows [N, A, 5 + C], and those that are exported."""
        found = []
        for k, feature_map in enumerate(self.backbone(x)):
            side, shape = CELLS[k], (len(x), 3 * CELLS[k] ** 2, self.columns)
            raw = self.m[k](self.neck[k](feature_map))
            raw = raw.view(len(x), 3, self.columns, side, side).permute(0, 1, 3, 4, 2).contiguous()
            down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            grid = (torch.stack([across, down], -1).float() - 0.5).expand(1, 3, side, side, 2)
            sizes = torch.tensor(ANCHORS[k]).float().view(1, 3, 1, 1, 2)
            xy, wh, rest = raw.sigmoid().split((2, 2, 1 + CLASSES), 4)
            xy, wh = (xy * 2 + grid) * STRIDES[k], (wh * 2) ** 2 * sizes
            found.append((raw.view(shape), torch.cat((xy, wh, rest), 4).view(shape)))
        return found

    def heads(self, x: Tensor) -> Heads:
        raw, whole = (torch.cat(several, 1) for several in zip(*self._scales(x), strict=True))
        return Heads(raw[..., 5:], corners(whole[..., :4]), raw[..., 4:5])

    def forward(self, x: Tensor) -> Tensor:
        """[N, A, 5 + C]: middle, lengths, objectness and classes, as v5's `export.py` has it."""
        return torch.cat([whole for _, whole in self._scales(x)], 1)

    def loss(self, x: Tensor, pictures: list[Picture]) -> Tensor:
        found = self.heads(x)
        assert found.objectness is not None
        wanted = torch.zeros_like(found.objectness)[..., 0]
        at: list[tuple[int, int]] = []
        boxes, labels = [], []
        for row, picture in enumerate(pictures):
            for box, label in zip(picture.boxes, picture.labels, strict=True):
                for place in _anchored(box):
                    at.append((row, place))
                    boxes.append(box)
                    labels.append(label)
        rows, places = torch.tensor(at).T
        wanted[rows, places] = 1
        own = found.boxes[rows, places]
        near = overlaps(own, torch.tensor(np.array(boxes)).float(), generalised=True)
        one_hot = F.one_hot(torch.tensor(np.array(labels)), CLASSES).float()
        objects = F.binary_cross_entropy_with_logits(
            found.objectness[..., 0], wanted, reduction="sum"
        )
        classes = F.binary_cross_entropy_with_logits(found.logits[rows, places], one_hot)
        return objects / len(at) + CLASSES * classes + 2 * (1 - near).mean()


def _anchored(box: np.ndarray) -> list[int]:
    """Places of v5's anchors that are like a box, in its cell and the two that are nearest."""
    size, middle, found = box[2:] - box[:2], (box[:2] + box[2:]) / 2, []
    ratios = [[max(max(size / a), max(a / size)) for a in np.array(own)] for own in ANCHORS]
    first = 0
    for k, (side, stride) in enumerate(zip(CELLS, STRIDES, strict=True)):
        cell = middle / stride
        cells = {(int(cell[0]), int(cell[1]))}
        cells.add((int(cell[0] + (0.5 if cell[0] % 1 > 0.5 else -0.5)), int(cell[1])))
        cells.add((int(cell[0]), int(cell[1] + (0.5 if cell[1] % 1 > 0.5 else -0.5))))
        for a in range(3):
            if ratios[k][a] < 1.3 or ratios[k][a] == min(map(min, ratios)):
                inside = [(x, y) for x, y in cells if 0 <= x < side and 0 <= y < side]
                found += [first + (a * side + y) * side + x for x, y in inside]
        first += 3 * side * side
    return found


class EndToEnd(nn.Module):
    """What Ultralytics' exporter adds to YOLOv10 and YOLO26: the best of all, by two TopK."""

    def __init__(self, net: V8):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """[N, 10, 6]: corners, score, class."""
        found = self.net.heads(x)
        scores = found.logits.sigmoid()
        index = scores.amax(dim=-1).topk(LISTED)[1].unsqueeze(-1)
        boxes = found.boxes.gather(dim=1, index=index.repeat(1, 1, 4))
        scores = scores.gather(dim=1, index=index.repeat(1, 1, CLASSES))
        scores, index = scores.flatten(1).topk(LISTED)
        rows = torch.div(index, CLASSES, rounding_mode="floor").unsqueeze(-1)
        boxes = boxes.gather(dim=1, index=rows.repeat(1, 1, 4))
        label = (index % CLASSES)[..., None].float()
        return torch.cat([boxes, scores[..., None], label], dim=-1)


class _Suppression(torch.autograd.Function):
    """ONNX's NonMaxSuppression as torchvision's `nms` exports it; here by hand."""

    @staticmethod
    def forward(ctx, boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
        del ctx
        kept: list[int] = []
        for k in scores.argsort(descending=True).tolist():
            if all(overlaps(boxes[k], boxes[j]) <= overlap for j in kept):
                kept.append(k)
        return torch.tensor(kept, dtype=torch.int64)

    @staticmethod
    def symbolic(g, boxes, scores, overlap: float):
        boxes = g.op("Unsqueeze", boxes, g.op("Constant", value_t=torch.tensor([0])))
        scores = g.op("Unsqueeze", scores, g.op("Constant", value_t=torch.tensor([0])))
        scores = g.op("Unsqueeze", scores, g.op("Constant", value_t=torch.tensor([0])))
        most = g.op("Constant", value_t=torch.tensor([2**31 - 1]))
        limit = g.op("Constant", value_t=torch.tensor([overlap]))
        found = g.op("NonMaxSuppression", boxes, scores, most, limit)
        places = g.op("Gather", found, g.op("Constant", value_t=torch.tensor([2])), axis_i=1)
        return g.op("Squeeze", places, g.op("Constant", value_t=torch.tensor([1])))


class Suppressed(nn.Module):
    """What Ultralytics' exporter adds for `nms=True`: confident boxes, suppressed, and zeros."""

    def __init__(self, net: V8, confidence: float = 0.25, overlap: float = 0.7):
        super().__init__()
        self.net, self.confidence, self.overlap = net, confidence, overlap

    def forward(self, x: Tensor) -> Tensor:
        """[N, 30, 6]: corners, score, class; rows of zeros behind the last box."""
        boxes, scores = self.net(x).transpose(-1, -2).split((4, CLASSES), dim=-1)
        scores, classes = scores.max(dim=-1)
        out = torch.zeros(1, 30, 6)
        box, label, score = boxes[0], classes[0], scores[0]
        mask = score > self.confidence
        box, label, score = box[mask], label[mask], score[mask]
        box = corners(box)
        apart = box + label[:, None].to(box.dtype) * 4096.0
        kept = _Suppression.apply(apart, score, self.overlap)[:30]  # pyright: ignore
        found = torch.cat([box[kept], score[kept].view(-1, 1), label[kept].view(-1, 1)], dim=-1)
        pad = (0, 0, 0, 30 - found.shape[0])
        out[0] = F.pad(found, pad)
        return out
