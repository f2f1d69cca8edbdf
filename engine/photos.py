"""Image files explained one after the other, in Python."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import InvalidInputError, OnnxplainError
from .explanation import Explanation
from .inputs.decoding import damage_of
from .inputs.image import baseline_arrays, image_files, image_to_tensor, read_image

logger = logging.getLogger("onnxplain")
OnError = Callable[[str, OnnxplainError], None]


def explained_images(
    explainer: Any,
    paths: Any,
    target: Any,
    baseline: Any,
    progress: Callable[[int, int], None] | None,
    on_error: OnError | None,
) -> Iterator[Explanation]:
    """See `Explainer.images`."""
    card = explainer.card
    if card is None:
        raise InvalidInputError(
            "images: no model card says how a picture becomes the input; give card="
        )
    several: Sequence[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = image_files([os.fspath(path) for path in several])
    for place, path in enumerate(found):
        try:
            image = read_image(path)
            damage = damage_of(image)
            if damage is not None:
                logger.warning(f"image {path}: {damage}; explained as far as it goes")
            x, view = image_to_tensor(image, card)
            own = baseline
            if isinstance(baseline, str):
                own = baseline_arrays(baseline, card, image)
            e = explainer(x, target, baseline=own)
            assert e.origin is not None
            yield replace(e, origin=replace(e.origin, image=path, view=view, damage=damage))
        except OnnxplainError as error:
            if on_error is None:
                raise
            on_error(path, error)
        if progress is not None:
            progress(place + 1, len(found))
