"""Where an explanation comes from: what is needed to draw it, and to test it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.plain_card import Card
from ..records.record import Evidence
from ..running.answers import Reading
from .scored import Scoring

if TYPE_CHECKING:
    from ..inputs.kind import InputKind, ModelInput
    from ..pictures.heatmap import Picture


@dataclass
class Shared:
    """What all results of one input have in common, made when it is first needed.

    Attributes:
        blurred: the input without what is in any place of it; see `evidence`.
        packed: the input as a file has it, deflated.
    """

    blurred: np.ndarray | None = None
    packed: bytes = b""


@dataclass(frozen=True, eq=False)
class Origin:
    """What an explanation was made of.

    Attributes:
        card: how a thing becomes the input and what classes are called; None: not known.
        inputs: the explained inputs by name, as the model takes them.
        reading: which output is explained, and how its numbers are read as answers.
        count: how many inputs there are.
        into: by the explained inputs' names what the model takes there.
        image: path of the file; None: an array was given.
        view: the ground that maps are drawn over, of what was read; None: an array was given.
        kind: of what was read; None: an array was given.
        labels: the classes' names; None: not known.
        doubt: why a map may lie elsewhere than it is drawn; None: it does not.
        damage: what is wrong with the image file, which had some pixels all the same; or None.
        explainer: what explained a photo, for `Explanation.evidence`; a pickle goes without it.
        in_photo: x0, y0, x1, y1 of the first pixel of the model's input in the photo's own pixels;
            None: there is no photo.
        tested: what `Explanation.evidence` has found, by target.
        shared: what all tests of its input have in common.
    """

    card: Card | None
    inputs: dict[str, np.ndarray]
    reading: Reading
    count: int
    into: dict[str, ModelInput]
    image: str | None = None
    view: Picture | None = None
    kind: InputKind | None = None
    labels: tuple[str, ...] | None = None
    doubt: str | None = None
    damage: str | None = None
    explainer: Scoring | None = None
    in_photo: tuple[float, float, float, float] | None = None
    tested: dict[str, Evidence | None] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "explainer": None}
