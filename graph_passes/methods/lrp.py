"""Layer-wise relevance propagation (Bach et al. 2015; Montavon et al. 2019)."""

from __future__ import annotations

import onnx

from ..backward.multipliers import decomposed
from ..backward.walk import Refusal, backward
from ..finish import working_copy
from ..heads.asking import ask, relevance_of, table_refusals
from ..heads.walks import Walk
from ..rules.relevance import RULES, Strengths, relevance_table
from ..rules.table import Table
from ..select.subject import Subject
from .method import Chosen, Method, Option, Stages
from .options import choice, real_number


def table_of(options: Chosen) -> Table:
    """The table that was chosen."""
    strengths = Strengths(options["epsilon"], options["gamma"], options["alpha"])
    return relevance_table(options["rule"], strengths)


def walk(options: Chosen) -> Walk:
    """The score shared out, for heads that walk at many points."""
    return Walk("LRP", table_of(options), shares_score=True)


def lrp(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """Relevance begins as the score at its logits, and ends at the input, in its shape.

    delta is what biases and the stabiliser took: sum(attribution) - score.

    Raises:
        UnsupportedModelError: an operator on the path without a rule.
    """
    asked = ask(decomposed(working_copy(subject)), table_of(options))
    subject, emit = asked.subject, asked.emit
    relevance = emit.term(subject.weighed) * asked.seed.weights
    rules, begin = asked.table.rules(emit), (subject.weighed, relevance)
    found = backward(emit, rules, [begin], subject.starts, "LRP", True)
    parts = [
        emit.filled_like(source.start, 0.0) if part is None else emit.Identity(part)
        for source, part in zip(subject.sources, found, strict=True)
    ]
    return relevance_of(asked, parts)


def stages(subject: Subject, options: Chosen) -> Stages:
    """One graph."""
    return Stages(lrp(subject, options))


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Every node that the table cannot pass."""
    return table_refusals(subject, table_of(options))


def _strength(name: str, help: str, default: float, positive: bool = False) -> Option:
    text = f"LRP: {help}  [default: {default:g}]"
    return Option(name, text, real_number(name, positive), default, kind=float, metavar="X")


METHODS = (
    Method(
        name="lrp",
        title="LRP",
        cite="Bach et al. 2015",
        summary="The score, shared out layer by layer in proportion to what each input added.",
        options=(
            choice(
                "rule",
                "LRP's rule for layers with weights; composite (the default): flat for the first, "
                "z-plus for convolutions, epsilon for dense ones.",
                RULES,
                "composite",
            ),
            _strength(
                "epsilon",
                "what keeps denominators from 0; of attention's products at least 1 %.",
                1e-6,
                positive=True,
            ),
            _strength("gamma", "how much stronger what goes the output's way is.", 0.25),
            _strength("alpha", "alpha-beta's alpha; beta is alpha - 1.", 2.0),
        ),
        stages=stages,
        unsupported=unsupported,
        place=40,
        sums_to="score, less what biases take",
        owes=False,
    ),
)
