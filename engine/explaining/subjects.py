"""What is explained, as an explainer was asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...graph_passes.select.subject import Subject, select
from ...models.plain_card import Card
from ..checking.checks import check_label_count, with_given
from ..inputs import filled
from ..model import Model


def subject_of(
    file: Model,
    output: str | None,
    card: Card | None,
    labels: Sequence[str] | None,
    asked: Mapping[str, Any],
) -> Subject:
    """The input, the output and the scores, with what card and caller say of them.

    Args:
        file: the model.
        output: name of the output; None: it is found.
        card: the model's; None: it has none.
        labels: of the classes, the card's or the caller's.
        asked: an explainer's arguments.

    Raises:
        UnsupportedModelError, InvalidInputError: as `Explainer`.
    """
    found = select(file.graph(), asked["input"], output, asked["score"])
    found = filled(found, card, file.folder, labels)
    check_label_count(None if asked["labels"] is None else labels, found)
    return with_given(found, asked["fixed"])
