"""Exporting a model file as one that explains itself, with the baseline that its card names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx

from ... import InvalidInputError
from ...graph_passes.methods import find_method
from ...models.labels import labels_of
from ...models.own_card import changed_card
from ...models.plain_card import Card
from ...models.variants import Shapes
from ..checking.assumed import tell_of_card
from ..checking.checks import tell_of_others
from ..explaining.explainer import Explainer
from ..files.model_files import refuse_own_files
from ..inputs.baselines import is_of_each
from ..inspection import card_or_assumption
from ..model import Model, opened
from ..running.settings import asked_methods, for_methods, own_options
from .asked import FACTS

# What a file may have beside its explanation.
_OF_FILES = ("preprocess", "picture", "opset", "static", "calibrate", "image_size")


def export_file(
    model: str,
    file: str,
    *,
    methods: Sequence[str],
    baseline: str | list[str] | None,
    baseline_input: bool,
    card: str | None,
    shapes: Shapes | None = None,
    output: str | None = None,
    labels: str | None = None,
    preset: str | None = None,
    target: str | None = None,
    tell: Callable[[str, float], None] = lambda text, done: None,
    **options: Any,
) -> onnx.ModelProto:
    """Write the explaining graph of a model file; returns it.

    Args:
        model: path of the model.
        file: path to write.
        methods: their names, perhaps with options of their own; see `asked_methods`.
        baseline: "black", "white" or a file (image or .npy) to embed, or several for a set; None:
            the card's black, zeros without a card.
        baseline_input: make the baseline an input of the file instead.
        card: path of a model card; None finds it, or assumes one.
        shapes: of inputs, as `Explainer` takes them.
        output: the output to explain, or another tensor; None: the card's, or found.
        labels: the classes' names, for the card that the file holds.
        preset: in place of the card's normalisation; see `own_card.PRESETS`.
        target: for every input, see `Explainer.export`; None: the file has an input for it.
        tell: called with a text and the part of the work that is done.
        options: of the method, the card's facts by their keys, and what else `Explainer.export`
            takes; None: the default.

    Raises:
        InvalidInputError: what cannot be embedded, or a file that cannot be written.
        UnsupportedModelError: the model cannot be explained by the method.
    """
    names, own = asked_methods(methods)
    options["calibrate"] = list(options.get("calibrate") or []) or None
    facts, more = (_taken_out(options, keys) for keys in (FACTS, _OF_FILES))
    check_one_baseline(names, baseline is not None, baseline_input)
    refuse_own_files(file, model, [card] if card else [])
    tell("reading the model", 0.0)
    opened_once = opened(model, shapes)
    known = card_of(opened_once, card, preset, facts, labels)
    check_embedded(baseline, known)
    tell(f"building {', '.join(names)}", 0.2)
    output = output or (known.output if known is not None else None)
    given = {"baseline": baseline, **for_methods(names, options, left_alone=())}
    explainers = [
        Explainer(opened_once, name, output=output, card=known, **taken(name, names, given, own))
        for name in names
    ]
    tell_of_others(explainers[0].subject)
    tell(f"checking and writing {file}", 0.6)
    return _written(explainers, file, baseline_input=baseline_input, target=target, **more)


def _taken_out(options: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: options.pop(key) for key in keys if key in options}


def taken(
    method: str,
    among: Sequence[str],
    given: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """One method's options: those that were given to all, and its own."""
    return {**own_options(method, among, given), **own.get(method, {})}


def _written(explainers: Sequence[Explainer], file: str, **how: Any) -> onnx.ModelProto:
    first, *others = explainers
    try:
        return first.export(file, also=others, **how)
    except OSError as error:
        raise InvalidInputError(f"cannot write {file}: {error.strerror or error}") from error


def card_of(
    model: Model,
    card: str | None,
    preset: str | None,
    facts: dict[str, Any],
    labels: str | None,
) -> Card | None:
    """The card that was given, found or assumed, with what stands in its place."""
    known, _ = card_or_assumption(model, card)
    if known is None:
        return None
    known = changed_card(known, preset, facts)
    return known if labels is None else replace(known, labels=labels_of(labels))


def check_one_baseline(methods: Sequence[str], embedded: bool, as_input: bool) -> None:
    """Refuse a baseline where no method has one, and two of them."""
    compared = any(find_method(method).takes("baseline") for method in methods)
    if not compared and (embedded or as_input):
        verb = "compares" if len(methods) == 1 else "compare"
        raise InvalidInputError(
            f"{', '.join(methods)} {verb} with no baseline: leave the baseline out"
        )
    if embedded and as_input:
        raise InvalidInputError("a baseline is either embedded or an input of the file, not both")


def check_embedded(choice: str | list[str] | None, card: Card | None) -> None:
    """Refuse a baseline that cannot be embedded."""
    if choice is None:
        return
    if is_of_each(choice):
        raise InvalidInputError(
            f"baseline {choice!r} depends on each image: "
            "use --baseline-input and feed it, or black, white or a file"
        )
    if card is not None:
        tell_of_card(card)
