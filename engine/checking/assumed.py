"""What nobody said and something rests on: one line each, before it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ...models.plain_card import Card

# A logger of its own, so that who wants errors only can leave these lines out.
assumed = logging.getLogger("onnxplain.assumed")


def tell_assumed(text: str) -> None:
    """Say what is assumed."""
    assumed.warning(text)


def tell_of_skipped(skipped: Mapping[str, str]) -> list[str]:
    """Say which methods are left out, and why; returns the lines."""
    lines = [f"skipped {method}: {reason}" for method, reason in skipped.items()]
    for line in lines:
        tell_assumed(line)
    return lines


def assumed_card(card: Card) -> str:
    """What was guessed of how a picture becomes a model's input, in one line."""
    return f"no model card, assumed: {'; '.join(card.assumed)} (--card FILE says otherwise)"


def tell_of_card(card: Card) -> None:
    """Say how a picture becomes the input, where that was guessed."""
    if card.assumed:
        tell_assumed(assumed_card(card))
