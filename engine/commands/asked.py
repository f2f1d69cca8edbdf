"""What a command is asked for, beside the model and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ... import InvalidInputError
from ...models.card import ModelCard
from ...models.labels import read_labels
from ...models.variants import Shapes
from ..inspection import card_or_assumption
from ..model import Model


@dataclass(frozen=True)
class Options:
    """What to explain and how; see `onnxplain explain --help`.

    `threads`: as `Explainer` takes them. `more`: further options of methods, by name; each goes to
    the methods that take it. `lenient`: methods that were asked for and do not serve the model are
    left out, too, with the reason. `shapes`, `output`: as `Explainer` takes them. `strict`: images
    whose files are damaged are refused.
    """

    methods: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("top1",)
    layer: str | Sequence[str] | None = None
    baseline: str | Sequence[str] | None = None
    steps: int | None = None
    tolerance: float | None = None
    card: str | ModelCard | None = None
    labels: str | None = None
    provider: str = "auto"
    threads: int | None = None
    rule: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    lenient: bool = False
    shapes: Shapes | None = None
    output: str | None = None
    strict: bool = False

    @property
    def of_methods(self) -> dict[str, Any]:
        """What is for methods, by option name; None: not asked for."""
        own = {n: getattr(self, n) for n in ("layer", "baseline", "steps", "tolerance", "rule")}
        return {**own, **self.more}


def options_from(chosen: Mapping[str, Any]) -> Options:
    """The command line's choices; those that are no field of `Options` are methods' own."""
    names = {one.name for one in fields(Options)}
    own = {name: value for name, value in chosen.items() if name in names}
    return Options(**own, more={k: v for k, v in chosen.items() if k not in names})


def card_for(model: Model, options: Options) -> ModelCard:
    """The card of a model, as asked for or found, with the labels and the output asked for."""
    card, note = options.card, ""
    if not isinstance(card, ModelCard):
        card, note = card_or_assumption(model, card)
    if card is None:
        raise InvalidInputError(note)
    if options.labels is not None:
        card = replace(card, labels=read_labels(options.labels))
    if options.output is not None:
        card = replace(card, output=options.output)
    return card
