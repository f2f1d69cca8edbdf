"""What would be explained, and whether everything is supported, without running the model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from .. import InvalidInputError, OnnxplainError, UnsupportedModelError
from ..graph_passes.backward.walk import Refusal
from ..graph_passes.graph.dims import describe
from ..graph_passes.graph.limits import Limits, within
from ..graph_passes.graph.reach import find_reach
from ..graph_passes.graph.tensors import numpy_type, operator_name
from ..graph_passes.methods import default_methods, methods
from ..graph_passes.select.attention import attention_lines
from ..graph_passes.select.feature_map import find_feature_map
from ..graph_passes.select.subject import Subject, select
from ..models.card import ModelCard, locate_card, read_card
from ..models.plain_card import Card
from ..models.sources.gathering import ASSUMED, FILE, Known, known_of
from ..models.text import counted, shown
from ..models.variants import Shapes
from .checking.assumed import tell_assumed
from .checking.checks import check_label_count
from .inputs import decided, kind_of_model
from .inputs.kind import model_input
from .model import Model, opened
from .running.given import blamed_on_file

# Columns of a screen.
_WIDTH = 160
# Of one method's reasons, where the others are listed.
_SHOWN = 3
_GUESSED = "assumed from the input's type and shape"
QUANTISED_RULE = "gradient straight-through, 0 where a quantiser saturates; DeepLIFT by rescale"


@dataclass(frozen=True, repr=False)
class Inspection:
    """What onnxplain would do with a model.

    Attributes:
        input: name, type and shape of the input that attributions belong to.
        outputs: the same for each output.
        output: name of the output that is explained.
        others: outputs that could be meant as well, where none was named.
        score: the score tensor's name, shape and what was left out behind it, in words.
        feature_map: Grad-CAM's tensor, or None where it has none.
        feature_map_reason: why that one, or why none.
        operators: how often each operator stands between input and score.
        unsupported: for each method the reasons why it cannot run (empty: supported).
        card: how an image becomes the input; `card.assumed` says what was guessed; None for other
            inputs.
        card_note: where the card comes from, or why there is none.
        files: the ends of the names of files that can be explained, arrays apart.
        opset, ir_version, producer: as the file says.
        quantisation: the file's quantised operators and the rule used for them, or None.
        attention: for each layer of attention its tensor of weights, whose tokens it is over, and
            how many; empty where there is none, or none that can be followed.

    Examples:
        >>> found = onnxplain.inspect("digits.onnx")
        >>> [name for name, reasons in found.unsupported.items() if reasons]
        ['attention-rollout', 'chefer']
    """

    input: str
    outputs: list[str]
    output: str
    score: str
    feature_map: str | None
    feature_map_reason: str
    operators: dict[str, int]
    unsupported: dict[str, list[str]]
    card: Card | None
    card_note: str
    opset: int
    ir_version: int
    producer: str
    quantisation: str | None
    inputs: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    # It holds lists and dicts.
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        rows = [(name, " | ".join(text.split("\n"))) for name, text in table(self)]
        width = _WIDTH - 4 - max(len(name) for name, _ in rows)
        short = [(n, text if len(text) <= width else f"{text[: width - 3]}...") for n, text in rows]
        return "\n".join(["Inspection(", *(f"  {name}: {text}" for name, text in short), ")"])

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{escape(name)}</th>"
            f"<td style='text-align:left;white-space:pre-line'>{escape(text)}</td></tr>"
            for name, text in table(self)
        )
        return f"<table>{rows}</table>"


def inspect(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    layer: str | None = None,
    output: str | None = None,
    card: Card | None = None,
    shapes: Shapes | None = None,
    limits: Limits | None = None,
) -> Inspection:
    """Report what would be explained, without running anything; arguments as `Explainer`'s.

    Raises:
        UnsupportedModelError: the file is no readable model, is above a limit, or has no float
            input or output.
        InvalidInputError: `layer` or `output` names nothing.

    Examples:
        >>> onnxplain.inspect("digits.onnx").input
        '...: float32 [..., 8, 8, 1]'
    """
    with within(limits):
        return inspected(model, layer=layer, output=output, card=card, shapes=shapes)


def inspected(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    tell: Callable[[str, float], None] = lambda text, done: None,
    *,
    layer: str | None,
    output: str | None,
    card: Card | None,
    shapes: Shapes | None,
) -> Inspection:
    """The same, held to the limits in force; `tell` gets a text and the part that is done."""
    tell("reading the model", 0.0)
    with blamed_on_file(model):
        return _inspected(opened(model, shapes), tell, layer, output, card)


def _inspected(
    file: Model,
    tell: Callable[[str, float], None],
    layer: str | None,
    output: str | None,
    card: Card | None,
) -> Inspection:
    if card is None:
        card, note = card_or_assumption(file)
    else:
        note = "given"
    wanted = output if output is not None else (card.output if card is not None else None)
    wanted = file.meant(wanted)
    file = file.with_output(wanted)
    tell("looking for the score", 0.3)
    graph, proto = file.graph(), file.proto
    subject = decided(select(graph, output=wanted), card)
    nodes = find_reach(subject.graph, [subject.start], [subject.logits]).nodes
    tell("looking for the feature map", 0.5)
    found, reason = _feature_map(subject, layer)

    def step(method: str, done: float) -> None:
        tell(f"asking {method}", 0.6 + 0.4 * done)

    unsupported = unsupported_by_method(subject, layer, step)
    return Inspection(
        input=_described(subject.input),
        inputs=[_described(t) for t in graph.inputs],
        outputs=[_described(t) for t in graph.outputs],
        output=subject.output.name,
        others=list(subject.others),
        score=_score_text(subject, file),
        feature_map=found,
        feature_map_reason=reason,
        operators=dict(Counter(operator_name(node) for node in nodes).most_common()),
        unsupported=unsupported,
        card=card,
        card_note=note,
        opset=next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0),
        ir_version=proto.ir_version,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        quantisation=f"{', '.join(file.quantised)}: {QUANTISED_RULE}" if file.quantised else None,
        attention=attention_lines(subject),
        files=_files(subject, card, file.folder),
    )


def table(found: Inspection) -> list[tuple[str, str]]:
    """The inspection as (what, text) rows for people to read."""
    producer = found.producer or "unknown producer"
    rows = [
        ("model", shown(f"opset {found.opset}, IR {found.ir_version}, {producer}")),
        ("inputs", _lines(found.inputs)),
        ("explained input", shown(found.input)),
        ("preprocessing", _card_text(found)),
        ("outputs", _lines(found.outputs)),
        ("explained score", _score_row(found)),
        ("feature map", shown(f"{found.feature_map or 'none'}: {found.feature_map_reason}")),
        *([("attention", _lines(found.attention))] if found.attention else []),
        (
            "operators on the path",
            shown(", ".join(f"{op} {n}x" for op, n in found.operators.items())),
        ),
        ("quantisation", shown(found.quantisation or "none")),
    ]
    default = default_methods()
    for method in default:
        reasons = found.unsupported[method]
        rows.append((method, _lines(["not supported:", *reasons]) if reasons else "supported"))
    others = {k: reasons for k, reasons in found.unsupported.items() if k not in default}
    texts = [f"{', '.join(k for k, reasons in others.items() if not reasons) or 'none'}"]
    refused: dict[str, list[str]] = {}
    for name, reasons in others.items():
        if reasons:
            more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
            refused.setdefault("; ".join([*reasons[:_SHOWN], *more]), []).append(name)
    texts += [f"not {', '.join(names)}: {why}" for why, names in refused.items()]
    rows.append(("further methods", _lines(texts)))
    return rows


def _score_row(found: Inspection) -> str:
    others = ", ".join(found.others)
    return _lines([found.score, *([f"not {others} (--output says otherwise)"] if others else [])])


def _lines(texts: Iterable[str]) -> str:
    """One line for each text, whatever it holds."""
    return "\n".join(map(shown, texts))


def _files(subject: Subject, card: Card | None, folder: str | None) -> list[str]:
    kind = kind_of_model(model_input(subject.sources[0], card, folder))
    return sorted(kind.suffixes() - {".npy", ".npz"})


def _card_text(found: Inspection) -> str:
    card = found.card
    if card is None and found.files:
        return shown(f"of files in {', '.join(found.files)}; arrays (.npy) as they are")
    if card is None:
        return shown(f"arrays as they are, for the input is no image: {found.card_note}")
    if card.assumed:
        rest = [] if found.card_note == _GUESSED else [f"the rest from {found.card_note}"]
        return _lines(["no model card; assumed:", *card.assumed, *rest])
    if not isinstance(card, ModelCard):
        said = [f"{key} {value}" for key, value in card.settings.items()]
        return shown(", ".join([f"{card.kind} (model card: {found.card_note})", *said]))
    height, width = card.size
    crop = f", centre crop {card.crop_fraction:g}" if card.resize == "crop" else ""
    scale, mean, std = (_numbers(values) for values in (card.scale, card.mean, card.std))
    pixel = "pixel" if scale == "1" else f"pixel * {scale}"
    labels = counted(len(card.labels), "label") if card.labels else "no labels"
    return shown(
        f"{card.resize} to {height} x {width} ({card.interpolation}{crop}), {card.channels}, "
        f"{card.layout}, ({pixel} - {mean}) / {std} as {card.dtype}, {labels} "
        f"(model card: {found.card_note})"
    )


def _numbers(values: float | tuple[float, ...]) -> str:
    numbers = values if isinstance(values, tuple) else (values,)
    texts = [f"{value:.6g}" for value in numbers]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def card_or_assumption(
    model: Model, card_file: str | os.PathLike[str] | None = None
) -> tuple[Card | None, str]:
    """The model's card and where it comes from; without one, what its input's shape suggests."""
    given = None if card_file is None else (read_card(card_file), str(card_file))
    try:
        known = known_card(model, given)
    except UnsupportedModelError as error:
        return None, str(error)
    if known.own is not None:
        return known.card, known.own
    said = [name for name in known.sources.values() if name not in (ASSUMED, FILE)]
    if said:
        return known.card, ", ".join(dict.fromkeys(said))
    if known.card is None:
        return None, known.reason or "nothing is known"
    return known.card, _GUESSED


def known_card(model: Model, given: tuple[Card, str] | None = None) -> Known:
    """What is known of a model, labels that nobody gave only if they are as many as its classes.

    Args:
        model: opened.
        given: a card that stands in place of the one that is found, and where it is from.

    Raises:
        UnsupportedModelError: none of its inputs can be explained.
        InvalidInputError: somebody wrote a card for it, and it is wrong.
    """
    given = given or locate_card(model.proto, model.path)
    if given is not None:
        known = known_of(model.proto, model.path, given=given)
        if known.sources.get("labels") in (None, known.own):
            return known
        subject = select(model.graph())
    else:
        subject = select(model.graph())
        dtype = str(numpy_type(subject.input.dtype))
        known = known_of(model.proto, model.path, subject.input.shape, dtype)
    try:
        check_label_count(known.card.labels if known.card else None, subject)
    except InvalidInputError as error:
        assert known.card is not None
        tell_assumed(f"passed over: labels of {known.sources['labels']}: {error}")
        sources = {key: name for key, name in known.sources.items() if key != "labels"}
        return known._replace(card=replace(known.card, labels=None), sources=sources)
    return known


def unsupported_by_method(
    subject: Subject,
    layer: str | None = None,
    tell: Callable[[str, float], None] = lambda text, done: None,
) -> dict[str, list[str]]:
    """For each method every reason why it cannot explain the subject; emits no backward pass."""
    found, known = {}, dict[Any, list[str]]()
    for name, method in methods().items():
        tell(name, len(found) / len(methods()))
        options = method.chosen({"layer": layer} if method.takes("layer") else {})
        # Methods that ask the same of a model share the answer.
        question = method.unsupported, *(options.get(k) for k in ("layer", "rule"))
        if question not in known:
            known[question] = _reasons(partial(method.unsupported, subject, options))
        found[name] = known[question]
    return found


def _reasons(collect: Callable[[], Iterable[Refusal]]) -> list[str]:
    try:
        return [f"{r.operator} (node {r.node or 'unnamed'!r}): {r.reason}" for r in collect()]
    except OnnxplainError as error:
        return [str(error)]


def _feature_map(subject: Subject, layer: str | None) -> tuple[str | None, str]:
    try:
        found = find_feature_map(subject, layer)
    except UnsupportedModelError as error:
        return None, str(error)
    return found.tensor.name, found.reason


def _described(tensor: gs.Variable) -> str:
    kind = "?" if tensor.dtype is None else str(numpy_type(tensor.dtype))
    return f"{tensor.name}: {kind} {describe(tensor.shape)}"


def _score_text(subject: Subject, file: Model) -> str:
    text = _plain_score_text(subject)
    if file.labelled is None or subject.output.name != file.labelled.scores:
        return text
    return f"{text}; the file returns the best of them"


def _plain_score_text(subject: Subject) -> str:
    shape = describe(subject.logits.shape)
    if not subject.per_class and subject.classes == 1:
        shape = f"{shape}, summed over the predicted foreground"
    left_out = [f"its final {subject.activation}"] if subject.activation else []
    left_out += ["its last quantiser"] if subject.quantised else []
    doubt = ""
    if subject.readings is not None:
        doubt = f"; it may hold {' or '.join(subject.readings)}: name a score by its index tuple"
    if (found := subject.detector) is not None:
        held = ", ".join(map(repr, found.boxes or found.scores))
        doubt = f"; the score of a {'box' if found.boxes else 'cell'} in {held}"
    if subject.embedding:
        return f"{subject.output.name} {shape}, an embedding: its similarity to another (--versus)"
    if not left_out:
        return f"{subject.output.name} {shape}, as the model returns it{doubt}"
    return f"{subject.output.name} before {' and '.join(left_out)}, {shape}{doubt}"
