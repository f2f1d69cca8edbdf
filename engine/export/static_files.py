"""Exported files with everything fixed beforehand: their lengths, and the points of a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_graphsurgeon as gs

from ... import InvalidInputError
from ...graph_passes import finish
from ...graph_passes.finish.static import static
from ...graph_passes.graph.dims import Dim, describe
from ...graph_passes.graph.limits import within
from ...graph_passes.methods.method import File, Points
from ...graph_passes.select.subject import Subject

if TYPE_CHECKING:
    from .exportable import Exportable

# Points, samples or windows at once: a batch of so many takes the memory of as many inputs, and a
# Loop that is written out as many times fewer nodes.
AT_ONCE = 16


def check_static(explainers: Sequence[Exportable], asked: Mapping[str, Any]) -> None:
    """Refuse what no static file can do.

    Args:
        explainers: of one file.
        asked: `static` and `calibrate` of `Explainer.export`.

    Raises:
        InvalidInputError: points that are chosen while it runs.
    """
    calibrate = asked["calibrate"] is not None
    if calibrate and not asked["static"]:
        raise InvalidInputError(
            "calibrate: for static=True (--static); other files choose their points as they run"
        )
    if not asked["static"]:
        return
    choosing = [one for one in explainers if one._default_plan.apart]
    if calibrate and not choosing:
        names = ", ".join(one.method for one in explainers)
        raise InvalidInputError(
            "calibrate: for integrated-gradients to a tolerance, whose points are chosen as it "
            f"runs; {names} as asked has none such (steps alone are a fixed rule: give a "
            "tolerance, too)"
        )
    if choosing and not calibrate:
        raise InvalidInputError(
            f"static: the points of {choosing[0].method} cannot be chosen while the file runs; "
            "give steps=N (--steps N) alone for a fixed rule, or calibrate=PHOTOS (--calibrate "
            "PHOTO)"
        )


def whole_static(explainer: Exportable, points: Points | None = None) -> onnx.ModelProto:
    """`Explainer.model` for a runtime without Loops."""
    sizes = [len(values) for values in explainer._baselines.values()]
    file = File(AT_ONCE, points)
    with within(explainer._limits):
        several = sizes[0] if explainer._several else 0
        return explainer._default_plan.contract_model(several, file=file)


def in_fixed_shapes(
    explainer: Exportable, model: onnx.ModelProto, photo: Sequence[int] | None = None
) -> onnx.ModelProto:
    """The file for inputs of one shape.

    photo: height and width of the photo that it takes in place of the explained input; or None.

    Raises:
        InvalidInputError: a length beside the batch's is open.
        UnsupportedModelError: something of it is decided while it runs.
    """
    known = {} if photo is None else {explainer.into.name: [*photo, 3]}
    shapes = dict(_shapes(explainer, model, known))
    with within(explainer._limits):
        return static(model, shapes)


def _shapes(
    explainer: Exportable, model: onnx.ModelProto, known: Mapping[str, Any]
) -> Iterator[tuple[str, list[int]]]:
    subject = explainer.subject
    baselines = _of_baselines(subject)
    known = {**baselines, **known}
    for tensor in gs.import_onnx(model).inputs:
        own = known.get(tensor.name, tensor.shape)
        if tensor.name in baselines and explainer._several:
            own = [len(next(iter(explainer._baselines.values()))), *baselines[tensor.name][1:]]
        lengths = [_length(dim, axis, subject) for axis, dim in enumerate(own or [None])]
        shape = [length for length in lengths if isinstance(length, int)]
        if len(shape) < len(lengths):
            raise InvalidInputError(
                f"static: {tensor.name!r} is {describe(own)}; give its lengths "
                f"(shapes={{{tensor.name!r}: [...]}}, --shape {tensor.name}=1,3,224,224; ? leaves "
                "the batch to be 1)"
            )
        yield tensor.name, shape


def _of_baselines(subject: Subject) -> Mapping[str, Any]:
    return {subject.name_of(finish.BASELINE, s): s.start.shape for s in subject.sources}


def _length(dim: Dim, axis: int, subject: Subject) -> Dim:
    """A number; of a batch that is open, 1."""
    if isinstance(dim, int):
        return dim
    return subject.rows_at_least if axis == 0 or (dim is not None and dim == subject.batch) else dim
