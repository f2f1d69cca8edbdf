"""DeepLIFT: differences from a baseline, shared out so that they sum to the score's.

Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation
Differences (2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..backward.ledger import Ledger
from ..backward.multipliers import decomposed
from ..backward.walk import Refusal
from ..finish import (
    ATTRIBUTION,
    BASELINE,
    BASELINE_SCORE,
    finish,
    working_copy,
)
from ..finish.split import split
from ..graph.names import RESERVED
from ..graph.tensors import numpy_type
from ..heads.asking import (
    WEIGHTS,
    WHICH,
    Asked,
    add_baseline_input,
    add_set_input,
    added_up,
    ask,
    delta_of,
    per_token,
    table_refusals,
    walk_back,
)
from ..heads.loop import looped, with_delta
from ..heads.walks import Walk, times_difference
from ..rules.deeplift import RESCALE
from ..rules.reveal_cancel import REVEAL_CANCEL
from ..rules.table import Table
from ..select.score import score_of
from ..select.subject import Subject
from .method import Chosen, Method, Repeated, Stages
from .options import BASELINE as BASELINE_OPTION
from .options import choice

# The output that a ledger adds: what each node lost, float64 [nodes].
LOSSES = f"{RESERVED}losses"
# How the paper's two rules for nonlinearities are followed.
RULES = {table.name: table for table in (RESCALE, REVEAL_CANCEL)}
# Nodes of a model whose activations at the baseline are handed over from a graph of their own: of
# 20,000, two graphs with 40,000 tensors between them load in 38 s, where one takes 12 s.
_MOST_SPLIT = 4000


def deeplift(
    subject: Subject,
    table: Table = RESCALE,
    ledger: Ledger | None = None,
    whole_baseline: bool = False,
) -> onnx.ModelProto:
    """attribution = m_x (x - x'), m by one of `RULES`; sums to score(x) - score(x').

    Args:
        subject: what is explained.
        table: one of `RULES`.
        ledger: notes what each node loses, if given.
        whole_baseline: expect the baseline in the input's own shape. Then the baseline's
            activations depend on nothing else, and `split` can take them out of the model.

    Returns:
        A model with the further inputs of targets and, for each explained input, `baseline`
        (broadcastable to it), and the outputs `attribution` (its shape), `delta` and both
        scores; and, with a ledger, what each of its nodes lost.

    Raises:
        UnsupportedModelError: an operator on the path without a DeepLIFT rule.
    """
    table = table if ledger is None else ledger.watching(table)
    asked = ask(decomposed(working_copy(subject)), table)
    subject, emit = asked.subject, asked.emit
    baselines = [
        add_baseline_input(emit, subject, source, whole_baseline) for source in subject.sources
    ]
    outputs, baseline_score = _shared_out(asked, baselines, whole_baseline)
    parts, apart = list(outputs.values()), subject.coupled is None
    outputs["delta"] = delta_of(emit, parts, asked.score, baseline_score, apart)
    outputs[BASELINE_SCORE] = baseline_score
    if ledger is not None:
        outputs[LOSSES] = ledger.losses(emit)
    return asked.finished(outputs)


def one_of_a_set(subject: Subject, table: Table) -> onnx.ModelProto:
    """A model of (input, targets, a set of baselines, which [1], weights [1], totals).

    DeepSHAP (Lundberg, Lee 2017, section 4.2): DeepLIFT averaged over baselines, of which this adds
    one to the totals of attribution and baseline score.

    Raises:
        UnsupportedModelError: an operator on the path without a DeepLIFT rule.
    """
    asked = ask(decomposed(working_copy(subject)), table)
    subject, emit = asked.subject, asked.emit
    which = gs.Variable(WHICH, dtype=np.dtype(np.int64), shape=[1])
    baselines = [
        emit.expand_like(
            emit.Gather(add_set_input(emit, subject, source), which, axis=0), source.start
        )
        for source in subject.sources
    ]
    emit.graph.inputs.append(which)
    weights = emit.input(WEIGHTS, subject.start.dtype, [1])
    parts, score = _shared_out(asked, baselines, False)
    parts[BASELINE_SCORE] = score
    for name, part in parts.items():
        shape = part.shape
        parts[name] = part * emit.cast_like(weights, part)
        parts[name].shape = ["?"] if name == BASELINE_SCORE else shape
    return finish(emit.graph, added_up(emit, parts), own_outputs=False)


def _shared_out(
    asked: Asked, baselines: Sequence[gs.Tensor], shapes: bool
) -> tuple[dict[str, gs.Tensor], gs.Tensor]:
    """The attributions of each explained input, in its shape, and the baseline's score [N]."""
    subject, emit = asked.subject, asked.emit
    pairs = list(zip(subject.starts, baselines, strict=True))
    emit.add_twins(pairs, [subject.weighed], shapes, subject.held)
    baseline_score = score_of(emit, emit.twin(subject.weighed), asked.seed.weights)
    multipliers = walk_back(asked, subject.starts, "DeepLIFT")
    outputs = {}
    for source, baseline, multiplier in zip(subject.sources, baselines, multipliers, strict=True):
        difference = emit.term(source.start) - baseline
        attribution = (0.0 if multiplier is None else multiplier) * difference
        attribution.shape = source.start.shape
        part = per_token(emit, source, attribution)
        part.shape = source.start.shape[: len(source.start.shape) - source.embedded]
        outputs[subject.name_of(ATTRIBUTION, source)] = part
    return outputs, baseline_score


