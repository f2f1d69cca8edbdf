"""Guided Grad-CAM: guided backpropagation, where Grad-CAM's map says that it matters.

Selvaraju et al. 2017, section 3.2.
"""

from __future__ import annotations

import onnx

from ... import InvalidInputError
from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, working_copy
from ..heads.asking import ask, gradient_refusals, walk_back
from ..rules.rectifiers import GUIDED
from ..select.subject import Subject
from .grad_cam import GRAD_CAM, cam_of, feature_maps
from .method import OF_A_CHANGE, Chosen, Method, Stages
from .options import LAYER

_TITLE = "Guided Grad-CAM"


def guided_grad_cam(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """attribution = guided backpropagation x Grad-CAM's map at the input's size, in x's shape.

    Raises:
        InvalidInputError: the input's spatial axes are not known.
        UnsupportedModelError: no feature map, or an operator without a rule.
    """
    subject = working_copy(subject)
    found = feature_maps(subject, options)
    picture = found[0].picture
    if picture is None:
        raise InvalidInputError(f"{_TITLE} needs an input whose spatial axes are known")
    asked = ask(subject)
    emit, start = asked.emit, subject.start
    places = cam_of(asked, found, GRAD_CAM)
    (slope,) = walk_back(asked._replace(table=GUIDED), [start], _TITLE)
    slope = emit.filled_like(start, 0.0) if slope is None else slope
    others = [axis for axis in range(1, len(start.shape)) if axis not in picture]
    attribution = slope * (emit.Unsqueeze(places, others) if others else places)
    attribution.shape = start.shape
    return asked.finished({ATTRIBUTION: attribution})


def stages(subject: Subject, options: Chosen) -> Stages:
    """One graph."""
    return Stages(guided_grad_cam(subject, options))


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Operators on the path without a gradient."""
    feature_maps(subject, options)
    return gradient_refusals(subject, subject.starts)


METHODS = (
    Method(
        name="guided-grad-cam",
        sign=OF_A_CHANGE,
        title=_TITLE,
        cite="Selvaraju et al. 2017",
        summary="Guided backpropagation where Grad-CAM's map says that it matters.",
        options=(LAYER,),
        stages=stages,
        unsupported=unsupported,
        place=20,
        feature_maps=feature_maps,
    ),
)
