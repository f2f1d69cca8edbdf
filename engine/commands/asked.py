"""What a command is asked for, beside the model and the images."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...graph_passes.methods import default_methods
from ...models.labels import labels_of
from ...models.own_card import changed_card
from ...models.plain_card import Card
from ...models.variants import Shapes
from ..inspection import card_or_assumption
from ..model import Model
from ..running.settings import asked_methods, for_methods, own_options

# The target where nobody said, of classes.
TOP = "top1"
# The card's keys that the command line takes one by one.
FACTS = ("size", "resize", "layout", "channels", "scale", "mean", "std")


@dataclass(frozen=True)
class Options:
    """What to explain and how; see `onnxplain explain --help`.

    `threads`: as `Explainer` takes them. `more`: further options of methods, by name; each goes to
    the methods that take it. `lenient`: methods that were asked for and do not serve the model are
    left out, too, with the reason. `shapes`, `output`, `score`: as `Explainer` has them. `methods`
    may have options of their own, "lrp:rule=epsilon", which are in `own` then. `preset` and `facts`
    stand in place of the card's. `strict`: images whose files are damaged are refused. `versus`:
    photos or vectors that an embedding is compared with, in place of targets. `inputs`: further
    inputs of the model, by name; see `given.given_inputs`.
    """

    methods: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    layer: str | Sequence[str] | None = None
    baseline: str | Sequence[str] | None = None
    steps: int | None = None
    tolerance: float | None = None
    card: str | Card | None = None
    labels: str | None = None
    provider: str = "auto"
    threads: int | None = None
    rule: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    lenient: bool = False
    shapes: Shapes | None = None
    score: str | None = None
    output: str | None = None
    strict: bool = False
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    versus: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.versus, str | os.PathLike):
            object.__setattr__(self, "versus", (os.fspath(self.versus),))
        names, own = asked_methods(self.methods)
        object.__setattr__(self, "methods", names)
        object.__setattr__(self, "own", {**self.own, **own})

    def of_method(self, name: str, among: Collection[str]) -> dict[str, Any]:
        """One method's options, where several run together; see `own_options`."""
        return {**own_options(name, among, self.of_methods), **self.own.get(name, {})}

    @property
    def of_methods(self) -> dict[str, Any]:
        """What is for methods, by option name; None: not asked for."""
        own = {n: getattr(self, n) for n in ("layer", "baseline", "steps", "tolerance", "rule")}
        return {**own, **self.more}


def options_from(chosen: Mapping[str, Any]) -> Options:
    """The command line's choices; those that are no field of `Options` are methods' own.

    Raises:
        InvalidInputError: an option that none of the methods takes.
    """
    names = {one.name for one in fields(Options)}
    given = {name: value for name, value in chosen.items() if name in names}
    facts = {key: chosen[key] for key in FACTS if key in chosen}
    more = {k: v for k, v in chosen.items() if k not in names and k not in facts}
    options = Options(**given, facts=facts, more=more)
    for_methods(options.methods or default_methods(), options.of_methods, left_alone=())
    return options


def card_for(model: Model, options: Options) -> Card:
    """The card of a model, as asked for or found, with the labels and the output asked for.

    Of a model that takes no image, and has no card, one that says nothing.
    """
    card = options.card
    if not isinstance(card, Card):
        card, _ = card_or_assumption(model, card)
    card = Card() if card is None else card
    card = changed_card(card, options.preset, options.facts)
    if options.labels is not None:
        card = replace(card, labels=labels_of(options.labels))
    if options.output is not None:
        card = replace(card, output=options.output)
    return card
