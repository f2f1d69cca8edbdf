"""Targets that a file holds: a class, a place, the top class's mask, the strongest box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx

from ... import InvalidInputError
from ...graph_passes.finish.strongest import strongest_target
from ...graph_passes.graph.dims import describe
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.select.box_layout import Layout
from ...graph_passes.select.subject import BOX, OBJECTNESS
from ...models.shipped import demo_photos
from ..targets import detection
from ..targets.asking import one_wanted
from ..targets.boxes import layout_of
from ..targets.target import About, Index

if TYPE_CHECKING:
    from .exportable import Exportable


class Strongest(NamedTuple):
    """The strongest box of a class, or of all, which the file finds itself.

    Attributes:
        label: the number of the class; None: of all.
        text: what an explainer is asked for the same.
    """

    label: int | None
    text: str


Held = Index | Strongest


def held_target(target: Any, explainer: Exportable) -> Held:
    """The class, -1 for the best, the index tuple or the strongest box that is for every input.

    Raises:
        InvalidInputError: it is none of these: no graph finds it, or it is several scores.
    """
    about = explainer.about
    wanted = one_wanted(target, about)
    found = wanted.value
    if isinstance(found, detection.Strongest) and found.place == 1:
        return _strongest(found.label, about)
    # No subclass: a rank, which each answer has another class for, is a tuple, too.
    if type(found) is tuple and about.subject.per_class:
        # The file's target is a class then, which this is the place of.
        return found[(about.subject.class_axis or 1) - 1]
    if type(found) is int or type(found) is tuple:
        return found
    holds = "top1, a class or an index tuple"
    if about.subject.detector is not None:
        holds = (
            'the strongest box of all or of one class ("box1", "person"), or one score by its '
            "place (index:4,20)"
        )
    elif about.subject.by_index:
        holds = "one score of it by its place (index:4,20), which is the same for every input"
    raise InvalidInputError(f"target {target!r}: an exported file can hold {holds}")


def _strongest(label: int | None, about: About) -> Strongest:
    if about.subject.part == BOX:
        raise InvalidInputError(
            f"score {BOX!r}: four scores of a box, of which an exported file can hold one; name it "
            "by its place (index:4,20)"
        )
    return Strongest(label, "box1" if label is None else str(label))


def with_strongest(
    explainer: Exportable, model: onnx.ModelProto, chosen: Strongest
) -> onnx.ModelProto:
    """The model that chooses the strongest box itself; see `strongest_target`.

    Raises:
        InvalidInputError: its head cannot be read without an answer, or has no such class.
    """
    subject, layout = explainer.subject, _layout(explainer)
    if layout.labels is None and chosen.label is not None and chosen.label >= len(layout.classes):
        raise InvalidInputError(
            f"target {chosen.label} is out of range: expected 0..{len(layout.classes) - 1}"
        )
    column = None
    if subject.part == OBJECTNESS:
        column = layout.objectness
        if column is None or column >= layout.beside:
            raise InvalidInputError(
                f"score {OBJECTNESS!r}: expected an objectness beside the scores in the output "
                f"{subject.output.name!r}, which holds none; --score class explains the class"
            )
    return strongest_target(model, subject, layout, chosen.label, column)


def _layout(explainer: Exportable) -> Layout:
    """How the head is read: as its answers to two pictures tell it, which must tell the same.

    Raises:
        InvalidInputError: the input's size is open, or they do not.
    """
    source = explainer.subject.sources[0]
    lengths = [explainer.subject.rows_at_least, *list(source.input.shape or [])[1:]]
    if not all(isinstance(length, int) for length in lengths):
        raise InvalidInputError(
            f"target: the boxes of a detector are found in inputs of one size, and "
            f"{source.input.name!r} is {describe(source.input.shape)}; give its lengths "
            f"(--shape {source.input.name}=1,3,640,640)"
        )
    found = [
        layout_of(explainer.about, explainer._scorer.answers(x).of(0))
        for x in _pictures(explainer, lengths)
    ]
    if not found[0].same_as(found[1]):
        raise InvalidInputError(
            "target: what the model's numbers are is told by each answer alone; an exported file "
            "can hold one score of it by its place (index:4,20)"
        )
    return found[0]


def _pictures(explainer: Exportable, lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """The photos that ship, as the card has them; without one, noise of two kinds."""
    random = np.random.default_rng(0)
    noise = [random.normal(size=lengths), random.random(lengths)]
    for photo, other in zip(demo_photos(), noise, strict=True):
        try:
            x = explainer.preprocess(str(photo))
        except InvalidInputError:
            x = other.astype(numpy_type(explainer.subject.input.dtype))
        yield np.repeat(x, lengths[0] // len(x), axis=0)
