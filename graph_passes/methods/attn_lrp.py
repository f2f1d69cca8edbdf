"""AttnLRP and CP-LRP: relevance through transformers (Achtibat et al. 2024; Ali et al. 2022)."""

from __future__ import annotations

import onnx

from ..backward.walk import Refusal
from ..finish import working_copy
from ..heads.asking import ask, relevance_of, table_refusals, walk_back
from ..rules.attention_relevance import RULES, attention_table
from ..rules.table import Table
from ..select.subject import Subject
from .method import Chosen, Method, Stages
from .options import choice


def table_of(subject: Subject, options: Chosen) -> Table:
    """The table that was chosen, for a subject's own way from input to score."""
    return attention_table(options["rule"], subject.starts, subject.weighed)


def attn_lrp(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """x times what the table's walk brings to it, in its shape; one for each token of ids.

    delta is what biases and Softmax take: sum(attribution) - score.

    Raises:
        UnsupportedModelError: an operator on the path without a rule.
    """
    asked = ask(working_copy(subject), table_of(subject, options))
    emit = asked.emit
    parts = []
    slopes = walk_back(asked, asked.subject.starts, "AttnLRP")
    for start, slope in zip(asked.subject.starts, slopes, strict=True):
        slope = emit.filled_like(start, 0.0) if slope is None else slope
        parts.append(emit.term(slope) * start)
    return relevance_of(asked, parts)


def stages(subject: Subject, options: Chosen) -> Stages:
    """One graph."""
    return Stages(attn_lrp(subject, options))


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Every node that the table cannot pass."""
    return table_refusals(subject, table_of(subject, options))


METHODS = (
    Method(
        name="attn-lrp",
        title="AttnLRP",
        cite="Achtibat et al. 2024",
        summary="Relevance through attention, gates and normalisations, to each input element.",
        options=(
            choice(
                "rule",
                "attn (the default): relevance also goes through attention's queries and keys; "
                "cp: through its values alone.",
                RULES,
                "attn",
            ),
        ),
        stages=stages,
        unsupported=unsupported,
        place=22,
        sums_to="score, less what biases and Softmax take",
        owes=False,
        aliases=("attention-lrp",),
    ),
)
