"""Pictures of shapes, drawn, and a short training on them: what a network without weights gets."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

SIZE = 64
_STAR = [(36 * k, 0.4 if k % 2 else 1.0) for k in range(10)]
_ARM = ((-18, 1.0), (18, 1.0), (45, 0.437))
_CROSS = [(90 * k + turn, radius) for k in range(4) for turn, radius in _ARM]
# Each is a polygon: its corners' angles, in degrees, and radii, as parts of its size.
SHAPES = {
    "circle": [(10 * k, 0.9) for k in range(36)],
    "square": [(90 * k + 45, 1.0) for k in range(4)],
    "triangle": [(120 * k, 1.0) for k in range(3)],
    "star": _STAR,
    "cross": _CROSS,
    "bar": [(20, 1.0), (160, 1.0), (200, 1.0), (340, 1.0)],
}
_STEPS, _BATCH, _RATE, _HELD_OUT = 900, 32, 3e-3, 600


def _background(random: np.random.Generator) -> np.ndarray:
    """A gradient between two colours, a grid of patches, or stripes; noise over all."""
    first, second = random.uniform(0, 255, (2, 3))
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    kind = random.integers(3)
    if kind == 0:
        part = (along - along.min()) / np.ptp(along)
    elif kind == 1:
        patches = random.uniform(0, 1, (8, 8)).astype(np.float32)
        part = np.asarray(Image.fromarray(patches).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    else:
        part = (np.sin(2 * np.pi * random.uniform(2, 6) * along) + 1) / 2
    return first + 0.5 * part[..., None] * (second - first)


def _picture(random: np.random.Generator, polygon: list[tuple[float, float]]) -> np.ndarray:
    """One shape of any colour, place, size and turn: uint8 [SIZE, SIZE, 3]."""
    ground = _background(random)
    while True:  # a colour that stands out from the ground
        colour = random.uniform(0, 255, 3)
        if np.abs(colour - ground.mean((0, 1))).sum() > 200:
            break
    radius = random.uniform(0.22, 0.42) * SIZE
    centre = random.uniform(radius, SIZE - radius, 2)
    turn = random.uniform(0, 360)
    corners = [
        tuple(centre + r * radius * np.array([np.cos(a), np.sin(a)]))
        for a, r in ((np.deg2rad(degrees + turn), r) for degrees, r in polygon)
    ]
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).polygon(corners, fill=tuple(int(c) for c in colour))
    noisy = np.asarray(image) + random.normal(0, 12, (SIZE, SIZE, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, all shapes alike, in random order; black is zero.

    Returns:
        float32 [count, 3, SIZE, SIZE], and which of SHAPES each is, int64 [count].
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(SHAPES))
    polygons = list(SHAPES.values())
    images = np.stack([_picture(random, polygons[label]) for label in labels])
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 128, labels


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Pictures that `train` never sees."""
    return pictures(_HELD_OUT, seed=2)


def train(module: nn.Module) -> nn.Module:
    """Train for about two minutes, or take what an earlier run with this recipe has left.

    The last line says how many of the held-out pictures are named rightly. On one thread, so that
    the same machine finds the same weights.
    """
    recipe = Path(__file__).read_text(encoding="utf-8") + repr(module) + torch.__version__
    digest = hashlib.sha256(recipe.encode())
    for weight in module.parameters():
        digest.update(weight.detach().numpy().tobytes())
    path = Path(tempfile.gettempdir()) / f"onnxplain-shapes-{digest.hexdigest()[:16]}.pt"
    if path.exists():
        module.load_state_dict(torch.load(path, weights_only=True))
        spent = "trained before"
    else:
        began = time.perf_counter()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        _fit(module)
        torch.set_num_threads(threads)
        spent = f"trained in {time.perf_counter() - began:.0f} s"
        # Renamed when whole: two runs at once must not read each other's half.
        part = path.with_suffix(f".{os.getpid()}")
        torch.save(module.state_dict(), part)
        part.replace(path)
    module.eval()
    images, labels = held_out()
    with torch.no_grad():
        named = torch.cat([module(part).argmax(1) for part in torch.from_numpy(images).split(50)])
    right = (named.numpy() == labels).mean()
    print(f"{len(SHAPES)} shapes, {spent}: {right:.1%} of {len(labels)} held-out pictures right")
    return module


def _fit(module: nn.Module) -> None:
    images, labels = (torch.from_numpy(a) for a in pictures(_STEPS * _BATCH, seed=1))
    optimizer = torch.optim.AdamW(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=_STEPS, pct_start=0.2
    )
    module.train()
    for x, y in zip(images.split(_BATCH), labels.split(_BATCH), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
        schedule.step()
