"""What the trained networks are made of, how they are trained, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from .drawing import SIDE, Picture

STRIDES = 8, 16
CELLS = [SIDE // s for s in STRIDES]
WIDTH = 48
Loss = Callable[[Tensor, list[Picture]], Tensor]


class Block(nn.Sequential):
    """A convolution as YOLO has it: no bias, normalised, SiLU."""

    def __init__(self, ins: int, outs: int, kernel: int = 3, stride: int = 1):
        convolution = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outs), nn.SiLU())


class Backbone(nn.Module):
    """Maps [N, WIDTH, H, W] of stride 8 and 16."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Block(3, 16, stride=2), Block(16, 24, stride=2), Block(24, 24))
        self.eight = nn.Sequential(Block(24, WIDTH, stride=2), Block(WIDTH, WIDTH))
        self.sixteen = nn.Sequential(Block(WIDTH, WIDTH, stride=2), Block(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> list[Tensor]:
        eight = self.eight(self.stem(x))
        return [eight, self.sixteen(eight)]


def points() -> tuple[Tensor, Tensor]:
    """The middle of each cell [A, 2] in pixels, and its stride [A, 1]; row by row."""
    middles, strides = [], []
    for stride, cells in zip(STRIDES, CELLS, strict=True):
        y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        middles.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((cells * cells, 1), float(stride)))
    return torch.cat(middles), torch.cat(strides)


def corners(middles: Tensor) -> Tensor:
    """cx, cy, w, h -> x0, y0, x1, y1."""
    xy, wh = middles.split((2, 2), -1)
    return torch.cat([xy - wh / 2, xy + wh / 2], -1)


def overlaps(a: Tensor, b: Tensor, generalised: bool = False) -> Tensor:
    """Intersection over union of boxes as corners, one by one; or GIoU (Rezatofighi 2019)."""

    def area(begin: Tensor, end: Tensor) -> Tensor:
        return (end - begin).clamp(min=0).prod(-1)

    begin, end = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = area(begin, end)
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - both
    found = both / (union + 1e-7)
    if not generalised:
        return found
    begin, end = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = area(begin, end)
    return found - (hull - union) / (hull + 1e-7)


def batch_of(pictures: list[Picture]) -> Tensor:
    """Pixels / 255, [N, 3, H, W]."""
    return torch.tensor(np.stack([p.pixels for p in pictures])).permute(0, 3, 1, 2).float() / 255


def train(
    module: nn.Module,
    loss: Loss,
    draw: Callable[[np.random.Generator], Picture],
    steps: int,
    size: int = 16,
    rate: float = 2e-3,
) -> float:
    """Train on pictures that are drawn as it goes; returns the mean of the last losses."""
    random = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=1e-3)
    last = 5.0
    module.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (1.02 - step / steps)
        pictures = [draw(random) for _ in range(size)]
        value = loss(batch_of(pictures), pictures)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimiser.step()
        last = 0.98 * last + 0.02 * float(value.detach())
    module.eval()
    return last


def write(
    module: nn.Module,
    path: Path,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    metadata: Mapping[str, object],
) -> Path:
    """A file as PyTorch's exporter writes it, with metadata: each value is Python's str()."""
    torch.onnx.export(
        module.eval(),
        example,
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=inputs,
        output_names=outputs,
    )
    model = onnx.load(path)
    helper.set_model_props(model, {k: str(v) for k, v in metadata.items()})
    onnx.save(model, path)
    return path


def drawn(draw: Callable[[np.random.Generator], Picture], count: int) -> Iterator[Picture]:
    """Pictures that no training saw."""
    random = np.random.default_rng(12345)
    return (draw(random) for _ in range(count))
