"""What is measured of a trained file: what is found, what is explained, where the maps lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import onnxplain
from onnxplain.engine.metrics import mass_inside
from onnxplain.graph_passes.methods import default_methods

from .drawing import Picture

# The default of what has places comes first.
METHODS = tuple(dict.fromkeys([*default_methods(of_places=True), "grad-cam"]))


class Oracle(NamedTuple):
    """What PyTorch says of one picture.

    Attributes:
        score: the number that has to be explained, of the input.
        text: the label of what the network finds.
        right: whether that is what was drawn.
        region: bool [H, W], where it was drawn; None: everywhere, so that no mass is measured.
        target: what the explainer is asked for; None: what it finds itself.
        box: the corners of what the network finds; None: it finds no boxes.
    """

    score: Callable[[Tensor], Tensor]
    text: str
    right: bool
    region: np.ndarray | None
    target: str | None = None
    box: np.ndarray | None = None


class Head(NamedTuple):
    """A trained file, and what tells what is right.

    Attributes:
        name: what kind of head it is.
        path: the file.
        draw: draws a picture.
        oracle: (picture, its input) -> what PyTorch says, once for each target.
        inside: how much of the default method's map has to lie inside.
        card: facts that no such file says of itself, as `card=` takes them; or None.
    """

    name: str
    path: Path
    draw: Callable[[np.random.Generator], Picture]
    oracle: Callable[[Picture, Tensor], list[Oracle]]
    inside: float = 0.7
    card: dict[str, Any] | None = None


class Row(NamedTuple):
    """A head's line of the table; see `measured`."""

    name: str
    pictures: int
    network: int
    found: int
    targets: int
    score: float
    gradient: float
    area: float
    mass: dict[str, float]
    inside: float


def measured(head: Head, pictures: Sequence[Picture], folder: Path) -> Row:
    """Explain pictures by the file alone, and hold it against PyTorch and what was drawn.

    Returns:
        `network`: of how many targets the network itself is right; `found`: how many of those the
        explainer finds, by class and place; `score`, `gradient`: the largest errors of the
        explained score and of its gradient, relative; `area`: the mean part of the picture that
        the region takes, which is the mass inside of an even map; `mass`: the mean mass inside.
    """
    given = {} if head.card is None else {"card": head.card}
    explainers = {m: onnxplain.Explainer(head.path, m, **given) for m in METHODS}
    slope = onnxplain.Explainer(head.path, "saliency", signed=True, **given)
    right = found = count = 0
    errors, areas = [(0.0, 0.0)], []
    masses: dict[str, list[float]] = {m: [] for m in METHODS}
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.png"
        Image.fromarray(picture.pixels).save(path)
        x = slope.preprocess(path)
        for one in head.oracle(picture, torch.tensor(x)):
            count, right = count + 1, right + one.right
            e = slope.explain(path, one.target)
            errors.append(_errors(e, one, x))
            if not one.right:
                continue
            found += _agrees(e, one)
            if one.region is None:
                continue
            areas.append(float(one.region.mean()))
            for method, explainer in explainers.items():
                own = explainer.explain(path, e.targets[0])
                inside = mass_inside(explainer, x, own, one.region, target=e.targets[0])
                masses[method].append(float(np.nan_to_num(inside[0])))
    score, gradient = (max(column) for column in zip(*errors, strict=True))
    means = {m: float(np.mean(own)) for m, own in masses.items()}
    area = float(np.mean(areas))
    errors = score, gradient
    return Row(head.name, len(pictures), right, found, count, *errors, area, means, head.inside)


def _agrees(e: Any, one: Oracle) -> bool:
    """Whether the explanation is of what the network finds: its label, and its box to a pixel."""
    target = e.targets[0]
    near = one.box is None or (target.box and np.abs(np.array(target.box) - one.box).max() < 1)
    return bool(near) and e.label == one.text


def _errors(e: Any, one: Oracle, x: np.ndarray) -> tuple[float, float]:
    """How far the score and its gradient are from PyTorch's, relative."""
    own = torch.tensor(x, requires_grad=True)
    score = one.score(own)
    (right,) = torch.autograd.grad(score, own)
    value = float(score.detach())
    far = np.linalg.norm(e.attribution - right.numpy()) / np.linalg.norm(right.numpy())
    return abs(float(e.score[0]) - value) / max(1.0, abs(value)), float(far)
