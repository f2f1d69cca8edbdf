"""AttnLRP and CP-LRP: relevance through transformers (Achtibat et al. 2024; Ali et al. 2022)."""

from __future__ import annotations

from itertools import chain

import onnx

from ..backward.walk import Refusal, in_steps_only, refusals
from ..finish import ATTRIBUTION, BASELINE_SCORE, working_copy
from ..graph.reach import find_reach
from ..heads.asking import ask, delta_of, per_token, walk_back
from ..rules.attention_relevance import RULES, attention_table
from ..rules.table import Table
from ..select.subject import Subject
from .method import Chosen, Method, Stages
from .options import choice


def table_of(subject: Subject, options: Chosen) -> Table:
    """The table that was chosen, for a subject's own way from input to score."""
    return attention_table(options["rule"], subject.starts, subject.logits)


def attn_lrp(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """x times what the table's walk brings to it, in its shape; one for each token of ids.

    delta is what biases and Softmax take: sum(attribution) - score.

    Raises:
        UnsupportedModelError: an operator on the path without a rule.
    """
    asked = ask(working_copy(subject), table_of(subject, options))
    subject, emit, outputs = asked.subject, asked.emit, {}
    slopes = walk_back(asked, subject.starts, "AttnLRP")
    for source, slope in zip(subject.sources, slopes, strict=True):
        slope = emit.filled_like(source.start, 0.0) if slope is None else slope
        part = emit.term(slope) * source.start
        part.shape = source.start.shape
        outputs[subject.name_of(ATTRIBUTION, source)] = per_token(emit, source, part)
    nothing = asked.score * 0.0
    parts, apart = list(outputs.values()), subject.coupled is None
    outputs["delta"] = delta_of(emit, parts, asked.score, nothing, apart)
    outputs[BASELINE_SCORE] = nothing
    return asked.finished(outputs)


def stages(subject: Subject, options: Chosen) -> Stages:
    """One graph."""
    return Stages(attn_lrp(subject, options))


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """Every node that the table cannot pass."""
    table, ends = table_of(subject, options), [subject.logits]
    path = find_reach(subject.graph, subject.starts, ends)
    found = refusals(path, table.rules(table.emitter(subject.graph)))
    steps = (in_steps_only(path, start, ends) for start in subject.starts)
    return [*found, *dict.fromkeys(chain.from_iterable(steps))]


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
