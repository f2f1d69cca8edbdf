"""Exported files that take a photo, and that return a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

from ... import InvalidInputError
from ...graph_passes.finish import ATTRIBUTION
from ...graph_passes.finish.pictures import Colours, Drawing, with_picture
from ...graph_passes.finish.preprocessing import Framing, with_preprocessing
from ..checking.assumed import tell_of_card
from ..inputs.framing import framing_of
from ..pictures.heatmap import paint_table

if TYPE_CHECKING:
    from .exportable import Exportable

# A side of a photo, in pixels.
_LONGEST = 16384


def with_photos(
    explainer: Exportable,
    model: onnx.ModelProto,
    preprocess: bool,
    picture: bool,
    ground: bool = False,
) -> onnx.ModelProto:
    """An explaining model, whole, that takes a photo or returns a picture, or both.

    With `ground` it returns `view`, too: what the map is laid over.

    Raises:
        InvalidInputError: the explained input is no image, or nobody knows how a photo becomes it.
    """
    if not preprocess and not picture:
        return model
    framing = _framing(explainer, "preprocess" if preprocess else "picture", preprocess)
    name = explainer.into.name
    if preprocess:
        model = with_preprocessing(model, name, framing)
    if picture:
        attribution = explainer.subject.name_of(ATTRIBUTION, explainer.subject.sources[0])
        drawing = _drawing(explainer, preprocess)
        model = with_picture(model, name, attribution, framing, drawing, ground)
    return model


def photo_size(explainer: Exportable, fixed: bool, given: Any) -> tuple[int, int] | None:
    """(height, width) of the photo that a static file takes; None: it takes none, or any.

    Args:
        explainer: whose file it is.
        fixed: whether its file is static and takes a photo.
        given: `image_size` of `Explainer.export`; None: the input's own.

    Raises:
        InvalidInputError: no two lengths, or they are for no such file.
    """
    if given is None:
        return _framing(explainer, "preprocess", True).size if fixed else None
    if not fixed:
        raise InvalidInputError(
            "image_size: for static=True and preprocess=True (--static --preprocess); other files "
            "take photos of any size, or none"
        )
    lengths = [*given] if isinstance(given, list | tuple) else []
    if len(lengths) != 2 or not all(isinstance(n, int) and 1 <= n <= _LONGEST for n in lengths):
        raise InvalidInputError(
            f"image_size: expected height and width, each 1 to {_LONGEST}, got {given!r}"
        )
    return lengths[0], lengths[1]


def _framing(explainer: Exportable, option: str, of_photo: bool) -> Framing:
    if explainer._preprocess is not None:
        raise InvalidInputError(
            f"{option}: a file cannot hold the explainer's own preprocess=, which is Python; "
            "expected a model card that says how a photo becomes the input"
        )
    if explainer.card is not None:
        tell_of_card(explainer.card)
    try:
        return framing_of(explainer.into, of_photo)
    except InvalidInputError as error:
        raise InvalidInputError(f"{option}: {error}") from None


def _drawing(explainer: Exportable, of_photo: bool) -> Drawing:
    method = explainer._settings.method
    return Drawing(
        per_location=method.per_location,
        signed=method.signed if method.signed or method.per_location else None,
        colours={signed: Colours(*paint_table(signed)) for signed in (False, True)},
        channel_axis=explainer.into.features.channel_axis,
        of_photo=of_photo,
    )
