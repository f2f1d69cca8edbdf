"""Files explained in Python: how they become the input, one by one or one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.select.subject import Subject
from ...models.plain_card import Card
from ..explanation.explanation import Explanation
from ..inputs import Input, default_name, files_in, inputs_of, kind_of_arrays, read_input
from ..inputs.kind import ModelInput
from ..running.adaptive import Progress
from ..targets.asking import moved
from ..targets.similarity import Reference
from ..targets.target import About
from .baselines import in_arrays, is_of_photos

if TYPE_CHECKING:
    from ..pictures.heatmap import Picture

logger = logging.getLogger("onnxplain")
OnError = Callable[[str, OnnxplainError], None]
# PIL image -> array as the model takes it, with or without the batch axis.
Preprocess = Callable[[Any], Any]


class OfPhotos:
    """What an explainer does with photos and other files."""

    card: Card | None
    subject: Subject
    _preprocess: Preprocess | None
    _named_baseline: Any
    _compares: bool
    _labels: Sequence[str] | None
    __call__: Callable[..., Explanation]
    reference: Callable[..., Reference]

    @property
    def _folder(self) -> str | None:
        """Where the model lies; None: it was given as bytes."""
        raise NotImplementedError

    @cached_property
    def into(self) -> ModelInput:
        """What the model takes at the explained input, or the first of them."""
        return inputs_of(self.subject, self.card, self._folder)

    def explain(
        self, photo: Any, target: Any = None, *, baseline: Any = None, versus: Any = None
    ) -> Explanation:
        """Explain one photo or array, as the card or `preprocess` says it becomes the input.

        Args:
            photo: a path, the bytes of a file, a file object, a PIL image, or an array uint8
                [H, W, 3] (RGB) or [H, W]. A `.npy` file, or an `.npz` file with one array, is as
                the model takes it, with or without the batch axis; so is an array, where the model
                takes no image.
            target: as in calling the explainer.
            baseline: as in calling it; "mean" and "blur" are of this photo.
            versus: in place of a target what the photo's embedding is compared with: another photo,
                a vector of floats, or a `.npy` file of one. The score is the cosine similarity.

        Returns:
            An explanation whose `picture()` is drawn on the photo.

        Raises:
            InvalidInputError: no card is known, or the photo cannot be read.

        Examples:
            >>> e = onnxplain.Explainer("model.onnx").explain("cat.jpg")  # doctest: +SKIP
            >>> e.label, e.probability  # doctest: +SKIP
            ('tabby', 0.93)
        """
        if versus is not None:
            if target is not None:
                raise InvalidInputError("a photo is explained for a target or versus another")
            target = self.reference(versus)
        found = read_input(photo, self.into)
        if found.damage is not None:
            where = found.name or "(bytes)"
            logger.warning(f"image {where}: {found.damage}; explained as far as it goes")
        x, view = self._input_of(found)
        chosen = self._named_baseline if baseline is None else baseline
        about = About(self.subject, self._labels)
        own = moved(target, about, found.box_in_input) if view is not None else target
        e = self(x, own, baseline=self._in_arrays(chosen, found))
        assert e.origin is not None
        known = {"image": found.name, "view": view, "damage": found.damage, "explainer": self}
        if view is not None:
            known |= {"kind": found.kind, "in_photo": found.pixel_in_thing()}
        return replace(e, origin=replace(e.origin, **known))

    def preprocess(self, photo: Any) -> np.ndarray:
        """What `explain` makes of a photo: the model's input, [1, ...].

        Examples:
            >>> explainer.preprocess("seven.png").shape
            (1, 8, 8, 1)
        """
        return self._input_of(read_input(photo, self.into))[0]

    def images(
        self,
        paths: Any,
        target: Any = None,
        *,
        baseline: Any = None,
        progress: Progress | None = None,
        on_error: OnError | None = None,
    ) -> Iterator[Explanation]:
        """Explain files one after the other, as the model card says they become the input.

        Args:
            paths: files and folders, one or several.
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
        several: Sequence[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        found = files_in([os.fspath(path) for path in several])
        for place, path in enumerate(found):
            try:
                yield self.explain(path, target, baseline=baseline)
            except OnnxplainError as error:
                if on_error is None:
                    raise
                on_error(path, error)
            if progress is not None:
                progress(place + 1, len(found))

    def _in_arrays(self, baseline: Any, of: Input | None = None) -> Any:
        """A baseline without names, which are the kind's of the input; see `in_arrays`."""
        into = replace(self.into, card=None) if self._preprocess else self.into
        return in_arrays(baseline, into, of)

    def _known_baseline(self, baseline: Any) -> tuple[Any, Any]:
        """A baseline without names, or None; and, of each photo, the names that it goes by."""
        if not self._compares:
            return None, None
        if baseline is None:
            baseline = default_name(self.subject, self.into)
        if not is_of_photos(baseline):
            return self._in_arrays(baseline), None
        # Wrong names beside it are to be told now.
        self._in_arrays(baseline, read_input(np.zeros((8, 8, 3), np.uint8), self.into))
        return None, baseline

    def _input_of(self, found: Input) -> tuple[np.ndarray, Picture | None]:
        """The model's input, and what maps of it are drawn over; None: nobody knows."""
        if self._preprocess is None or found.kind is kind_of_arrays(self.into):
            return found.tensor(), found.view()
        x, shape = np.asarray(self._preprocess(found.thing)), self.subject.input.shape
        alone = shape is not None and x.ndim + 1 == len(shape)
        return (x[None] if alone else x), None
