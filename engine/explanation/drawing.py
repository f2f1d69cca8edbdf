"""Pictures and files of explanations in Python: what the command line draws and writes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ..files.writing import write_whole
from ..inputs import kind_of_arrays, read_array
from ..inputs.shown import ground_of
from ..pictures.heatmap import Picture
from .attributions import Attributions
from .evidence import tested
from .origin import Origin
from .outcomes import known_origin, region_of


def drawn(
    e: Attributions,
    image: Any,
    row: int,
    input: str | None,
    smooth: float | None = None,
    detail: str = "regions",
) -> Picture:
    """See `Explanation.picture`."""
    from ..pictures.overlay import framed, scale_words
    from ..records.captions import texts_of

    origin, attribution = known_origin(e), _of_input(e.attribution, input)
    name = input or next(iter(origin.inputs))
    if not -len(attribution) <= row < len(attribution):
        raise InvalidInputError(f"row {row}: there are {len(attribution)}")
    row %= len(attribution)
    record, values = tested(e, row), attribution[row]
    into = origin.into[name]
    kind = origin.kind or kind_of_arrays(into)
    heatmap = kind.draw(values, into, e.method, smooth=smooth, detail=detail)
    texts = texts_of(record, not values.any())
    words = scale_words(heatmap, e.method, smooth)
    return framed(_view(origin, image, row, name), heatmap, texts, words, region_of(e, row))


def saved(e: Attributions, path: str | os.PathLike[str], image: Any, row: int) -> None:
    """See `Explanation.save`."""
    from ..pictures.heatmap import save_png

    kind = Path(path).suffix.lower()
    if kind == ".png":
        picture = drawn(e, image, row, None)
        write_whole(Path(path), lambda file: save_png(picture, file))
    elif kind == ".npz":
        arrays: dict[str, Any] = _arrays(e)
        write_whole(Path(path), lambda file: np.savez_compressed(file, **arrays))
    else:
        raise InvalidInputError(f"save: expected a name that ends in .png or .npz, got {path}")


def as_png(e: Attributions) -> bytes | None:
    """See `Explanation._repr_png_`."""
    from ..pictures.heatmap import save_png

    try:
        picture = drawn(e, None, 0, None)
    except OnnxplainError:
        return None
    file = io.BytesIO()
    save_png(picture, file)
    return file.getvalue()


def _of_input(attribution: np.ndarray | Mapping[str, np.ndarray], name: str | None) -> np.ndarray:
    """One attribution of several inputs', or the only one."""
    if isinstance(attribution, np.ndarray):
        return attribution
    if name is not None and name not in attribution:
        raise InvalidInputError(f"no input {name!r} is explained: {', '.join(attribution)}")
    return attribution[name or next(iter(attribution))]


def _view(origin: Origin, image: Any, row: int, name: str) -> Picture:
    """The photo as far as the model saw it, or its own input."""
    if image is None and origin.view is not None:
        return origin.view
    into = origin.into[name]
    if image is not None and origin.view is not None:
        return ground_of(image, into, None)
    x = origin.inputs[name]
    x = x[row : row + 1] if len(x) > 1 else x
    own = read_array(x, into).view()
    return own if image is None else ground_of(image, into, own)


def _arrays(e: Attributions) -> dict[str, np.ndarray]:
    inputs = {} if e.origin is None else e.origin.inputs
    if isinstance(e.attribution, dict):
        found = {f"attribution_{name}": values for name, values in e.attribution.items()}
        return found | {f"input_{name}": values for name, values in inputs.items()}
    first = list(inputs.values())[:1]
    return {"attribution": e.attribution, **dict(zip(["input"], first, strict=False))}
