"""Which node loses how much of DeepLIFT's sum: for whoever writes or doubts a rule."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ... import InvalidInputError
from ...graph_passes import finish
from ...graph_passes.backward.ledger import Ledger
from ...graph_passes.graph.tensors import operator_name
from ...graph_passes.methods.deeplift import LOSSES, RULES, deeplift
from ...graph_passes.select.subject import select
from ...models.text import counted, shown
from ...models.variants import Shapes
from ..checking.checks import check_baseline, check_inputs
from ..explaining.baselines import black_of, checked_baselines, tell_of_zeros
from ..explaining.scores import answering
from ..inputs import decided, input_of_path, inputs_of
from ..inspection import card_or_assumption
from ..model import Model, opened
from ..running.session import open_session, run_small
from ..targets.asking import asked_for
from ..targets.target import About, Answers, fed


@dataclass(frozen=True)
class NodeDelta:
    """What one node of the prepared graph keeps of the sum that it should pass on.

    Attributes:
        node: its name; composite operators have been written as simple ones.
        operator: its operator.
        loss: sum(m_y dy) over its outputs less sum(m_x dx) over its varying inputs, all in float64.
        relative: loss / |score - baseline score|.
    """

    node: str
    operator: str
    loss: float
    relative: float


def trace_delta(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Model,
    x: Any,
    target: Any = None,
    baseline: Any = None,
    *,
    rule: str = "rescale",
    output: str | None = None,
    providers: str | Sequence[str] | None = None,
    threads: int | None = None,
) -> list[NodeDelta]:
    """Run DeepLIFT on x and say what each node between input and score loses, worst first.

    The losses add up to -delta, but for rounding: `total_loss`. Where x holds several inputs, they
    are summed over all of them.

    Args:
        model: path, bytes or onnx.ModelProto.
        x: array [N, ...] as the model takes it, or {input name: array}.
        target: as `Explainer` takes it.
        baseline: as `Explainer` takes it.
        rule: "rescale" or "reveal-cancel".
        output: name of the output to explain; None takes the card's, or finds it.
        providers: as `Explainer` takes them.
        threads: threads inside one operator; None lets ONNX Runtime choose.

    Raises:
        UnsupportedModelError: the model is unreadable, or cannot be explained by DeepLIFT.
        InvalidInputError: what was handed in does not fit the model.
    """
    if rule not in RULES:
        raise InvalidInputError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
    file = opened(model)
    card = file.card
    wanted = output or (card.output if card else None)
    file = file.with_output(wanted)
    subject = decided(select(file.graph(), output=wanted), card)
    feeds = check_inputs(subject, x)
    source = feeds[subject.input.name]
    about, rows = About(subject, card and card.labels), len(source) if source.ndim else 1
    asked = asked_for(target, about, rows)
    answer = open_session(answering(subject), providers, threads).run(feeds)
    answers = Answers(answer[finish.DECIDED], answer, source.shape[1:], run_small)
    targets = asked.answered(len(asked), answers)
    if baseline is None and card is None:
        tell_of_zeros()
    named = {"baseline": subject.input.name}
    chosen = checked_baselines(subject, card, named, baseline)["baseline"]
    own = {"baseline": check_baseline(subject.sources[0], chosen, source)}
    feeds |= own | fed(subject, targets)
    ledger = Ledger()
    traced = deeplift(subject, RULES[rule], ledger)
    results = open_session(traced, providers, threads).run(feeds)
    gap = abs(np.float64(np.sum(results[finish.SCORE] - results[finish.BASELINE_SCORE])))
    named = [(node.name or "", operator_name(node)) for node in ledger.nodes]
    found = [
        NodeDelta(name, operator, float(loss), float(loss / gap) if gap else float("nan"))
        for (name, operator), loss in zip(named, results[LOSSES], strict=True)
    ]
    return sorted(found, key=_worst_first)


def _worst_first(node: NodeDelta) -> float:
    """Of a node's loss; a NaN is the worst of all."""
    return -abs(node.loss) if np.isfinite(node.loss) else -np.inf


def total_loss(found: Sequence[NodeDelta]) -> float:
    """What all nodes lose together, which is -delta but for rounding."""
    return float(np.sum([node.loss for node in found]))


def trace_image(
    model: str | os.PathLike[str],
    image: str | os.PathLike[str],
    *,
    card_file: str | os.PathLike[str] | None = None,
    output: str | None = None,
    shapes: Shapes | None = None,
) -> list[NodeDelta]:
    """`trace_delta` of an image file's top class, as `explain` would run it.

    Raises:
        InvalidInputError: the image cannot be read, or the model takes none.
        UnsupportedModelError: the model is unreadable, or cannot be explained by DeepLIFT.
    """
    file = opened(model, shapes)
    card, _ = card_or_assumption(file, card_file)
    wanted = output if output is not None else card.output if card is not None else None
    subject = decided(select(file.with_output(wanted).graph(), output=wanted), card)
    into = inputs_of(subject, card, file.folder)
    tensor = input_of_path(os.fspath(image), into).tensor()
    return trace_delta(file, tensor, baseline=black_of(card), output=wanted)


def trace_rows(found: Sequence[NodeDelta], most: int = 10) -> list[tuple[str, str]]:
    """The worst nodes and the total as (what, text) rows for people to read."""
    scale = next((n.relative / n.loss for n in found if n.loss and np.isfinite(n.loss)), 0.0)
    total = total_loss(found)
    rows = [
        (
            "lost of the sum",
            f"{total:+.2e} ({total * scale:+.1e} of it) by {counted(len(found), 'node')}",
        )
    ]
    for node in found[:most]:
        text = f"{node.loss:+.2e} ({node.relative:+.1e})  {node.operator} {node.node!r}"
        rows.append(("", shown(text)))
    return rows
