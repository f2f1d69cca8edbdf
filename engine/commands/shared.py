"""What commands that look at many images have in common: one by one, and rows of a panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ..comparing.likeness import by_location
from ..evidence import what_is
from ..files.writing import reason_of
from ..pictures.captions import delta_text, drawn_score, drawn_target
from ..pictures.panel import VIEW, PanelRow, small_view
from ..running.stopping import check_stopped
from ..running.workers import side_by_side
from .results import Result, drawn_by
from .sources import Found

Progress = Callable[[str, float], None]
T = TypeVar("T")


def one_by_one(
    images: Sequence[Found],
    do: Callable[[str], T],
    tell: Progress,
    part: float = 1.0,
    keep: Callable[[T], object] = lambda made: None,
    at_once: int = 1,
) -> list[dict[str, str]]:
    """Do something with every image; one that fails stops no other.

    Args:
        images: what was found.
        do: takes an image's path; several at once, each in a thread of its own.
        tell: called with a text and the part of the work that is done.
        part: of the work that this is.
        keep: takes what `do` returned, one after the other in the images' order.
        at_once: see `side_by_side`.

    Returns:
        For each image that failed its path and the error.
    """

    def made(image: Found) -> tuple[T] | str:
        check_stopped()
        try:
            if image.problem is not None:
                raise InvalidInputError(image.problem)
            return (do(image.path),)
        except OnnxplainError as error:
            return str(error)
        except OSError as error:
            return reason_of(error)

    failed = []
    if images:
        tell(Path(images[0].path).name, 0.0)
    results = side_by_side((partial(made, image) for image in images), at_once)
    for place, (image, found) in enumerate(zip(images, results, strict=True), start=1):
        if isinstance(found, str):
            failed.append({"image": image.path, "error": found})
        else:
            keep(found[0])
        tell(Path(image.path).name, part * place / len(images))
    return failed


def place_map(result: Result) -> np.ndarray:
    """A result's map by location, [H, W] of a picture."""
    row = result.attribution[0]
    return by_location(row, result.into.features.in_row(row.ndim))


def panel_row(
    name: str, results: Mapping[str, Result], maps: Mapping[str, np.ndarray] | None = None
) -> PanelRow:
    """The maps of one image and target by method.

    Args:
        name: of the image, for the caption.
        results: by method.
        maps: theirs, where they are made already.
    """
    one = next(iter(results.values()))
    drawn = maps or {method: place_map(result) for method, result in results.items()}
    return PanelRow(
        view=small_view(one.view, VIEW),
        caption=f"{name}: {drawn_target(one.record)}",
        keep=drawn_score(one.record),
        attributions={method: found.astype(np.float32) for method, found in drawn.items()},
        notes={method: delta_text(r.record) for method, r in results.items()},
        draw=partial(drawn_by, one.kind, one.into),
        what=what_is(one.into).capitalize(),
    )
