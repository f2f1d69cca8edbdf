"""A U-Net of drawn shapes, and a CRNN that reads drawn characters."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drawing import LETTERS, LINE, NAMES, Picture
from .parts import Block


def _twice(ins: int, outs: int) -> nn.Sequential:
    return nn.Sequential(Block(ins, outs), Block(outs, outs))


class UNet(nn.Module):
    """Ronneberger et al. 2015, with three levels; [N, 1 + C, H, W], the ground first.

    Pooled by means: where two of a window are alike, rounding decides which is the greatest.
    """

    def __init__(self):
        super().__init__()
        wide = 8, 16, 32
        self.down = nn.ModuleList([_twice(a, b) for a, b in zip((3, *wide), wide, strict=False)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in ((16, 32), (8, 16))])
        self.back = nn.ModuleList([_twice(32, 16), _twice(16, 8)])
        self.out = nn.Conv2d(8, 1 + len(NAMES), 1)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.5) / 0.25
        one = self.down[0](x)
        two = self.down[1](F.avg_pool2d(one, 2))
        x = self.down[2](F.avg_pool2d(two, 2))
        for up, back, beside in zip(self.up, self.back, (two, one), strict=True):
            x = back(torch.cat([beside, up(x)], 1))
        return self.out(x)

    def loss(self, x: Tensor, pictures: list[Picture]) -> Tensor:
        wanted = np.zeros((len(pictures), *x.shape[2:]), np.int64)
        for row, picture in enumerate(pictures):
            for mask, label in zip(picture.masks, picture.labels, strict=True):
                wanted[row][mask] = 1 + label
        return F.cross_entropy(self(x), torch.tensor(wanted))


class Upright(nn.Sequential):
    """Over rows alone, so that a step's features see fewer columns than a character has."""

    def __init__(self, ins: int, outs: int):
        convolution = nn.Conv2d(ins, outs, (3, 1), padding=(1, 0), bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outs), nn.SiLU())


class CRNN(nn.Module):
    """Shi, Bai, Yao 2015: convolutions, an LSTM both ways, and CTC; [N, T, 1 + C], blank first.

    Returns chances, as PaddleOCR's files do. A character is what several steps have seen, which the
    LSTM brings together.
    """

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            *(Block(3, 16, stride=2), Block(16, 32), nn.AvgPool2d(2), Upright(32, 48)),
            *(nn.AvgPool2d((2, 1)), Upright(48, 64), nn.AvgPool2d((LINE[0] // 8, 1))),
        )
        self.lstm = nn.LSTM(64, 32, batch_first=True, bidirectional=True)
        self.out = nn.Linear(64, 1 + len(LETTERS))

    def logits(self, x: Tensor) -> Tensor:
        steps = self.convolutions(x).squeeze(2).transpose(1, 2)
        return self.out(self.lstm(steps)[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(-1)

    def loss(self, x: Tensor, pictures: list[Picture]) -> Tensor:
        found = self.logits(x * 2 - 1).log_softmax(-1).transpose(0, 1)
        texts = torch.tensor(np.concatenate([p.labels + 1 for p in pictures]))
        lengths = torch.tensor([len(p.labels) for p in pictures])
        steps = torch.full((len(pictures),), len(found))
        return F.ctc_loss(found, texts, steps, lengths, zero_infinity=True)
