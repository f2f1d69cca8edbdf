"""Photos explained in Python: how they become the input, one by one or one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import InvalidInputError, OnnxplainError
from ..models.card import ModelCard
from .baselines import in_arrays, is_of_photos
from .explanation import Explanation
from .inputs.decoding import damage_of
from .inputs.image import image_files, image_of_array, image_to_tensor, read_photo
from .running.adaptive import Progress

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger("onnxplain")
OnError = Callable[[str, OnnxplainError], None]
# PIL image -> array as the model takes it, with or without the batch axis.
Preprocess = Callable[[Any], Any]


class OfPhotos:
    """What an explainer does with photos."""

    card: ModelCard | None
    _preprocess: Preprocess | None
    _rank: int | None
    _named_baseline: Any
    __call__: Callable[..., Explanation]

    def explain(self, photo: Any, target: Any = None, *, baseline: Any = None) -> Explanation:
        """Explain one photo, as the card or `preprocess` says it becomes the input.

        Args:
            photo: a path, the bytes of a file, a file object, a PIL image, or an array uint8
                [H, W, 3] (RGB) or [H, W].
            target: as in calling the explainer.
            baseline: as in calling it; "mean" and "blur" are of this photo.

        Returns:
            An explanation whose `picture()` is drawn on the photo.

        Raises:
            InvalidInputError: no card is known, or the photo cannot be read.

        Examples:
            >>> e = onnxplain.Explainer("model.onnx").explain("cat.jpg")  # doctest: +SKIP
            >>> e.label, e.probability  # doctest: +SKIP
            ('tabby', 0.93)
        """
        image, name = read_photo(photo)
        damage = damage_of(image)
        if damage is not None:
            logger.warning(f"image {name or '(bytes)'}: {damage}; explained as far as it goes")
        x, view = self._input_of(image)
        chosen = self._named_baseline if baseline is None else baseline
        e = self(x, target, baseline=self._in_arrays(chosen, image))
        assert e.origin is not None
        about = {"image": name, "view": view, "damage": damage, "explainer": self}
        return replace(e, origin=replace(e.origin, **about))

    def preprocess(self, photo: Any) -> np.ndarray:
        """What `explain` makes of a photo: the model's input, [1, ...].

        Examples:
            >>> explainer.preprocess("seven.png").shape
            (1, 8, 8, 1)
        """
        return self._input_of(read_photo(photo)[0])[0]

    def images(
        self,
        paths: Any,
        target: Any = None,
        *,
        baseline: Any = None,
        progress: Progress | None = None,
        on_error: OnError | None = None,
    ) -> Iterator[Explanation]:
        """Explain image files one after the other, as the model card says they become the input.

        Args:
            paths: image files and folders, one or several.
            target: as in calling the explainer.
            baseline: as for `explain`.
            progress: called with (images done, images in all).
            on_error: called with an image's path and what is wrong with it; None raises it.

        Yields:
            An explanation for each image; its `picture()` is drawn on the photo.

        Raises:
            InvalidInputError: no card is known, or an image cannot be read and there is no
                `on_error`.

        Examples:
            >>> for e in explainer.images(["seven.png", "three.png"]):
            ...     print(e.image, e.label)
            seven.png seven
            three.png three
        """
        if self._preprocess is None:
            self._known_card()
        several: Sequence[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        found = image_files([os.fspath(path) for path in several])
        for place, path in enumerate(found):
            try:
                yield self.explain(path, target, baseline=baseline)
            except OnnxplainError as error:
                if on_error is None:
                    raise
                on_error(path, error)
            if progress is not None:
                progress(place + 1, len(found))

    def _in_arrays(self, baseline: Any, image: Any = None) -> Any:
        """A baseline without names, which are the card's; see `in_arrays`."""
        return in_arrays(baseline, None if self._preprocess else self.card, image)

    def _known_baseline(self, baseline: Any) -> tuple[Any, Any]:
        """A baseline without names, or None; and, of each photo, the names that it goes by."""
        if not is_of_photos(baseline):
            return self._in_arrays(baseline), None
        self._in_arrays(baseline, image_of_array(np.zeros((8, 8, 3), np.uint8), ""))
        return None, baseline

    def _known_card(self) -> ModelCard:
        if self.card is None:
            raise InvalidInputError(
                "no model card says how a picture becomes the input; give card= or preprocess="
            )
        return self.card

    def _input_of(self, image: Image.Image) -> tuple[np.ndarray, Image.Image | None]:
        """The model's input, and what it shows of the photo; None: nobody knows."""
        if self._preprocess is None:
            return image_to_tensor(image, self._known_card())
        x = np.asarray(self._preprocess(image))
        return (x[None] if x.ndim + 1 == self._rank else x), None
