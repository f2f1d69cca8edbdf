"""RT-DETR-like: TopK over the encoder's scores picks the queries, a decoder makes boxes of them.

Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection", CVPR 2024; plain attention in place
of the deformable one, and one list of two scales.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from .drawing import SIDE, Picture
from .parts import WIDTH, Backbone, corners, overlaps, points
from .yolo import CLASSES, Heads

DEPTH, HEADS, QUERIES = 64, 4, 10


def _logit(parts: Tensor) -> Tensor:
    parts = parts.clamp(1e-5, 1 - 1e-5)
    return torch.log(parts / (1 - parts))


def _mlp(ins: int, outs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(ins, DEPTH), nn.ReLU(), nn.Linear(DEPTH, outs))


class Attention(nn.Module):
    """softmax(q k' / sqrt(d)) v of several heads."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(DEPTH, DEPTH) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        def parted(tensor: Tensor) -> Tensor:
            return tensor.view(tensor.shape[0], -1, HEADS, DEPTH // HEADS).transpose(1, 2)

        q, k, v = parted(self.q(query)), parted(self.k(key)), parted(self.v(value))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(DEPTH // HEADS)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(query.shape[0], -1, DEPTH))


class Layer(nn.Module):
    """Queries look at each other, then at the memory."""

    def __init__(self):
        super().__init__()
        self.own, self.cross, self.linear = Attention(), Attention(), _mlp(DEPTH, DEPTH)
        self.norms = nn.ModuleList([nn.LayerNorm(DEPTH) for _ in range(3)])

    def forward(self, x: Tensor, place: Tensor, memory: Tensor, places: Tensor) -> Tensor:
        x = self.norms[0](x + self.own(x + place, x + place, x))
        x = self.norms[1](x + self.cross(x + place, memory + places, memory))
        return self.norms[2](x + self.linear(x))


def _rows(tensor: Tensor, index: Tensor, by_rows: bool) -> Tensor:
    """[N, A, K] in the places [N, Q] of each row, [N, Q, K]."""
    if not by_rows:
        return tensor.gather(1, index.unsqueeze(-1).repeat(1, 1, tensor.shape[-1]))
    count, queries = tensor.shape[0], index.shape[1]
    row = torch.arange(end=count).unsqueeze(-1).repeat(1, queries).view(-1)
    return tensor[row, index.view(-1)].view(count, queries, -1)


class Queries(nn.Module):
    """Encoder scores, QUERIES picked rows, two decoder layers."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.projected = nn.ModuleList([nn.Conv2d(WIDTH, DEPTH, 1) for _ in range(2)])
        self.encoder, self.scores = nn.LayerNorm(DEPTH), nn.Linear(DEPTH, CLASSES)
        self.boxes, self.position = _mlp(DEPTH, 4), _mlp(4, DEPTH)
        self.layers = nn.ModuleList([Layer() for _ in range(2)])
        self.class_heads = nn.ModuleList([nn.Linear(DEPTH, CLASSES) for _ in range(2)])
        self.box_heads = nn.ModuleList([_mlp(DEPTH, 4) for _ in range(2)])
        for head in (self.scores, *self.class_heads):
            nn.init.constant_(head.bias, -4.0)  # pyright: ignore
        for head in (self.boxes, *self.box_heads):
            nn.init.zeros_(head[2].weight)  # pyright: ignore
            nn.init.zeros_(head[2].bias)  # pyright: ignore
        middles, strides = points()
        own = torch.cat([middles / SIDE, strides.expand(-1, 2) * 3 / SIDE], 1)
        self.register_buffer("anchors", _logit(own)[None])

    def _memory(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [N, A, DEPTH], and scores and boxes (logits) of each."""
        maps = [p(m) for p, m in zip(self.projected, self.backbone(x), strict=True)]
        memory = self.encoder(torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2))
        anchors: Tensor = self.anchors  # pyright: ignore[reportAssignmentType]
        return memory, self.scores(memory), self.boxes(memory) + anchors

    def picked(self, x: Tensor) -> Tensor:
        """Which rows of the memory become queries, [N, QUERIES]."""
        return self._memory(x)[1].amax(-1).topk(QUERIES, dim=1)[1]

    def decoded(
        self, x: Tensor, index: Tensor | None = None, by_rows: bool = False
    ) -> list[tuple[Tensor, Tensor]]:
        """(logits, boxes as parts of the sides) of the encoder and of each layer.

        index: the rows that become queries; None: those with the best scores. `by_rows` looks them
        up as Ultralytics does.
        """
        memory, scores, boxes = self._memory(x)
        found = [(scores, boxes.sigmoid())]
        anchors: Tensor = self.anchors  # pyright: ignore[reportAssignmentType]
        index = scores.amax(-1).topk(QUERIES, dim=1)[1] if index is None else index
        queries, reference = (_rows(t, index, by_rows) for t in (memory, boxes))
        reference = reference.sigmoid()
        if self.training:
            queries, reference = queries.detach(), reference.detach()
        places = self.position(anchors.sigmoid())
        for layer, classes, box in zip(self.layers, self.class_heads, self.box_heads, strict=True):
            queries = layer(queries, self.position(reference), memory, places)
            own = (box(queries) + _logit(reference)).sigmoid()
            found.append((classes(queries), own))
            reference = own.detach() if self.training else own
        return found

    def heads(self, x: Tensor) -> Heads:
        logits, boxes = self.decoded(x)[-1]
        return Heads(logits, corners(boxes) * SIDE)

    def forward(self, x: Tensor, by_rows: bool = False) -> Tensor:
        """[N, QUERIES, 4 + C], as Ultralytics exports it."""
        logits, boxes = self.decoded(x, by_rows=by_rows)[-1]
        return torch.cat([boxes, logits.sigmoid()], -1)

    def loss(self, x: Tensor, pictures: list[Picture]) -> Tensor:
        """Each box is one query's, by the cheapest pairing."""
        return torch.stack([_paired(one, pictures) for one in self.decoded(x)]).sum()


def _paired(found: tuple[Tensor, Tensor], pictures: list[Picture]) -> Tensor:
    logits, parts = found
    boxes, wanted = corners(parts) * SIDE, torch.zeros_like(logits)
    rows, places, own = [], [], []
    for row, picture in enumerate(pictures):
        true = torch.tensor(picture.boxes).float()
        with torch.no_grad():
            near = overlaps(boxes[row][:, None], true[None], generalised=True)
            far = (boxes[row][:, None] - true[None]).abs().mean(-1) / SIDE
            cost = 5 * far - 2 * near - 2 * logits[row].sigmoid()[:, picture.labels]
        for a, k in zip(*linear_sum_assignment(np.nan_to_num(cost.numpy(), nan=9.0)), strict=True):
            wanted[row, a, picture.labels[k]] = 1
            rows.append(row)
            places.append(a)
            own.append(true[k])
    chosen, true = boxes[rows, places], torch.stack(own)
    near = overlaps(chosen, true, generalised=True)
    far = (chosen - true).abs().mean(-1) / SIDE
    chance = logits.sigmoid()
    # The focal loss (Lin 2017): what is sure already weighs little.
    weight = torch.where(wanted > 0, 1 - chance, chance).detach() ** 2 * 4
    classes = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return classes / len(own) + 2 * (1 - near).mean() + 5 * far.mean()


class Listed(nn.Module):
    """The form of `lyuwenyu/RT-DETR`, D-FINE and DEIM: the best of all queries and classes."""

    def __init__(self, net: Queries):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, orig_target_sizes: Tensor):
        """Labels [N, K], boxes [N, K, 4] as corners in the sizes' pixels, and scores [N, K]."""
        logits, parts = self.net.decoded(images)[-1]
        boxes = corners(parts) * orig_target_sizes.repeat(1, 2).unsqueeze(1)
        scores, index = logits.sigmoid().flatten(1).topk(QUERIES, dim=-1)
        labels = index - index // CLASSES * CLASSES
        index = index // CLASSES
        return labels, boxes.gather(1, index.unsqueeze(-1).repeat(1, 1, 4)), scores
