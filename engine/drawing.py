"""Pictures and files of explanations in Python: what the command line draws and writes."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import InvalidInputError, OnnxplainError
from .evidence import tested
from .files.writing import write_whole
from .origin import Origin, channel_axis_of, known_origin, recorded

logger = logging.getLogger("onnxplain")
# Correlations with the array's own picture: what the card makes of a photo is all but it (another
# resampling is left); a view of another part is far below.
_ALIKE, _NEARER, _LEAST_ALIKE = 0.95, 0.05, 0.7


def drawn(
    e: Any,
    image: Any,
    row: int,
    input: str | None,
    smooth: float | None = None,
    detail: str = "regions",
) -> Image.Image:
    """See `Explanation.picture`."""
    from .pictures.captions import (
        drawn_answer,
        drawn_score,
        drawn_target,
        evidence_text,
        subtitle_of,
    )
    from .pictures.overlay import overlay

    origin, attribution = known_origin(e), _of_input(e.attribution, input)
    if not -len(attribution) <= row < len(attribution):
        raise InvalidInputError(f"row {row}: there are {len(attribution)}")
    row %= len(attribution)
    record, values = tested(e, row, recorded(e, row)), attribution[row]
    axis = channel_axis_of(origin, values)
    return overlay(
        _view(origin, image, row, input),
        values,
        method=e.method,
        title=drawn_target(record),
        keep=drawn_score(record),
        answer=drawn_answer(record),
        evidence=evidence_text(record),
        subtitle=subtitle_of(record, not values.any()),
        channel_axis=axis,
        smooth=smooth,
        detail=detail,
    )


def saved(e: Any, path: str | os.PathLike[str], image: Any, row: int) -> None:
    """See `Explanation.save`."""
    from .pictures.heatmap import save_png

    kind = Path(path).suffix.lower()
    if kind == ".png":
        picture = drawn(e, image, row, None)
        write_whole(Path(path), lambda file: save_png(picture, file))
    elif kind == ".npz":
        arrays: dict[str, Any] = _arrays(e)
        write_whole(Path(path), lambda file: np.savez_compressed(file, **arrays))
    else:
        raise InvalidInputError(f"save: expected a name that ends in .png or .npz, got {path}")


def as_png(e: Any) -> bytes | None:
    """See `Explanation._repr_png_`."""
    from .pictures.heatmap import save_png

    try:
        picture = drawn(e, None, 0, None)
    except OnnxplainError:
        return None
    file = io.BytesIO()
    save_png(picture, file)
    return file.getvalue()


def _of_input(attribution: Any, name: str | None) -> np.ndarray:
    """One attribution of several inputs', or the only one."""
    if not isinstance(attribution, dict):
        return attribution
    if name is not None and name not in attribution:
        raise InvalidInputError(f"no input {name!r} is explained: {', '.join(attribution)}")
    return attribution[name or next(iter(attribution))]


def _view(origin: Origin, image: Any, row: int, name: str | None) -> Image.Image:
    """The photo as far as the model saw it, or its own input."""
    from .inputs.image import image_to_tensor, read_image_file

    if image is None and origin.view is not None:
        return origin.view
    x = origin.inputs[name or next(iter(origin.inputs))]
    if image is None:
        return _picture_of_input(origin, x[row if len(x) > 1 else 0])
    if isinstance(image, str | os.PathLike):
        image = read_image_file(image)
    elif not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    if origin.card is None:
        return _that_shows(_picture_of_input(origin, x[row if len(x) > 1 else 0]), image, image)
    seen = image_to_tensor(image, origin.card)[1]
    if origin.view is not None:
        return seen
    return _that_shows(_picture_of_input(origin, x[row if len(x) > 1 else 0]), seen, image)


def _that_shows(own: Image.Image, seen: Image.Image, whole: Image.Image) -> Image.Image:
    """What of a photo an array shows that the caller made: the card's view of it, or all of it.

    Where it shows neither, nobody knows which part it is of: then the array's own picture.
    """
    alike = {id(view): _likeness(own, view) for view in (seen, whole)}
    best = max((seen, whole), key=lambda view: alike[id(view)])
    # The card's, unless another is clearly nearer.
    if alike[id(seen)] > _ALIKE or alike[id(best)] - alike[id(seen)] < _NEARER:
        best = seen
    if alike[id(best)] > _LEAST_ALIKE:
        return best
    logger.warning(
        "the array does not show what the model card makes of the photo, nor all of it: the map is "
        "drawn on the array itself"
    )
    return own


def _likeness(own: Image.Image, view: Image.Image) -> float:
    """The correlation of two pictures' grey values, in the first one's size."""
    grey = [np.asarray(one.convert("L").resize(own.size), np.float64) for one in (own, view)]
    a, b = (values - values.mean() for values in grey)
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else 0.0


def _picture_of_input(origin: Origin, x: np.ndarray) -> Image.Image:
    """The model's own input as a picture: one row, its normalisation undone.

    Without a card its least and largest numbers are black and white.
    """
    axis = channel_axis_of(origin, x)
    values = np.asarray(x, np.float64)
    values = values[..., None] if axis is None else np.moveaxis(values, axis, -1)
    card = origin.card
    if card is not None:
        values = (values * np.asarray(card.std) + np.asarray(card.mean)) / np.asarray(card.scale)
        if card.channels == "BGR":
            values = values[..., ::-1]
    else:
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / ((high - low) or 1.0))
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    pixels = pixels.repeat(3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _arrays(e: Any) -> dict[str, np.ndarray]:
    inputs = {} if e.origin is None else e.origin.inputs
    if isinstance(e.attribution, dict):
        found = {f"attribution_{name}": values for name, values in e.attribution.items()}
        return found | {f"input_{name}": values for name, values in inputs.items()}
    first = list(inputs.values())[:1]
    return {"attribution": e.attribution, **dict(zip(["input"], first, strict=False))}
