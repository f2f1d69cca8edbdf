"""What commands that look at many images have in common: one by one, and rows of a panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ... import InvalidInputError, OnnxplainError
from ..comparing.likeness import by_location
from ..files.writing import reason_of
from ..pictures.captions import delta_text, drawn_score, drawn_target
from ..pictures.panel import PanelRow
from ..running.stopping import check_stopped
from .results import Result
from .sources import Found

Progress = Callable[[str, float], None]
# Pixels on the longer side of the photos that pictures are drawn from.
_VIEW = 640


def one_by_one(
    images: Sequence[Found], do: Callable[[str], None], tell: Progress, part: float = 1.0
) -> list[dict[str, str]]:
    """Do something with every image; one that fails stops no other.

    Args:
        images: what was found.
        do: takes an image's path.
        tell: called with a text and the part of the work that is done.
        part: of the work that this is.

    Returns:
        For each image that failed its path and the error.
    """
    failed = []
    for place, image in enumerate(images):
        check_stopped()
        tell(Path(image.path).name, part * place / len(images))
        try:
            if image.problem is not None:
                raise InvalidInputError(image.problem)
            do(image.path)
        except OnnxplainError as error:
            failed.append({"image": image.path, "error": str(error)})
        except OSError as error:
            failed.append({"image": image.path, "error": reason_of(error)})
    return failed


def place_map(result: Result) -> np.ndarray:
    """A result's map by location, [H, W]."""
    return by_location(result.attribution[0], result.channel_axis)


def small_view(result: Result) -> Image.Image:
    """What the model saw of the photo, at most so large as figures need it."""
    view = result.view.copy()
    view.thumbnail((_VIEW, _VIEW))
    return view


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
        view=small_view(one),
        caption=f"{name}: {drawn_target(one.record)}",
        keep=drawn_score(one.record),
        attributions={method: found.astype(np.float32) for method, found in drawn.items()},
        notes={method: delta_text(r.record) for method, r in results.items()},
    )