def unsupported(subject: Subject, options: Chosen) -> Sequence[Refusal]:
    """Every node that the rule's table cannot pass."""
    return table_refusals(subject, RULES[options["rule"]])


def stages(subject: Subject, options: Chosen) -> Stages:
    """What depends on the baseline alone, where that pays, and the rest."""
    table = RULES[options["rule"]]
    if options.get("several"):
        chunk = one_of_a_set(subject, table)
        return Stages(
            ask(working_copy(subject)).finished({}),
            along=Repeated(chunk, partial(_rows, subject), None),
        )
    long = len(subject.graph.nodes) > _MOST_SPLIT
    if long or not all(source.straight for source in subject.sources):
        return Stages(deeplift(subject, table))
    whole = deeplift(subject, table, whole_baseline=True)
    baselines = {subject.name_of(BASELINE, source) for source in subject.sources}
    of_the_baseline, explain = split(whole, {v.name for v in whole.graph.input} - baselines)
    # Nothing does where the input first meets another one, a state say.
    return Stages(explain, of_the_baseline if of_the_baseline.graph.output else None)


def whole(subject: Subject, options: Chosen) -> onnx.ModelProto:
    """One graph of (input, targets, baseline), with a Loop over a set of baselines."""
    table = RULES[options["rule"]]
    if not options.get("several"):
        return deeplift(subject, table)
    sizes = {subject.name_of(ATTRIBUTION, s): s.input.name for s in subject.sources}
    rows = rows_of_set(options["set_size"], numpy_type(subject.start.dtype))
    first = ask(working_copy(subject)).finished({})
    model = looped(first, one_of_a_set(subject, table), rows, sizes)
    return with_delta(model, list(sizes), subject.coupled is None)


def rows_of_set(count: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Each baseline once, with its weight."""
    return {WHICH: np.arange(count)[:, None], WEIGHTS: np.full((count, 1), 1 / count, dtype)}


def _rows(subject: Subject, size: int, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    del size
    baseline = feeds[subject.name_of(BASELINE, subject.sources[0])]
    return rows_of_set(len(baseline), baseline.dtype)


def walk(options: Chosen) -> Walk:
    """m (x - x'), for heads that walk at many points."""
    return Walk("DeepLIFT", RULES[options["rule"]], times_difference)


def facts(options: Chosen) -> dict[str, Any]:
    """The rule."""
    return {"rule": options["rule"]}


METHODS = (
    Method(
        name="deeplift",
        title="DeepLIFT",
        cite="Shrikumar, Greenside, Kundaje 2017",
        summary="How each element's difference from a baseline makes the score's.",
        options=(
            BASELINE_OPTION,
            choice("rule", "DeepLIFT's rule for nonlinearities.", tuple(RULES), "rescale"),
        ),
        stages=stages,
        whole=whole,
        unsupported=unsupported,
        place=3,
        default=True,
        sums_to="score - baseline score",
        at_once=1,
        baselines="maybe",
        facts=facts,
    ),
)
