"""What every model card says, of whatever kind its model's input is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .. import InvalidInputError

IMAGE = "image"
_PROBABILITIES = ("softmax", "sigmoid", "none")
TASKS = ("classification", "detection", "segmentation", "sequence", "embedding", "regression")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a model that its file does not say.

    - kind: the name of the kind of input, which says what else the card may hold; None: it is told
      by the file that is explained, and by the model's input.
    - settings: the kind's own keys, which the kind checks.
    - labels: the names of the classes in the order of the scores, or None.
    - probability: how scores without a final activation become probabilities: "softmax" (of classes
      that exclude each other), "sigmoid" (of classes that do not) or "none". None: by softmax where
      there are several.
    - output: the name of the output that is explained by default, or None for the model's first.
    - task: what the model does: "classification", "detection", "segmentation", "sequence",
      "embedding" or "regression"; None: its outputs tell.
    - assumed: one short sentence for each thing that was guessed; empty for a card that was read.

    Raises InvalidInputError that names the key, what was expected and what was received.
    """

    kind: str | None = None
    labels: tuple[str, ...] | None = None
    output: str | None = None
    probability: str | None = None
    task: str | None = None
    assumed: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", _names("labels", self.labels))
        if self.probability not in (None, *_PROBABILITIES):
            fail("probability", f"one of {', '.join(_PROBABILITIES)}", self.probability)
        if self.task not in (None, *TASKS):
            fail("task", f"one of {', '.join(TASKS)}", self.task)
        if self.output is not None and not (isinstance(self.output, str) and self.output):
            fail("output", "the name of one of the model's outputs", self.output)
        object.__setattr__(self, "assumed", _names("assumed", self.assumed))


# The keys of every card, as JSON has them.
COMMON = tuple(one.name for one in fields(Card) if one.name not in ("assumed", "settings"))


def plain_card(content: Mapping[str, Any], source: str) -> Card:
    """The card of a dictionary with a `kind`, whose own keys are left to the kind.

    Raises InvalidInputError when a value is wrong; `source` begins the message.
    """
    own = {key: value for key, value in content.items() if key not in COMMON}
    try:
        if not isinstance(content.get("kind"), str):
            fail("kind", "the name of a kind of input", content.get("kind"))
        return Card(**{k: v for k, v in content.items() if k in COMMON}, settings=own)
    except InvalidInputError as error:
        raise InvalidInputError(f"{source}: {error}") from None


def fail(key: str, expected: str, came: Any) -> None:
    """Refuse a card's value."""
    raise InvalidInputError(f"{key!r}: expected {expected}, got {short(came)}")


def short(value: Any) -> str:
    """A value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sequence(value: Any) -> tuple[Any, ...]:
    """A list's, tuple's or array's items; () of anything else."""
    return tuple(value) if isinstance(value, list | tuple | np.ndarray) else ()


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = sequence(value)
    for index, name in enumerate(names):
        if not isinstance(name, str):
            fail(f"{key}[{index}]", "a text", name)
    if key == "labels" and not names:
        fail(key, "a list of texts, or a file name", value)
    return tuple(names)
