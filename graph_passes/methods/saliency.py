"""The gradient itself, and what other tables make of it: one walk back from the score.

Saliency (Simonyan, Vedaldi, Zisserman 2014), input x gradient (Shrikumar et al. 2016), guided
backpropagation (Springenberg et al. 2015) and the deconvnet (Zeiler, Fergus 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, working_copy
from ..graph.emitter import Emitter
from ..graph.terms import Term
from ..heads.asking import ask, gradient_refusals, per_token, walk_back
from ..rules.rectifiers import DECONVNET, GUIDED
from ..rules.table import GRADIENT, Table
from ..select.subject import Subject
from .method import OF_A_CHANGE, Chosen, Method, Option, Stages
from .options import yes_or_no

# (emit, the slope, the input) -> the attribution.
Made = Callable[[Emitter, Any, gs.Tensor], Term]


def slope_head(subject: Subject, table: Table, title: str, made: Made) -> onnx.ModelProto:
    """What a table's walk brings to each explained input, and what is made of it.

    Raises:
        UnsupportedModelError: an operator on the path without a rule.
    """
    asked = ask(working_copy(subject), table)
    emit, outputs = asked.emit, {}
    slopes = walk_back(asked, asked.subject.starts, title)
    for source, slope in zip(asked.subject.sources, slopes, strict=True):
        start = source.start
        slope = emit.filled_like(start, 0.0) if slope is None else slope
        attribution = made(emit, slope, start)
        attribution.shape = start.shape
        outputs[asked.subject.name_of(ATTRIBUTION, source)] = per_token(emit, source, attribution)
    return asked.finished(outputs)


def magnitude(emit: Emitter, slope: Term, start: gs.Tensor) -> Term:
    """|d score / dx|."""
    del start
    return abs(slope)


def itself(emit: Emitter, slope: Term, start: gs.Tensor) -> Term:
    """d score / dx."""
    del start
    return emit.Identity(slope)


def times_input(emit: Emitter, slope: Term, start: gs.Tensor) -> Term:
    """x d score / dx."""
    return slope * start


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Operators on the path without a gradient."""
    del options
    return gradient_refusals(subject, subject.starts)


def _method(name: str, title: str, table: Table, made: Made, **more: Any) -> Method:
    def stages(subject: Subject, options: Chosen) -> Stages:
        return Stages(slope_head(subject, table, title, made))

    more = {"options": (), "stages": stages, "place": 10, **more}
    return Method(name=name, title=title, unsupported=unsupported, **more)


def _saliency(subject: Subject, options: Chosen) -> Stages:
    made = itself if options["signed"] else magnitude
    return Stages(slope_head(subject, GRADIENT, "Saliency", made))


METHODS = (
    _method(
        "saliency",
        "Saliency",
        GRADIENT,
        magnitude,
        cite="Simonyan, Vedaldi, Zisserman 2014",
        summary="How much each element of the input could move the score: |gradient|.",
        options=(
            Option(
                "signed",
                "Saliency: the gradient with its sign.",
                yes_or_no("signed"),
                default=False,
                kind=bool,
            ),
        ),
        stages=_saliency,
        signed=False,
        sign=OF_A_CHANGE,
    ),
    _method(
        "input-x-gradient",
        "Input x Gradient",
        GRADIENT,
        times_input,
        cite="Shrikumar et al. 2016",
        summary="The input times the score's gradient.",
    ),
    _method(
        "guided-backprop",
        "Guided Backpropagation",
        GUIDED,
        itself,
        cite="Springenberg et al. 2015",
        summary="The gradient, of which rectifiers let only what is positive pass.",
        sign=OF_A_CHANGE,
    ),
    _method(
        "deconvnet",
        "Deconvnet",
        DECONVNET,
        itself,
        cite="Zeiler, Fergus 2014",
        summary="The gradient, with rectifiers that look at what comes back alone.",
        sign=OF_A_CHANGE,
    ),
)
